package program

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// base is a small spec that has every part once.
func base() *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"}
	return &specs.Spec{
		Version:  specs.Version,
		Process:  &specs.Process{Args: []string{"/bin/app", "-v"}, Cwd: "/", Env: []string{"PATH=/bin:/usr/bin", "HOME=/root"}, Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}},
		Root:     &specs.Root{},
		Hostname: "box",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "mount"}, {Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "network"}, {Type: "cgroup"}}},
	}
}

func input(f func(*Input)) Input {
	in := Input{Spec: base(), Root: Root{Overlay: &Overlay{Lower: []string{"/l/2", "/l/1"}, Upper: "/c/upper", Work: "/c/work"}},
		Facts: Facts{OverlayFD: true, DetachedLayers: true, MappedLayers: true, CgroupV2: true, Caps: 1<<41 - 1, LastCap: 5, NoFile: Limit{1024, 4096}}}
	if f != nil {
		f(&in)
	}
	return in
}

func add(in *Input, m ...specs.Mount) { in.Spec.Mounts = append(in.Spec.Mounts, m...) }

func TestGoldens(t *testing.T) {
	for name, f := range map[string]func(*Input){
		"base": nil,
		"legacy-overlay": func(in *Input) {
			in.Facts.OverlayFD = false
			in.Root.Overlay = &Overlay{Lower: []string{"/d/a,b/fs", "/d/2/fs"}, Upper: "/d/u", Work: "/d/w", Volatile: true, Options: []string{"metacopy=off"}}
		},
		"overlay-options": func(in *Input) { in.Root.Overlay.Options = []string{"redirect_dir=off", "metacopy=off"} },
		"directory-readonly": func(in *Input) {
			in.Root = Root{Dir: "/srv/root"}
			in.Spec.Root.Readonly = true
			in.Spec.Linux.RootfsPropagation = "rshared"
		},
		"binds": func(in *Input) {
			add(in, specs.Mount{Destination: "/v", Type: "bind", Source: "/srv", Options: []string{"rbind", "rro", "rprivate", "nosuid"}},
				specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: "/c/hosts", Options: []string{"bind", "ro"}},
				specs.Mount{Destination: "/s", Type: "bind", Source: "/s", Options: []string{"rbind", "rshared"}})
		},
		"cgroup-v2":      func(in *Input) { add(in, cgroupMount) },
		"cgroup-v2-host": func(in *Input) { dropNS(in, "cgroup"); add(in, cgroupMount) },
		"cgroup-v1": func(in *Input) {
			hybrid(in)
			add(in, cgroupMount)
		},
		"cgroup-v1-host": func(in *Input) {
			hybrid(in)
			dropNS(in, "cgroup")
			add(in, cgroupMount)
		},
		"joined": func(in *Input) {
			in.NetNS = true
			for i := range in.Spec.Linux.Namespaces[1:4] {
				n := &in.Spec.Linux.Namespaces[1+i]
				n.Path = "/proc/7/ns/" + string(n.Type)
			}
		},
		"host-namespaces": func(in *Input) {
			in.Spec.Linux.Namespaces, in.Spec.Hostname = in.Spec.Linux.Namespaces[:1], ""
		},
		"terminal": func(in *Input) {
			in.Spec.Process.Terminal, in.Spec.Process.ConsoleSize = true, &specs.Box{Height: 24, Width: 80}
			in.Spec.Process.User.UID = 1000
		},
		"masked-readonly-sysctl": func(in *Input) {
			in.Spec.Linux.MaskedPaths = []string{"/proc/kcore", "/sys/firmware"}
			in.Spec.Linux.ReadonlyPaths = []string{"/proc/sys"}
			in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "1", "net/ipv4/conf/eth0.1/forwarding": "0"}
		},
		"devices": func(in *Input) {
			mode, uid := os.FileMode(0o640), uint32(5)
			in.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode, UID: &uid},
				{Path: "/dev/disk/a", Type: "b", Major: 8, Minor: 1}, {Path: "/dev/null", Type: "c", Major: 1, Minor: 3, UID: &uid}}
			in.Spec.Mounts[1].Options = append(in.Spec.Mounts[1].Options, "ro")
		},
		"user-search-seccomp": func(in *Input) {
			adj, mask := -5, uint32(0o27)
			p := in.Spec.Process
			p.Args, p.User, p.OOMScoreAdj, p.NoNewPrivileges = []string{"app"}, specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9, 10}, Umask: &mask}, &adj, true
			p.Capabilities.Inheritable, p.Capabilities.Ambient = p.Capabilities.Permitted, []string{"CAP_KILL"}
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}}
			in.Seccomp, in.SeccompFlags = make([]byte, 16), 2
		},
		"hold": func(in *Input) {
			in.Created, in.Hold, in.Detached, in.PreserveFDs = true, true, true, 2
			in.Seccomp = make([]byte, 16)
			in.Spec.Process.Args[0] = "app"
		},
		"mount-namespace-joined": func(in *Input) {
			in.Root = Root{Dir: "/srv/root"}
			in.Spec.Linux.Namespaces[0].Path = "/proc/7/ns/mnt"
			in.Spec.Linux.MaskedPaths = []string{"/proc/kcore"}
		},
		"mount-namespace-none": func(in *Input) {
			in.Root = Root{Dir: "/srv/root"}
			dropNS(in, "mount")
		},
		"netdevices-resctrl": func(in *Input) {
			in.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}}
			in.Spec.Linux.IntelRdt = &specs.LinuxIntelRdt{}
			in.Resctrl, in.CgroupTasks = true, 1
			in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.conf.eth0.forwarding": "1"}
		},
		"mount-options": func(in *Input) {
			add(in, specs.Mount{Destination: "/a", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "ro", "size=1m", "nosymfollow"}},
				specs.Mount{Destination: "/b", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=700", "runbindable"}},
				specs.Mount{Destination: "/b", Options: []string{"remount", "ro", "size=2m", "sync"}},
				specs.Mount{Destination: "/c", Type: "bind", Source: "/c", Options: []string{"rbind", "rrw", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow", "rslave"}},
				specs.Mount{Destination: "/c", Type: "bind", Options: []string{"remount", "rw", "suid", "rstrictatime", "rshared"}},
				specs.Mount{Destination: "/d", Type: "bind", Source: "/d", Options: []string{"rsuid", "rdev", "rexec", "mode=755", "rdiratime", "rrelatime", "rsymfollow", "norelatime", "unbindable"}})
		},
		"labels": func(in *Input) {
			in.Facts.AppArmor, in.Facts.SELinux = true, true
			p := in.Spec.Process
			p.ApparmorProfile, p.SelinuxLabel = "docker-default", "system_u:system_r:container_t:s0:c1,c2"
			in.Spec.Linux.MountLabel = "system_u:object_r:container_file_t:s0:c1,c2"
		},
		"scheduling": func(in *Input) {
			p := in.Spec.Process
			p.Scheduler = &specs.Scheduler{Policy: specs.SchedDeadline, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork, specs.SchedFlagReclaim}, Runtime: 1e6, Deadline: 2e6, Period: 3e6}
			p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE, Priority: 7}
			p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"} // not for the first process
		},
		"users": func(in *Input) {
			addUsers(in)
			in.Root.IDMap = true
			add(in, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}}, cgroupMount,
				specs.Mount{Destination: "/v", Type: "bind", Source: "/v", Options: []string{"rbind", "ridmap"}},
				specs.Mount{Destination: "/w", Type: "bind", Source: "/w", Options: []string{"bind"}, UIDMappings: oneToOne, GIDMappings: oneToOne})
			in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_MEMLOCK", Soft: 1, Hard: 2}, {Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}}
			in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmax": "1"}
		},
		"users-given": func(in *Input) { // the engine's: both namespaces are ready
			addUsers(in)
			in.Root.IDMap, in.UserNS, in.NetNS = true, true, true
			add(in, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}})
			in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		},
		"users-legacy-overlay": func(in *Input) {
			hybrid(in)
			dropNS(in, "cgroup")
			addUsers(in)
			in.Root.IDMap, in.Facts.DetachedLayers, in.Root.Overlay.Volatile = true, false, true
			add(in, cgroupMount)
		},
		"limited": func(in *Input) { in.Root.Overlay.Limited = true },
		"users-joined": func(in *Input) {
			in.Root = Root{Dir: "/srv/root"}
			addNS(in, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/proc/7/ns/user"})
			for i := range in.Spec.Linux.Namespaces[1:5] {
				n := &in.Spec.Linux.Namespaces[1+i]
				n.Path = "/proc/7/ns/" + string(n.Type)
			}
			in.Spec.Hostname = ""
		},
		"rootless": func(in *Input) {
			addUsers(in)
			in.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}}
			in.Spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}}
			in.Root, in.Facts.Caps = Root{Dir: "/home/u/root"}, 0
			in.Spec.Mounts[2].Options = append(in.Spec.Mounts[2].Options, "gid=5")
			add(in, specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "ro"}})
		},
		"time": func(in *Input) {
			addNS(in, specs.LinuxNamespace{Type: specs.TimeNamespace})
			in.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 100, Nanosecs: 5}, "monotonic": {Secs: -7}}
		},
		"seccomp-listener": func(in *Input) {
			in.Seccomp, in.SeccompFlags, in.Listener = make([]byte, 16), unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, true
			in.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
			in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolInterleave, Nodes: "0-2,66", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
		},
		"seccomp-privileged": func(in *Input) { in.Seccomp = make([]byte, 16) },
	} {
		t.Run(name, func(t *testing.T) {
			in := input(f)
			p, err := Compile(in)
			golden(t, name, p, err)
			checkContained(t, in, p)
		})
	}
}

