package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/cgroup/systemd"
	"github.com/davit-engine/davit/runtime/checkpoint"
	"github.com/davit-engine/davit/runtime/seccomp"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func newCreate() *command {
	var o creation
	c := &command{name: "create", args: "<container-id>", about: "make a container from a bundle, up to the point where its program would run", min: 1, max: 1, forks: true}
	o.flags(&c.flags)
	c.run = func(i *invocation, args []string) (int, error) {
		o.hold, o.detach = true, true
		s, err := i.create(args[0], &o)
		if err != nil {
			return 1, err
		}
		s.close()
		return 0, nil
	}
	return c
}

// creation is what create and run are asked for.
type creation struct {
	bundle        string
	consoleSocket string
	pidFile       string
	noPivot       bool
	noNewKeyring  bool
	preserve      int

	hold   bool // the program waits for start
	detach bool // nobody here looks after the streams
}

func (o *creation) flags(f *flags) {
	o.bundleFlags(f)
	f.toggle(&o.noNewKeyring, "no-new-keyring", "keep the caller's session keyring")
	preserveFlag(f, &o.preserve)
}

// bundleFlags are those of restore as well.
func (o *creation) bundleFlags(f *flags) {
	f.text(&o.bundle, "bundle b", "directory", "the bundle (default: the working directory)")
	f.text(&o.consoleSocket, "console-socket", "socket", "where to send the master of the container's terminal")
	f.text(&o.pidFile, "pid-file", "file", "where to write the number of the first process")
	f.toggle(&o.noPivot, "no-pivot", "refused: the root is always entered by pivot_root")
}

// check refuses what does not go together.
func (o *creation) check(b *bundle) error {
	bad := func(text string) error { return errs.New(errs.InvalidParameter, "%s", text) }
	terminal := b.spec.Process.Terminal
	switch {
	case o.noPivot:
		return errs.New(errs.NotImplemented, "--no-pivot is not supported: without pivot_root the host's root stays within reach")
	case terminal && o.detach && o.consoleSocket == "":
		return bad("process.terminal needs --console-socket when the container is detached")
	case o.consoleSocket != "" && !(terminal && o.detach):
		return bad("--console-socket is for a detached container with process.terminal")
	}
	return nil
}

// session is a container with its first process, which this command has
// started.
type session struct {
	*container
	bundle  *bundle
	process *spawn.Process
	notify  *notify        // nil: nobody waits for readiness, or start is to listen
	hooked  bool           // hooks have seen the container
	scope   *systemd.Group // the control group, if systemd keeps it
}

func (s *session) close() {
	s.release()
	if s.notify != nil {
		s.notify.socket.Close()
	}
	if s.process != nil {
		s.process.PidFD.Close()
		if s.process.Console != nil {
			s.process.Console.Close()
		}
	}
}

// create makes a container and its process. On error nothing of it is left.
func (i *invocation) create(id string, o *creation) (_ *session, err error) {
	b, err := readBundle(o.bundle)
	if err != nil {
		return nil, err
	}
	if err := o.check(b); err != nil {
		return nil, err
	}
	request := &spawn.Request{Spec: b.spec, MakeCwd: true, Detached: true, KeepKeyring: o.noNewKeyring}
	if request.Root, err = b.root(); err != nil {
		return nil, err
	}
	if request.Seccomp, request.SeccompFlags, err = seccomp.Compile(b.spec.Linux.Seccomp); err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
	}
	s, err := i.begin(id, b)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.undo(i)
		}
	}()
	if err := s.offerNotify(b.spec); err != nil {
		return nil, err
	}
	if !o.hold {
		if s.notify, err = s.listenNotify(); err != nil {
			return nil, err
		}
	}
	var open files
	defer open.close()
	defer s.leaveScope()
	if err := s.makeGroups(i, request, &open); err != nil {
		return nil, err
	}
	if o.hold || len(startContainer.of(b.spec.Hooks)) > 0 {
		if request.Hold, err = s.makeHold(); err != nil {
			return nil, err
		}
		open.add(request.Hold)
	}
	if b.spec.Process.Terminal {
		sizeTerminal(b.spec.Process, o.detach)
	} else {
		request.Stdin, request.Stdout, request.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	if request.PreserveFDs, err = preserved(o.preserve, b.spec.Process); err != nil {
		return nil, err
	}
	if o.hold || duringCreate(b.spec.Hooks) { // who waits for start is recorded first: it would wait forever if we were killed
		request.Created = s.created
	}
	request.Listener = s.listener(b.spec.Linux.Seccomp, specs.StateCreating)
	if s.process, err = spawn.Start(request); err != nil {
		return nil, err
	}
	for _, w := range s.process.Warnings {
		i.log.warn("%s", w)
	}
	return s, s.finish(o)
}

// begin records a container that is still to be made.
func (i *invocation) begin(id string, b *bundle) (*session, error) {
	s := &session{bundle: b}
	var err error
	if s.container, err = i.store.create(id); err != nil {
		return nil, err
	}
	s.record = record{Version: specs.Version, ID: id, Creating: true, Bundle: b.dir, Rootfs: b.spec.Root.Path,
		Created: time.Now().UTC(), Owner: os.Geteuid(), Annotations: b.spec.Annotations}
	if !b.spec.Process.Terminal {
		s.Pipes = checkpoint.Pipes(os.Stdin, os.Stdout, os.Stderr)
	}
	if err := writeFile(filepath.Join(s.dir, configName), b.raw, 0o600); err != nil {
		s.undo(i)
		return nil, errs.New(errs.System, "keeping the spec: %w", err)
	}
	return s, nil
}

