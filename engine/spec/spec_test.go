package spec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit/engine/idrange"
	"github.com/davit-engine/davit/engine/mountpoint"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func allCapabilities() []string {
	return append(slices.Clone(defaultCapabilities), "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE")
}

// input is a plain container, as `run` without flags makes it.
func input(change func(*container.Config, *container.HostConfig)) Input {
	c := &container.Config{Hostname: "abc", Env: []string{"A=1"}, AttachStdout: true}
	h := &container.HostConfig{}
	if change != nil {
		change(c, h)
	}
	wanted, err := mountpoint.Parse(c, h, nil)
	if err != nil {
		panic(err)
	}
	var mounts []record.Mount
	for _, w := range wanted {
		mounts = append(mounts, w.Mount)
	}
	return Input{
		Container: &record.Container{ID: strings.Repeat("c0", 32), Config: c, HostConfig: h, Mounts: mounts, Path: "/hello", Args: []string{"world"}},
		User:      User{Home: "/root", Groups: []uint32{0}},
		Files:     Files{Hostname: "/d/hostname", Hosts: "/d/hosts", ResolvConf: "/d/resolv.conf"},
		Host:      Host{Capabilities: allCapabilities(), Nofile: 20000, Thermal: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}},
		Defaults:  Defaults{CgroupParent: "/davit", ShmSize: 64 << 20, InitPath: "/usr/libexec/davit-init", CgroupNS: "private", IPC: "private"},
	}
}

