package program

import (
	"encoding/binary"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func itoa(n int) string                { return strconv.Itoa(n) }
func put64(b []byte, v uint64)         { binary.NativeEndian.PutUint64(b, v) }
func wordsLE(rows, cols uint16) uint64 { return uint64(rows) | uint64(cols)<<16 }

// identity gives the container its names and kernel parameters.
func (c *container) identity() {
	c.during("")
	if name := c.spec.Hostname; name != "" {
		if !c.has(specs.UTSNamespace) {
			c.fail(errs.InvalidParameter, "hostname: a container without a uts namespace of its own cannot have one")
		}
		c.call(unix.SYS_SETHOSTNAME, "setting the hostname "+name, nil, c.text(name), num(len(name)))
	}
	if name := c.spec.Domainname; name != "" {
		if !c.has(specs.UTSNamespace) {
			c.fail(errs.InvalidParameter, "domainname: a container without a uts namespace of its own cannot have one")
		}
		c.call(unix.SYS_SETDOMAINNAME, "setting the domain name "+name, nil, c.text(name), num(len(name)))
	}
	keys := make([]string, 0, len(c.linux.Sysctl))
	for k := range c.linux.Sysctl {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if len(keys) > 0 && c.proc == None {
		r := c.fsopen("proc")
		c.fscreate(r)
		c.proc = c.fsmount(r, 0)
	}
	for _, k := range keys {
		file, err := c.sysctlFile(k)
		if err != nil {
			c.fail(errs.InvalidParameter, "linux.sysctl: %w", err)
			continue
		}
		c.put(fd(c.proc), "sys/"+file, c.linux.Sysctl[k], "open sysctl "+k+" file")
	}
	if c.proc != None {
		c.close(c.proc)
	}
}

// ipcSysctls are those of an ipc namespace, but for fs.mqueue.*.
var ipcSysctls = [...]string{"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced"}

// sysctlFile returns the name below /proc/sys, for a parameter that belongs to
// a namespace of the container. Dots and slashes may separate, as in sysctl(8):
// the first of them decides.
func (c *container) sysctlFile(key string) (string, error) {
	file := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		file = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	if file == "" || path.Clean("/" + file)[1:] != file || strings.ContainsAny(file, "\x00\\") {
		return "", errs.New(errs.InvalidParameter, "%q is not a parameter's name", key)
	}
	needs := func(ns specs.LinuxNamespaceType) (string, error) {
		if !c.has(ns) {
			return "", errs.New(errs.InvalidParameter, "sysctl %q is not allowed in the host's %s namespace", key, ns)
		}
		return file, nil
	}
	switch {
	case strings.HasPrefix(file, "net/"):
		return needs(specs.NetworkNamespace)
	case slices.Contains(ipcSysctls[:], file), strings.HasPrefix(file, "fs/mqueue/"):
		return needs(specs.IPCNamespace)
	case file == "kernel/domainname":
		return needs(specs.UTSNamespace)
	case file == "kernel/hostname":
		return "", errs.New(errs.InvalidParameter, "sysctl %q conflicts with hostname", key)
	}
	return "", errs.New(errs.InvalidParameter, "sysctl %q is not in a separate kernel namespace", key)
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

// rlimit finds a resource by its name.
func rlimit(name string) (int, bool) {
	for _, n := range rlimits {
		if n.name == name {
			return int(n.value), true
		}
	}
	return 0, false
}

// workdir makes the working directory if it is missing and the caller wants
// that. It does so before the root filesystem is read-only.
func (c *container) workdir() {
	dest := path.Clean(c.process.Cwd)
	if !c.in.MakeCwd || dest == "/" {
		return
	}
	c.during("creating the working directory " + strconv.Quote(dest))
	dir, found, over := c.reg(), c.label(), c.label()
	missing := c.later(found, func() { c.path(dir, dest, PathDir, "") })
	// What else is wrong with it is told better by the chdir to come.
	c.open(unix.SYS_OPENAT2, dir, "", []Catch{on(unix.ENOENT, missing), on(0, over)}, fd(c.root), c.text(dest[1:]),
		c.how(formHow, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0, inRoot), num(24))
	c.place(found)
	c.close(dir)
	c.place(over)
}

// limits sets resource limits: late, since a low one would hinder the steps
// before, but as root, who may raise them.
func (c *container) limits() {
	set := func(resource int, name string, soft, hard uint64) {
		c.during("error setting rlimit " + name + " to " + strconv.FormatUint(soft, 10) + ":" + strconv.FormatUint(hard, 10))
		c.call(unix.SYS_PRLIMIT64, "prlimit", nil, num(0), num(resource), c.how(formWords, soft, hard), num(0))
	}
	seen := map[string]bool{}
	for _, l := range c.process.Rlimits {
		resource, ok := rlimit(l.Type)
		switch {
		case !ok:
			c.fail(errs.InvalidParameter, "process.rlimits: unknown type %q", l.Type)
		case seen[l.Type]:
			c.fail(errs.InvalidParameter, "process.rlimits: %s is listed twice", l.Type)
		case l.Soft > l.Hard:
			c.fail(errs.InvalidParameter, "process.rlimits: %s: the soft limit %d is above the hard one, %d", l.Type, l.Soft, l.Hard)
		}
		seen[l.Type] = true
		set(resource, l.Type, l.Soft, l.Hard)
	}
	if n := c.in.Facts.NoFile; !seen["RLIMIT_NOFILE"] && n.Hard > 0 {
		set(unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", n.Soft, n.Hard)
	}
}

// credentials turns the process into the container's user. What is left after
// the seccomp filter is what every profile has to allow anyway: a profile that
// was written before openat2 or close_range existed must not keep a container
// from starting. Without no_new_privs the filter needs CAP_SYS_ADMIN, so it
// comes before the capabilities go; else it comes last.
func (c *container) credentials() {
	c.during("")
	u, caps, nnp := c.process.User, c.capabilities(), c.process.NoNewPrivileges
	if nnp {
		c.prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, "setting no_new_privs")
	}
	for n := range c.in.Facts.LastCap + 1 {
		if caps.bounding&(1<<n) == 0 {
			c.prctl(unix.PR_CAPBSET_DROP, n, 0, "dropping a capability from the bounding set")
		}
	}

	// As root first: the user may have no access to the directory's parents;
	// then as the user, for a directory that is closed to root (NFS).
	c.during("chdir to cwd (" + strconv.Quote(c.process.Cwd) + ") set in config.json failed")
	in := c.label()
	again := c.later(in, func() {
		context := c.context
		c.limits()
		c.user(u)
		c.during(context)
		c.call(unix.SYS_CHDIR, "", nil, c.text(c.process.Cwd)) // no descriptor: their limit may be low by now
	})
	c.chdir(on(unix.EACCES, again), on(unix.EPERM, again))
	c.limits()
	c.user(u)
	c.place(in)
	// CVE-2024-21626: a directory outside the root, reached by a descriptor.
	const outside = "current working directory is outside of container mount namespace root -- possible container breakout detected"
	c.call(unix.SYS_GETCWD, "getcwd", nil, mem(Scratch), num(unix.PathMax))
	c.message(&c.p.Steps[len(c.p.Steps)-1], outside)
	c.test(Scratch, 0, 1, 0xff, '/', unix.EXDEV, "")
	c.message(&c.p.Steps[len(c.p.Steps)-1], outside)

	c.during("")
	c.prctl(unix.PR_SET_KEEPCAPS, 0, 0, "clearing keepcaps")
	c.prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, "setting the parent-death signal") // lost when the user changed
	poll := c.block(Block{Data: make([]byte, 8), form: formPoll})
	binary.NativeEndian.PutUint16(c.p.Blocks[poll].Data[4:], unix.POLLIN)
	c.store(poll, 0, c.caller)
	c.call(unix.SYS_PPOLL, "looking for the caller", nil, mem(poll), num(1), c.how(formWords, 0, 0), num(0), num(0))
	c.test(poll, 6, 2, 0xffff, 0, unix.ESRCH, "looking for the caller")
	c.streams()

	c.during("setting capabilities")
	if !nnp && len(c.in.Seccomp) > 0 {
		if all := c.in.Facts.Caps; u.UID != 0 { // the change of user has kept them permitted, not effective
			c.capset(capSets{effective: all, permitted: all})
		}
		c.seccomp()
	}
	c.capset(caps)
	c.prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, "clearing the ambient set")
	for n := range 64 {
		if caps.ambient&(1<<n) != 0 {
			c.prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, "raising a capability in the ambient set")
		}
	}
	if nnp {
		c.seccomp()
	}
}

