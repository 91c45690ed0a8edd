package oci

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/checkpoint"
	"github.com/davit-engine/davit/runtime/criu"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// criuRoot is the directory at which criu, and nobody else, sees the root
// filesystem mounted.
const criuRoot = "root"

// restoration is what restore is asked for.
type restoration struct {
	creation
	images
	lsmProfile      string
	lsmMountContext string
}

func newRestore() *command {
	var o restoration
	var noSubreaper bool
	c := &command{name: "restore", args: "<container-id>", about: "make a container of the files that checkpoint has written, by criu", min: 1, max: 1}
	f := &c.flags
	o.creation.bundleFlags(f)
	o.images.flags(f)
	f.toggle(&o.detach, "detach d", "return once the container runs")
	f.toggle(&noSubreaper, "no-subreaper", "leave orphans of the container to others")
	f.text(&o.lsmProfile, "lsm-profile", "kind:name", "AppArmor profile or SELinux label in place of the one that was written")
	f.text(&o.lsmMountContext, "lsm-mount-context", "context", "SELinux context of mounts in place of the one that was written")
	c.run = func(i *invocation, args []string) (int, error) {
		return i.foreground(o.detach, noSubreaper, false, func() (*session, error) { return i.restore(args[0], &o) })
	}
	return c
}

// restore makes a container and has criu make its processes. On error nothing
// of it is left.
func (i *invocation) restore(id string, o *restoration) (_ *session, err error) {
	b, err := readBundle(o.bundle)
	if err != nil {
		return nil, err
	}
	if err := o.check(b); err != nil {
		return nil, err
	}
	if _, err := b.root(); err != nil {
		return nil, err
	}
	call, err := o.call(i, criu.Restore, b.spec.Annotations)
	if err != nil {
		return nil, err
	}
	streams, err := checkpoint.ReadStreams(call.Images)
	if err != nil {
		return nil, err
	}
	if err := i.supersede(id); err != nil {
		return nil, err
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
	var open files
	defer open.close()
	defer s.leaveScope()
	groups := &spawn.Request{Spec: b.spec}
	if err := s.makeGroups(i, groups, &open); err != nil {
		return nil, err
	}
	defer os.Remove(filepath.Join(s.dir, criuRoot))
	if err := s.prepare(call, o, streams, &open); err != nil {
		return nil, err
	}
	call.Started = func(pid int) error { return checkpoint.Join(pid, groups, &call.Options) }
	var console *os.File
	call.Notify = func(e criu.Event) error {
		if e.File != nil {
			console = e.File
		}
		return s.restoring(e)
	}
	pid, err := call.Do()
	if err == nil {
		s.process, err = spawn.Adopt(pid, console)
	}
	if err != nil {
		if console != nil {
			console.Close()
		}
		return nil, err
	}
	if console == nil && o.consoleSocket != "" {
		return nil, errs.New(errs.InvalidParameter, "--console-socket: the checkpoint has no terminal")
	}
	return s, s.finish(&o.creation)
}

// supersede makes way for a container that is to come back by its own name.
func (i *invocation) supersede(id string) error {
	c, err := i.store.openLocked(id)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.release()
	if !c.Checkpointed || c.alive() {
		return nil // create says that it exists
	}
	b, err := c.config()
	if err != nil {
		return err
	}
	return c.destroy(i, b.spec.Hooks)
}

// prepare tells criu what the container is to be made of.
func (s *session) prepare(call *criu.Call, o *restoration, streams []string, open *files) error {
	root := filepath.Join(s.dir, criuRoot)
	if err := errors.Join(os.Mkdir(root, 0o700), os.Mkdir(s.notifyDir(), 0o755)); err != nil {
		return errs.Wrap(errs.System, err)
	}
	p := &call.Options
	p.Text(criu.Root, root)
	p.Flag(criu.RestoreSibling, true)
	p.Flag(criu.EvasiveDevices, true)
	p.Text(criu.LSMProfile, o.lsmProfile)
	p.Text(criu.LSMMountContext, o.lsmMountContext)
	if err := checkpoint.GiveNamespaces(p, s.bundle.spec, open.add); err != nil {
		return err
	}
	if err := checkpoint.InPlace(p, s.bundle.spec, s.bundle.spec.Root.Path); err != nil {
		return err
	}
	p.Pair(criu.ExtMount, notifyInside, s.notifyDir()) // if the checkpoint has it; what it had to say is said
	call.Streams = &[3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	checkpoint.GiveStreams(call, streams, func(f *os.File) { ownPipe(f, s.bundle.spec) })
	call.Apart = func() error { return mountRoot(s.Rootfs, root) }
	return nil
}

// ownPipe gives a standard stream to the container's user, as create does, and
// to its group of root, without which root of a user namespace cannot open it.
func ownPipe(f *os.File, s *specs.Spec) {
	uid, gid := int(s.Process.User.UID), -1
	if l := s.Linux; len(l.UIDMappings) > 0 {
		uid, gid = checkpoint.HostID(l.UIDMappings, s.Process.User.UID), checkpoint.HostID(l.GIDMappings, 0)
	}
	_ = unix.Fchown(int(f.Fd()), uid, gid) // not every pipe can be given away; then it stays as it is
}

// mountRoot gives criu the root filesystem as a mount point, which it wants,
// in a mount namespace that ends with it.
func mountRoot(rootfs, at string) error {
	err := checkpoint.Apart()
	if err == nil {
		err = unix.Mount(rootfs, at, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err != nil {
		return errs.New(errs.System, "mounting the root filesystem for criu: %w", err)
	}
	return nil
}

// restoring does what is to be done while criu waits. Hooks see the container
// as at create; those inside it are not run: it has been created and started
// once.
func (s *session) restoring(e criu.Event) error {
	spec := s.bundle.spec
	switch e.Name {
	case "setup-namespaces":
		if err := s.setProcess(e.Pid); err != nil {
			return err
		}
		s.hooked = duringCreate(spec.Hooks)
		if err := s.runHooks(spec.Hooks, &prestart, specs.StateCreating); err != nil {
			return err
		}
		return s.runHooks(spec.Hooks, &createRuntime, specs.StateCreating)
	case "post-restore": // all is there, and nothing runs yet
		if spec.Root.Readonly {
			return checkpoint.MakeReadonly(e.Pid)
		}
	}
	return nil
}
