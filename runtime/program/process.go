package program

import (
	"encoding/binary"
	"path"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func itoa(n int) string                { return strconv.Itoa(n) }
func put64(b []byte, v uint64)         { binary.NativeEndian.PutUint64(b, v) }
func put32(b []byte, v uint32)         { binary.NativeEndian.PutUint32(b, v) }
func get64(b []byte) uint64            { return binary.NativeEndian.Uint64(b) }
func get32(b []byte) uint32            { return binary.NativeEndian.Uint32(b) }
func wordsLE(rows, cols uint16) uint64 { return uint64(rows) | uint64(cols)<<16 }

// entry is the last part of a program: it makes the process the container's
// own and ends in its command.
type entry struct {
	*container
	odd *label // where an execve with no listener goes on after an error of no name
}

// identity gives the container its names and kernel parameters.
func (e *entry) identity() {
	e.during("")
	if name := e.spec.Hostname; name != "" {
		if !e.has(specs.UTSNamespace) {
			e.fail(errs.InvalidParameter, "hostname: a container without a uts namespace of its own cannot have one")
		}
		e.call(unix.SYS_SETHOSTNAME, "setting the hostname "+name, nil, e.text(name), num(len(name)))
	}
	if name := e.spec.Domainname; name != "" {
		if !e.has(specs.UTSNamespace) {
			e.fail(errs.InvalidParameter, "domainname: a container without a uts namespace of its own cannot have one")
		}
		e.call(unix.SYS_SETDOMAINNAME, "setting the domain name "+name, nil, e.text(name), num(len(name)))
	}
	if len(e.sysctl) == 0 {
		return
	}
	proc := e.proc
	if proc == None {
		r := e.fsopen("proc")
		e.fscreate(r)
		proc = e.fsmount(r, 0)
		defer e.close(proc)
	}
	e.sysctls(fd(proc), "sys/", func(specs.LinuxNamespaceType) bool { return true })
}

var rlimits = [...]named{
	{unix.RLIMIT_CPU, "RLIMIT_CPU"},
	{unix.RLIMIT_FSIZE, "RLIMIT_FSIZE"},
	{unix.RLIMIT_DATA, "RLIMIT_DATA"},
	{unix.RLIMIT_STACK, "RLIMIT_STACK"},
	{unix.RLIMIT_CORE, "RLIMIT_CORE"},
	{unix.RLIMIT_RSS, "RLIMIT_RSS"},
	{unix.RLIMIT_NPROC, "RLIMIT_NPROC"},
	{unix.RLIMIT_NOFILE, "RLIMIT_NOFILE"},
	{unix.RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"},
	{unix.RLIMIT_AS, "RLIMIT_AS"},
	{unix.RLIMIT_LOCKS, "RLIMIT_LOCKS"},
	{unix.RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"},
	{unix.RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"},
	{unix.RLIMIT_NICE, "RLIMIT_NICE"},
	{unix.RLIMIT_RTPRIO, "RLIMIT_RTPRIO"},
	{unix.RLIMIT_RTTIME, "RLIMIT_RTTIME"},
}

// workdir makes the working directory if it is missing and the caller wants
// that. It does so before the root filesystem is read-only.
func (e *entry) workdir() {
	dest := path.Clean(e.process.Cwd)
	if !e.in.MakeCwd || dest == "/" {
		return
	}
	e.during("creating the working directory " + strconv.Quote(dest))
	dir, found, over := e.reg(), e.label(), e.label()
	missing := e.later(found, func() { e.path(dir, dest, PathDir, "") })
	// What else is wrong with it is told better by the chdir to come.
	e.open(unix.SYS_OPENAT2, dir, "", []Catch{on(unix.ENOENT, missing), on(0, over)}, fd(e.root), e.text(dest[1:]),
		e.how(formHow, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, inRoot), num(24))
	e.place(found)
	e.close(dir)
	e.place(over)
}

// limits sets resource limits: late, since a low one would hinder the steps
// before, but as root, who may raise them.
func (e *entry) limits() {
	set := func(resource int, name string, soft, hard uint64) {
		e.during(limitContext(name, soft, hard))
		e.call(unix.SYS_PRLIMIT64, "prlimit", nil, num(0), num(resource), e.how(formWords, soft, hard), num(0))
	}
	seen := map[string]bool{}
	for _, l := range e.process.Rlimits {
		resource, ok := numbered(rlimits[:], l.Type)
		switch {
		case !ok:
			e.fail(errs.InvalidParameter, "process.rlimits: unknown type %q", l.Type)
		case seen[l.Type]:
			e.fail(errs.InvalidParameter, "process.rlimits: %s is listed twice", l.Type)
		case l.Soft > l.Hard:
			e.fail(errs.InvalidParameter, "process.rlimits: %s: the soft limit %d is above the hard one, %d", l.Type, l.Soft, l.Hard)
		}
		seen[l.Type] = true
		set(int(resource), l.Type, l.Soft, l.Hard)
	}
	if n := e.in.Facts.NoFile; !seen["RLIMIT_NOFILE"] && n.Hard > 0 {
		set(unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", n.Soft, n.Hard)
	}
}

func limitContext(name string, soft, hard uint64) string {
	return "error setting rlimit " + name + " to " + strconv.FormatUint(soft, 10) + ":" + strconv.FormatUint(hard, 10)
}

// credentials turns the process into the container's user. What is left after
// the seccomp filter is what every profile has to allow anyway: a profile that
// was written before openat2 or close_range existed must not keep a container
// from starting. Without no_new_privs the filter needs CAP_SYS_ADMIN, so it
// comes before the capabilities go; else it comes last.
func (e *entry) credentials() {
	e.become()
	e.settle(e.capabilities(), e.process.User.UID != 0) // the change of user has kept them permitted, not effective
}

// become changes user, limits and working directory. All capabilities are left
// permitted.
func (e *entry) become() {
	e.during("")
	if unknown := e.unknownCapabilities(); len(unknown) > 0 {
		e.p.Warnings = append(e.p.Warnings, "ignoring unknown or unavailable capabilities: "+strings.Join(unknown, ", "))
	}
	u, caps := e.process.User, e.capabilities()
	if e.process.NoNewPrivileges {
		e.prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, "setting no_new_privs")
	}
	for n := range e.in.Facts.LastCap + 1 {
		if caps.bounding&(1<<n) == 0 {
			e.prctl(unix.PR_CAPBSET_DROP, n, 0, "dropping a capability from the bounding set")
		}
	}

	// As root first: the user may have no access to the directory's parents;
	// then as the user, for a directory that is closed to root (NFS).
	e.during("chdir to cwd (" + strconv.Quote(e.process.Cwd) + ") set in config.json failed")
	in := e.label()
	again := e.later(in, func() {
		context := e.context
		e.limits()
		e.user(u)
		e.during(context)
		e.call(unix.SYS_CHDIR, "", nil, e.text(e.process.Cwd)) // no descriptor: their limit may be low by now
	})
	e.chdir(on(unix.EACCES, again), on(unix.EPERM, again))
	e.limits()
	e.user(u)
	e.place(in)
	// CVE-2024-21626: a directory outside the root, reached by a descriptor.
	const outside = "current working directory is outside of container mount namespace root -- possible container breakout detected"
	e.call(unix.SYS_GETCWD, "getcwd", nil, mem(Scratch), num(unix.PathMax))
	e.message(&e.p.Steps[len(e.p.Steps)-1], outside)
	e.test(Scratch, 0, 1, 0xff, '/', unix.EXDEV, "")
	e.message(&e.p.Steps[len(e.p.Steps)-1], outside)

	e.during("")
	e.prctl(unix.PR_SET_KEEPCAPS, 0, 0, "clearing keepcaps")
}

// settle gives up what become has left. With raise, permitted capabilities are
// not effective yet.
func (e *entry) settle(caps capSets, raise bool) {
	e.during("")
	if !e.in.Detached {
		e.prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, "setting the parent-death signal") // lost when the user changed
		poll := e.block(Block{Data: make([]byte, 8), form: formPoll})
		binary.NativeEndian.PutUint16(e.p.Blocks[poll].Data[4:], unix.POLLIN)
		e.store(poll, 0, e.caller)
		e.call(unix.SYS_PPOLL, "looking for the caller", nil, mem(poll), num(1), e.how(formWords, 0, 0), num(0), num(0))
		e.test(poll, 6, 2, 0xffff, 0, unix.ESRCH, "looking for the caller")
	}
	e.streams()

	e.during("setting capabilities")
	all, nnp := e.in.Facts.Caps, e.process.NoNewPrivileges
	if e.in.Hold { // the filter may not allow what this takes
		e.capset(capSets{effective: caps.effective, permitted: all})
		e.find()
		e.during("setting capabilities")
	}
	if !nnp && len(e.in.Seccomp) > 0 {
		if raise || e.in.Hold {
			e.capset(capSets{effective: all, permitted: all})
		}
		e.seccomp()
	}
	e.capset(caps)
	e.prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, "clearing the ambient set")
	for n := range 64 {
		if caps.ambient&(1<<n) != 0 {
			e.prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, "raising a capability in the ambient set")
		}
	}
	if nnp {
		e.seccomp()
	}
}

func (e *entry) capset(caps capSets) {
	data := make([]byte, 24)
	for i := range 2 {
		for j, set := range []uint64{caps.effective, caps.permitted, caps.inheritable} {
			binary.NativeEndian.PutUint32(data[12*i+4*j:], uint32(set>>(32*i)))
		}
	}
	e.call(unix.SYS_CAPSET, "capset", nil, e.how(formWords, unix.LINUX_CAPABILITY_VERSION_3), mem(e.block(Block{Data: data, form: formCaps})))
}

// streams connects 0, 1 and 2, and lets nothing else through execve.
func (e *entry) streams() {
	umask := uint32(0o022)
	if m := e.process.User.Umask; m != nil {
		umask = *m & 0o777
	}
	e.call(unix.SYS_UMASK, "setting the umask", nil, imm(uint64(umask), formOctal))
	e.during("connecting the standard streams")
	for i := range 3 {
		r := e.slave
		if r == None {
			r = e.stdio[i]
		}
		e.call(unix.SYS_DUP3, "dup", nil, fd(r), num(i), num(0))
	}
	if e.slave != None {
		e.call(unix.SYS_IOCTL, "making the terminal the controlling one", nil, num(0), imm(unix.TIOCSCTTY, formIoctl), num(0))
	}
	e.during("")
	for i, r := range e.preserved {
		e.call(unix.SYS_DUP3, "preserving a descriptor", nil, fd(r), num(3+i), num(0))
	}
	if e.hold != None { // it may wait for long, and must keep nothing of the host busy
		e.add(OpClose, "closing descriptors", num(e.p.LowFD), fd(e.sync), fd(e.hold))
	} else {
		e.call(unix.SYS_CLOSE_RANGE, "closing descriptors", nil, num(e.p.LowFD), imm(unchanged, formID), num(unix.CLOSE_RANGE_CLOEXEC))
	}
	e.add(OpSignals, "resetting signals")
}

// user changes user and groups and keeps the capabilities for now.
func (e *entry) user(u specs.User) {
	e.during("changing to user " + strconv.FormatUint(uint64(u.UID), 10) + ":" + strconv.FormatUint(uint64(u.GID), 10))
	groups := make([]byte, 4*len(u.AdditionalGids))
	for i, g := range u.AdditionalGids {
		binary.NativeEndian.PutUint32(groups[4*i:], g)
	}
	e.prctl(unix.PR_SET_KEEPCAPS, 1, 0, "setting keepcaps")
	var denied []Catch
	done := e.label()
	if len(u.AdditionalGids) == 0 && (e.users || e.in.Facts.InUserNS) {
		denied = []Catch{on(unix.EPERM, done)} // by /proc/self/setgroups, where a user has mapped no ids but their own
	}
	e.call(unix.SYS_SETGROUPS, "setgroups", denied, num(len(u.AdditionalGids)), mem(e.block(Block{Data: groups, form: formGroups})))
	e.place(done)
	e.call(unix.SYS_SETGID, "setgid", nil, num(u.GID))
	e.call(unix.SYS_SETUID, "setuid", nil, num(u.UID))
}

// chdir enters the working directory. A magic link, such as one to a
// descriptor of the host, is not followed.
func (e *entry) chdir(catch ...Catch) {
	r := e.openat2(cwd, e.process.Cwd, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_MAGICLINKS, "", catch...)
	e.call(unix.SYS_FCHDIR, "", catch, fd(r))
	e.close(r)
}

// seccomp loads the filter.
func (e *entry) seccomp() {
	n := len(e.in.Seccomp)
	if n == 0 {
		return
	}
	code := e.block(Block{Data: e.in.Seccomp, form: formBPF})
	data := make([]byte, 16)
	binary.NativeEndian.PutUint16(data, uint16(n/8))
	prog := e.block(Block{Data: data, Refs: []Ref{{8, code}}, form: formBPF})
	e.during("")
	const doing = "loading the seccomp filter"
	mode, flags := num(unix.SECCOMP_SET_MODE_FILTER), imm(uint64(e.in.SeccompFlags), formHex)
	if !e.in.notifies() {
		e.call(unix.SYS_SECCOMP, doing, nil, mode, flags, mem(prog))
		return
	}
	if e.rootless() && e.makes(specs.UserNamespace) && e.makes(specs.PIDNamespace) {
		// An ordinary user cannot take it from a process that is closed; nor can
		// anybody else, who would have to be in its namespaces.
		e.prctl(unix.PR_SET_DUMPABLE, 1, 0, "becoming accessible to the caller")
	}
	r := e.open(unix.SYS_SECCOMP, None, doing, nil, mode, flags, mem(prog))
	e.tellOf(TellListener, r, "telling the caller of the seccomp listener")
	e.await("waiting for what the caller does with the seccomp listener")
	e.close(r)
}
