package program

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestSpecs compiles what other engines write, as an OCI runtime gets it.
func TestSpecs(t *testing.T) {
	files, err := filepath.Glob("testdata/specs/*.json")
	if err != nil || len(files) < 7 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := input(func(in *Input) {
				in.Spec = &specs.Spec{}
				if err := json.Unmarshal(b, in.Spec); err != nil {
					t.Fatal(err)
				}
				in.Root = Root{Dir: in.Spec.Root.Path}
				if !path.IsAbs(in.Root.Dir) {
					in.Root.Dir = "/bundle/" + in.Root.Dir
				}
				in.Created, in.Hold, in.Detached, in.MakeCwd = in.Spec.Hooks != nil, true, true, true
				if in.Spec.Linux.Seccomp != nil {
					in.Seccomp = make([]byte, 16)
				}
			})
			p, err := Compile(in)
			golden(t, "specs/"+name, p, err)
			checkContained(t, in, p)
		})
	}
}

// checkContained holds what keeps a container's paths inside: before the root
// has been entered they are only looked at from a descriptor of the container's,
// with RESOLVE_IN_ROOT or one name at a time, and what is looked at by a path
// of the host is the caller's, never the container's. Nothing that is opened
// gets through execve but what is meant to.
func checkContained(t *testing.T, in Input, p *Program) {
	t.Helper()
	host := hostPaths(in)
	ours := freshRegisters(p)
	entered := enteredSteps(p)
	closes := 0
	for i := range p.Steps {
		s := &p.Steps[i]
		text := func(a int) string {
			if s.Args[a].Kind != Mem || p.Blocks[s.Args[a].Val].form != formText {
				t.Fatalf("step %d: argument %d is no text", i, a)
			}
			return p.Blocks[s.Args[a].Val].Text
		}
		at := func(dir, name int) { // a call like openat
			file := text(name)
			switch {
			case s.Args[dir].Kind == InReg && file == "", entered[i]:
			case s.Args[dir].Kind != InReg:
				if !host(file) {
					t.Errorf("step %d takes %q from the host: %s", i, file, p.step(s))
				}
			case strings.Contains(file, "/") && !ours[s.Args[dir].Val], file == "..", path.IsAbs(file):
				t.Errorf("step %d takes more than a name from a directory: %s", i, p.step(s))
			}
		}
		if s.Op == OpPath && s.Args[0].Kind != InReg {
			t.Errorf("step %d makes a path without a root", i)
		}
		if s.Op == OpClose {
			closes++
		}
		if s.Op != OpCall {
			continue
		}
		switch s.Nr {
		case unix.SYS_OPENAT2:
			flags, resolve := get64(p.Blocks[s.Args[2].Val].Data), get64(p.Blocks[s.Args[2].Val].Data[16:])
			if flags&unix.O_CLOEXEC == 0 {
				t.Errorf("step %d: without O_CLOEXEC", i)
			}
			inside := resolve&(unix.RESOLVE_IN_ROOT|unix.RESOLVE_BENEATH) != 0
			switch {
			case inside && resolve&(unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_SYMLINKS) == 0 && s.Args[0].Kind == InReg:
				t.Errorf("step %d follows magic links: %s", i, p.step(s))
			case !inside && !entered[i]:
				t.Errorf("step %d is not confined to the root: %s", i, p.step(s))
			case inside && s.Args[0].Kind != InReg && !entered[i]:
				t.Errorf("step %d confines to the host's root: %s", i, p.step(s))
			}
		case unix.SYS_OPENAT:
			at(0, 1)
			if s.Args[2].Val&unix.O_CLOEXEC == 0 || s.Args[2].Val&(unix.O_NOFOLLOW|unix.O_DIRECTORY) == 0 {
				t.Errorf("step %d: without O_CLOEXEC, or it follows links: %s", i, p.step(s))
			}
		case unix.SYS_OPEN_TREE:
			if at(0, 1); s.Args[2].Val&unix.OPEN_TREE_CLOEXEC == 0 {
				t.Errorf("step %d: without OPEN_TREE_CLOEXEC", i)
			}
		case unix.SYS_MOVE_MOUNT:
			at(2, 3)
		case unix.SYS_STATX, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_UNLINKAT, unix.SYS_FCHOWNAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_FCHMODAT:
			at(0, 1)
		case unix.SYS_SYMLINKAT:
			at(1, 2)
		case unix.SYS_CHDIR:
			if !entered[i] && !host(text(0)) {
				t.Errorf("step %d enters %q", i, text(0))
			}
		case unix.SYS_MOUNT:
			if !host(text(1)) {
				t.Errorf("step %d mounts on %q", i, text(1))
			}
		case unix.SYS_FSOPEN, unix.SYS_FSMOUNT:
			if s.Args[1].Val != 1 { // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
				t.Errorf("step %d: without CLOEXEC", i)
			}
		case unix.SYS_CLOSE_RANGE:
			if closes++; s.Args[0].Val != uint64(p.LowFD) || s.Args[1].Val != unchanged {
				t.Errorf("step %d: %s", i, p.step(s))
			}
		case unix.SYS_EXECVE:
			if !entered[i] || closes != 1 {
				t.Errorf("step %d executes before the root is entered, or before descriptors are closed", i)
			}
		}
	}
	if users := slices.IndexFunc(p.Steps, func(s Step) bool {
		return s.Op == OpCall && s.Nr == unix.SYS_SETNS && s.Args[1].Val == unix.CLONE_NEWUSER
	}); users >= 0 {
		// With the host's rights nothing of the container is looked at.
		for i := range p.Steps[:users] {
			if s := &p.Steps[i]; s.Op == OpPath || s.Op == OpCall && s.Nr == unix.SYS_OPENAT2 && get64(p.Blocks[s.Args[2].Val].Data[16:])&unix.RESOLVE_NO_XDEV == 0 {
				t.Errorf("step %d looks at the container's files as the host's root", i)
			}
		}
	}
}

