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

	users      bool // there is a user namespace
	privileged bool // the caller has the rights of the host's root, or of what is the host to it
	user       Reg
	unshared   int         // CLONE_NEW* flags of namespaces that are made later than the process
	sysctl     []parameter // those that are still to be set
	v1         []Reg       // cgroup v1: hierarchies as detached mounts
}

// mount is a mount of the spec, read.
type mount struct {
	specs.Mount
	options
	source    string // what is bound
	recursive bool   // with the mounts below
	tree      Reg    // the same as a detached mount
	ids       Reg    // user namespace with the ids that it shows
	made      Reg    // what was mounted before the user namespace was entered, detached
}

// context says what steps for the mount serve.
func (m *mount) context() string {
	return "error mounting \"" + m.Source + "\" to rootfs at \"" + m.Destination + "\""
}

// plan reads namespaces and mounts, and asks for all that the caller has to open.
func (c *container) plan() {
	c.caller, c.console, c.netns, c.cgroupns = None, None, None, None
	c.sync, c.hold, c.tree, c.mountns = None, None, None, None
	if !c.in.Detached {
		c.caller = c.need(Need{Kind: NeedCaller})
	}
	c.planNamespaces()
	c.planSysctls()
	for i := range c.in.CgroupTasks {
		c.cgroups = append(c.cgroups, c.need(Need{Kind: NeedCgroup, Index: i}))
	}
	arrival{c}.needStreams()
	if c.in.Created || c.in.Hold || !c.makes(specs.PIDNamespace) || c.p.Twice || c.enters(specs.TimeNamespace) {
		c.sync = c.need(Need{Kind: NeedSync})
	}
	// A process with another user's rights must not be in our memory while
	// others can see it; nor is one that is to enter a time namespace let in.
	c.p.Borrow = c.sync == None || c.p.Twice && c.privileged && !c.enters(specs.TimeNamespace)
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
		x := mount{Mount: m, options: o, tree: None, made: None}
		if m.Destination == "/" {
			c.fail(errs.InvalidParameter, "mounts: %q cannot be mounted over the root", m.Source)
		}
		if m.Type == "bind" {
			x.bind, x.alone = !x.remount, x.remount
		}
		c.planIDMap(&x)
		switch {
		case x.remount:
		case x.copyUp && m.Type != "tmpfs":
			c.fail(errs.InvalidParameter, "mounts: %s: tmpcopyup is for a tmpfs", m.Destination)
		case x.bind && !path.IsAbs(m.Source):
			c.fail(errs.InvalidParameter, "mounts: %s: source %q is not an absolute path", m.Destination, m.Source)
		case x.bind && len(x.data) > 0:
			c.fail(errs.InvalidParameter, "mounts: %s: a bind mount has no option %q", m.Destination, x.data[0])
		case x.bind:
			x.source, x.recursive = m.Source, x.rbind
		case m.Type == "":
			c.fail(errs.InvalidParameter, "mounts: %s: the type is missing", m.Destination)
		case m.Type == "cgroup" && c.in.Facts.CgroupV2 && !c.has(specs.CgroupNamespace):
			// A mount of cgroup2 from the first cgroup namespace would change
			// the options of the host's (nsdelegate): a copy does not.
			x.source, x.recursive = "/sys/fs/cgroup", true
		case m.Type == "cgroup" && !c.in.Facts.CgroupV2 && !c.has(specs.CgroupNamespace) && c.cgroupns == None:
			c.cgroupns = c.need(Need{Kind: NeedNamespace, Path: "/proc/self/ns/cgroup", Flag: unix.CLONE_NEWCGROUP, Context: x.context()})
		}
		if x.source != "" && (c.privileged || !c.users) {
			x.tree = c.need(Need{Kind: NeedTree, Path: x.source, Recursive: x.recursive, Context: x.context()})
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
	if c.users || !c.makes(specs.PIDNamespace) {
		// Whoever shares a namespace with us must not trace us, or open what we
		// hold by /proc (CVE-2016-9962). Execve takes it back.
		c.prctl(unix.PR_SET_DUMPABLE, 0, 0, "becoming untraceable")
	}
	arrival{c}.joinCgroups()
	arrival{c}.onHost()
	if c.users {
		c.enterUsers()
	} else {
		c.joinNamespaces()
		c.idmapTrees()
	}
	c.makeNamespaces()
	if c.users {
		c.becomeRoot()
	}
	c.during("")
	if c.p.Twice && !c.in.Detached { // it is not inherited
		c.prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, "setting the parent-death signal")
	}
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
	} else {
		c.slaveMounts()
	}
	c.openTrees()
}

