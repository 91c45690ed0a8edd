// Package criu speaks with the program criu, which writes processes with all
// that they have to files (a dump), and makes them again from there (a
// restore).
//
//	Call.Do                         criu swrk 3
//	  | -- fork ----------------------> |
//	  | Started(pid)                    |
//	  | -- what to do, options -------> |
//	  | <------------ notify: an event  | (at several points)
//	  | Notify(event)                   |
//	  | -- go on, or give up ---------> |
//	  | <------- done, or what failed   |
//
// The messages are those of criu's rpc.proto, encoded here: they are few, and
// a library for protobuf would be larger than the rest of a runtime. What
// criu's command line cannot say, they can: the other end of a terminal is
// handed over with an event.
//
// The package must not know what a container is. A Call is for one goroutine.
package criu

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// Kind is what criu is asked for: criu_req_type of rpc.proto.
type Kind int

// The kinds.
const (
	Dump    Kind = 1
	Restore Kind = 2
	PreDump Kind = 4

	notify Kind = 6
)

func (k Kind) String() string {
	switch k {
	case Dump:
		return "dump"
	case Restore:
		return "restore"
	case PreDump:
		return "pre-dump"
	}
	return "call"
}

// firstInherited is criu's first descriptor behind its socket.
const firstInherited = 4

// Call is one call of criu.
type Call struct {
	Program string // the name or path of criu
	Kind    Kind
	Images  string // directory with the dump
	Work    string // directory for the log and other files; empty: Images
	Options Options

	Env []string // criu's environment, by which it finds other programs; nil: this process's

	// Streams are criu's standard streams, for Options.Stream; nil: /dev/null.
	Streams *[3]*os.File

	// Apart is called on a thread from which criu is forked and which ends then:
	// the namespaces that it unshares are criu's alone. nil: there is nothing to
	// do then.
	Apart func() error

	// Started is called when criu runs and has not been asked for anything; it
	// may add options. nil: there is nothing to do then.
	Started func(pid int) error

	// Notify is called at each event, while criu waits; with an error it gives
	// up. nil: there is nothing to do then.
	Notify func(Event) error

	failed error      // what Started or Notify has said
	open   []*os.File // Images and Work
}

// Event is a point of a dump or restore that criu has come to: one of those of
// its action scripts.
type Event struct {
	Name string
	Pid  int      // the first process, where it is known
	File *os.File // what is handed over with it, Notify's to close; mostly nil
}

// Do calls criu and returns when it has ended. Of a restore it returns the
// first process, which is a child of this one with the option RestoreSibling.
// An error names criu's log, and what it says there.
func (c *Call) Do() (pid int, err error) {
	cmd, socket, err := c.start()
	if err != nil {
		return 0, err
	}
	defer c.close()
	pid, err = c.speak(cmd.Process.Pid, int(socket.Fd()))
	socket.Close() // criu waits for more after a pre-dump
	exit := cmd.Wait()
	switch {
	case c.failed != nil:
		return 0, c.failed
	case err == nil && c.Kind != PreDump:
		err = exit
	}
	if err != nil {
		return 0, c.explain(err)
	}
	return pid, nil
}

// start starts criu with our end of its socket.
func (c *Call) start() (*exec.Cmd, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errs.New(errs.System, "making a socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "criu"), os.NewFile(uintptr(pair[1]), "criu's end")
	defer theirs.Close()
	cmd := exec.Command(c.Program, "swrk", "3")
	cmd.Env = c.Env
	if s := c.Streams; s != nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s[0], s[1], s[2]
	}
	cmd.ExtraFiles = append([]*os.File{theirs}, c.Options.inherit...) // from descriptor 3 on
	forked := make(chan error)
	go func() { forked <- c.fork(cmd) }()
	if err := <-forked; err != nil {
		ours.Close()
		c.close()
		return nil, nil, err
	}
	return cmd, ours, nil
}

// fork starts criu. The directories are opened here, since criu mounts in them
// and may do so in its own mount namespace only.
func (c *Call) fork(cmd *exec.Cmd) error {
	if c.Apart != nil {
		runtime.LockOSThread() // for good: nobody else may have the thread
		if err := c.Apart(); err != nil {
			return err
		}
	}
	if err := c.openDir(optionImages, c.Images); err != nil {
		return err
	}
	if err := c.openDir(optionWork, cmp.Or(c.Work, c.Images)); err != nil {
		return err
	}
	err := cmd.Start()
	switch {
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
		return errs.New(errs.NotImplemented, "running criu: %w", err)
	case err != nil:
		return errs.New(errs.System, "running criu: %w", err)
	}
	return nil
}

