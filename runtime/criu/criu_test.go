package criu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain makes a criu of the test program when it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "swrk" {
		os.Exit(play(os.Getenv("CRIU_PLAYS")))
	}
	os.Exit(m.Run())
}

// play answers as criu does: what it is told is in the environment.
func play(role string) int {
	const socket = 3
	heard := func() string {
		b := make([]byte, 4096)
		n, err := unix.Read(socket, b)
		if err != nil || n == 0 {
			os.Exit(9)
		}
		return string(b[:n])
	}
	say := func(m message, files ...int) {
		var oob []byte
		if len(files) > 0 {
			oob = unix.UnixRights(files...)
		}
		if err := unix.Sendmsg(socket, m, oob, nil, 0); err != nil {
			os.Exit(8)
		}
	}
	event := func(name string, files ...int) bool {
		var inner, m message
		inner.text(1, name)
		inner.number(2, 42)
		m.number(1, uint64(notify))
		m.number(2, 1)
		m.text(5, string(inner))
		say(m, files...)
		return heard() == "\x08\x06\x18\x01" // notify, good
	}
	asked := heard()
	var end message
	switch role {
	case "restore":
		ok := event("setup-namespaces") && event("orphan-pts-master", 0)
		var inner message
		inner.number(1, 43)
		end.number(1, uint64(Restore))
		if !ok {
			end.number(2, 0)
			break
		}
		end.number(2, 1)
		end.text(4, string(inner))
	case "complain":
		if err := os.WriteFile(os.Getenv("CRIU_LOG"), []byte("(00.1) Warn (a.c:1): b\n(00.2) Error (criu/a.c:2): no way\n(00.3) Error (criu/a.c:3): giving up\n"), 0o600); err != nil {
			return 7
		}
		end.number(1, uint64(Dump))
		end.number(2, 0)
		end.text(9, "Error")
	case "reason":
		end.number(1, uint64(Dump))
		end.number(2, 0)
		end.text(9, fmt.Sprintf("%x", asked))
	case "garble":
		say(message("\xff\xff"))
		return 0
	case "die":
		return 1
	}
	say(end)
	return 0
}

func newCall(t *testing.T, kind Kind, role string) *Call {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CRIU_PLAYS", role)
	dir := t.TempDir()
	t.Setenv("CRIU_LOG", filepath.Join(dir, "dump.log"))
	return &Call{Program: self, Kind: kind, Images: dir}
}

func TestRestore(t *testing.T) {
	c := newCall(t, Restore, "restore")
	var heard []string
	c.Apart = func() error {
		heard = append(heard, "apart")
		return nil
	}
	c.Started = func(pid int) error {
		heard = append(heard, fmt.Sprint("started ", pid > 0))
		return nil
	}
	c.Notify = func(e Event) error {
		heard = append(heard, fmt.Sprint(e.Name, " ", e.Pid, " ", e.File != nil))
		if e.File != nil {
			return e.File.Close()
		}
		return nil
	}
	pid, err := c.Do()
	if want := "apart, started true, setup-namespaces 42 false, orphan-pts-master 42 true"; err != nil || pid != 43 || strings.Join(heard, ", ") != want {
		t.Errorf("%d, %v, %q", pid, err, heard)
	}
}

func TestFailures(t *testing.T) {
	refuse := errors.New("refused")
	for _, c := range []struct {
		role   string
		change func(*Call)
		words  string
	}{
		{"complain", func(*Call) {}, "criu dump failed: no way; giving up (log: "},
		{"die", func(*Call) {}, "it has ended without an answer (log: "},
		{"garble", func(*Call) {}, errMessage.Error()},
		{"restore", func(c *Call) { c.Kind, c.Notify = Restore, func(Event) error { return refuse } }, "refused"},
		{"restore", func(c *Call) { c.Started = func(int) error { return refuse } }, "refused"},
		{"restore", func(c *Call) { c.Apart = func() error { return refuse } }, "refused"},
		{"restore", func(c *Call) { c.Images = "/nothing" }, "/nothing"},
		{"restore", func(c *Call) { c.Program = "/nothing/criu" }, "running criu"},
		{"restore", func(c *Call) { c.Program = "no-such-criu" }, "running criu"},
	} {
		call := newCall(t, Dump, c.role)
		c.change(call)
		if _, err := call.Do(); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", c.role, err, c.words)
		}
	}
}

// What is asked for is in protobuf's encoding.
func TestRequest(t *testing.T) {
	c := newCall(t, Dump, "reason")
	o := &c.Options
	o.Flag(LeaveRunning, true)
	o.Flag(ShellJob, false)
	o.Number(Pid, 300)
	o.Text(Root, "/r")
	o.Text(External, "")
	o.Pair(ExtMount, "k", "v")
	o.Stream("pipe:[1]", 1)
	o.Inherit("x", os.Stdin)
	_, err := c.Do()
	for _, want := range []string{
		"08011", "1801", "10ac02", "6a022f72", // dump, options..., leave running, pid, root
		"ba01060a016b120176",             // a pair
		"da010c0a08706970653a5b315d1001", // a stream
		"da01050a01781004",               // the first inherited descriptor
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v has no %s", err, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x08\x06\x10\x01\x2a\x06\x0a\x02ab\x10\x2a"))
	f.Add([]byte("\x08\x02\x10\x01\x22\x02\x08\x2b\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if (err == nil) == (a == nil) {
			t.Errorf("%v, %v", a, err)
		}
	})
}