// makeGroups makes the groups that the process is to join, and records them.
func (s *session) makeGroups(i *invocation, request *spawn.Request, open *files) error {
	if err := s.makeGroup(i, request, open); err != nil {
		return err
	}
	if err := makeResctrl(&s.record, s.bundle.spec.Linux.IntelRdt, request, open); err != nil {
		return err
	}
	return s.save()
}

// leaveScope lets go of a systemd scope: the process is in it, or nobody ever
// will be.
func (s *session) leaveScope() {
	if s.scope != nil {
		s.scope.Release()
	}
}

// created runs the hooks that want the namespaces made and the root not
// entered.
func (s *session) created(pid int) error {
	if err := s.setProcess(pid); err != nil {
		return err
	}
	h := s.bundle.spec.Hooks
	s.hooked = duringCreate(h)
	if err := s.runHooks(h, &prestart, specs.StateCreating); err != nil {
		return err
	}
	if err := s.runHooks(h, &createRuntime, specs.StateCreating); err != nil {
		return err
	}
	return s.runHooksInside(s.bundle, &createContainer, specs.StateCreating)
}

// finish tells whoever has to know of a container that was made.
func (s *session) finish(o *creation) error {
	s.Creating = false
	if err := s.setProcess(s.process.Pid); err != nil {
		return err
	}
	if o.consoleSocket != "" {
		if err := sendConsole(o.consoleSocket, s.process.Console); err != nil {
			return err
		}
	}
	return writePid(o.pidFile, s.process.Pid)
}

// writePid writes a pid file, if one is asked for.
func writePid(path string, pid int) error {
	if path == "" {
		return nil
	}
	if err := writeFile(path, []byte(strconv.Itoa(pid)), 0o666); err != nil {
		return errs.New(errs.System, "writing the pid file: %w", err)
	}
	return nil
}

// undo takes back what create did.
func (s *session) undo(i *invocation) {
	if s.process != nil {
		_ = unix.PidfdSendSignal(int(s.process.PidFD.Fd()), unix.SIGKILL, nil, 0)
		_, _ = s.process.Wait()
	}
	h := s.bundle.spec.Hooks
	if !s.hooked {
		h = nil
	}
	if err := s.destroy(i, h); err != nil {
		i.log.warn("removing what was made of container %s: %v", s.ID, err)
	}
	s.close()
}

// makeGroup makes the control group, as far as this user may, and opens what
// the process needs to join it.
func (s *session) makeGroup(i *invocation, r *spawn.Request, open *files) error {
	h, err := cgroup.Discover()
	if err != nil {
		if i.withoutRights() && !limited(s.bundle.spec.Linux.Resources) {
			i.log.debug("container %s has no control group: %v", s.ID, err)
			return nil
		}
		return err
	}
	l := s.bundle.spec.Linux
	var options []cgroup.Option
	if i.withoutRights() {
		options = append(options, cgroup.Rootless())
	}
	if uid, gid, ok := delegation(s.bundle.spec); ok {
		options = append(options, cgroup.Delegate(uid, gid))
	}
	res := restricted(l.Resources)
	var g *cgroup.Cgroup
	if i.systemd {
		if s.scope, err = newScope(h, s.bundle.spec, s.ID, res, i.withoutRights(), options); err == nil {
			unit := s.scope.Unit()
			s.Scope, g = &unit, s.scope.Cgroup
		}
	} else {
		var path string
		if path, err = groupPath(h, l.CgroupsPath, s.ID); err == nil {
			g, err = h.Create(path, res, options...)
		}
	}
	if err != nil {
		return fmt.Errorf("making the control group: %w", err)
	}
	s.Cgroup = g.Paths()
	return open.join(g, &r.CgroupTasks, &r.CgroupDir)
}

// withoutRights reports whether a container may do without control groups.
func (i *invocation) withoutRights() bool {
	return i.rootless == "true" || i.rootless == "auto" && unprivileged()
}

// restricted returns the resources with a list of devices in any case: a spec
// that lists none means the standard ones, not all.
func restricted(r *specs.LinuxResources) *specs.LinuxResources {
	if r == nil {
		r = &specs.LinuxResources{}
	}
	if len(r.Devices) > 0 {
		return r
	}
	with := *r
	with.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	return &with
}

// limited reports whether resources ask for anything but devices.
func limited(r *specs.LinuxResources) bool {
	return r != nil && (r.Memory != nil || r.CPU != nil || r.Pids != nil || r.BlockIO != nil || len(r.HugepageLimits) > 0 ||
		r.Network != nil || len(r.Rdma) > 0 || len(r.Unified) > 0)
}

// makeHold makes the FIFO at which the process waits for start.
func (c *container) makeHold() (*os.File, error) {
	path := filepath.Join(c.dir, holdName)
	err := unix.Mkfifo(path, 0o600)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_RDWR, 0); err == nil {
			return f, nil
		}
	}
	return nil, errs.New(errs.System, "making the FIFO for start: %w", err)
}

// files are open until a command has done with them.
type files []*os.File

func (f *files) add(file *os.File) { *f = append(*f, file) }

func (f *files) close() {
	for _, file := range *f {
		file.Close()
	}
}

// join opens what a process needs to become a member of g.
func (f *files) join(g *cgroup.Cgroup, tasks *[]*os.File, dir **os.File) (err error) {
	if *tasks, err = g.Tasks(); err != nil {
		return err
	}
	*f = append(*f, *tasks...)
	if *dir, err = g.Dir(); err == nil && *dir != nil {
		f.add(*dir)
	}
	return err
}
