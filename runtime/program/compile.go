package program

import (
	"path"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Compile returns the program that starts what in describes. Its errors are
// of kind InvalidParameter for what a spec cannot mean and NotImplemented for
// what this runtime cannot do; both name the field.
func Compile(in Input) (*Program, error) {
	if err := check(in); err != nil {
		return nil, err
	}
	b := newBuilder(in)
	c := container{builder: b, spec: in.Spec, linux: in.Spec.Linux, process: in.Spec.Process, namespaces: map[specs.LinuxNamespaceType]string{}}
	if c.linux == nil {
		c.linux = &specs.Linux{}
	}
	c.plan()
	c.birth()
	c.rootfs()
	mounter{&c}.all()
	c.devices()
	terminal{&c}.give()
	c.created()
	e := entry{container: &c}
	e.identity() // before /proc/sys is read-only, and after hooks have made network devices
	e.workdir()
	c.protect()
	c.enter()
	e.credentials()
	e.exec()
	return b.finish()
}

// container is a builder with the spec that it works on.
type container struct {
	*builder
	spec    *specs.Spec
	linux   *specs.Linux
	process *specs.Process

	namespaces map[specs.LinuxNamespaceType]string // what the spec lists, with its path
	mounts     []mount

	caller, console, netns, cgroupns Reg
	sync, hold, tree, mountns        Reg
	stdio                            [3]Reg
	cgroups, preserved               []Reg
	joins                            []join
	readonlyDev                      bool
}

// mount is a mount of the spec, read.
type mount struct {
	specs.Mount
	options
	tree Reg // its source, for a bind
}

type join struct {
	ns   Reg
	flag int
	name specs.LinuxNamespaceType
}

// cloneFlag returns the CLONE_NEW* flag of a namespace.
func cloneFlag(t specs.LinuxNamespaceType) (int, bool) {
	switch t {
	case specs.MountNamespace:
		return unix.CLONE_NEWNS, true
	case specs.PIDNamespace:
		return unix.CLONE_NEWPID, true
	case specs.IPCNamespace:
		return unix.CLONE_NEWIPC, true
	case specs.UTSNamespace:
		return unix.CLONE_NEWUTS, true
	case specs.NetworkNamespace:
		return unix.CLONE_NEWNET, true
	case specs.CgroupNamespace:
		return unix.CLONE_NEWCGROUP, true
	}
	return 0, false
}

// has reports whether the container has a namespace of its own, new or joined.
func (c *container) has(ns specs.LinuxNamespaceType) bool {
	_, ok := c.namespaces[ns]
	return ok || ns == specs.NetworkNamespace && c.in.NetNS
}

// makes reports whether the container gets a new namespace.
func (c *container) makes(ns specs.LinuxNamespaceType) bool {
	p, ok := c.namespaces[ns]
	return ok && p == ""
}

// plan reads namespaces and mounts, and asks for all that the caller has to open.
func (c *container) plan() {
	c.caller, c.console, c.netns, c.cgroupns = None, None, None, None
	c.sync, c.hold, c.tree, c.mountns = None, None, None, None
	if !c.in.Detached {
		c.caller = c.need(Need{Kind: NeedCaller})
	}
	if c.in.NetNS {
		c.netns = c.need(Need{Kind: NeedNetNS, Flag: unix.CLONE_NEWNET})
	}
	for _, ns := range c.linux.Namespaces {
		flag, known := cloneFlag(ns.Type)
		_, twice := c.namespaces[ns.Type]
		switch {
		case !known:
			c.fail(errs.InvalidParameter, "linux.namespaces: unknown type %q", ns.Type)
			continue
		case twice:
			c.fail(errs.InvalidParameter, "linux.namespaces: %s is listed twice", ns.Type)
			continue
		}
		c.namespaces[ns.Type] = ns.Path
		switch {
		case ns.Type == specs.NetworkNamespace && c.in.NetNS:
		case ns.Path == "" && ns.Type == specs.CgroupNamespace: // unshared once the process is in its cgroup
		case ns.Path == "":
			c.p.Clone |= uint64(flag)
		default:
			n := Need{Kind: NeedNamespace, Path: ns.Path, Flag: flag, Context: "joining the " + string(ns.Type) + " namespace " + ns.Path}
			if ns.Type == specs.PIDNamespace {
				n.Kind = NeedPidNS
			}
			switch r := c.need(n); ns.Type {
			case specs.PIDNamespace:
			case specs.MountNamespace:
				c.mountns = r
			default:
				c.joins = append(c.joins, join{r, flag, ns.Type})
			}
		}
	}
	switch dir := c.in.Root.Dir; {
	case !c.has(specs.MountNamespace):
		c.fail(errs.InvalidParameter, "linux.namespaces: a container needs a mount namespace")
	case c.mountns == None:
	case dir == "":
		c.fail(errs.InvalidParameter, "linux.namespaces: an overlay is mounted in a mount namespace of its own, not in %s", c.namespaces[specs.MountNamespace])
	default: // as the caller sees it, not as the namespace to join does
		c.tree = c.need(Need{Kind: NeedTree, Path: dir, Recursive: true, Context: "mounting the root filesystem"})
	}
	for i := range c.in.CgroupTasks {
		c.cgroups = append(c.cgroups, c.need(Need{Kind: NeedCgroup, Index: i}))
	}
	arrival{c}.needStreams()
	if c.in.Created || c.in.Hold || !c.p.OwnPIDs() {
		c.sync = c.need(Need{Kind: NeedSync})
	}
	if c.in.Hold {
		c.hold = c.need(Need{Kind: NeedHold})
	}
	c.mounts = make([]mount, 0, len(c.spec.Mounts))
	for _, m := range c.spec.Mounts {
		o, err := parseOptions(m.Options)
		if err != nil {
			c.fail(errs.KindOf(err), "mounts: %s: %w", m.Destination, err)
		}
		m.Destination = path.Clean("/" + m.Destination)
		x := mount{Mount: m, options: o, tree: None}
		if m.Destination == "/" {
			c.fail(errs.InvalidParameter, "mounts: %q cannot be mounted over the root", m.Source)
		}
		if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
			c.fail(errs.NotImplemented, "mounts: %s: uidMappings and gidMappings are not supported", m.Destination)
		}
		if m.Type == "bind" {
			x.bind, x.alone = !x.remount, x.remount
		}
		context := "error mounting \"" + m.Source + "\" to rootfs at \"" + m.Destination + "\""
		switch {
		case x.remount:
		case x.copyUp && m.Type != "tmpfs":
			c.fail(errs.InvalidParameter, "mounts: %s: tmpcopyup is for a tmpfs", m.Destination)
		case x.bind && !path.IsAbs(m.Source):
			c.fail(errs.InvalidParameter, "mounts: %s: source %q is not an absolute path", m.Destination, m.Source)
		case x.bind && len(x.data) > 0:
			c.fail(errs.InvalidParameter, "mounts: %s: a bind mount has no option %q", m.Destination, x.data[0])
		case x.bind:
			x.tree = c.need(Need{Kind: NeedTree, Path: m.Source, Recursive: x.rbind, Context: context})
		case m.Type == "":
			c.fail(errs.InvalidParameter, "mounts: %s: the type is missing", m.Destination)
		case m.Type == "cgroup" && c.in.Facts.CgroupV2 && !c.has(specs.CgroupNamespace):
			// A mount of cgroup2 from the first cgroup namespace would change
			// the options of the host's (nsdelegate): a copy does not.
			x.tree = c.need(Need{Kind: NeedTree, Path: "/sys/fs/cgroup", Recursive: true, Context: context})
		case m.Type == "cgroup" && !c.in.Facts.CgroupV2 && !c.has(specs.CgroupNamespace) && c.cgroupns == None:
			c.cgroupns = c.need(Need{Kind: NeedNamespace, Path: "/proc/self/ns/cgroup", Flag: unix.CLONE_NEWCGROUP, Context: context})
		}
		c.mounts = append(c.mounts, x)
	}
}

