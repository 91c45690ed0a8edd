package program

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// planSysctls reads the kernel parameters, in the order of their names.
func (c *container) planSysctls() {
	for _, k := range slices.Sorted(maps.Keys(c.linux.Sysctl)) {
		p, err := c.parameter(k)
		if err != nil {
			c.fail(errs.InvalidParameter, "linux.sysctl: %w", err)
		}
		c.sysctl = append(c.sysctl, p)
	}
}

// parameter is a kernel parameter of a namespace.
type parameter struct {
	key, file string // the file is below /proc/sys
	of        specs.LinuxNamespaceType
}

// sysctls sets those parameters that are not set yet and whose namespace which
// reports true for. catch is for those that may not be opened.
func (c *container) sysctls(dir Arg, prefix string, which func(specs.LinuxNamespaceType) bool, catch ...Catch) {
	rest := c.sysctl[:0]
	for _, p := range c.sysctl {
		if !which(p.of) {
			rest = append(rest, p)
			continue
		}
		c.during("")
		c.put(dir, prefix+p.file, c.linux.Sysctl[p.key], "open sysctl "+p.key+" file", catch...)
	}
	c.sysctl = rest
}

// ipcSysctls are those of an ipc namespace, but for fs.mqueue.*.
var ipcSysctls = [...]string{"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced"}

// parameter reads the name of a parameter that belongs to a namespace of the
// container. Dots and slashes may separate, as in sysctl(8): the first of them
// decides.
func (c *container) parameter(key string) (parameter, error) {
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
	if file == "" || path.Clean("/" + file)[1:] != file || strings.ContainsFunc(file, func(r rune) bool { return r <= ' ' || r == '\\' }) {
		return parameter{}, errs.New(errs.InvalidParameter, "%q is not a parameter's name", key)
	}
	needs := func(ns specs.LinuxNamespaceType) (parameter, error) {
		if !c.has(ns) {
			return parameter{}, errs.New(errs.InvalidParameter, "sysctl %q is not allowed in the host's %s namespace", key, ns)
		}
		return parameter{key, file, ns}, nil
	}
	switch {
	case strings.HasPrefix(file, "net/"):
		return needs(specs.NetworkNamespace)
	case slices.Contains(ipcSysctls[:], file), strings.HasPrefix(file, "fs/mqueue/"):
		return needs(specs.IPCNamespace)
	case file == "kernel/domainname":
		return needs(specs.UTSNamespace)
	case file == "kernel/hostname":
		return parameter{}, errs.New(errs.InvalidParameter, "sysctl %q conflicts with hostname", key)
	}
	return parameter{}, errs.New(errs.InvalidParameter, "sysctl %q is not in a separate kernel namespace", key)
}
