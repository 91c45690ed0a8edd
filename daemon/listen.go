package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/docker/go-connections/tlsconfig"
	"golang.org/x/sys/unix"
)

// dockerSocket is where clients of Docker look.
const dockerSocket = "/var/run/docker.sock"

// listener is one open place to accept clients at.
type listener struct {
	net.Listener
	at   endpoint
	undo func() // removes what was made for it
}

// Close ends listening and removes the socket, if it is still ours.
func (l listener) Close() error {
	err := l.Listener.Close()
	if l.undo != nil {
		l.undo()
	}
	return err
}

// opener opens what the Config says.
type opener struct {
	cfg      Listen
	execRoot string
	docker   string // path of Docker's socket
	log      *slog.Logger
}

type listenerSet []listener

func (l listenerSet) close() {
	for _, one := range l {
		_ = one.Close()
	}
}

func (l listenerSet) String() string {
	var at []string
	for _, one := range l {
		at = append(at, one.at.String())
	}
	return strings.Join(at, ", ")
}

// open opens all places. On an error none stays open.
func (o opener) open(ctx context.Context) (_ listenerSet, err error) {
	var set listenerSet
	defer func() {
		if err != nil {
			set.close()
		}
	}()
	own := filepath.Join(o.execRoot, "davit.sock")
	gid, err := groupID(o.cfg.Group)
	if err != nil {
		return nil, err
	}
	if len(o.cfg.Hosts) == 0 {
		one, err := o.unix(ctx, own, gid)
		if err != nil {
			return nil, err
		}
		set = append(set, one)
		if one, ok := o.dockers(ctx, gid); ok {
			set = append(set, one)
		}
		return set, nil
	}
	seen := map[endpoint]bool{}
	for _, host := range o.cfg.Hosts {
		at, err := parseHost(host, own, o.cfg.TLS)
		if err != nil {
			return nil, err
		}
		if seen[at] {
			continue
		}
		seen[at] = true
		more, err := o.one(ctx, at, gid)
		if err != nil {
			return nil, err
		}
		set = append(set, more...)
	}
	return set, nil
}

func (o opener) one(ctx context.Context, at endpoint, gid int) ([]listener, error) {
	switch at.scheme {
	case "unix":
		one, err := o.unix(ctx, at.address, gid)
		return []listener{one}, err
	case "tcp":
		one, err := o.tcp(ctx, at)
		return []listener{one}, err
	}
	return activated(at.address)
}

// dockers opens Docker's socket, if it is nobody's.
func (o opener) dockers(ctx context.Context, gid int) (listener, bool) {
	if owner := ownerOf(o.docker); owner != "" {
		o.log.Info("leaving Docker's socket alone", "path", o.docker, "reason", owner)
		return listener{}, false
	}
	one, err := o.unix(ctx, o.docker, gid)
	if err != nil {
		o.log.Info("doing without Docker's socket", "path", o.docker, "reason", err)
		return listener{}, false
	}
	return one, true
}

// ownerOf says who has the path of a socket; "" for nobody. A socket that
// refuses connections was left behind.
func ownerOf(path string) string {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		return err.Error()
	case info.Mode()&fs.ModeSymlink != 0:
		return "it is a symbolic link"
	case info.Mode()&fs.ModeSocket == 0:
		return "it is not a socket"
	}
	conn, err := net.DialTimeout("unix", path, 2*time.Second)
	if err == nil {
		conn.Close()
		return "another program listens there"
	}
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
		return ""
	}
	return err.Error()
}

// maxPath is how long the path of a unix socket may be: sun_path holds 108
// bytes, the last of them zero.
const maxPath = 107

// unix listens at a path. The socket is closed to all but its owner until its
// group is set.
func (o opener) unix(ctx context.Context, path string, gid int) (listener, error) {
	at := endpoint{"unix", path}
	if len(path) > maxPath {
		return listener{}, fmt.Errorf("the path of socket %s has %d bytes, the kernel allows %d: choose a shorter one", path, len(path), maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return listener{}, fmt.Errorf("making the directory of socket %s: %w", path, err)
	}
	if owner := ownerOf(path); owner != "" {
		return listener{}, fmt.Errorf("cannot listen at %s: %s: stop the other program, or choose another --host", path, owner)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return listener{}, fmt.Errorf("removing stale socket: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		// bind makes the file with the mode of the socket.
		if ctl := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); ctl != nil {
			return ctl
		}
		return err
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return listener{}, fmt.Errorf("listening at %s: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it might be another's by then
	one := listener{Listener: l, at: at, undo: unlinker(path)}
	if err = os.Chown(path, 0, gid); err == nil || os.Geteuid() != 0 && gid == 0 {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		_ = one.Close()
		return listener{}, fmt.Errorf("opening socket %s to its group: %w", path, err)
	}
	return one, nil
}

// unlinker returns a function that removes the file that is at path now, and
// no other that may come to stand there.
func unlinker(path string) func() {
	made, err := os.Lstat(path)
	return func() {
		if now, e := os.Lstat(path); err == nil && e == nil && os.SameFile(made, now) {
			_ = os.Remove(path)
		}
	}
}

// groupID finds the group of unix sockets. Without a name it is davit's or
// docker's, else root's.
func groupID(name string) (int, error) {
	if name != "" {
		if n, err := strconv.Atoi(name); err == nil {
			return n, nil
		}
		g, err := user.LookupGroup(name)
		if err != nil {
			return 0, fmt.Errorf("group %s not found: make it (groupadd %s), or choose another --group", name, name)
		}
		return strconv.Atoi(g.Gid)
	}
	for _, name := range []string{"davit", "docker"} {
		if g, err := user.LookupGroup(name); err == nil {
			return strconv.Atoi(g.Gid)
		}
	}
	return 0, nil
}

func (o opener) tcp(ctx context.Context, at endpoint) (listener, error) {
	var conf *tls.Config
	if o.cfg.TLS {
		var auth tls.ClientAuthType
		if o.cfg.Verify {
			auth = tls.RequireAndVerifyClientCert
		}
		var err error
		conf, err = tlsconfig.Server(tlsconfig.Options{
			CAFile: o.cfg.CACert, CertFile: o.cfg.Cert, KeyFile: o.cfg.Key, ExclusiveRootPools: true, ClientAuth: auth,
		})
		if err != nil {
			return listener{}, fmt.Errorf("invalid TLS configuration: %w", err)
		}
		conf.NextProtos = []string{"http/1.1"} // attaching needs the connection itself
	}
	if conf == nil || !o.cfg.Verify {
		o.log.Warn("whoever reaches this address is root on this machine: use --tlsverify, or a unix socket", "host", at.String())
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return listener{}, fmt.Errorf("cannot listen at %s: the port is in use: stop the other program, or choose another --host", at)
	case err != nil:
		return listener{}, fmt.Errorf("listening at %s: %w", at, err)
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	at.address = l.Addr().String()
	return listener{Listener: l, at: at}, nil
}

// activated returns the sockets that systemd opened: all of them, or the one
// with that name or number.
func activated(name string) ([]listener, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, errors.New("no sockets found via socket activation: fd:// needs davit.socket, or another unit that starts davitd; " +
			"by hand, use --host unix:///run/davit/davit.sock")
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	var list []listener
	for _, f := range files {
		if name != "" && name != "*" && name != f.Name() && name != strconv.Itoa(int(f.Fd())) {
			continue
		}
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("using socket %s of systemd: %w", f.Name(), err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // systemd's
		}
		list = append(list, listener{Listener: l, at: endpoint{l.Addr().Network(), l.Addr().String()}})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("systemd passed no socket named %s", name)
	}
	return list, nil
}
