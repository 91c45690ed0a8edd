package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/checkpoint"
	"github.com/davit-engine/davit/runtime/criu"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// criuRoot is the directory in the run directory at which criu, and nobody
// else, sees the root filesystem mounted.
const criuRoot = "root"

// criuEnv lets criu find the programs that it uses: a shim has no PATH.
var criuEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// dump has criu write the container's processes to files.
func (s *supervisor) dump(r *wire.Dump) error {
	if err := s.canCheckpoint(r.Spec); err != nil {
		return err
	}
	if !s.dumping.TryLock() {
		return errs.New(errs.Conflict, "a checkpoint of the container is being made")
	}
	defer s.dumping.Unlock()
	call := criuCall(criu.Dump, &r.Checkpoint)
	p := &call.Options
	p.Number(criu.Pid, uint64(s.process.pid))
	p.Flag(criu.LeaveRunning, r.LeaveRunning)
	if s.cgroup != nil {
		p.Text(criu.FreezeCgroup, cgroup.Open(s.cgroup.Paths()).Freezer())
	}
	spec := givenNetwork(r.Spec, fmt.Sprintf("/proc/%d/ns/net", s.process.pid))
	if err := checkpoint.GivenNamespaces(p, spec, s.process.pid); err != nil {
		return err
	}
	if err := checkpoint.Describe(call, spec, s.process.pid, s.pipes()); err != nil {
		return err
	}
	_, err := call.Do()
	return err
}

// canCheckpoint refuses what criu, or this code, cannot.
func (s *supervisor) canCheckpoint(spec *specs.Spec) error {
	switch {
	case spec == nil || spec.Process == nil || spec.Linux == nil || spec.Root == nil:
		return errs.New(errs.InvalidParameter, "checkpoint request without a Linux process")
	case s.foreign != nil:
		return errs.New(errs.NotImplemented, "checkpoints are made by the engine's own runtime, not with --runtime")
	case len(spec.Linux.UIDMappings) > 0:
		return errs.New(errs.NotImplemented, "criu restores no idmapped mounts: a container with a user namespace of its own cannot be checkpointed; run it with --userns host")
	}
	return nil
}

// criuCall has the options of dump and restore alike.
func criuCall(kind criu.Kind, c *wire.Checkpoint) *criu.Call {
	call := &criu.Call{Program: c.Criu, Kind: kind, Images: c.Dir, Work: c.Work, Env: criuEnv}
	p := &call.Options
	checkpoint.Common(p)
	p.Number(criu.ManageCgroupsMode, criu.CgroupSoft)
	p.Flag(criu.ExtUnixSk, true)
	p.Flag(criu.FileLocks, true)
	return call
}

// givenNetwork says where the network namespace is that the container was given,
// or is to be given, by a descriptor.
func givenNetwork(spec *specs.Spec, path string) *specs.Spec {
	s, l := *spec, *spec.Linux
	l.Namespaces = slices.Clone(l.Namespaces)
	for i := range l.Namespaces {
		if n := &l.Namespaces[i]; n.Type == specs.NetworkNamespace && n.Path == "" {
			n.Path = path
		}
	}
	s.Linux = &l
	return &s
}

// pipes are criu's names of the standard streams.
func (s *supervisor) pipes() []string {
	streams := make([]*os.File, 3)
	if !s.tty {
		streams[0] = s.in.file
		copy(streams[1:], s.out.files)
	}
	return checkpoint.Pipes(streams...)
}

// restore has criu make the container's processes, in place of spawn.
func (s *supervisor) restore(r *wire.Start, request *spawn.Request, st *streams) (*process, error) {
	if err := s.canCheckpoint(r.Spec); err != nil {
		return nil, err
	}
	if r.Root.Overlay == nil {
		return nil, errs.New(errs.NotImplemented, "a checkpoint is restored on an overlay only")
	}
	names, err := checkpoint.ReadStreams(r.Checkpoint.Dir)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(r.RunDir, criuRoot)
	if err := os.Mkdir(root, 0o700); err != nil {
		return nil, fmt.Errorf("restoring: %w", err)
	}
	defer os.Remove(root)
	var open []*os.File
	defer func() { closeFiles(open) }()
	call := criuCall(criu.Restore, r.Checkpoint)
	p := &call.Options
	p.Text(criu.Root, root)
	p.Flag(criu.RestoreSibling, true)
	p.Flag(criu.EvasiveDevices, true)
	spec := r.Spec
	if request.NetNS != nil {
		err := control(request.NetNS, func(fd int) error {
			spec = givenNetwork(spec, fmt.Sprintf("/proc/self/fd/%d", fd))
			return checkpoint.GiveNamespaces(p, spec, func(f *os.File) { open = append(open, f) })
		})
		if err != nil {
			return nil, err
		}
	} else if err := checkpoint.GiveNamespaces(p, spec, func(f *os.File) { open = append(open, f) }); err != nil {
		return nil, err
	}
	call.Streams = &[3]*os.File{st.child[0], st.child[1], st.child[2]}
	for i, f := range call.Streams {
		if f == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return nil, fmt.Errorf("restoring: %w", err)
			}
			open = append(open, null)
			call.Streams[i] = null
		}
	}
	checkpoint.GiveStreams(call, names, func(f *os.File) {
		_ = control(f, func(fd int) error { return unix.Fchown(fd, int(spec.Process.User.UID), -1) }) // as at a start; what refuses it stays as it is
	})
	call.Apart = func() error {
		if err := checkpoint.Apart(); err != nil {
			return fmt.Errorf("restoring: %w", err)
		}
		if err := mountOverlay(r.Root.Overlay, root); err != nil {
			return err
		}
		return checkpoint.InPlace(p, spec, root)
	}
	call.Started = func(pid int) error { return checkpoint.Join(pid, request, p) }
	var console *os.File
	call.Notify = func(e criu.Event) error {
		if e.File != nil {
			console = e.File
		}
		if e.Name == "post-restore" && spec.Root.Readonly { // all is there, and nothing runs yet
			return checkpoint.MakeReadonly(e.Pid)
		}
		return nil
	}
	pid, err := call.Do()
	if err == nil {
		var adopted *spawn.Process
		if adopted, err = spawn.Adopt(pid, console); err == nil {
			return pollingProcess(adopted), nil
		}
	}
	if console != nil {
		console.Close()
	}
	return nil, err
}

// mountOverlay mounts a container's root filesystem, in the calling thread's
// mount namespace.
func mountOverlay(o *program.Overlay, at string) error {
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	lower := make([]string, len(o.Lower))
	for i, dir := range o.Lower {
		lower[i] = escape.Replace(dir)
	}
	options := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + escape.Replace(o.Upper) + ",workdir=" + escape.Replace(o.Work)
	if len(options) >= os.Getpagesize() {
		return errs.New(errs.NotImplemented, "an image of %d layers is too many for restoring a checkpoint", len(o.Lower))
	}
	err := unix.Mount("overlay", at, "overlay", 0, options)
	if errors.Is(err, unix.EBUSY) {
		return errs.New(errs.Conflict, "mounting the root filesystem for criu: %w: it is mounted elsewhere", err)
	}
	if err != nil {
		return errs.New(errs.System, "mounting the root filesystem for criu: %w", err)
	}
	return nil
}
