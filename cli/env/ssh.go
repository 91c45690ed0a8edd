package env

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// sshDialer returns a dialer for ssh://[user@]host[:port][/socket]: each
// connection is one run of `davit system dial-stdio` on the far side.
func sshDialer(host string) (func(context.Context) (net.Conn, error), error) {
	args, err := sshArgs(host)
	if err != nil {
		return nil, err
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return nil, errNoSSH
	}
	return func(context.Context) (net.Conn, error) { return dialCommand(program, args) }, nil
}

func sshArgs(host string) ([]string, error) {
	u, err := url.Parse(host)
	if err != nil {
		return nil, fmt.Errorf("invalid host %q: %w", host, err)
	}
	switch {
	case u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-"):
		return nil, fmt.Errorf("invalid host %q: no host name", host)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("invalid host %q: nothing may follow the path", host)
	}
	if _, has := u.User.Password(); has {
		return nil, fmt.Errorf("invalid host: a password does not belong into an ssh:// address")
	}
	args := []string{"-T", "-o", "ConnectTimeout=30"}
	if user := u.User.Username(); user != "" {
		args = append(args, "-l", user)
	}
	if u.Port() != "" {
		args = append(args, "-p", u.Port())
	}
	args = append(args, "--", u.Hostname(), "davit")
	if path := strings.TrimSuffix(u.Path, "/"); path != "" {
		// The far side's shell reads this word.
		args = append(args, "--host", "'unix://"+strings.ReplaceAll(path, "'", `'\''`)+"'")
	}
	return append(args, "system", "dial-stdio"), nil
}

// commandConn is a connection over a program's standard input and output.
type commandConn struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     io.ReadCloser
	talk    *tail
	wait    func() error // for the program's end; it may be called again
	close   func() error
}

func dialCommand(program string, args []string) (net.Conn, error) {
	c := &commandConn{command: exec.Command(program, args...), talk: &tail{}}
	c.command.Stderr = c.talk
	var err error
	if c.in, err = c.command.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = c.command.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := c.command.Start(); err != nil {
		return nil, fmt.Errorf("starting ssh: %w", err)
	}
	c.wait = sync.OnceValue(c.command.Wait)
	c.close = sync.OnceValue(func() error {
		_ = c.in.Close()
		_ = c.command.Process.Kill()
		_ = c.wait() // it was killed, and says so
		return nil
	})
	return c, nil
}

// Read implements net.Conn; where the program ends it adds what it said.
func (c *commandConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		_ = c.wait() // its words matter, not its status
		if text := c.talk.String(); text != "" {
			return 0, fmt.Errorf("the connection over ssh ended: %s", text)
		}
	}
	return n, err
}

func (c *commandConn) Write(p []byte) (int, error)      { return c.in.Write(p) }
func (c *commandConn) CloseWrite() error                { return c.in.Close() }
func (c *commandConn) Close() error                     { return c.close() }
func (c *commandConn) LocalAddr() net.Addr              { return sshAddr{} }
func (c *commandConn) RemoteAddr() net.Addr             { return sshAddr{} }
func (c *commandConn) SetDeadline(time.Time) error      { return nil }
func (c *commandConn) SetReadDeadline(time.Time) error  { return nil }
func (c *commandConn) SetWriteDeadline(time.Time) error { return nil }

type sshAddr struct{}

func (sshAddr) Network() string { return "ssh" }
func (sshAddr) String() string  { return "ssh" }

// tail keeps the last kilobyte that was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - 1024; over > 0 {
		t.text = t.text[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
