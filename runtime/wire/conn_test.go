package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// pair returns two connected sockets.
func pair(t testing.TB) (*os.File, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func conn(t testing.TB, s Socket) *Conn {
	t.Helper()
	c, err := NewConn(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// openFDs counts this process's descriptors.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestFrameCarriesMessageAndDescriptors(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		conn(t, a).Send(7, TypeSignal, Signal{Signal: 9}, w, w)
		w.Close()
	}()
	m, err := conn(t, b).Receive()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var s Signal
	if err := m.Decode(&s); err != nil || m.Seq != 7 || m.Type != TypeSignal || s.Signal != 9 || len(m.Files) != 2 {
		t.Fatalf("got %+v, signal %+v, %v", m, s, err)
	}
	for _, f := range m.Files {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor is not close-on-exec: %v", err)
		}
	}
	m.Files[1].WriteString("x")
	m.Close()
	if got, _ := io.ReadAll(r); string(got) != "x" {
		t.Errorf("through the descriptor came %q", got)
	}
}

// TestManyDescriptors sends more of them than one frame holds, in their order.
func TestManyDescriptors(t *testing.T) {
	a, b := pair(t)
	before := openFDs(t)
	const count = 2*maxFiles + 10
	var pipes []*os.File
	var files []syscall.Conn
	for i := range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pipes = append(pipes, r, w)
		for range count / 2 {
			files = append(files, pipes[2*i+1])
		}
	}
	go func() {
		c := conn(t, a)
		c.Send(7, TypeSignal, Signal{Signal: 9}, files...)
		c.Send(8, TypeOK, nil)
		pipes[1].Close()
		pipes[3].Close()
	}()
	c := conn(t, b)
	m, err := c.Receive()
	if err != nil || m.Seq != 7 || len(m.Files) != count {
		t.Fatalf("%+v, %v", m, err)
	}
	m.Files[count/2-1].WriteString("first")
	m.Files[count/2].WriteString("second")
	m.Close()
	for i, want := range []string{"first", "second"} {
		if got, _ := io.ReadAll(pipes[2*i]); string(got) != want {
			t.Errorf("through pipe %d came %q", i, got)
		}
		pipes[2*i].Close()
	}
	if m, err := c.Receive(); err != nil || m.Seq != 8 || len(m.Files) != 0 {
		t.Errorf("the next: %+v, %v", m, err)
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestLargeFrame(t *testing.T) {
	a, b := pair(t)
	want := strings.Repeat("payload ", 1<<20)
	sent := make(chan error, 1)
	go func() { sent <- conn(t, a).Send(1, TypeError, Error{Message: want}) }()
	m, err := conn(t, b).Receive()
	if err != nil {
		t.Fatal(err)
	}
	var e Error
	if err := m.Decode(&e); err != nil || e.Message != want {
		t.Errorf("%d of %d bytes came: %v", len(e.Message), len(want), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// frame returns body with its header.
func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestForeignBytes(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"nothing", nil, io.EOF},
		{"half a header", []byte{0, 0}, io.ErrUnexpectedEOF},
		{"half a body", frame(`{"type":"ok"}`)[:9], io.ErrUnexpectedEOF},
		{"oversize", []byte{0xff, 0xff, 0xff, 0xff, '{'}, ErrFrame},
		{"empty body", frame(""), ErrFrame},
		{"no json", frame("hello"), ErrFrame},
		{"json of another shape", frame("[]"), ErrFrame},
		{"negative sequence", frame(`{"seq":-1,"type":"ok"}`), ErrFrame},
		{"http", []byte("GET / HTTP/1.1\r\n\r\n"), ErrFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t)
			before := openFDs(t)
			if _, err := a.Write(c.bytes); err != nil {
				t.Fatal(err)
			}
			unix.Shutdown(int(a.Fd()), unix.SHUT_WR)
			if m, err := conn(t, b).Receive(); !errors.Is(err, c.want) {
				t.Errorf("got %v, %v; want %v", m, err, c.want)
			}
			if after := openFDs(t); after != before {
				t.Errorf("%d descriptors, %d before", after, before)
			}
		})
	}
}

func TestForeignDescriptorsAreClosed(t *testing.T) {
	full := frame(`{"seq":1,"type":"ok"}`)
	for _, c := range []struct {
		name  string
		parts []string // descriptors ride on each but the first
		ok    bool
	}{
		{"inside the body", []string{string(full[:6]), string(full[6:])}, false},
		{"inside the header", []string{string(full[:2]), string(full[2:])}, true}, // one read for the kernel
		{"with bytes that are no frame", []string{"", "....garbage"}, false},
		{"with half a frame", []string{"", string(full[:8])}, false},
		{"with a frame", []string{"", string(full)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t)
			before := openFDs(t)
			for i, part := range c.parts {
				var oob []byte
				if i > 0 {
					oob = unix.UnixRights(0, 1, 2)
				}
				if part == "" {
					continue
				}
				if err := unix.Sendmsg(int(a.Fd()), []byte(part), oob, nil, 0); err != nil {
					t.Fatal(err)
				}
			}
			unix.Shutdown(int(a.Fd()), unix.SHUT_WR)
			m, err := conn(t, b).Receive()
			if (err == nil) != c.ok {
				t.Errorf("got %v, %v", m, err)
			}
			if m != nil {
				m.Close()
			}
			if after := openFDs(t); after != before {
				t.Errorf("%d descriptors, %d before", after, before)
			}
		})
	}
}