// birth is what the process does before it touches mounts.
func (c *container) birth() {
	c.during("")
	if !c.in.Detached {
		c.prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, "setting the parent-death signal")
	}
	if !c.p.OwnPIDs() {
		// Whoever shares the pid namespace must not trace us, or open what we
		// hold by /proc (CVE-2016-9962). Execve takes it back.
		c.prctl(unix.PR_SET_DUMPABLE, 0, 0, "becoming untraceable")
	}
	arrival{c}.joinCgroups()
	if c.makes(specs.CgroupNamespace) {
		c.during("")
		c.unshare(unix.CLONE_NEWCGROUP, "creating the cgroup namespace")
	}
	if c.netns != None {
		c.during("joining the network namespace")
		c.setns(c.netns, unix.CLONE_NEWNET, "setns")
		c.close(c.netns)
	}
	for _, j := range c.joins {
		c.during("joining the " + string(j.name) + " namespace " + c.namespaces[j.name])
		c.setns(j.ns, j.flag, "setns")
		c.close(j.ns)
	}
	arrival{c}.onHost()
	c.during("")
	c.call(unix.SYS_SETSID, "creating the session", nil)
	if !c.in.KeepKeyring {
		arrival{c}.keyring()
	}
	c.call(unix.SYS_UMASK, "setting the umask", nil, imm(0, formOctal))
	if c.mountns != None {
		// What others have there stays as it is, and sees what follows.
		c.during("joining the mount namespace " + c.namespaces[specs.MountNamespace])
		c.setns(c.mountns, unix.CLONE_NEWNS, "setns")
		c.close(c.mountns)
		// The copy of the root comes from the caller's namespace, where it may be shared.
		c.setattr(c.tree, 0, 0, unix.MS_SLAVE, true, "making the host's mounts unreachable for ours")
		return
	}
	// Nothing of what follows may reach the host's mount table.
	c.call(unix.SYS_MOUNT, "making the host's mounts unreachable for ours", nil, num(0), c.text("/"), num(0), imm(unix.MS_REC|unix.MS_SLAVE, formMS), num(0))
}