// golden compares a program with its file.
func golden(t *testing.T, name string, p *Program, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	checkProgram(t, p)
	got, file := p.String(), filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (-update rewrites it):\n%s", file, difference(string(want), got))
	}
}

var cgroupMount = specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}}

func hybrid(in *Input) {
	in.Facts.CgroupV2, in.CgroupTasks = false, 2
	in.Facts.CgroupV1 = []Controller{{"cpu,cpuacct", "cpu,cpuacct"}, {"systemd", "none,name=systemd"}}
}

func dropNS(in *Input, t specs.LinuxNamespaceType) {
	var list []specs.LinuxNamespace
	for _, n := range in.Spec.Linux.Namespaces {
		if n.Type != t {
			list = append(list, n)
		}
	}
	in.Spec.Linux.Namespaces = list
}

var oneToOne = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0, Size: 1}}

func addNS(in *Input, ns specs.LinuxNamespace) {
	in.Spec.Linux.Namespaces = append(in.Spec.Linux.Namespaces, ns)
}

// addUsers gives the container a user namespace.
func addUsers(in *Input) {
	addNS(in, specs.LinuxNamespace{Type: specs.UserNamespace})
	in.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	in.Spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
}

// difference shows the first line that differs.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			return "got  " + g[i] + "\nwant " + strings.Join(w[min(i, len(w)-1):min(i+1, len(w))], "")
		}
	}
	return "it is shorter"
}