func TestOpenFastAgreesWithJSON(t *testing.T) {
	for _, body := range []string{
		`{"type":"ok"}`, `{"seq":1,"type":"ok"}`, `{"seq":18446744073709551615,"type":"ok"}`, `{"seq":99999999999999999999,"type":"ok"}`,
		`{"seq":1,"type":"close-stdin","payload":{"a":{}}}`, `{ "seq": 1, "type": "ok" }`, `{"type":"a\"b"}`,
		`{"type":"ok","payload":null}`, `{"seq":01,"type":"ok"}`, `{"type":"ok","payload":[1]}`, `{"seq":,"type":"ok"}`,
	} {
		var want, got Envelope
		wantErr := json.Unmarshal([]byte(body), &want)
		gotErr := open([]byte(body), &got)
		if (wantErr == nil) != (gotErr == nil) || wantErr == nil && (want.Seq != got.Seq || want.Type != got.Type || !bytes.Equal(want.Payload, got.Payload)) {
			t.Errorf("%s: got %+v, %v; json says %+v, %v", body, got, gotErr, want, wantErr)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add(frame(`{"seq":1,"type":"ok"}`), 0, false)
	f.Add(frame(`{"type":"exited","payload":{"id":"x"}}`), 5, true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0}, 0, true)
	f.Add(append(frame(`{"type":"files"}`), frame(`{"seq":1,"type":"ok"}`)...), 0, true)
	f.Add(frame(`{"type":"files"}`), 0, true)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 2, true)
	f.Fuzz(func(t *testing.T, data []byte, split int, files bool) {
		if len(data) == 0 || len(data) > 64<<10 {
			return
		}
		a, b := pair(t)
		before := openFDs(t)
		split = min(max(split, 0), len(data))
		var oob []byte
		if files {
			oob = unix.UnixRights(int(a.Fd()), int(b.Fd()))
		}
		if split > 0 {
			if err := unix.Sendmsg(int(a.Fd()), data[:split], nil, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		if split < len(data) {
			if err := unix.Sendmsg(int(a.Fd()), data[split:], oob, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		unix.Shutdown(int(a.Fd()), unix.SHUT_WR)
		unix.SetNonblock(int(b.Fd()), true) // Fd made it blocking
		c := conn(t, b)
		for {
			m, err := c.Receive()
			if err != nil {
				break
			}
			if m.Payload != nil {
				var e Exit
				_ = m.Decode(&e)
			}
			m.Close()
		}
		if after := openFDs(t); after != before {
			t.Fatalf("%d descriptors, %d before", after, before)
		}
	})
}

// answer is a shim that answers each request with what reply returns.
func answer(t *testing.T, c *Conn, reply func(*Message) (Type, any)) {
	for {
		m, err := c.Receive()
		if err != nil {
			return
		}
		typ, payload := reply(m)
		m.Close()
		if err := c.Send(m.Seq, typ, payload); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestClient(t *testing.T) {
	client, end, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	shim := conn(t, end)
	go answer(t, shim, func(m *Message) (Type, any) {
		switch m.Type {
		case TypeHello:
			return TypeHello, Hello{Version: Version}
		case TypeStart:
			return TypeStarted, State{ID: "c", Pid: len(m.Files)}
		case TypeSignal:
			return TypeError, &Error{Kind: errs.Conflict, Message: "no such process", ExitCode: 3}
		}
		return TypeOK, nil
	})
	ctx := context.Background()
	if h, err := client.Hello(ctx); err != nil || h.Version != Version {
		t.Errorf("hello: %+v, %v", h, err)
	}
	if st, err := client.Start(ctx, &Start{ID: "c"}, os.Stdin, os.Stdout); err != nil || st.Pid != 2 || st.ID != "c" {
		t.Errorf("start: %+v, %v", st, err)
	}
	var e *Error
	if err := client.Signal(ctx, Signal{Signal: 9}); !errs.Is(err, errs.Conflict) || !errors.As(err, &e) || e.ExitCode != 3 || err.Error() != "no such process" {
		t.Errorf("signal: %v", err)
	}
	if err := client.Resize(ctx, Resize{}); err != nil {
		t.Errorf("resize: %v", err)
	}
	shim.Send(0, "news", nil)
	shim.Send(0, TypeDetached, Detached{ID: 4})
	shim.Send(0, TypeExited, Exit{ExitCode: 5})
	shim.Close()
	if ev := <-client.Events(); ev.Detached == nil || ev.Detached.ID != 4 {
		t.Errorf("event: %+v", ev)
	}
	if ev := <-client.Events(); ev.Exited == nil || ev.Exited.ExitCode != 5 {
		t.Errorf("event: %+v", ev)
	}
	if _, ok := <-client.Events(); ok {
		t.Error("events go on after the connection")
	}
	if _, err := client.State(ctx); !errors.Is(err, ErrGone) || !errs.Is(err, errs.Unavailable) {
		t.Errorf("state of a shim that is gone: %v", err)
	}
}

func TestClientLosesShimInACall(t *testing.T) {
	client, end, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	go func() {
		conn(t, end).Receive()
		end.Close()
	}()
	if _, err := client.State(context.Background()); !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
}

func TestClientGivesUpWaiting(t *testing.T) {
	client, end, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := client.State(ctx); !errs.Is(err, errs.Deadline) {
		t.Errorf("got %v", err)
	}
}

func TestDialLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(context.Background(), dir); !errs.Is(err, errs.Unavailable) {
		t.Errorf("nobody listens: %v", err)
	}
	t.Chdir(dir)
	l, err := net.Listen("unix", SocketName)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		s, err := l.Accept()
		if err != nil {
			return
		}
		answer(t, conn(t, s.(*net.UnixConn)), func(*Message) (Type, any) { return TypeStarted, State{Pid: 1} })
	}()
	client, err := Dial(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if st, err := client.State(context.Background()); err != nil || st.Pid != 1 {
		t.Errorf("got %+v, %v", st, err)
	}
}