// slaveMounts lets nothing of what follows reach the host's mount table.
func (c *container) slaveMounts() {
	c.call(unix.SYS_MOUNT, "making the host's mounts unreachable for ours", nil, num(0), c.text("/"), num(0), imm(unix.MS_REC|unix.MS_SLAVE, formMS), num(0))
}

// rootfs mounts the root filesystem while the process still stands in the
// host's: an overlay on top of the host's root, a directory on itself, since
// hooks look for it there. enter makes it the only one.
func (c *container) rootfs() {
	c.during("mounting the root filesystem")
	attached := c.root == None && c.rootTree()
	if len(c.linux.MaskedPaths) > 0 {
		// An empty directory to put over others. It hides under the root
		// filesystem, attached, since Linux before 6.15 copies no detached mount.
		r := c.fsopen("tmpfs")
		c.options(r, []string{"mode=0555", "size=4k", "nr_inodes=2"})
		c.fscreate(r)
		c.made["mask"] = c.fsmount(r, attrRO|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		c.attachRoot(c.made["mask"])
	}
	if !attached {
		c.attachRoot(c.root)
	}
}

// attachRoot attaches what is to be the root, or to lie under it.
func (c *container) attachRoot(tree Reg) {
	dir := c.in.Root.Dir
	switch {
	case dir == "":
		c.attach(tree, cwd, "/", "attaching")
	case c.users: // its root may have no way to the directory
		done := c.label()
		closed := c.later(done, func() { c.attach(tree, cwd, "/", "attaching") })
		c.attach(tree, cwd, dir, "attaching", on(unix.EACCES, closed))
		c.place(done)
	default:
		c.attach(tree, cwd, dir, "attaching")
	}
}

// rootTree makes the root filesystem as a detached mount, and reports whether
// it had to be attached at once.
func (c *container) rootTree() (attached bool) {
	mapped := c.users && c.privileged && c.in.Root.IDMap
	if dir := c.in.Root.Dir; dir != "" {
		if c.root = c.tree; c.root == None {
			c.root = c.openTree(dir)
		}
		if mapped {
			c.idmap(c.root, c.user, true, "idmapping "+dir)
		}
		return false
	}
	o := c.in.Root.Overlay
	switch {
	case mapped && !c.in.Facts.DetachedLayers, c.users && c.privileged && !c.in.Facts.OverlayFD:
		c.root = c.overlayByPath(o, mapped)
		return false
	case !c.in.Facts.OverlayFD:
		c.legacyOverlay(o)
		return true
	}
	r := c.fsopen("overlay")
	c.fsset(r, "source", &overlayName)
	var trees []Reg // whose end is that of the detached mounts
	set := func(key, dir string, d Reg) {
		c.call(unix.SYS_FSCONFIG, "adding layer "+dir, nil, fd(r), imm(unix.FSCONFIG_SET_FD, formFsconfig), c.text(key), num(0), fd(d))
		c.close(d)
	}
	open := func(at Arg, name, dir string) Reg {
		return c.openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, "opening "+dir)
	}
	if !mapped {
		for _, dir := range o.Lower {
			set("lowerdir+", dir, open(cwd, dir, dir))
		}
		if o.Upper != "" {
			set("upperdir", o.Upper, open(cwd, o.Upper, o.Upper))
			set("workdir", o.Work, open(cwd, o.Work, o.Work))
		}
	} else {
		for _, dir := range o.Lower {
			t := c.layerTree(dir, true)
			set("lowerdir+", dir, open(fd(t), ".", dir))
			trees = append(trees, t)
		}
		if o.Upper != "" {
			base, upper, work := o.writers()
			t := c.layerTree(base, true)
			set("upperdir", o.Upper, open(fd(t), upper, o.Upper))
			set("workdir", o.Work, open(fd(t), work, o.Work))
			trees = append(trees, t)
		}
	}
	if o.Volatile {
		c.fsset(r, "volatile", nil)
	}
	c.asOwner(mapped, func() { c.fscreate(r) })
	c.root = c.fsmount(r, 0)
	for _, t := range trees {
		c.close(t)
	}
	return false
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
	base := common(all)
	short := func(dir string) string { return overlayEscape(below(base, dir)) }
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
