// Package hook runs the hooks of an OCI spec, in the caller's own namespaces or
// in the container's.
//
// It owns a hook's process from start to end: what it reads, what it may
// print, how long it may take. It must not know what a container is, nor when
// which hook is due; the state comes in as bytes. Run keeps nothing between
// calls and may be called by several goroutines at once.
package hook

import (
	"context"
	"errors"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// maxOutput is how much of a hook's output an error may quote.
	maxOutput = 4096
	// outputDelay is how long a hook's own children may hold its output open
	// once it has ended.
	outputDelay = time.Second
)

// Check refuses a hook that the runtime spec does not allow.
func Check(h specs.Hook) error {
	if !path.IsAbs(h.Path) {
		return errs.New(errs.InvalidParameter, "hook: path must be absolute, not %q", h.Path)
	}
	if h.Timeout != nil && *h.Timeout <= 0 {
		return errs.New(errs.InvalidParameter, "hook %s: timeout must be greater than zero, not %d", h.Path, *h.Timeout)
	}
	return nil
}

// Deadline is ctx with the hook's own time limit, if it has one.
func Deadline(ctx context.Context, h specs.Hook) (context.Context, context.CancelFunc) {
	if h.Timeout == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
}

// Run runs a hook with the container's state on its standard input and waits
// for it to end. Its environment is what the hook lists and no more. When its
// time is over, the hook is killed with its process group. An error tells what
// the hook has written.
func Run(ctx context.Context, h specs.Hook, state []byte) error {
	if err := Check(h); err != nil {
		return err
	}
	ctx, cancel := Deadline(ctx, h)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Args = h.Args
	if len(cmd.Args) == 0 {
		cmd.Args = []string{h.Path}
	}
	cmd.Env = append([]string{}, h.Env...) // not nil, which would mean ours
	var said Tail
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(string(state)), &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputDelay
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		err = nil // it left something running, and did well itself
	}
	return Failed(ctx, h, err, &said)
}

// Failed words the end of a hook, however it was run: nil if err is nil.
func Failed(ctx context.Context, h specs.Hook, err error, said *Tail) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() == context.DeadlineExceeded:
		return errs.New(errs.Deadline, "hook %s: it did not end in %d seconds%s", h.Path, *h.Timeout, said)
	}
	return errs.New(errs.System, "hook %s: %w%s", h.Path, err, said)
}

// Tail keeps the end of what is written to it.
type Tail struct{ text []byte }

func (t *Tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if n := len(t.text) - maxOutput; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

// String is the output as the end of an error's text.
func (t *Tail) String() string {
	if s := strings.TrimSpace(string(t.text)); s != "" {
		return ": " + s
	}
	return ""
}
