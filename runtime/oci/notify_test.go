package oci

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is a service manager's socket.
type manager struct {
	*testing.T
	*net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "manager")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(notifyVariable, path)
	return &manager{t, c}
}

// hears returns a message, and lets a barrier's descriptor go.
func (m *manager) hears() string {
	m.Helper()
	b, oob := make([]byte, 1024), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := m.ReadMsgUnix(b, oob)
	if err != nil {
		m.Fatal(err)
	}
	if all, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(all) > 0 {
		if fds, err := unix.ParseUnixRights(&all[0]); err == nil {
			unix.Close(fds[0])
		}
	}
	return string(b[:n])
}

func TestNotify(t *testing.T) {
	h := newHost(t)
	h.addService()
	h.command("service", "notify")
	h.spec.Process.Env = append(h.spec.Process.Env, notifyVariable+"=/wrong")
	h.spec.Process.User.UID = 1000
	h.write()
	m := newManager(t)
	for _, steps := range [][][]string{{{"create", "c1"}, {"start", "c1"}}, {{"run", "-d", "c1"}}} {
		ended := make(chan result)
		go func() {
			var r result
			for _, args := range steps {
				r = h.run(args...)
			}
			ended <- r
		}()
		ready, barrier := m.hears(), m.hears()
		if r := <-ended; r.status != 0 {
			t.Fatalf("%v: %+v", steps, r)
		}
		if want := fmt.Sprintf("READY=1\nMAINPID=%d\n", h.view("c1").Pid); ready != want || barrier != "BARRIER=1" {
			t.Errorf("%v: %q, %q; want %q", steps, ready, barrier, want)
		}
		if got := h.ok("exec", "c1", "sh", "-c", "ls /run/notify; echo >/run/notify/file || true"); !strings.HasPrefix(got, notifyName) {
			t.Errorf("/run/notify: %s", got)
		}
		h.ok("delete", "--force", "c1")
		h.wantNothing()
	}
	// In the foreground it is the runtime that is watched.
	cmd := h.cmd("run", "c1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if got, want := m.hears(), fmt.Sprintf("READY=1\nMAINPID=%d\n", cmd.Process.Pid); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.hears()
	h.ok("kill", "c1", "KILL")
	_ = cmd.Wait()
	h.wantNothing()
	// One that ends without a word holds nobody up.
	h.command("true")
	h.ok("create", "c1")
	h.ok("start", "c1")
	h.ok("delete", "c1")
}