// rootfs mounts the root filesystem while the process still stands in the
// host's: an overlay on top of the host's root, a directory on itself, since
// hooks look for it there. enter makes it the only one.
func (c *container) rootfs() {
	c.during("mounting the root filesystem")
	dir, over := c.in.Root.Dir, "/"
	if dir != "" {
		over = dir
	}
	if len(c.linux.MaskedPaths) > 0 {
		// An empty directory to put over others. It hides under the root
		// filesystem, attached, since Linux before 6.15 copies no detached mount.
		r := c.fsopen("tmpfs")
		c.options(r, []string{"mode=0555", "size=4k", "nr_inodes=2"})
		c.fscreate(r)
		c.made["mask"] = c.fsmount(r, attrRO|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		if dir != "" && c.tree == None {
			c.tree = c.openTree(dir)
		}
		c.attach(c.made["mask"], cwd, over, "attaching")
	}
	if dir != "" {
		if c.root = c.tree; c.root == None {
			c.root = c.openTree(dir)
		}
		c.attach(c.root, cwd, over, "attaching")
		return
	}
	o := c.in.Root.Overlay
	if !c.in.Facts.OverlayFD {
		c.legacyOverlay(o)
		return
	}
	r := c.fsopen("overlay")
	c.fsset(r, "source", &overlayName)
	set := func(key, dir string) {
		d := c.openat(cwd, dir, unix.O_RDONLY|unix.O_DIRECTORY, "opening "+dir)
		c.call(unix.SYS_FSCONFIG, "adding layer "+dir, nil, fd(r), imm(unix.FSCONFIG_SET_FD, formFsconfig), c.text(key), num(0), fd(d))
		c.close(d)
	}
	for _, dir := range o.Lower {
		set("lowerdir+", dir)
	}
	if o.Upper != "" {
		set("upperdir", o.Upper)
		set("workdir", o.Work)
	}
	if o.Volatile {
		c.fsset(r, "volatile", nil)
	}
	mounter{c}.context(r)
	c.fscreate(r)
	c.root = c.fsmount(r, 0)
	c.attach(c.root, cwd, over, "attaching")
}

// openTree makes a detached copy of a directory of the host with what is
// mounted below it.
func (c *container) openTree(dir string) Reg {
	return c.open(unix.SYS_OPEN_TREE, None, "opening "+dir, nil, cwd, c.text(dir), imm(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE, formTree))
}

// legacyOverlay mounts by one option string, which must fit a page: hence
// names relative to the directory that the layers have in common. The mount
// covers its own topmost directory, which the overlay has a private view of.
func (c *container) legacyOverlay(o *Overlay) {
	all := append([]string(nil), o.Lower...)
	if o.Upper != "" {
		all = append(all, o.Upper, o.Work)
	}
	base := path.Dir(path.Clean(all[0]))
	for _, dir := range all[1:] {
		for base != "/" && !strings.HasPrefix(path.Clean(dir), base+"/") {
			base = path.Dir(base)
		}
	}
	short := func(dir string) string {
		s := strings.TrimPrefix(strings.TrimPrefix(path.Clean(dir), base), "/")
		return overlayEscape(s)
	}
	var s strings.Builder
	for i, dir := range o.Lower {
		s.WriteString([]string{":", "lowerdir="}[min(1, max(0, 1-i))])
		s.WriteString(short(dir))
	}
	target := o.Lower[0]
	if o.Upper != "" {
		s.WriteString(",upperdir=" + short(o.Upper) + ",workdir=" + short(o.Work))
		target = o.Upper
	}
	if o.Volatile {
		s.WriteString(",volatile")
	}
	if label := c.linux.MountLabel; label != "" {
		s.WriteString(`,context="` + label + `"`)
	}
	if s.Len() >= 4096 {
		c.fail(errs.InvalidParameter, "root: the names of %d layers do not fit the options of a mount", len(o.Lower))
	}
	for _, dir := range all { // the mount would not say which one is missing
		c.close(c.openat(cwd, dir, unix.O_PATH|unix.O_DIRECTORY, "opening "+dir))
	}
	c.call(unix.SYS_CHDIR, "entering "+base, nil, c.text(base))
	c.call(unix.SYS_MOUNT, "mounting overlay", nil, c.text("overlay"), c.text(target), c.text("overlay"), imm(0, formMS), c.text(s.String()))
	c.root = c.openat(cwd, target, unix.O_PATH|unix.O_DIRECTORY, "opening "+target)
}

var overlayName = "overlay"

// overlayEscape quotes a path for overlay's mount options.
func overlayEscape(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), ",", `\,`), ":", `\:`)
}

