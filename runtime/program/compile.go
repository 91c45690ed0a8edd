package program

import (
	"path"
	"slices"

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
	rootfs{&c}.mount()
	mounter{&c}.all()
	c.devices()
	terminal{&c}.give()
	c.created()
	e := entry{container: &c}
	e.identity() // before /proc/sys is read-only, and after hooks have made network devices
	e.workdir()
	c.protect()
	rootfs{&c}.enter()
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
	sync, hold, given, mountns       Reg
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

// opensFirst reports whether the caller has to open a mount's source: where the
// process cannot, or must not be the one. Else it does so in its turn, since
// mountinfo lists mounts in the order in which they were made (Linux 6.8).
func (c *container) opensFirst(m *mount) bool {
	switch {
	case c.users: // whose root may not look at it
		return c.privileged
	case !c.makes(specs.MountNamespace): // which may lack it
		return true
	}
	// The process's namespace is a slave of the host's, which learns nothing of
	// what is mounted there. Who shares a mount with the host says so twice.
	root, _, _ := parsePropagation(c.linux.RootfsPropagation)
	return m.ids != None || m.propagation == unix.MS_SHARED && root == unix.MS_SHARED
}

// plan reads namespaces and mounts, and asks for all that the caller has to open.
func (c *container) plan() {
	c.caller, c.console, c.netns, c.cgroupns = None, None, None, None
	c.sync, c.hold, c.given, c.mountns = None, None, None, None
	if !c.in.Detached {
		c.caller = c.need(Need{Kind: NeedCaller})
	}
	entrance{c}.plan()
	c.planSysctls()
	for i := range c.in.CgroupTasks {
		c.cgroups = append(c.cgroups, c.need(Need{Kind: NeedCgroup, Index: i}))
	}
	arrival{c}.needStreams()
	mayBorrow := c.makes(specs.PIDNamespace) && !c.has(specs.TimeNamespace) && (c.privileged || !c.users)
	if c.stops() || c.in.Hold || c.in.notifies() || !mayBorrow {
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
		mounter{c}.planIDMap(&x)
		switch {
		case x.remount:
		case x.copyUp && m.Type != "tmpfs":
			c.fail(errs.InvalidParameter, "mounts: %s: tmpcopyup is for a tmpfs", m.Destination)
		case x.bind && !path.IsAbs(m.Source):
			c.fail(errs.InvalidParameter, "mounts: %s: source %q is not an absolute path", m.Destination, m.Source)
		case x.bind: // options of a filesystem say nothing here, as with mount(2)
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
		switch given := slices.Index(c.in.Trees, m.Destination); {
		case given >= 0 && x.source == "":
			c.fail(errs.InvalidParameter, "mounts: %s: only the source of a bind mount can be given", m.Destination)
		case given >= 0:
			x.tree = c.need(Need{Kind: NeedGiven, Index: given, Context: x.context()})
		case x.source != "" && c.opensFirst(&x):
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
	arrival{c}.joinCgroups()
	arrival{c}.onHost()
	arrival{c}.personality(c.linux.Personality)
	arrival{c}.memoryPolicy(c.linux.MemoryPolicy)
	hide, late := c.users || !c.makes(specs.PIDNamespace), len(c.linux.TimeOffsets) > 0 && c.makes(specs.UserNamespace) // whom nobody shares
	if hide && !late {
		c.during("")
		arrival{c}.untraceable()
	}
	if c.users {
		users{c}.enter()
	} else {
		entrance{c}.join()
		mounter{c}.idmapTrees()
	}
	entrance{c}.make(hide && late)
	if c.users {
		users{c}.becomeRoot()
	}
	if c.makes(specs.NetworkNamespace) && !c.in.NetNS {
		c.loopback()
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
	if !c.makes(specs.MountNamespace) {
		// What others have there stays as it is, and sees what follows.
		if c.mountns != None {
			c.during("joining the mount namespace " + c.namespaces[specs.MountNamespace])
			c.setns(c.mountns, unix.CLONE_NEWNS, "setns")
			c.close(c.mountns)
		}
		// The copy of the root comes from the caller's namespace, where it may be shared.
		c.setattr(c.given, 0, 0, unix.MS_SLAVE, true, "making the host's mounts unreachable for ours")
	} else {
		c.slaveMounts()
	}
}

// slaveMounts lets nothing of what follows reach the host's mount table.
func (c *container) slaveMounts() {
	c.call(unix.SYS_MOUNT, "making the host's mounts unreachable for ours", nil, num(0), c.text("/"), num(0), imm(unix.MS_REC|unix.MS_SLAVE, formMS), num(0))
}
