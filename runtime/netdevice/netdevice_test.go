package netdevice

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread that has a network namespace of its own and
// ends with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed (Debian: iproute2)")
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		f()
	}()
	<-done
}

// namespace makes another network namespace.
func namespace(t *testing.T) *os.File {
	t.Helper()
	made := make(chan *os.File)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
		}
		made <- f
	}()
	f := <-made
	t.Cleanup(func() { f.Close() })
	return f
}

// ip runs the program in this thread's namespace.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Errorf("ip %q: %v: %s", args, err, out)
	}
	return string(out)
}

// within runs f on this thread, in another namespace.
func within(t *testing.T, ns *os.File, f func()) {
	t.Helper()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
		return
	}
	defer own.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Error(err)
		return
	}
	f()
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Error(err)
	}
}

func TestMove(t *testing.T) {
	inNamespace(t, func() {
		ns := namespace(t)
		ip(t, "link", "add", "dvt0", "type", "veth", "peer", "name", "dvt1")
		ip(t, "link", "add", "dvt2", "mtu", "1400", "type", "veth", "peer", "name", "dvt3")
		for _, a := range []string{"10.7.0.1/24", "10.7.0.2/24", "192.168.77.1/32", "fd77::1/64", "fd77::2/128"} {
			ip(t, "addr", "add", a, "dev", "dvt0")
		}
		ip(t, "addr", "add", "10.8.0.1/24", "broadcast", "10.8.0.255", "dev", "dvt0")
		ip(t, "addr", "add", "169.254.9.9/16", "scope", "link", "dev", "dvt0")
		ip(t, "addr", "add", "10.9.0.1/24", "valid_lft", "1000", "preferred_lft", "1000", "dev", "dvt0")
		ip(t, "link", "set", "dvt0", "up")
		if err := Move(map[string]specs.LinuxNetDevice{"dvt0": {Name: "eth0"}, "dvt2": {}}, ns); err != nil {
			t.Error(err)
			return
		}
		if left := ip(t, "-o", "link"); strings.Contains(left, " dvt0@") || strings.Contains(left, " dvt2@") {
			t.Errorf("they are still here:\n%s", left)
		}
		within(t, ns, func() {
			out := ip(t, "-o", "addr", "show", "dev", "eth0") + ip(t, "-o", "link")
			for _, want := range []string{"10.7.0.1/24", "10.7.0.2/24", "192.168.77.1/32", "fd77::1/64", "fd77::2/128", "10.8.0.1/24 brd 10.8.0.255", " dvt2@", "mtu 1400"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s is missing:\n%s", want, out)
				}
			}
			for _, never := range []string{"169.254.9.9", "10.9.0.1", "tentative"} {
				if strings.Contains(out, never) {
					t.Errorf("%s is there:\n%s", never, out)
				}
			}
			if n := strings.Count(out, ",UP"); n != 2 {
				t.Errorf("%d devices are up:\n%s", n, out)
			}
		})
	})
}

func TestRefused(t *testing.T) {
	inNamespace(t, func() {
		ns := namespace(t)
		ip(t, "link", "add", "dvt0", "type", "veth", "peer", "name", "dvt1")
		within(t, ns, func() { ip(t, "link", "add", "taken", "type", "veth", "peer", "name", "other") })
		for _, c := range []struct {
			name string
			as   string
			kind errs.Kind
		}{
			{"nothing", "", errs.InvalidParameter}, {"lo", "lo2", errs.InvalidParameter}, {"dvt0", "taken", errs.Conflict}, {"dvt0", "x%d", errs.InvalidParameter},
			{"dvt0", "much-too-long-a-name", errs.InvalidParameter}, {"dvt0", "a/b", errs.InvalidParameter}, {"dvt0", "..", errs.InvalidParameter}, {"", "", errs.InvalidParameter},
		} {
			err := Move(map[string]specs.LinuxNetDevice{c.name: {Name: c.as}}, ns)
			if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), "linux.netDevices: ") {
				t.Errorf("%s as %q: got %v, want %v", c.name, c.as, err, c.kind)
			}
		}
		if left := ip(t, "-o", "link"); !strings.Contains(left, " dvt0@") {
			t.Errorf("it is gone:\n%s", left)
		}
	})
}

// FuzzAnswers feeds datagrams that no kernel sends: no panic, and an end.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		c := &conn{}
		_, _ = c.answers(b, func(_ uint16, body []byte) { attributes(body, func(uint16, []byte) {}) })
	})
}