// options sets a filesystem's own options.
func (b *builder) options(r Reg, data []string) {
	for _, s := range data {
		if key, value, ok := strings.Cut(s, "="); ok {
			b.fsset(r, key, &value)
		} else {
			b.fsset(r, key, nil)
		}
	}
}

// enter makes the new root the process's only one.
func (c *container) enter() {
	c.during("entering the root filesystem")
	c.call(unix.SYS_FCHDIR, "fchdir", nil, fd(c.root))
	if c.mountns != None {
		// pivot_root would move everybody in the namespace.
		c.call(unix.SYS_CHROOT, "chroot", nil, c.text("."))
	} else {
		c.call(unix.SYS_PIVOT_ROOT, "pivot_root", nil, c.text("."), c.text("."))
		// The host's root now lies over ours, with whatever lay over it. All of it
		// goes: until the way up from the root crosses no mount.
		covered := c.label()
		c.place(covered)
		c.call(unix.SYS_UMOUNT2, "detaching the host's root", nil, c.text("."), num(unix.MNT_DETACH))
		up := c.openat2(cwd, "..", unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV, "looking for the host's root", on(unix.EXDEV, covered))
		c.close(up)
	}
	c.call(unix.SYS_CHDIR, "chdir", nil, c.text("/"))
	set, propagation, recursive := uint64(0), uint64(0), false
	if c.spec.Root != nil && c.spec.Root.Readonly {
		set = attrRO
	}
	if s := c.linux.RootfsPropagation; s != "" {
		var ok bool
		if propagation, recursive, ok = parsePropagation(s); !ok {
			c.fail(errs.InvalidParameter, "linux.rootfsPropagation: unknown mode %q", s)
		}
	}
	if set != 0 {
		c.setattr(c.root, set, 0, 0, false, "making it read-only")
	}
	if propagation != 0 {
		c.setattr(c.root, 0, 0, propagation, recursive, "setting its propagation")
	}
}