func TestGoldens(t *testing.T) {
	yes, limit := true, int64(100)
	for name, change := range map[string]func(*container.Config, *container.HostConfig){
		"plain": nil,
		"limits": func(_ *container.Config, h *container.HostConfig) {
			h.Memory, h.NanoCPUs, h.PidsLimit, h.CpusetCpus, h.OomScoreAdj = 64<<20, 1_500_000_000, &limit, "0-1", 100
			h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}, {Name: "core"}}
		},
		"privileged": func(_ *container.Config, h *container.HostConfig) { h.Privileged = true },
		"host": func(_ *container.Config, h *container.HostConfig) {
			h.NetworkMode, h.PidMode, h.IpcMode, h.UTSMode, h.CgroupnsMode = "host", "host", "host", "host", "host"
		},
		"terminal": func(c *container.Config, h *container.HostConfig) {
			c.Tty, h.ConsoleSize, h.Init, h.ReadonlyRootfs = true, [2]uint{24, 80}, &yes, true
			c.User, c.WorkingDir, c.Domainname = "1000", "/srv", "example.org"
		},
		"mounts": func(_ *container.Config, h *container.HostConfig) {
			h.Binds = []string{"/host/a:/a", "/host/b:/deep/er/b:ro", "/host/hosts:/etc/hosts"}
			h.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: "/s", Target: "/t", BindOptions: &mount.BindOptions{Propagation: mount.PropagationRShared}},
				{Type: mount.TypeTmpfs, Target: "/tm", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 4096, Mode: 0o700}}}
			h.Tmpfs = map[string]string{"/run": "size=64k,exec"}
		},
		"userns": func(_ *container.Config, h *container.HostConfig) {
			h.Binds = []string{"/host/a:/a", "/host/b:/b:noidmap"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(change)
			if name == "userns" {
				uids, gids := idrange.Range{UID: 0x24000000, GID: 0x25000000}.Maps()
				in.Container.UserNS = &record.UserNS{UIDs: uids, GIDs: gids}
				in.Defaults.CgroupNS = "host"
				in.IDMap = map[string]string{"/a": "ridmap"}
			}
			s, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("the spec differs from %s (run with -update to see how):\n%s", path, got)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		tty  bool
		want []string
	}{
		{"defaults", nil, false, []string{defaultPath, "HOSTNAME=abc", "HOME=/root"}},
		{"a terminal", nil, true, []string{defaultPath, "HOSTNAME=abc", "TERM=xterm", "HOME=/root"}},
		{"the user's win", []string{"PATH=/bin", "HOME=/h", "X=y=z"}, false, []string{"PATH=/bin", "HOSTNAME=abc", "HOME=/h", "X=y=z"}},
		{"unset", []string{"HOSTNAME", "NEVER"}, false, []string{defaultPath, "HOME=/root"}},
		{"the last of two", []string{"X=1", "X=2"}, false, []string{defaultPath, "HOSTNAME=abc", "X=2", "HOME=/root"}},
	} {
		in := input(func(conf *container.Config, _ *container.HostConfig) { conf.Env, conf.Tty = c.env, c.tty })
		if got := environment(in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		name      string
		add, drop []string
		want      []string
		bad       bool
	}{
		{"default", nil, nil, defaultCapabilities, false},
		{"add", []string{"sys_admin"}, nil, append([]string{"CAP_SYS_ADMIN"}, defaultCapabilities...), false},
		{"drop all but one", []string{"CAP_NET_ADMIN"}, []string{"ALL"}, []string{"CAP_NET_ADMIN"}, false},
		{"all but one", []string{"ALL"}, []string{"SYS_ADMIN"}, slices.DeleteFunc(allCapabilities(), func(c string) bool { return c == "CAP_SYS_ADMIN" }), false},
		{"drop all", nil, []string{"all"}, []string{}, false},
		{"unknown", []string{"CAP_COFFEE"}, nil, nil, true},
		{"unknown to drop", nil, []string{"COFFEE"}, nil, true},
	} {
		got, err := Capabilities(input(func(_ *container.Config, h *container.HostConfig) { h.CapAdd, h.CapDrop = c.add, c.drop }))
		if (err != nil) != c.bad || c.bad && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.bad && !slices.Equal(got, sorted(c.want)) {
			t.Errorf("%s: got %v, want %v", c.name, got, sorted(c.want))
		}
	}
}

func TestUserGetsBoundingSetOnly(t *testing.T) {
	in := input(nil)
	in.User.UID = 1000
	s, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Process.Capabilities
	if len(c.Effective)+len(c.Permitted)+len(c.Inheritable)+len(c.Ambient) != 0 || len(c.Bounding) == 0 {
		t.Errorf("got %+v", c)
	}
}

func TestParseSecurity(t *testing.T) {
	for _, c := range []struct {
		opts []string
		want Security
		bad  bool
	}{
		{nil, Security{}, false},
		{[]string{"no-new-privileges"}, Security{NoNewPrivileges: true}, false},
		{[]string{"no-new-privileges:true"}, Security{NoNewPrivileges: true}, false},
		{[]string{"no-new-privileges=false"}, Security{}, false},
		{[]string{"seccomp=unconfined", "systempaths=unconfined"}, Security{Unconfined: true, SystemPaths: true}, false},
		{[]string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW"}`}, Security{Profile: `{"defaultAction":"SCMP_ACT_ALLOW"}`}, false},
		{[]string{"apparmor=mine"}, Security{AppArmor: "mine"}, false},
		{[]string{"nonsense"}, Security{}, true},
		{[]string{"nonsense=1"}, Security{}, true},
		{[]string{"no-new-privileges=perhaps"}, Security{}, true},
	} {
		got, err := ParseSecurity(c.opts, false)
		if (err != nil) != c.bad || !c.bad && got != c.want {
			t.Errorf("%q: %+v, %v", c.opts, got, err)
		}
	}
}

func TestParseDeviceRule(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	for rule, want := range map[string]*specs.LinuxDeviceCgroup{
		"c 42:* rmw":        {Allow: true, Type: "c", Major: n(42), Access: "rmw"},
		"b *:1 r":           {Allow: true, Type: "b", Minor: n(1), Access: "r"},
		"a *:* rwm":         {Allow: true, Type: "a", Access: "rwm"},
		"x 1:1 r":           nil,
		"c 1 r":             nil,
		"c 1:1 q":           nil,
		"c -1:1 r":          nil,
		"c 1:1":             nil,
		"c 1:1 r w":         nil,
		"":                  nil,
		"c 1:99999999999 r": nil,
	} {
		got, err := ParseDeviceRule(rule)
		if (err != nil) != (want == nil) || want != nil && !reflect.DeepEqual(&got, want) {
			t.Errorf("%q: %+v, %v", rule, got, err)
		}
	}
}

func TestOOMScoreAdjIsNotInherited(t *testing.T) {
	for _, c := range []struct{ own, asked, want int }{{0, 0, -1}, {-500, 0, 0}, {-500, 100, 100}, {200, 0, -1}, {200, 300, 300}} {
		in := input(func(_ *container.Config, h *container.HostConfig) { h.OomScoreAdj = c.asked })
		in.Host.OOMScoreAdj = c.own
		got := -1 // left as it is
		if adj := process(in).OOMScoreAdj; adj != nil {
			got = *adj
		}
		if got != c.want {
			t.Errorf("engine at %d, asked for %d: %d, want %d", c.own, c.asked, got, c.want)
		}
	}
}

func TestUlimitsOfTheContainerWin(t *testing.T) {
	in := input(func(_ *container.Config, h *container.HostConfig) {
		h.Ulimits = []*container.Ulimit{{Name: "nproc", Soft: 5, Hard: 6}}
	})
	in.Defaults.Ulimits = []*units.Ulimit{{Name: "nproc", Soft: 1, Hard: 2}, {Name: "nofile", Soft: 3, Hard: 4}}
	want := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 3, Hard: 4}, {Type: "RLIMIT_NPROC", Soft: 5, Hard: 6}}
	if got := rlimits(in); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