// hostPaths returns which paths are the caller's own.
func hostPaths(in Input) func(string) bool {
	known := map[string]bool{"/": true, ".": true, "m": true, "/sys/fs/cgroup": true, "/proc/kcore": true, "/proc/self/oom_score_adj": true, "/proc/self/timens_offsets": true}
	dirs := []string{in.Root.Dir}
	if o := in.Root.Overlay; o != nil {
		dirs = append(dirs, o.Lower...)
		dirs = append(dirs, o.Upper, o.Work, common(append([]string{o.Upper, o.Work}, o.Lower...)), path.Dir(o.Upper))
		for _, d := range dirs {
			for base := range known {
				dirs = append(dirs, below(base, d))
			}
			dirs = append(dirs, below(common(append([]string{o.Upper, o.Work}, o.Lower...)), d))
		}
	}
	for _, m := range in.Spec.Mounts {
		dirs = append(dirs, m.Source)
	}
	for _, h := range in.Facts.CgroupV1 {
		dirs = append(append(dirs, h.Dir), strings.Split(h.Dir, ",")...)
	}
	for _, d := range defaultDevices {
		dirs = append(dirs, d.Path)
	}
	if l := in.Spec.Linux; l != nil {
		for _, d := range l.Devices {
			dirs = append(dirs, path.Clean("/"+d.Path))
		}
	}
	for _, d := range dirs {
		known[d] = true
	}
	return func(file string) bool {
		return known[file] || strings.HasPrefix(file, "/proc/thread-self/attr/") || strings.HasPrefix(file, "/proc/sys/") && path.Clean(file) == file
	}
}

// freshRegisters are those with a mount that this program has made, where it
// knows what lies below: a procfs, or a copy of a layer's directory.
func freshRegisters(p *Program) map[uint64]bool {
	fresh := map[uint64]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Op == OpCall && s.Out != None && (s.Nr == unix.SYS_FSMOUNT || s.Nr == unix.SYS_OPEN_TREE) {
			fresh[uint64(s.Out)] = true
		}
	}
	return fresh
}

// enteredSteps are those that only run once the process stands in its own root.
func enteredSteps(p *Program) map[int]bool {
	entry := slices.IndexFunc(p.Steps, func(s Step) bool {
		return s.Op == OpCall && (s.Nr == unix.SYS_PIVOT_ROOT || s.Nr == unix.SYS_CHROOT)
	})
	// What can be reached from the start without passing the entry.
	outside := map[int]bool{}
	for list := []int{0}; len(list) > 0; {
		i := list[len(list)-1]
		list = list[:len(list)-1]
		if i >= len(p.Steps) || outside[i] || i == entry {
			continue
		}
		outside[i] = true
		s := &p.Steps[i]
		for _, c := range s.Catch {
			if c.To > 0 {
				list = append(list, int(c.To))
			}
		}
		switch {
		case s.Op == OpFail:
		case s.Next != 0:
			list = append(list, int(s.Next))
		default:
			list = append(list, i+1)
		}
	}
	entered := map[int]bool{}
	for i := range p.Steps {
		if !outside[i] && i != entry {
			entered[i] = true
		}
	}
	return entered
}