func (c *container) capset(caps capSets) {
	data := make([]byte, 24)
	for i := range 2 {
		for j, set := range []uint64{caps.effective, caps.permitted, caps.inheritable} {
			binary.NativeEndian.PutUint32(data[12*i+4*j:], uint32(set>>(32*i)))
		}
	}
	c.call(unix.SYS_CAPSET, "capset", nil, c.how(formWords, unix.LINUX_CAPABILITY_VERSION_3), mem(c.block(Block{Data: data, form: formCaps})))
}

// streams connects 0, 1 and 2, and lets nothing else through execve.
func (c *container) streams() {
	umask := uint32(0o022)
	if m := c.process.User.Umask; m != nil {
		umask = *m & 0o777
	}
	c.call(unix.SYS_UMASK, "setting the umask", nil, imm(uint64(umask), formOctal))
	c.during("connecting the standard streams")
	for i := range 3 {
		r := c.slave
		if r == None {
			r = c.stdio[i]
		}
		c.call(unix.SYS_DUP3, "dup", nil, fd(r), num(i), num(0))
	}
	if c.slave != None {
		c.call(unix.SYS_IOCTL, "making the terminal the controlling one", nil, num(0), imm(unix.TIOCSCTTY, formIoctl), num(0))
	}
	c.during("")
	c.call(unix.SYS_CLOSE_RANGE, "closing descriptors", nil, num(3), imm(unchanged, formID), num(unix.CLOSE_RANGE_CLOEXEC))
	c.add(OpSignals, "resetting signals")
}