// checkProgram holds what every program must: arguments that exist, registers
// that are set before they are used, jumps that stay inside, no way past the end.
func checkProgram(t *testing.T, p *Program) {
	t.Helper()
	n := len(p.Steps)
	for i := range p.Steps {
		s := &p.Steps[i]
		for _, a := range s.Args[:s.N] {
			switch a.Kind {
			case InReg:
				if a.Val >= uint64(p.Regs) {
					t.Fatalf("step %d: no register %d", i, a.Val)
				}
			case Mem:
				if a.Val >= uint64(len(p.Blocks)) || int(a.Off) >= max(1, p.Blocks[a.Val].Size) {
					t.Fatalf("step %d: no block %d+%d", i, a.Val, a.Off)
				}
			}
		}
		next := int(s.Next)
		if next == 0 {
			next = i + 1
		}
		last := s.Op == OpFail || i >= p.Last && s.Op == OpCall && s.Catch[0].To > 0 // execve does not come back
		if next > n || next == n && !last {
			t.Fatalf("step %d runs past the end", i)
		}
		for _, c := range s.Catch {
			if c.To < 0 || int(c.To) >= n {
				t.Fatalf("step %d: %v leads to %d", i, c.Errno, c.To)
			}
		}
		if int(s.Context) >= len(p.Contexts) || int(s.Message) >= len(p.Messages) {
			t.Fatalf("step %d has texts that do not exist", i)
		}
	}
	// The straight way, where nothing fails.
	set := make([]bool, p.Regs)
	for i := range p.Needs {
		set[i] = true
	}
	for i := 0; i < p.Last; {
		s := &p.Steps[i]
		for _, a := range s.Args[:s.N] {
			if a.Kind == InReg && !set[a.Val] {
				t.Fatalf("step %d uses r%d before it is set", i, a.Val)
			}
		}
		if s.Out != None {
			set[s.Out] = true
		}
		if i++; s.Next != 0 {
			i = int(s.Next)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*Input)
		kind   errs.Kind
		text   string
	}{
		{func(in *Input) { in.Spec = nil }, errs.InvalidParameter, "no spec"},
		{func(in *Input) { in.Spec.Process = nil }, errs.InvalidParameter, "process is missing"},
		{func(in *Input) { in.Spec.Process.Args = nil }, errs.InvalidParameter, "process.args"},
		{func(in *Input) { in.Spec.Process.Args[0] = "a\x00b" }, errs.InvalidParameter, "NUL"},
		{func(in *Input) { in.Spec.Process.Env[0] = "a=\x00b" }, errs.InvalidParameter, "NUL"},
		{func(in *Input) { in.Spec.Process.Cwd = "rel" }, errs.InvalidParameter, "process.cwd"},
		{func(in *Input) { in.Root = Root{} }, errs.InvalidParameter, "root must be"},
		{func(in *Input) { in.Root.Dir = "/d" }, errs.InvalidParameter, "root must be"},
		{func(in *Input) { in.Root.Overlay.Lower = nil }, errs.InvalidParameter, "needs layers"},
		{func(in *Input) { in.Root.Overlay.Work = "" }, errs.InvalidParameter, "needs layers"},
		{func(in *Input) { in.Root.Overlay.Upper = "rel" }, errs.InvalidParameter, "not an absolute path"},
		{func(in *Input) { dropNS(in, "mount") }, errs.InvalidParameter, "mount namespace"},
		{func(in *Input) { in.Spec.Linux.Namespaces[1].Type = "mount" }, errs.InvalidParameter, "listed twice"},
		{func(in *Input) { in.Spec.Linux.Namespaces[1].Type = "x" }, errs.InvalidParameter, "unknown type"},
		{func(in *Input) { in.Spec.Linux.Namespaces[0].Path = "/p" }, errs.InvalidParameter, "of its own, not in /p"},
		{func(in *Input) { in.Spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{}}} }, errs.NotImplemented, "hooks.createContainer"},
		{func(in *Input) { in.Spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{}}} }, errs.NotImplemented, "hooks.startContainer"},
		{func(in *Input) { in.Spec.Linux.Namespaces[1].Type = "user" }, errs.InvalidParameter, "needs both"},
		{func(in *Input) { in.Spec.Linux.UIDMappings = oneToOne }, errs.InvalidParameter, "linux.uidMappings"},
		{func(in *Input) { in.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {}} }, errs.InvalidParameter, "linux.timeOffsets"},
		{func(in *Input) {
			addNS(in, specs.LinuxNamespace{Type: "time"})
			in.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"realtime": {}}
		}, errs.InvalidParameter, `no clock "realtime"`},
		{func(in *Input) { addUsers(in); in.Root.IDMap, in.Facts.MappedLayers = true, false }, errs.NotImplemented, "Linux 5.19"},
		{func(in *Input) { addUsers(in); in.Root.IDMap = true; in.Spec.Linux.UIDMappings[0].ContainerID = 1 }, errs.InvalidParameter, "the container's root"},
		{func(in *Input) {
			addUsers(in)
			in.Facts.Caps = 0
			add(in, specs.Mount{Destination: "/a", Type: "bind", Source: "/x", Options: []string{"idmap"}})
		}, errs.NotImplemented, "idmapping"},
		{func(in *Input) { in.Spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{}}} }, errs.NotImplemented, "hooks.createRuntime"},
		{func(in *Input) { in.Spec.Process.ApparmorProfile = "x" }, errs.NotImplemented, "process.apparmorProfile"},
		{func(in *Input) { in.Spec.Process.SelinuxLabel = "x" }, errs.NotImplemented, "process.selinuxLabel"},
		{func(in *Input) { in.Spec.Linux.MountLabel = "x" }, errs.NotImplemented, "linux.mountLabel"},
		{func(in *Input) { in.Spec.Process.Scheduler = &specs.Scheduler{} }, errs.InvalidParameter, "process.scheduler: the policy is missing"},
		{func(in *Input) { in.Spec.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_X"} }, errs.InvalidParameter, "process.scheduler: unknown policy"},
		{func(in *Input) { in.Spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Priority: 1} }, errs.InvalidParameter, "takes no priority"},
		{func(in *Input) { in.Spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Runtime: 1} }, errs.InvalidParameter, "takes no runtime"},
		{func(in *Input) { in.Spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 20} }, errs.InvalidParameter, "nice value 20"},
		{func(in *Input) {
			in.Spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"X"}}
		}, errs.InvalidParameter, "unknown flag"},
		{func(in *Input) { in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: "X"} }, errs.InvalidParameter, "process.ioPriority: unknown class"},
		{func(in *Input) {
			in.Spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		}, errs.InvalidParameter, "process.ioPriority: the priority 8"},
		{func(in *Input) {
			dropNS(in, "network")
			in.Spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}}
		}, errs.InvalidParameter, "linux.netDevices"},
		{func(in *Input) { in.Spec.Linux.IntelRdt = &specs.LinuxIntelRdt{} }, errs.NotImplemented, "linux.intelRdt"},
		{func(in *Input) { in.Spec.Linux.Seccomp = &specs.LinuxSeccomp{} }, errs.InvalidParameter, "linux.seccomp"},
		{func(in *Input) { in.Seccomp, in.SeccompFlags = make([]byte, 8), unix.SECCOMP_FILTER_FLAG_NEW_LISTENER }, errs.InvalidParameter, "nobody takes"},
		{func(in *Input) { in.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: "X"} }, errs.InvalidParameter, "linux.personality"},
		{func(in *Input) {
			in.Spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux, Flags: []specs.LinuxPersonalityFlag{"X"}}
		}, errs.InvalidParameter, "linux.personality"},
		{func(in *Input) { in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "X"} }, errs.InvalidParameter, "linux.memoryPolicy"},
		{func(in *Input) {
			in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Flags: []specs.MemoryPolicyFlagType{"X"}}
		}, errs.InvalidParameter, "linux.memoryPolicy"},
		{func(in *Input) {
			in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "3-1"}
		}, errs.InvalidParameter, "linux.memoryPolicy"},
		{func(in *Input) {
			in.Spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "1024"}
		}, errs.InvalidParameter, "linux.memoryPolicy"},
		{func(in *Input) { in.Seccomp = make([]byte, 9) }, errs.InvalidParameter, "seccomp filter"},
		{func(in *Input) { dropNS(in, "uts") }, errs.InvalidParameter, "hostname"},
		{func(in *Input) { add(in, specs.Mount{Destination: "/", Type: "tmpfs"}) }, errs.InvalidParameter, "over the root"},
		{func(in *Input) { add(in, specs.Mount{Destination: "/a/..", Type: "tmpfs"}) }, errs.InvalidParameter, "over the root"},
		{func(in *Input) { add(in, specs.Mount{Destination: "/a"}) }, errs.InvalidParameter, "the type is missing"},
		{func(in *Input) { add(in, specs.Mount{Destination: "/a", Type: "bind", Source: "rel"}) }, errs.InvalidParameter, "not an absolute path"},
		{func(in *Input) {
			add(in, specs.Mount{Destination: "/a", Type: "ramfs", Options: []string{"tmpcopyup"}})
		}, errs.InvalidParameter, "tmpcopyup is for a tmpfs"},
		{func(in *Input) {
			add(in, specs.Mount{Destination: "/proc/sys", Type: "bind", Options: []string{"remount"}})
		}, errs.InvalidParameter, "inside /proc"},
		{func(in *Input) {
			add(in, specs.Mount{Destination: "/a", Type: "bind", Source: "/x", UIDMappings: []specs.LinuxIDMapping{{Size: 1}}})
		}, errs.InvalidParameter, "uidMappings and gidMappings"},
		{func(in *Input) {
			add(in, specs.Mount{Destination: "/a", Type: "bind", Source: "/x", Options: []string{"idmap"}})
		}, errs.InvalidParameter, "with a user namespace"},
		{func(in *Input) {
			add(in, specs.Mount{Destination: "/a", Type: "tmpfs", UIDMappings: oneToOne, GIDMappings: oneToOne})
		}, errs.InvalidParameter, "only bind mounts"},
		{func(in *Input) { add(in, specs.Mount{Destination: "/proc/sys", Type: "bind", Source: "/x"}) }, errs.InvalidParameter, "inside /proc"},
		{func(in *Input) { add(in, specs.Mount{Destination: "/proc", Type: "tmpfs"}) }, errs.InvalidParameter, "not of type proc"},
		{func(in *Input) { add(in, specs.Mount{Destination: "/proc/../proc/self", Type: "tmpfs"}) }, errs.InvalidParameter, "inside /proc"},
		{func(in *Input) { in.Spec.Linux.RootfsPropagation = "x" }, errs.InvalidParameter, "rootfsPropagation"},
		{func(in *Input) { in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }, errs.InvalidParameter, "unknown type"},
		{func(in *Input) {
			in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU"}, {Type: "RLIMIT_CPU"}}
		}, errs.InvalidParameter, "listed twice"},
		{func(in *Input) { in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: 1}} }, errs.InvalidParameter, "above the hard"},
		{func(in *Input) { in.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} }, errs.InvalidParameter, "unknown type"},
		{func(in *Input) { in.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: -1}} }, errs.InvalidParameter, "device number"},
	} {
		_, err := Compile(input(c.change))
		if err == nil || errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("want %v %q, got %v %v", c.kind, c.text, errs.KindOf(err), err)
		}
	}
}