// openDir opens a directory for criu, which reopens it by way of our /proc.
func (c *Call) openDir(p Option, dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return errs.New(errs.InvalidParameter, "opening a directory for criu: %w", err)
	}
	c.open = append(c.open, f)
	c.Options.Number(p, uint64(f.Fd()))
	return nil
}

func (c *Call) close() {
	for _, f := range c.open {
		f.Close()
	}
}

// speak asks for what is to be done, and answers until it is.
func (c *Call) speak(criu, socket int) (int, error) {
	if c.Started != nil {
		if err := c.Started(criu); err != nil {
			c.failed = err
			return 0, err
		}
	}
	c.Options.Text(optionLog, c.log())
	var ask message
	ask.number(1, uint64(c.Kind))
	ask.text(2, string(c.Options.encoded))
	for {
		if err := unix.Sendto(socket, ask, unix.MSG_NOSIGNAL, nil); err != nil {
			return 0, os.NewSyscallError("send", err)
		}
		a, err := hear(socket)
		if err != nil {
			return 0, err
		}
		if a.kind != notify {
			return a.pid, a.failure()
		}
		ask = nil
		ask.number(1, uint64(notify))
		good := uint64(1)
		if err := c.event(a.event); err != nil {
			good = 0
		}
		ask.number(3, good)
	}
}

// event passes an event on. After one that failed, the rest is criu's tidying.
func (c *Call) event(e Event) error {
	if c.Notify != nil && c.failed == nil {
		c.failed = c.Notify(e)
	} else if e.File != nil {
		e.File.Close()
	}
	return c.failed
}

// answer is message criu_resp of rpc.proto.
type answer struct {
	kind   Kind
	ok     bool
	errno  int
	reason string
	pid    int // of a restore
	event  Event
}

func (a *answer) failure() error {
	switch {
	case a.ok:
		return nil
	case a.reason != "":
		return errors.New(strings.TrimSpace(a.reason))
	case a.errno != 0:
		return unix.Errno(a.errno)
	}
	return errors.New("it gives no reason")
}

func hear(socket int) (*answer, error) {
	b, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(socket, b, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case n == 0:
			return nil, errors.New("it has ended without an answer")
		}
		a, err := parseAnswer(b[:n])
		if err == nil && oobn > 0 {
			a.event.File, err = receive(oob[:oobn])
		}
		return a, err
	}
}

func receive(oob []byte) (*os.File, error) {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&all[0])
	if err != nil || len(fds) == 0 {
		return nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // so that reads can be given up
		unix.Close(fds[0])
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "/dev/ptmx"), nil
}

func parseAnswer(b message) (*answer, error) {
	a := new(answer)
	for len(b) > 0 {
		field, v, inner, err := b.next()
		if err != nil {
			return nil, err
		}
		switch field {
		case 1:
			a.kind = Kind(v)
		case 2:
			a.ok = v != 0
		case 4: // criu_restore_resp
			err = parseEach(inner, func(field int, v uint64, _ []byte) {
				if field == 1 {
					a.pid = int(int32(v))
				}
			})
		case 5: // criu_notify
			err = parseEach(inner, func(field int, v uint64, b []byte) {
				switch field {
				case 1:
					a.event.Name = string(b)
				case 2:
					a.event.Pid = int(int32(v))
				}
			})
		case 7:
			a.errno = int(int32(v))
		case 9:
			a.reason = string(inner)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func parseEach(b message, f func(field int, v uint64, b []byte)) error {
	for len(b) > 0 {
		field, v, inner, err := b.next()
		if err != nil {
			return err
		}
		f(field, v, inner)
	}
	return nil
}

// log is the name of criu's log, as runc's.
func (c *Call) log() string {
	if c.Kind == Restore {
		return "restore.log"
	}
	return "dump.log"
}

// explain says what criu's log does, or if that is nothing, its answer.
func (c *Call) explain(err error) error {
	path := filepath.Join(cmp.Or(c.Work, c.Images), c.log())
	b, readErr := os.ReadFile(path)
	if said := complaints(b); readErr == nil && len(said) > 0 {
		err = errors.New(strings.Join(said, "; "))
	}
	return errs.New(errs.System, "criu %s failed: %w (log: %s)", c.Kind, err, path)
}

// complaints are the last errors in a log, without the time and criu's line.
func complaints(log []byte) (said []string) {
	const last = 3
	for line := range bytes.Lines(log) {
		_, text, ok := bytes.Cut(line, []byte("Error ("))
		if !ok {
			continue
		}
		if _, after, ok := bytes.Cut(text, []byte("): ")); ok {
			text = after
		}
		if said = append(said, string(bytes.TrimSpace(text))); len(said) > last {
			said = said[1:]
		}
	}
	return said
}