// user changes user and groups and keeps the capabilities for now.
func (c *container) user(u specs.User) {
	c.during("changing to user " + strconv.FormatUint(uint64(u.UID), 10) + ":" + strconv.FormatUint(uint64(u.GID), 10))
	groups := make([]byte, 4*len(u.AdditionalGids))
	for i, g := range u.AdditionalGids {
		binary.NativeEndian.PutUint32(groups[4*i:], g)
	}
	c.prctl(unix.PR_SET_KEEPCAPS, 1, 0, "setting keepcaps")
	c.call(unix.SYS_SETGROUPS, "setgroups", nil, num(len(u.AdditionalGids)), mem(c.block(Block{Data: groups, form: formGroups})))
	c.call(unix.SYS_SETGID, "setgid", nil, num(u.GID))
	c.call(unix.SYS_SETUID, "setuid", nil, num(u.UID))
}

// chdir enters the working directory. A magic link, such as one to a
// descriptor of the host, is not followed.
func (c *container) chdir(catch ...Catch) {
	r := c.openat2(cwd, c.process.Cwd, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_MAGICLINKS, "", catch...)
	c.call(unix.SYS_FCHDIR, "", catch, fd(r))
	c.close(r)
}

// seccomp loads the filter.
func (c *container) seccomp() {
	n := len(c.in.Seccomp)
	if n == 0 {
		return
	}
	code := c.block(Block{Data: c.in.Seccomp, form: formBPF})
	data := make([]byte, 16)
	binary.NativeEndian.PutUint16(data, uint16(n/8))
	prog := c.block(Block{Data: data, Refs: []Ref{{8, code}}, form: formBPF})
	c.during("")
	c.call(unix.SYS_SECCOMP, "loading the seccomp filter", nil, num(unix.SECCOMP_SET_MODE_FILTER), imm(uint64(c.in.SeccompFlags), formHex), mem(prog))
}

// exec makes the process the user's.
func (c *container) exec() {
	c.during("")
	name := c.process.Args[0]
	argv, env := c.vector(c.process.Args), c.vector(c.process.Env)
	c.p.Last = len(c.p.Steps)
	quoted := "exec: " + strconv.Quote(name) + ": "
	if strings.Contains(name, "/") {
		c.execPath(name, name, quoted, argv, env)
		return
	}
	c.execSearch(name, quoted, argv, env)
}

// execPath executes file; name is what errors call it.
func (c *container) execPath(file, name, quoted string, argv, env Arg) {
	missing, denied := c.label(), c.label()
	c.call(unix.SYS_EXECVE, "exec "+name, []Catch{on(unix.ENOENT, missing), on(unix.EACCES, denied)}, c.text(file), argv, env)

	c.place(missing) // either the file itself, or the interpreter that it names
	gone := c.label()
	c.statx(cwd, file, "exec "+name, on(0, gone))
	c.failing(unix.ENOENT, "exec "+name)
	c.place(gone)
	c.refuse(unix.ENOENT, quoted+"stat "+name+": no such file or directory")

	c.place(denied)
	failed := c.label()
	c.statx(cwd, file, "exec "+name, on(0, failed))
	c.test(Scratch, statxMode, 2, unix.S_IFMT, unix.S_IFDIR, unix.ENOTDIR, "", on(0, failed))
	c.refuse(unix.EISDIR, quoted+"is a directory")
	c.place(failed)
	c.refuse(unix.EACCES, quoted+"permission denied")
}

// execSearch tries each directory of PATH. A file that may not be executed
// counts for more than one that is not there.
func (c *container) execSearch(name, quoted string, argv, env Arg) {
	var files []Arg
	for _, e := range c.process.Env {
		if list, ok := strings.CutPrefix(e, "PATH="); ok {
			files = files[:0]
			for dir := range strings.SplitSeq(list, ":") {
				if path.IsAbs(dir) {
					files = append(files, c.text(strings.TrimSuffix(dir, "/")+"/"+name))
				}
			}
		}
	}
	denied := make([]label, len(files)+1)
	for i := range denied {
		denied[i] = c.label()
	}
	try := func(i int, missing label) {
		c.call(unix.SYS_EXECVE, "exec "+name, []Catch{on(unix.ENOENT, missing), on(unix.ENOTDIR, missing), on(unix.EACCES, denied[i+1])}, files[i], argv, env)
	}
	for i := range files {
		next := c.label()
		try(i, next)
		c.place(next)
	}
	c.refuse(unix.ENOENT, quoted+"executable file not found in $PATH")
	for i := range files {
		c.place(denied[i])
		if i > 0 {
			try(i, denied[i+1])
		}
	}
	c.place(denied[len(files)])
	c.refuse(unix.EACCES, quoted+"permission denied")
}
func get64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
func get32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