// TestHuge compiles more than a program can hold.
func TestHuge(t *testing.T) {
	for _, n := range []int{900, 1100, 40000} {
		p, err := Compile(input(func(in *Input) {
			for i := range n {
				add(in, specs.Mount{Destination: "/d/" + itoa(i), Type: "bind", Source: "/s", Options: []string{"ro"}})
				in.Spec.Linux.MaskedPaths = append(in.Spec.Linux.MaskedPaths, "/m/"+itoa(i))
			}
		}))
		if err == nil {
			checkProgram(t, p)
		} else if !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%d mounts: %v", n, err)
		}
	}
}

func TestSysctlNames(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":               "net/ipv4/ip_forward",
		"net/ipv4/ip_forward":               "net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/1.forwarding":   "net/ipv4/conf/eth0.1/forwarding",
		"net/ipv4/conf/eth0.1/forwarding":   "net/ipv4/conf/eth0.1/forwarding",
		"kernel.msgmax":                     "kernel/msgmax",
		"fs.mqueue.queues_max":              "fs/mqueue/queues_max",
		"kernel.shm_rmid_forced":            "kernel/shm_rmid_forced",
		"kernel.core_pattern":               "",
		"kernel.shm_rmid_forced/../x":       "",
		"net/../kernel/core_pattern":        "",
		"net.ipv4./././kernel":              "",
		"net..kernel":                       "",
		"net/":                              "",
		"kernel.hostname":                   "",
		"":                                  "",
		"vm.overcommit_memory":              "",
		"kernel.shm_rmid_forced=1+kernel.x": "",
		"kernel.shm_rmid_forced+kernel.x":   "",
		"kernel.msgmax\nkernel.x":           "",
		"net.ipv4.ip_forward\n":             "",
	} {
		p, err := Compile(input(func(in *Input) { in.Spec.Linux.Sysctl = map[string]string{key: "1"} }))
		switch {
		case want == "" && err == nil:
			t.Errorf("%q is accepted", key)
		case want != "" && err != nil:
			t.Errorf("%q: %v", key, err)
		case want != "" && !strings.Contains(p.String(), `"sys/`+want+`"`):
			t.Errorf("%q does not write %s", key, want)
		}
	}
	// CVE-2022-0811: a value that others have split into more parameters goes
	// into one file, whole.
	value := "0+kernel.core_pattern=|/evil\nkernel.core_pattern=|/evil\x00"
	p, err := Compile(input(func(in *Input) { in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": value[:len(value)-1]} }))
	if err != nil {
		t.Fatal(err)
	}
	if text := p.String(); strings.Count(text, `"sys/`) != 1 || !strings.Contains(text, strconv.Quote(value[:len(value)-1])) {
		t.Error(text)
	}
	if _, err := Compile(input(func(in *Input) { in.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": value} })); err == nil {
		t.Error("a value with a NUL is accepted")
	}
	for ns, key := range map[specs.LinuxNamespaceType]string{"network": "net.x", "ipc": "kernel.msgmax"} {
		if _, err := Compile(input(func(in *Input) { dropNS(in, ns); in.Spec.Linux.Sysctl = map[string]string{key: "1"} })); err == nil {
			t.Errorf("%s is accepted in the host's %s namespace", key, ns)
		}
	}
}

func TestCPUSet(t *testing.T) {
	for list, want := range map[string]string{"0": "1", "0-3,7": "8f", " 1 , 2": "6", "63-64": "8000000000000000 1", "": "", "a": "", "3-1": "",
		"-1": "", "1-": "", "0,,1": "", "16384": "", "99999999999": "", "0-99999": ""} {
		set, err := cpuSet(list)
		var words []string
		for i := 0; i < len(set); i += 8 {
			words = append(words, strconv.FormatUint(get64(set[i:]), 16))
		}
		if got := strings.Join(words, " "); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %s, %v", list, got, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	p, err := Compile(input(func(in *Input) {
		c := in.Spec.Process.Capabilities
		c.Bounding, c.Ambient = append(c.Bounding, "CAP_MADE_UP"), []string{"CAP_MADE_UP", "CAP_SYS_TIME"}
		in.Facts.Caps &^= 1 << 25
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Warnings, "\n"); got != "ignoring unknown or unavailable capabilities: CAP_MADE_UP, CAP_SYS_TIME" {
		t.Error(got)
	}
	if p, _ = Compile(input(nil)); len(p.Warnings) > 0 {
		t.Error(p.Warnings)
	}
}

// FuzzCompile feeds any JSON, on several machines: an error or a sound program
// that stays inside, never a panic.
func FuzzCompile(f *testing.F) {
	const (
		v1 = 1 << iota
		old
		noRights
		given
		waiting
		directory
		all
	)
	full := input(func(in *Input) {
		hybrid(in)
		in.Spec.Linux.MaskedPaths, in.Spec.Linux.ReadonlyPaths = []string{"/proc/kcore"}, []string{"/proc/sys"}
		in.Spec.Linux.Sysctl = map[string]string{"net.x": "1"}
		in.Spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}}
		in.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}}
		in.Spec.Process.User.AdditionalGids = []uint32{1}
		add(in, cgroupMount, specs.Mount{Destination: "/v", Type: "bind", Source: "/v", Options: []string{"rro", "rslave", "noatime", "idmap"}})
		addUsers(in)
		addNS(in, specs.LinuxNamespace{Type: "time"})
		in.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}}
	})
	seeds := []*specs.Spec{base(), full.Spec, {}}
	files, err := filepath.Glob("testdata/specs/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		s := &specs.Spec{}
		if err := json.Unmarshal(b, s); err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, s)
	}
	for _, s := range seeds {
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		for _, mode := range []byte{0, v1 | old, noRights | directory, given, waiting, given | old | v1, given | directory | waiting, all - 1} {
			f.Add(b, mode)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, mode byte) {
		in := input(func(in *Input) {
			if mode&v1 != 0 {
				hybrid(in)
			}
			if mode&old != 0 {
				in.Facts.OverlayFD, in.Facts.DetachedLayers = false, false
			}
			if mode&noRights != 0 {
				in.Facts.Caps, in.Facts.InUserNS = 0, true
			}
			in.UserNS, in.NetNS, in.Root.IDMap = mode&given != 0, mode&given != 0, mode&given != 0
			in.Created, in.Hold, in.Detached, in.MakeCwd = mode&waiting != 0, mode&waiting != 0, mode&waiting != 0, true
			if mode&directory != 0 {
				in.Root = Root{Dir: "/b/root", IDMap: in.Root.IDMap}
			}
		})
		in.Spec = &specs.Spec{}
		if json.Unmarshal(b, in.Spec) != nil {
			return
		}
		if in.Spec.Linux != nil && in.Spec.Linux.Seccomp != nil {
			in.Seccomp = make([]byte, 8)
		}
		p, err := Compile(in)
		if err == nil {
			checkProgram(t, p)
			checkContained(t, in, p)
			_ = p.String()
		}
	})
}
