package oci

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/checkpoint"
	"github.com/davit-engine/davit/runtime/criu"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// images are the options that checkpoint and restore have in common.
type images struct {
	path, work     string
	tcpEstablished bool
	extUnixSk      bool
	shellJob       bool
	fileLocks      bool
	autoDedup      bool
	cgroups        string // how criu treats control groups
}

func (o *images) flags(f *flags) {
	f.text(&o.path, "image-path", "directory", "criu's files (default: ./checkpoint)")
	f.text(&o.work, "work-path", "directory", "criu's log (default: beside its files)")
	f.toggle(&o.tcpEstablished, "tcp-established", "allow open TCP connections")
	f.toggle(&o.extUnixSk, "ext-unix-sk", "allow unix sockets with another end outside")
	f.toggle(&o.shellJob, "shell-job", "allow a session and terminal of a shell outside")
	f.toggle(&o.fileLocks, "file-locks", "allow file locks")
	f.toggle(&o.autoDedup, "auto-dedup", "keep no memory page twice")
	f.text(&o.cgroups, "manage-cgroups-mode", "soft|full|strict|ignore", "how criu treats control groups (default soft)")
	f.add("empty-ns", "network", "always so: network namespaces are made, and what is in them is for hooks", func(v string) error {
		if v != "network" {
			return fmt.Errorf("namespace %q cannot be left empty, only network", v)
		}
		return nil
	})
	refusal := func(names, value string, bare string) {
		f.add(names, value, "refused: memory goes to and comes from files only", func(v string) error {
			if v == "false" {
				return nil
			}
			return errs.New(errs.NotImplemented, "not supported: memory goes to and comes from files only")
		}).bare = bare
	}
	refusal("lazy-pages", "", "true")
	refusal("page-server", "address:port", "")
	refusal("status-fd", "fd", "")
}

// call is what the options say, in criu's words.
func (o *images) call(i *invocation, kind criu.Kind, annotations map[string]string) (*criu.Call, error) {
	modes := map[string]uint64{"": criu.CgroupDefault, "soft": criu.CgroupSoft, "full": criu.CgroupFull, "strict": criu.CgroupStrict, "ignore": criu.CgroupIgnore}
	mode, ok := modes[o.cgroups]
	if !ok {
		return nil, errs.New(errs.InvalidParameter, "--manage-cgroups-mode is soft, full, strict or ignore, not %q", o.cgroups)
	}
	c := &criu.Call{Program: i.criu, Kind: kind, Images: cmp.Or(o.path, "checkpoint"), Work: o.work}
	for _, dir := range []*string{&c.Images, &c.Work} {
		if *dir == "" {
			continue
		}
		var err error
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, errs.Wrap(errs.System, err)
		}
	}
	if c.Work != "" {
		if err := os.MkdirAll(c.Work, 0o700); err != nil {
			return nil, errs.New(errs.System, "--work-path: %w", err)
		}
	}
	config, given := annotations["org.criu.config"]
	if !given {
		config = "/etc/criu/runc.conf"
	}
	p := &c.Options
	p.Text(criu.ConfigFile, config)
	checkpoint.Common(p)
	p.Number(criu.ManageCgroupsMode, mode)
	p.Flag(criu.TCPEstablished, o.tcpEstablished)
	p.Flag(criu.ExtUnixSk, o.extUnixSk)
	p.Flag(criu.ShellJob, o.shellJob)
	p.Flag(criu.FileLocks, o.fileLocks)
	p.Flag(criu.AutoDedup, o.autoDedup)
	return c, nil
}

// checkpointing is what checkpoint is asked for.
type checkpointing struct {
	images
	parent          string
	preDump         bool
	leaveRunning    bool
	linkRemap       bool
	tcpSkipInFlight bool
}

func newCheckpoint() *command {
	var o checkpointing
	c := &command{name: "checkpoint", args: "<container-id>", about: "write a container's processes to files, by criu", min: 1, max: 1}
	f := &c.flags
	o.images.flags(f)
	f.text(&o.parent, "parent-path", "directory", "files of an earlier pre-dump, as seen from the image path")
	f.toggle(&o.preDump, "pre-dump", "write memory only, and leave the container running")
	f.toggle(&o.leaveRunning, "leave-running", "leave the container running")
	f.toggle(&o.linkRemap, "link-remap", "allow files that were unlinked, by a name made for them")
	f.toggle(&o.tcpSkipInFlight, "tcp-skip-in-flight", "leave out connections that are being made")
	c.run = func(i *invocation, args []string) (int, error) { return 0, i.checkpoint(args[0], &o) }
	return c
}

func (i *invocation) checkpoint(id string, o *checkpointing) error {
	c, err := i.store.openLocked(id)
	if err != nil {
		return err
	}
	defer c.release()
	if s := c.status(); s != specs.StateRunning && s != statePaused {
		return errs.New(errs.Conflict, "container cannot be checkpointed in %s state", s)
	}
	b, err := c.config()
	if err != nil {
		return err
	}
	kind := criu.Dump
	if o.preDump {
		kind = criu.PreDump
	}
	call, err := o.call(i, kind, c.Annotations)
	if err != nil {
		return err
	}
	if err := o.prepare(call); err != nil {
		return err
	}
	p := &call.Options
	p.Text(criu.Root, c.Rootfs)
	p.Number(criu.Pid, uint64(c.Pid))
	p.Flag(criu.LeaveRunning, o.leaveRunning)
	p.Flag(criu.LinkRemap, o.linkRemap)
	p.Flag(criu.TCPSkipInFlight, o.tcpSkipInFlight)
	if g := c.group(); g != nil {
		p.Text(criu.FreezeCgroup, g.Freezer())
	}
	if err := checkpoint.GivenNamespaces(p, b.spec, c.Pid); err != nil {
		return err
	}
	if !o.preDump {
		if _, err := os.Stat(c.notifyDir()); err == nil {
			b.spec.Mounts = append(b.spec.Mounts, c.notifyMount())
		}
		if err := checkpoint.Describe(call, b.spec, c.Pid, c.Pipes); err != nil {
			return err
		}
	}
	if _, err := call.Do(); err != nil {
		return err
	}
	if err := checkpoint.GiveImages(call.Images, b.spec.Linux); err != nil {
		return err
	}
	if o.preDump || o.leaveRunning {
		return nil
	}
	c.Checkpointed = true
	return c.save()
}

// prepare makes the directory for criu's files.
func (o *checkpointing) prepare(call *criu.Call) error {
	if err := os.MkdirAll(call.Images, 0o700); err != nil {
		return errs.New(errs.System, "--image-path: %w", err)
	}
	if o.parent == "" {
		return nil
	}
	if filepath.IsAbs(o.parent) {
		return errs.New(errs.InvalidParameter, "--parent-path is relative to --image-path, not %s", o.parent)
	}
	st, err := os.Stat(filepath.Join(call.Images, o.parent))
	if err == nil && !st.IsDir() {
		err = &fs.PathError{Op: "open", Path: o.parent, Err: unix.ENOTDIR}
	}
	if err != nil {
		return errs.New(errs.InvalidParameter, "--parent-path: %w", err)
	}
	call.Options.Text(criu.ParentImages, o.parent)
	call.Options.Flag(criu.TrackMem, true)
	return nil
}
