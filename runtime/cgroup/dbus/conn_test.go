package dbus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// peer runs a server that answers the one connection that it gets.
func peer(t *testing.T, serve func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		serve(c, bufio.NewReader(c))
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return path
}

func lines(c net.Conn, in *bufio.Reader, answers map[string]string) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		answer, ok := answers[line]
		if !ok {
			return
		}
		_, _ = io.WriteString(c, answer)
	}
}

func TestAuthentication(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers map[string]string
		want    string
	}{
		{"accepted", map[string]string{"\x00AUTH EXTERNAL": "DATA\r\n", "DATA": "OK 1234\r\n"}, ""},
		{"refused", map[string]string{"\x00AUTH EXTERNAL": "REJECTED EXTERNAL\r\n"}, "refuses"},
		{"refused later", map[string]string{"\x00AUTH EXTERNAL": "DATA\r\n", "DATA": "REJECTED\r\n"}, "refuses"},
		{"no line", map[string]string{"\x00AUTH EXTERNAL": "DATA\n"}, "malformed"},
		{"endless line", map[string]string{"\x00AUTH EXTERNAL": strings.Repeat("x", 9000)}, "full"},
		{"hung up", nil, "EOF"},
	} {
		path := peer(t, func(conn net.Conn, in *bufio.Reader) { lines(conn, in, c.answers) })
		conn, err := Dial(t.Context(), path)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// accept authenticates whoever is there.
func accept(c net.Conn, in *bufio.Reader) {
	lines(c, in, map[string]string{"\x00AUTH EXTERNAL": "DATA\r\n", "DATA": "OK 1234\r\n"})
}

func TestCallsAndSignals(t *testing.T) {
	path := peer(t, func(c net.Conn, in *bufio.Reader) {
		accept(c, in)
		for {
			m, err := ReadMessage(in)
			if err != nil {
				return
			}
			for i := range 300 { // more than are kept
				s := &Message{Kind: Signal, Serial: 1, Path: "/", Interface: "a.b", Member: fmt.Sprintf("S%d", i)}
				_, _ = c.Write(s.Encode())
			}
			stray := &Message{Kind: MethodReturn, Serial: 1, ReplyTo: m.Serial + 9}
			_, _ = c.Write(stray.Encode())
			answer := &Message{Kind: MethodReturn, Serial: 2, ReplyTo: m.Serial}
			if m.Member == "Fail" {
				answer.Kind, answer.Error = ErrorReply, "a.b.No"
			}
			answer.SetBody("s", func(e *Encoder) { e.String("about " + m.Member) })
			_, _ = c.Write(answer.Encode())
		}
	})
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := conn.Call(t.Context(), &Message{Path: "/", Member: "Do"})
	if err != nil || answer.Body().String() != "about Do" {
		t.Errorf("got %v, %v", answer, err)
	}
	var refusal *Error
	if _, err := conn.Call(t.Context(), &Message{Path: "/", Member: "Fail"}); !errors.As(err, &refusal) || *refusal != (Error{"a.b.No", "about Fail"}) {
		t.Errorf("got %v", err)
	}
	m, err := conn.Wait(t.Context(), func(m *Message) bool { return m.Member == "S299" })
	if err != nil || m.Member != "S299" {
		t.Errorf("got %v, %v", m, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := conn.Wait(ctx, func(*Message) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting in vain: %v", err)
	}
}

func TestPeerThatHangsUp(t *testing.T) {
	path := peer(t, func(c net.Conn, in *bufio.Reader) {
		accept(c, in)
		_, _ = ReadMessage(in)
		_, _ = io.WriteString(c, "l\x02\x00\x01\xff\xff")
	})
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Call(t.Context(), &Message{Path: "/", Member: "Do"}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// A bus that is not ours takes us for one of its own.
func TestRealBus(t *testing.T) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon here")
	}
	path := filepath.Join(t.TempDir(), "bus")
	cmd := exec.Command(daemon, "--session", "--nofork", "--nopidfile", "--address=unix:path="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var conn *Conn
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err = Dial(t.Context(), path); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer conn.Close()
	if err := conn.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask := func(member string) *Message {
		return &Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus", Interface: "org.freedesktop.DBus", Member: member}
	}
	request := ask("RequestName")
	request.SetBody("su", func(e *Encoder) { e.String("org.example.Davit"); e.Uint32(0) })
	if answer, err := conn.Call(t.Context(), request); err != nil || answer.Body().Uint32() != 1 {
		t.Errorf("requesting a name: %v", err)
	}
	if _, err := conn.Wait(t.Context(), func(m *Message) bool { return m.Member == "NameAcquired" && m.Body().String() == "org.example.Davit" }); err != nil {
		t.Error(err)
	}
	answer, err := conn.Call(t.Context(), ask("ListNames"))
	if err != nil || answer.Signature != "as" {
		t.Fatalf("listing names: %+v, %v", answer, err)
	}
	var names []string
	d := answer.Body()
	d.Array(4, func() { names = append(names, d.String()) })
	if d.Err() != nil || !strings.Contains(strings.Join(names, " "), "org.example.Davit") {
		t.Errorf("%v: names: %q", d.Err(), names)
	}
	var refusal *Error
	if _, err := conn.Call(t.Context(), ask("Nonsense")); !errors.As(err, &refusal) || refusal.Name != "org.freedesktop.DBus.Error.UnknownMethod" {
		t.Errorf("got %v", err)
	}
}
