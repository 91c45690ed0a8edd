package program

import (
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// join is a namespace that the process enters by a descriptor.
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
	case specs.UserNamespace:
		return unix.CLONE_NEWUSER, true
	case specs.TimeNamespace:
		return unix.CLONE_NEWTIME, true
	}
	return 0, false
}

// has reports whether the container has a namespace of its own, new or joined.
func (c *container) has(ns specs.LinuxNamespaceType) bool {
	_, ok := c.namespaces[ns]
	return ok || ns == specs.NetworkNamespace && c.in.NetNS || ns == specs.UserNamespace && c.in.UserNS
}

// makes reports whether the container gets a new namespace.
func (c *container) makes(ns specs.LinuxNamespaceType) bool {
	p, ok := c.namespaces[ns]
	return ok && p == "" && !(ns == specs.NetworkNamespace && c.in.NetNS || ns == specs.UserNamespace && c.in.UserNS)
}

// enters reports whether the container gets a namespace that exists.
func (c *container) enters(ns specs.LinuxNamespaceType) bool { return c.has(ns) && !c.makes(ns) }

// entrance is how a process gets into its namespaces.
type entrance struct{ *container }

// plan reads the list of namespaces, and decides how the process gets
// into them. A simple one is made in its namespaces. With a user namespace it
// needs rights on the host for a while, so all others are made later, owned by
// that namespace; into those for processes and time one is only born.
func (c entrance) plan() {
	for _, ns := range c.linux.Namespaces {
		_, known := cloneFlag(ns.Type)
		_, twice := c.namespaces[ns.Type]
		switch {
		case !known:
			c.fail(errs.InvalidParameter, "linux.namespaces: unknown type %q", ns.Type)
		case twice:
			c.fail(errs.InvalidParameter, "linux.namespaces: %s is listed twice", ns.Type)
		default:
			c.namespaces[ns.Type] = ns.Path
		}
	}
	c.p.Twice = c.has(specs.UserNamespace) && c.has(specs.PIDNamespace) || c.makes(specs.TimeNamespace)
	if c.in.NetNS {
		c.netns = c.need(Need{Kind: NeedNetNS, Flag: unix.CLONE_NEWNET})
	}
	users(c).plan()
	for _, ns := range c.linux.Namespaces {
		flag, _ := cloneFlag(ns.Type)
		switch {
		case ns.Type == specs.UserNamespace:
		case ns.Type == specs.NetworkNamespace && c.in.NetNS:
		case ns.Path == "" && (c.users || ns.Type == specs.CgroupNamespace || ns.Type == specs.TimeNamespace || ns.Type == specs.PIDNamespace && c.p.Twice):
			c.unshared |= flag
		case ns.Path == "":
			c.p.Clone |= uint64(flag)
		default:
			n := Need{Kind: NeedNamespace, Path: ns.Path, Flag: flag, Context: joining(ns.Type, ns.Path)}
			if ns.Type == specs.PIDNamespace && !c.p.Twice {
				n.Kind = NeedPidNS
			}
			switch r := c.need(n); {
			case n.Kind == NeedPidNS:
			case ns.Type == specs.MountNamespace:
				c.mountns = r
			default:
				c.joins = append(c.joins, join{r, flag, ns.Type})
			}
		}
	}
	switch dir := c.in.Root.Dir; {
	case c.makes(specs.MountNamespace):
	case c.mountns == None && (dir == "" || c.users):
		c.fail(errs.InvalidParameter, "linux.namespaces: a container with an overlay or a user namespace needs a mount namespace")
	case dir == "":
		c.fail(errs.InvalidParameter, "linux.namespaces: an overlay is mounted in a mount namespace of its own, not in %s", c.namespaces[specs.MountNamespace])
	default: // as the caller sees it, not as the namespace to join does
		c.given = c.need(Need{Kind: NeedTree, Path: dir, Recursive: true, Context: "mounting the root filesystem"})
	}
}

func joining(t specs.LinuxNamespaceType, path string) string {
	return "joining the " + string(t) + " namespace " + path
}

// join enters what exists.
func (c entrance) join() {
	if c.netns != None {
		c.during("joining the network namespace")
		c.setns(c.netns, unix.CLONE_NEWNET, "setns")
		c.close(c.netns)
	}
	for _, j := range c.joins {
		c.during(joining(j.name, c.namespaces[j.name]))
		c.setns(j.ns, j.flag, "setns")
		c.close(j.ns)
	}
	c.during("")
}

// make makes what the process was not born with, and has it born
// again where that takes effect for children only.
func (c entrance) make(hide bool) {
	c.during("")
	if c.unshared != 0 {
		c.unshare(c.unshared, "creating the namespaces")
	}
	c.timeOffsets()
	if hide {
		arrival(c).untraceable()
	}
	if c.p.Twice {
		c.add(OpClone, "creating the container's process")
	}
}

// timeOffsets moves the clocks of a time namespace that nobody is in yet.
func (c entrance) timeOffsets() {
	if len(c.linux.TimeOffsets) == 0 {
		return
	}
	if !c.makes(specs.TimeNamespace) {
		c.fail(errs.InvalidParameter, "linux.timeOffsets: they are for a new time namespace")
	}
	var s strings.Builder
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := c.linux.TimeOffsets[clock]; ok {
			s.WriteString(clock + " " + strconv.FormatInt(o.Secs, 10) + " " + strconv.FormatUint(uint64(o.Nanosecs), 10) + "\n")
		}
	}
	for clock := range c.linux.TimeOffsets {
		if !slices.Contains([]string{"monotonic", "boottime"}, clock) {
			c.fail(errs.InvalidParameter, "linux.timeOffsets: no clock %q, only monotonic and boottime", clock)
		}
	}
	c.during("setting the time namespace's offsets")
	c.put(cwd, "/proc/self/timens_offsets", s.String(), "writing")
	c.during("")
}

// loopback brings up the one interface that a new network namespace has, as
// engines expect of a runtime.
func (c *container) loopback() {
	c.during("bringing up the loopback interface")
	r := c.open(unix.SYS_SOCKET, None, "socket", nil, num(unix.AF_UNIX), num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), num(0))
	request := make([]byte, 40) // struct ifreq: a name of 16 bytes, flags
	copy(request, "lo")
	put32(request[16:], unix.IFF_UP|unix.IFF_RUNNING)
	c.call(unix.SYS_IOCTL, "setting its flags", nil, fd(r), imm(unix.SIOCSIFFLAGS, formIoctl), mem(c.block(Block{Data: request, form: formWords})))
	c.close(r)
}
