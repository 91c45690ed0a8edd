package flags

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"
)

type value interface{ Set(string) error }

// TestRefused are values that each type must not take. (What they take is held
// by comparison with docker, in package cli.)
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		of     value
		values []string
	}{
		{&Bytes{}, []string{"x", "", "-5", "-1", "1q"}},
		{&CPUs{}, []string{"x", "", "1.0000000001"}},
		{&Weights{}, []string{"", "/dev/sda", "sda:5", "/dev/sda:5", "/dev/sda:1001", "/dev/sda:x"}},
		{&Throttles{}, []string{"", "/dev/sda", "sda:5", "/dev/sda:x", "/dev/sda:-1"}},
		{&Throttles{Ops: true}, []string{"/dev/sda:1mb", "/dev/sda:-1"}},
		{&Ulimits{}, []string{"", "nofile", "nope=1", "nofile=2:1", "nofile=x"}},
		{&Networks{}, []string{"name=", "alias=x", "name=n,ip=x", "name=n,bogus=1", "name=n,driver-opt=x", "name=n,gw-priority=x"}},
		{&GPUs{}, []string{"x", "count=x", "count=1,count=2", "bogus=1", "2,device=0,count=1"}},
		{&Filter{}, []string{"x"}},
		{&Mounts{}, []string{"", "x", "type=bind", "dst=/a,tmpfs-mode=9", "dst=/a,readonly=maybe", "dst=/a,type=tmpfs,tmpfs-size=x",
			"dst=/a,type=bind,bind-recursive=x", "dst=/a,type=bind,bind-recursive=writable", "dst=/a,type=bind,bind-nonrecursive", "dst=/a,bogus=1"}},
		{&List{Check: DNSSearch}, []string{"", "-a.b", "a..b", "1.2.3.4", "a b", strings.Repeat("a", 300)}},
		{&List{Check: DeviceRule}, []string{"", "x 1:1 r", "c 1 r", "c 1:1 q"}},
		{&List{Check: Label}, []string{"", "=x", "a b=c"}},
		{&List{Check: Env(os.LookupEnv)}, []string{"", "=x"}},
		{&Map{Check: Sysctl}, []string{"", "x", "kernel.hostname=x", "net.x"}},
	} {
		for _, v := range c.values {
			if err := c.of.Set(v); err == nil {
				t.Errorf("%T takes %q", c.of, v)
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	a := &Addresses{}
	if err := a.Set("169.254.1.1, fe80::1"); err != nil || fmt.Sprint(a.Values) != "[169.254.1.1 fe80::1]" {
		t.Errorf("%v, %v", a.Values, err)
	}
	for in, want := range map[string]string{"a:1.2.3.4": "a:1.2.3.4", "a=::1": "a:::1", "a:[::1]": "a:::1", "a=host-gateway": "a:host-gateway", "a:b": "", "a": "", "=1.2.3.4": "", "a:[::1": "", "a=1.2.3.4/8": ""} {
		if got, err := ExtraHost(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

// FuzzNetwork holds that what is taken names a network.
func FuzzNetwork(f *testing.F) {
	for _, v := range []string{"bridge", "container:x=y", "name=n,alias=a,ip=10.0.0.1,ip6=fd00::1,mac-address=02:42:ac:11:00:02,link-local-ip=fe80::1,gw-priority=-1,driver-opt=k=v=w", `"name=a,b",alias=x`, "name=,x=", "="} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		n := &Networks{}
		if err := n.Set(v); err == nil && (len(n.Values) != 1 || n.Values[0].Target == "" && v != "") {
			t.Errorf("%q gives %+v", v, n.Values)
		}
	})
}

func TestStrings(t *testing.T) {
	b := &Bytes{Unlimited: true}
	for in, want := range map[string]string{"512m": "512MiB", "-1": "-1", "0": ""} {
		if err := b.Set(in); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v", in, b.String(), err)
		}
	}
	c := &CPUs{}
	if err := c.Set("1.5"); err != nil || c.Nano != 1.5e9 || c.String() != "1.500" {
		t.Errorf("%d %q, %v", c.Nano, c.String(), err)
	}
}

func TestPlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux amd64 ", "LINUX/X86_64": "linux amd64 ", "linux/arm64/v8": "linux arm64 v8", "linux/arm/v7": "linux arm v7",
		"linux/arm": "linux arm ", "linux/armhf": "linux arm ", "arm64": "linux arm64 ", "linux/arm/v6": "linux arm v6", "linux/386": "linux 386 ",
	} {
		p, err := Platform(in)
		if err != nil || p.OS+" "+p.Architecture+" "+p.Variant != want {
			t.Errorf("%s: %v, %v", in, p, err)
		}
	}
	for _, in := range []string{" ", "linux/", "nonsense", "a/b/c/d", "linux/am d"} {
		if p, err := Platform(in); err == nil {
			t.Errorf("%q gives %v", in, p)
		}
	}
	if p, err := Platform(""); p != nil || err != nil {
		t.Errorf("none gives %v, %v", p, err)
	}
}

func TestReadFiles(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lookup := func(name string) (string, bool) { return "from here", name == "KNOWN" }
	got, err := ReadFiles([]string{write("\xef\xbb\xbf# c\n\n A=1\nB=\nKNOWN\nUNKNOWN\nC=x=y # no comment\r\n")}, []string{"A=2"}, lookup)
	want := []string{"A=1", "B=", "KNOWN=from here", "C=x=y # no comment", "A=2"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"=x\n", "a b=c\n", "A=\xff\n"} {
		if got, err := ReadFiles([]string{write(text)}, nil, lookup); err == nil {
			t.Errorf("%q gives %q", text, got)
		}
	}
	if _, err := ReadFiles([]string{write("LONG=" + strings.Repeat("x", 1<<20) + "\n")}, nil, lookup); err != nil {
		t.Errorf("a long line: %v", err)
	}
}

func TestMountIsWhole(t *testing.T) {
	m := &Mounts{}
	if err := m.Set("type=bind,src=/a,dst=/b,ro,bind-propagation=rprivate,bind-recursive=readonly"); err != nil {
		t.Fatal(err)
	}
	want := mount.Mount{Type: mount.TypeBind, Source: "/a", Target: "/b", ReadOnly: true,
		BindOptions: &mount.BindOptions{Propagation: "rprivate", ReadOnlyForceRecursive: true}}
	if !reflect.DeepEqual(m.Values[0], want) {
		t.Errorf("%+v", m.Values[0])
	}
}
