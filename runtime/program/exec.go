package program

import (
	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecInput is everything that CompileExec looks at.
type ExecInput struct {
	Process *specs.Process
	File    string // as in Input
	Join    int    // CLONE_NEW* flags: the namespaces in which the container's first process is and the caller is not

	Seccomp      []byte // as in Input
	SeccompFlags uint32
	Listener     bool

	Facts       Facts
	CgroupTasks int  // number of tasks files to join (cgroup v1)
	PreserveFDs int  // as in Input
	HostRoot    bool // the root directory is that of the container's first process, whatever lies over it
	Detached    bool // the process outlives the caller
}

// joinable are the namespaces that an exec may join.
const joinable = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUSER | unix.CLONE_NEWTIME

// CompileExec returns the program by which a newly cloned process joins a
// running container and becomes in.Process there.
//
//	caller's pid namespace            container's
//	    cgroups, labels, scheduling
//	    setns, terminal, cwd, user
//	    clone ----------------------> setsid, streams, seccomp, capabilities
//	    (ends)                        execve
//
// What can be done before the process is visible inside is done before, so
// that whoever may trace processes there (CAP_SYS_PTRACE; nobody else can)
// finds one that has little more than it will have for good: CAP_SYS_ADMIN
// until a filter is loaded without no_new_privs, else CAP_SYS_RESOURCE. Nothing of
// the host is open by then but what the program itself passes on.
func CompileExec(in ExecInput) (*Program, error) {
	b := newBuilder(Input{Spec: &specs.Spec{Process: in.Process}, File: in.File, Seccomp: in.Seccomp, SeccompFlags: in.SeccompFlags, Listener: in.Listener,
		Facts: in.Facts, CgroupTasks: in.CgroupTasks, PreserveFDs: in.PreserveFDs, Detached: in.Detached})
	if err := checkProcess(b.in); err != nil {
		return nil, err
	}
	if in.Join&^joinable != 0 {
		return nil, errs.New(errs.InvalidParameter, "%#x is not a set of namespaces", in.Join)
	}
	b.p.Twice = in.Join&unix.CLONE_NEWPID != 0
	x := visitor{&container{builder: b, spec: b.in.Spec, linux: &specs.Linux{}, process: in.Process}, in.Join, None, None, None}
	x.users = x.joins(unix.CLONE_NEWUSER)
	x.plan(in.HostRoot)
	x.prepare()
	x.join()
	if x.console != None {
		x.during("opening the terminal")
		t := terminal{x.container}
		t.pair(t.ptmx(cwd))
	}
	e := entry{container: x.container}
	e.become()
	caps := e.capabilities()
	x.appear(&e, caps)
	e.settle(caps, false)
	e.exec()
	return b.finish()
}

// visitor is a process on its way into a container.
type visitor struct {
	*container
	namespaces   int
	target, base Reg // the container's first process, and its root
	time         Reg // its time namespace
}

// joins reports whether a namespace is joined.
func (x *visitor) joins(flag int) bool { return x.namespaces&flag != 0 }

func (x *visitor) plan(hostRoot bool) {
	x.caller, x.console, x.hold = None, None, None
	if !x.in.Detached {
		x.caller = x.need(Need{Kind: NeedCaller})
	}
	x.target = x.need(Need{Kind: NeedTarget})
	if hostRoot {
		x.base = x.need(Need{Kind: NeedRoot})
	}
	if x.joins(unix.CLONE_NEWTIME) { // once another user, one may not ask for it by pidfd
		x.time = x.need(Need{Kind: NeedTimeNS})
	}
	for i := range x.in.CgroupTasks {
		x.cgroups = append(x.cgroups, x.need(Need{Kind: NeedCgroup, Index: i}))
	}
	arrival{x.container}.needStreams()
	x.sync = x.need(Need{Kind: NeedSync})
}

// prepare does what needs the host's /proc, or rights that the container's user
// namespace does not give.
func (x *visitor) prepare() {
	x.during("")
	if !x.in.Detached {
		x.prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, "setting the parent-death signal")
	}
	a := arrival{x.container}
	a.affinity(initialCPUs)
	a.joinCgroups()
	a.affinity(finalCPUs)
	a.onHost()
	x.during("")
	a.untraceable()
}

// join enters the namespaces. Who has all rights on the host has them on each
// namespace, also on those that the container's user namespace does not own;
// so that one comes last. Anybody else gets rights by it.
func (x *visitor) join() {
	x.during("joining the container's namespaces")
	privileged := x.in.Facts.Caps&(1<<unix.CAP_SYS_ADMIN) != 0
	rest := x.namespaces &^ (unix.CLONE_NEWUSER | unix.CLONE_NEWTIME)
	if x.joins(unix.CLONE_NEWUSER) && !privileged {
		x.setns(x.target, rest|unix.CLONE_NEWUSER, "setns")
	} else {
		if rest != 0 {
			x.setns(x.target, rest, "setns")
		}
		if x.joins(unix.CLONE_NEWUSER) {
			x.setns(x.target, unix.CLONE_NEWUSER, "setns")
		}
	}
	if x.joins(unix.CLONE_NEWUSER) {
		// All capabilities of that namespace came with it. A terminal shall
		// belong to its root, if it has one.
		x.in.Facts.Caps = 1<<(x.in.Facts.LastCap+1) - 1
		none := x.label()
		x.call(unix.SYS_SETGID, "setgid", []Catch{on(unix.EINVAL, none)}, num(0))
		x.call(unix.SYS_SETUID, "setuid", []Catch{on(unix.EINVAL, none)}, num(0))
		x.place(none)
	}
	if x.base != None {
		x.during("entering the root of the container's first process")
		x.call(unix.SYS_FCHDIR, "fchdir", nil, fd(x.base))
		x.call(unix.SYS_CHROOT, "chroot", nil, x.text("."))
		x.close(x.base)
	}
	x.during("")
	x.call(unix.SYS_CHDIR, "entering the root", nil, x.text("/"))
	arrival{x.container}.keyring()
}

// appear makes the process that the container's others can see, with no more
// capabilities than the rest of the program takes.
func (x *visitor) appear(e *entry, caps capSets) {
	x.during("setting capabilities")
	// A limit of processes is meant for the one after execve, not for the two
	// that we are.
	last := x.in.Facts.Caps & (1 << unix.CAP_SYS_RESOURCE)
	if last == 0 || !x.process.NoNewPrivileges && len(x.in.Seccomp) > 0 || x.joins(unix.CLONE_NEWTIME) {
		last |= x.in.Facts.Caps & (1 << unix.CAP_SYS_ADMIN)
	}
	if (arrival{x.container}).schedulesLate() {
		last |= x.in.Facts.Caps & (1 << unix.CAP_SYS_NICE)
	}
	e.capset(capSets{effective: caps.effective | last, permitted: caps.permitted | last, inheritable: caps.inheritable})
	x.during("")
	if x.p.Twice {
		x.add(OpClone, "creating the process")
	}
	if (arrival{x.container}).schedulesLate() {
		arrival{x.container}.schedule()
		x.during("")
	}
	if x.time != None { // takes memory of one's own
		x.setns(x.time, unix.CLONE_NEWTIME, "joining the time namespace")
	}
	x.call(unix.SYS_SETSID, "creating the session", nil)
}
