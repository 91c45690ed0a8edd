package container

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/term"
)

// session is one attachment of this process's streams to those of a container
// or of an exec.
type session struct {
	env    *env.Env
	conn   *client.Stream
	tty    bool
	stdin  bool
	stdout bool
	stderr bool
	keys   []byte // that detach, on a tty

	restore func() // makes the terminal what it was
}

// attach opens the attachment; nothing is copied yet. From now until close the
// terminal is raw.
func attach(ctx context.Context, e *env.Env, id string, tty bool, o client.AttachOptions) (*session, error) {
	api, err := e.Client()
	if err != nil {
		return nil, err
	}
	return open(e, tty, o, func() (*client.Stream, error) { return api.Containers.Attach(ctx, id, o) })
}

// open is attach with a connection of any kind.
func open(e *env.Env, tty bool, o client.AttachOptions, connect func() (*client.Stream, error)) (_ *session, err error) {
	s := &session{env: e, tty: tty, stdin: o.Stdin, stdout: o.Stdout, stderr: o.Stderr}
	if tty && o.Stdin {
		keys := o.DetachKeys
		if keys == "" {
			keys = "ctrl-p,ctrl-q"
		}
		if s.keys, err = term.ParseKeys(keys); err != nil {
			return nil, err
		}
	}
	if s.conn, err = connect(); err != nil {
		return nil, err
	}
	s.restore = func() {}
	if tty && o.Stdin {
		undo, err := e.In.MakeRaw()
		if err != nil {
			_ = s.conn.Close()
			return nil, err
		}
		s.restore = sync.OnceFunc(undo)
	}
	return s, nil
}

// close ends the attachment. It may be called again.
func (s *session) close() {
	s.restore()
	_ = s.conn.Close()
}

// copy moves bytes until the container closes its output, or the user detaches
// (term.ErrDetached), and closes the session.
func (s *session) copy() error {
	defer s.close()
	if !s.stdin {
		return s.copyOut()
	}
	output := make(chan error, 1)
	go func() { output <- s.copyOut() }()
	input := make(chan error, 1)
	go func() { input <- s.copyIn() }()
	for {
		select {
		case err := <-output:
			return err
		case err := <-input:
			if errors.Is(err, term.ErrDetached) {
				s.farewell(output)
				return err
			}
			if !s.stdout && !s.stderr {
				return nil
			}
			input = nil // the container's output goes on
		}
	}
}

// farewellLimit is how long an engine may take to understand that the user left.
const farewellLimit = time.Second

// farewell tells the engine that the user has detached, which a connection that
// ends does not.
func (s *session) farewell(output <-chan error) {
	if _, err := s.conn.Write(s.keys); err != nil {
		return
	}
	select {
	case <-output:
	case <-time.After(farewellLimit):
	}
}

func (s *session) copyOut() error {
	var err error
	switch {
	case !s.stdout && !s.stderr:
		_, err = io.Copy(io.Discard, s.conn)
	case s.tty:
		_, err = io.Copy(s.env.Out, s.conn)
	default:
		_, err = stdcopy.StdCopy(s.env.Out, s.env.Err, s.conn)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		err = nil // a container that is killed may leave half a frame
	}
	return err
}

func (s *session) copyIn() error {
	var in io.Reader = s.env.In
	if s.tty {
		in = term.Escape(in, s.keys)
	}
	_, err := io.Copy(s.conn, in)
	if errors.Is(err, term.ErrDetached) {
		return err
	}
	// End of stdin for the container; its output still comes.
	_ = s.conn.CloseWrite()
	return nil
}

// followSize keeps the container's terminal as large as ours until the process
// ends.
func followSize(ctx context.Context, e *env.Env, api *client.Client, id string) {
	follow(ctx, e, func(width, height int) error { return api.Containers.Resize(ctx, id, width, height) })
}

// follow is followSize for whatever set sets the size of.
func follow(ctx context.Context, e *env.Env, set func(width, height int) error) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	go func() {
		for {
			if width, height := e.Out.Size(); width != 0 && height != 0 {
				_ = set(width, height) // it may not run yet or no more; then the size does not matter
			}
			select {
			case <-changes:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// resize sets the container's terminal to the size of ours plus extra rows.
func resize(ctx context.Context, e *env.Env, api *client.Client, id string, extra int) {
	if width, height := e.Out.Size(); width != 0 && height != 0 {
		_ = api.Containers.Resize(ctx, id, width, height+extra) // as in follow
	}
}
