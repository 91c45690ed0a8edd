package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/davit-engine/davit/engine/processes"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
)

const (
	defaultPsArgs = "-ef"
	psPatience    = 10 * time.Second
	maxPsOutput   = 64 << 20
)

// Top lists the processes of a running container as the host's ps shows them
// with args, -ef if they are empty. Nothing of the container is executed. On a
// host without ps the engine knows the columns of -ef by itself.
func (u *Usage) Top(ctx context.Context, ref, args string) (container.TopResponse, error) {
	if args == "" {
		args = defaultPsArgs
	}
	if err := processes.ValidateArgs(args); err != nil {
		return container.TopResponse{}, err
	}
	c, err := u.table.find(ref)
	if err != nil {
		return container.TopResponse{}, err
	}
	r, rec, err := c.runningOf()
	if err != nil {
		return container.TopResponse{}, err
	}
	pids, err := cgroup.Open(r.state.Cgroup).Pids()
	if errs.Is(err, errs.NotFound) {
		err = errNotRunning(c.id)
	}
	if err != nil {
		return container.TopResponse{}, err
	}
	slices.Sort(pids)
	list, err := listProcesses(ctx, args, pids)
	if err != nil {
		return container.TopResponse{}, err
	}
	u.publish(rec, events.ActionTop, nil)
	return list, nil
}

// listProcesses asks the host's ps, or /proc where there is none.
func listProcesses(ctx context.Context, args string, pids []int) (container.TopResponse, error) {
	ps, err := exec.LookPath("ps")
	if err != nil {
		if args != defaultPsArgs {
			return container.TopResponse{}, errs.New(errs.System, "ps_args %q: the host has no ps: install it (procps), or ask for %s", args, defaultPsArgs)
		}
		return processes.Read(os.DirFS("/proc"), pids, time.Now())
	}
	// -q makes ps look at the container's processes only. Some options (f, -C)
	// cannot stand beside it; then it lists all, and the others are left out.
	words := strings.Split(args, " ")
	out, err := runPs(ctx, ps, append(slices.Clone(words), processes.Select(pids)))
	if err != nil {
		out, err = runPs(ctx, ps, words)
	}
	if err != nil {
		return container.TopResponse{}, err
	}
	return processes.Parse(string(out), pids)
}

func runPs(ctx context.Context, ps string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, psPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, ps, args...)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errs.New(errs.System, "ps: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, errs.New(errs.System, "ps: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(stdout, maxPsOutput))
	if err == nil && len(out) == maxPsOutput {
		cancel()
		err = errs.New(errs.System, "ps: it prints more than %d bytes", maxPsOutput)
	}
	ended := cmd.Wait()
	if err != nil {
		return nil, err
	}
	if line, _, _ := strings.Cut(stderr.String(), "\n"); ended != nil && line != "" {
		return nil, errs.New(errs.System, "ps: %w", errors.New(line))
	}
	if ended != nil {
		return nil, errs.New(errs.System, "ps: %w", ended)
	}
	return out, nil
}
