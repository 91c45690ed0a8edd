package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/pidfd"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// foreignPatience is how long one command of another runtime may take.
const foreignPatience = 2 * time.Minute

// commandPath is where another runtime finds programs of its own.
const commandPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// foreign has another OCI runtime make the container, by its command line:
//
//	create --bundle B --pid-file F   in a mount namespace where B/rootfs is mounted
//	start
//	exec --process P --pid-file F    any number
//	delete --force                   at the end
//
// The processes that the commands leave behind become this one's children,
// which makes streams, signals and exit codes the same as of a container of our
// own. Everything that the other runtime keeps lies in the run directory.
type foreign struct {
	wire.Runtime
	id  string
	dir string // the run directory
}

// newForeign readies this process for what another runtime leaves behind.
func newForeign(r *wire.Start) (*foreign, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, errs.New(errs.System, "becoming the parent of what runtime %s leaves behind: %w", r.Runtime.Name, err)
	}
	return &foreign{Runtime: *r.Runtime, id: r.ID, dir: r.RunDir}, nil
}

func (f *foreign) path(name string) string { return filepath.Join(f.dir, name) }

// start makes and starts the container.
func (f *foreign) start(r *spawn.Request) (_ *process, err error) {
	bundle, rootfs := f.path("bundle"), f.path("bundle/rootfs")
	if err := os.MkdirAll(rootfs, 0o700); err != nil {
		return nil, fmt.Errorf("making the bundle: %w", err)
	}
	s := *r.Spec
	s.Root = &specs.Root{Path: rootfs, Readonly: r.Spec.Root != nil && r.Spec.Root.Readonly}
	if r.NetNS != nil {
		s.Linux = withNetwork(s.Linux, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.NetNS.Fd()))
	}
	s.Mounts = append([]specs.Mount{}, s.Mounts...)
	for i, t := range r.Trees {
		for j := range s.Mounts {
			if s.Mounts[j].Destination == t.Target {
				s.Mounts[j].Source = treePath(bundle, i)
			}
		}
	}
	if err := writeJSON(filepath.Join(bundle, "config.json"), &s); err != nil {
		return nil, err
	}
	p := &process{}
	defer func() {
		if err != nil {
			_ = f.remove() // there may be nothing yet
			p.close()
		}
	}()
	args := []string{"--bundle", bundle}
	err = f.begin(p, s.Process.Terminal, r, func(more []string) error {
		return privately(func() error {
			if err := mountRoot(r.Root, rootfs); err != nil {
				return err
			}
			for i, t := range r.Trees {
				if err := attachTree(t.File, treePath(bundle, i)); err != nil {
					return err
				}
			}
			return f.run(r, "create", append(args, more...)...)
		})
	})
	if err != nil {
		return nil, err
	}
	if err := f.run(nil, "start"); err != nil {
		return nil, err
	}
	return p, nil
}

// exec runs one more process in the container.
func (f *foreign) exec(r *spawn.ExecRequest) (*process, error) {
	file, err := os.CreateTemp(f.dir, "process-*.json")
	if err != nil {
		return nil, fmt.Errorf("describing a process: %w", err)
	}
	file.Close()
	defer os.Remove(file.Name())
	if err := writeJSON(file.Name(), r.Process); err != nil {
		return nil, err
	}
	p := &process{}
	streams := &spawn.Request{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}
	err = f.begin(p, r.Process.Terminal, streams, func(more []string) error {
		return f.run(streams, "exec", append([]string{"--detach", "--process", file.Name()}, more...)...)
	})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// begin fills in p, the process that command leaves behind.
func (f *foreign) begin(p *process, terminal bool, streams *spawn.Request, command func(args []string) error) error {
	work, err := os.MkdirTemp(f.dir, "begin-")
	if err != nil {
		return fmt.Errorf("making a directory for runtime %s: %w", f.Name, err)
	}
	defer os.RemoveAll(work)
	pidFile := filepath.Join(work, "pid")
	args := []string{"--pid-file", pidFile}
	if terminal {
		at, err := os.Open(work)
		if err != nil {
			return err
		}
		defer at.Close()
		console, err := listenConsole(at)
		if err != nil {
			return err
		}
		defer console.Close()
		// A path through /proc is not limited to 108 bytes.
		args = append(args, "--console-socket", fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), at.Fd(), consoleSocket))
		streams.Stdin, streams.Stdout, streams.Stderr = nil, nil, nil
		defer func() {
			if p.pid != 0 && p.console == nil {
				p.console, _ = acceptConsole(console) // nil where the runtime has sent none
			}
		}()
	}
	if err := command(args); err != nil {
		return err
	}
	text, err := os.ReadFile(pidFile)
	if err == nil {
		p.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return errs.New(errs.System, "runtime %s: reading the number of the process that it has made: %w", f.Name, err)
	}
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return errs.New(errs.System, "runtime %s: opening process %d, which it has made: %w", f.Name, p.pid, err)
	}
	p.pidfd = os.NewFile(uintptr(fd), "pidfd")
	p.wait = func() (status unix.WaitStatus, err error) {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			pidfd.Await(own) // in the poller: wait4 would keep a thread
		}
		for {
			_, err = unix.Wait4(p.pid, &status, 0, nil)
			if err != unix.EINTR {
				return status, err
			}
		}
	}
	return nil
}

