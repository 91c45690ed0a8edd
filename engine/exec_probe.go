package engine

import (
	"context"
	"io"
	"time"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/runtime/wire"
)

// probePatience is how long the end of a probe's output, or of a killed probe,
// may take.
const probePatience = 5 * time.Second

// probe runs cmd in the container's running process r, as its configured user
// and in its environment, and returns how it ended and the beginning of its
// output, both streams as they come, up to limit bytes. When ctx ends first, the
// probe is killed with all that it has started in its session, and the error is
// ctx's. A command that cannot be started is an error with its exit code. The
// caller must not own c.
func (e *execer) probe(ctx context.Context, c *ctr, r *run, cmd []string, limit int) (exitCode int, output []byte, err error) {
	x, err := e.create(c, container.ExecCreateRequest{Cmd: cmd, AttachStdout: true, AttachStderr: true}, true)
	if err != nil {
		return 0, nil, err
	}
	defer e.execs.drop(x)
	near, far, err := socketPair()
	if err != nil {
		return 0, nil, err
	}
	defer near.Close()
	err = e.start(ctx, x, r, execTerms{client: func() (*attachment, error) {
		return &attachment{socket: far, order: wire.Attach{Stdout: true, Stderr: true, Raw: true}}, nil
	}})
	_ = far.Close()
	if err != nil {
		return x.code(), nil, err
	}
	read := make(chan []byte, 1)
	go func() {
		got, _ := io.ReadAll(io.LimitReader(near, int64(limit)))
		read <- got
		_, _ = io.Copy(io.Discard, near)
	}()
	select {
	case <-x.over:
	case <-ctx.Done():
		err = ctx.Err()
		_ = r.shim.ExecSignal(context.WithoutCancel(ctx), wire.ExecSignal{ID: x.id, Signal: int(unix.SIGKILL), All: true})
		select {
		case <-x.over:
		case <-time.After(probePatience):
		}
	}
	_ = near.SetReadDeadline(time.Now().Add(probePatience))
	return x.code(), <-read, err
}