// FuzzRandomSpec compiles specs that are put together at random from parts that
// are legal, odd or hostile.
func FuzzRandomSpec(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		in := randomInput(rand.New(rand.NewPCG(seed, 1)))
		p, err := Compile(in)
		if err == nil {
			checkProgram(t, p)
			checkContained(t, in, p)
			_ = p.String()
		}
	})
}

func randomInput(r *rand.Rand) Input {
	one := func(list ...string) string { return list[r.IntN(len(list))] }
	some := func(n int, f func() string) (list []string) {
		for range r.IntN(n + 1) {
			list = append(list, f())
		}
		return list
	}
	inside := func() string {
		return one("/", "/proc", "/proc/self/fd/7", "/proc/sys", "/proc/cpuinfo", "/dev", "/dev/pts", "/dev/shm", "/dev/null", "/sys", "/sys/fs/cgroup", "/etc/hosts",
			"/../../etc", "a/b", "/a//b/./c/..", "/v", "/v/../../w", "/tmp", "/"+strings.Repeat("x", r.IntN(300)))
	}
	chance := func(percent int) bool { return r.IntN(100) < percent }
	return input(func(in *Input) {
		s := in.Spec
		s.Process.Cwd, s.Process.Args[0] = "/"+inside(), one("sh", "/bin/sh", "../sh", "./sh", "/proc/self/exe")
		s.Process.Terminal, s.Process.NoNewPrivileges, s.Process.User.UID = chance(20), chance(50), r.Uint32N(3)*70000
		s.Process.Env = append(s.Process.Env, "PATH="+one("", "/bin", ":/a:b:/c/", "/proc/self/fd"))
		s.Root.Readonly = chance(30)
		if chance(50) {
			s.Mounts = nil
		}
		for range r.IntN(8) {
			m := specs.Mount{Destination: inside(), Type: one("bind", "tmpfs", "proc", "sysfs", "cgroup", "mqueue", "devpts", "ext4", "none", ""), Source: one("/srv", "/proc", "/etc/hosts", "tmpfs")}
			m.Options = some(5, func() string {
				return one("ro", "rw", "rro", "bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "rshared", "private", "nosuid", "rnosuid", "size=1m", "mode=755", "gid=5", "sync", "unbindable")
			})
			if chance(10) {
				m.UIDMappings, m.GIDMappings = oneToOne, oneToOne
			}
			s.Mounts = append(s.Mounts, m)
		}
		l := s.Linux
		if chance(30) {
			addUsers(in)
			in.Root.IDMap = chance(70)
		}
		if chance(20) {
			addNS(in, specs.LinuxNamespace{Type: specs.TimeNamespace})
			l.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1}}
		}
		for i := range l.Namespaces {
			if chance(15) {
				l.Namespaces[i].Path = "/proc/7/ns/" + string(l.Namespaces[i].Type)
			}
		}
		for range r.IntN(3) {
			i := r.IntN(len(l.Namespaces))
			l.Namespaces = slices.Delete(l.Namespaces, i, i+1)
		}
		if chance(70) {
			s.Hostname = ""
		}
		l.MaskedPaths, l.ReadonlyPaths = some(3, inside), some(3, inside)
		l.RootfsPropagation = one("", "", "shared", "rslave", "unbindable")
		for range r.IntN(3) {
			l.Devices = append(l.Devices, specs.LinuxDevice{Path: one("/dev/fuse", "/dev/a/b", "dev/c", "/../dev/d", "/etc/e"), Type: one("c", "b", "p"), Major: 10, Minor: 229})
		}
		if chance(30) {
			l.Sysctl = map[string]string{one("net.ipv4.ip_forward", "kernel.shmmax", "kernel.domainname", "net/../x", "fs.mqueue.x"): "1"}
		}
		if chance(30) {
			hybrid(in)
		}
		if chance(30) {
			in.Facts.OverlayFD, in.Facts.DetachedLayers = false, false
		}
		if chance(20) {
			in.Facts.Caps = 0
		}
		if chance(40) {
			in.Root = Root{Dir: "/b/root", IDMap: in.Root.IDMap}
		}
		in.NetNS, in.UserNS, in.MakeCwd = chance(20), chance(20), chance(50)
		in.Created, in.Hold, in.Detached, in.PreserveFDs = chance(20), chance(30), chance(30), r.IntN(3)
		if chance(40) {
			in.Seccomp = make([]byte, 16)
		}
	})
}