// close lets go of a process that is not used.
func (p *process) close() { closeFiles([]*os.File{p.pidfd, p.console}) }

// run runs a command of the runtime on the container. Its error tells what the
// runtime has written to its log.
func (f *foreign) run(streams *spawn.Request, verb string, args ...string) error {
	log, err := os.CreateTemp(f.dir, "log-*")
	if err != nil {
		return fmt.Errorf("making a log for runtime %s: %w", f.Name, err)
	}
	defer os.Remove(log.Name())
	defer log.Close()
	ctx, cancel := context.WithTimeout(context.Background(), foreignPatience)
	defer cancel()
	words := append([]string{}, f.Args...)
	words = append(words, "--root", f.path("runtime"), "--log", log.Name(), "--log-format", "json", verb)
	cmd := exec.CommandContext(ctx, f.Path, append(append(words, args...), f.id)...)
	cmd.Dir, cmd.Env = f.dir, []string{"PATH=" + commandPath}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second // what it leaves running may hold that open
	if streams != nil {         // which the container inherits
		cmd.Stdout, cmd.Stderr = nil, nil
		if streams.Stdin != nil {
			cmd.Stdin = streams.Stdin
		}
		if streams.Stdout != nil {
			cmd.Stdout = streams.Stdout
		}
		if streams.Stderr != nil {
			cmd.Stderr = streams.Stderr
		}
	}
	if err = cmd.Run(); errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		err = nil
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return errs.New(errs.Deadline, "runtime %s: %s has not ended after %s", f.Name, verb, foreignPatience)
	}
	text, _ := os.ReadFile(log.Name())
	return f.failure(verb, err, lastError(text), said.String())
}

// failure is the error of a command, with the exit code that its reason stands
// for.
func (f *foreign) failure(verb string, err error, logged, said string) error {
	text := logged
	if text == "" {
		text = strings.TrimSpace(said)
	}
	if text == "" {
		text = err.Error()
	}
	e := &wire.Error{Kind: errs.System, ExitCode: 128, Message: fmt.Sprintf("%s %s failed: %s", f.Name, verb, text)}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		e.Kind, e.Message = errs.InvalidParameter, fmt.Sprintf("runtime %s cannot be run: %v", f.Name, err)
		return e
	}
	switch lower := strings.ToLower(text); {
	case strings.Contains(lower, "executable file not found"), strings.Contains(lower, "no such file or directory"), strings.Contains(lower, "not found in $path"):
		e.Kind, e.ExitCode = errs.InvalidParameter, 127
	case strings.Contains(lower, "permission denied"), strings.Contains(lower, "is a directory"), strings.Contains(lower, "exec format error"):
		e.Kind, e.ExitCode = errs.InvalidParameter, 126
	}
	return e
}

// lastError finds the last error in a log of JSON lines.
func lastError(log []byte) string {
	text := ""
	for line := range bytes.Lines(log) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && (entry.Level == "error" || entry.Level == "fatal" || entry.Level == "") && entry.Msg != "" {
			text = entry.Msg
		}
	}
	return strings.TrimSpace(text)
}

// remove has the runtime take away what is left of the container.
func (f *foreign) remove() error { return f.run(nil, "delete", "--force") }

// withNetwork returns l with the network namespace at path.
func withNetwork(l *specs.Linux, path string) *specs.Linux {
	out := *l
	out.Namespaces = append([]specs.LinuxNamespace{}, l.Namespaces...)
	for i := range out.Namespaces {
		if out.Namespaces[i].Type == specs.NetworkNamespace {
			out.Namespaces[i].Path = path
		}
	}
	return &out
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	return nil
}

// foreignGroup is the cgroup of a container that another runtime has made.
type foreignGroup struct {
	group
	by *foreign
}

// Remove has the runtime forget the container first: it keeps files of its own.
func (g foreignGroup) Remove() error {
	return errors.Join(g.by.remove(), g.group.Remove())
}
