package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/criu"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountPoint is a line of /proc/PID/mountinfo.
type mountPoint struct {
	id   int
	at   string
	kind string
}

func mountsOf(pid int) ([]mountPoint, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, errs.New(errs.System, "reading the container's mounts: %w", err)
	}
	return parseMounts(string(b)), nil
}

func parseMounts(text string) (all []mountPoint) {
	for line := range strings.Lines(text) {
		left, right, _ := strings.Cut(line, " - ")
		f := strings.Fields(left)
		kind, _, _ := strings.Cut(right, " ")
		if len(f) < 6 {
			continue
		}
		if id, err := strconv.Atoi(f[0]); err == nil {
			all = append(all, mountPoint{id, cgroup.Unescape(f[4]), kind})
		}
	}
	return all
}

func contains(mounts []mountPoint, id int) bool {
	return slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.id == id })
}

// mountOf is the mount that a process's descriptor is in.
func mountOf(pid, fd int) (int, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
	if err != nil {
		return 0, false
	}
	_, rest, _ := strings.Cut(string(b), "mnt_id:")
	line, _, _ := strings.Cut(rest, "\n")
	id, err := strconv.Atoi(strings.TrimSpace(line))
	return id, err == nil
}

// placed is a mount of the spec with the mount point that it has in truth,
// which symbolic links may have moved.
type placed struct {
	*specs.Mount
	at string
}

func (p placed) bind() bool {
	return p.Type == "bind" || slices.Contains(p.Options, "bind") || p.all()
}

// all reports whether what is mounted below the source comes along.
func (p placed) all() bool { return slices.Contains(p.Options, "rbind") }

// directory reports whether it is mounted on a directory.
func (p placed) directory() bool {
	if !p.bind() {
		return true
	}
	st, err := os.Stat(p.Source)
	return err != nil || st.IsDir()
}

// place finds the mount points of the spec's mounts below root.
func place(spec *specs.Spec, root string) (all []placed, err error) {
	for n := range spec.Mounts {
		m := &spec.Mounts[n]
		if slices.Contains(m.Options, "remount") {
			continue
		}
		if len(m.UIDMappings)+len(m.GIDMappings) > 0 || slices.Contains(m.Options, "idmap") || slices.Contains(m.Options, "ridmap") {
			return nil, errs.New(errs.NotImplemented, "mounts[%d]: criu does not restore idmapped mounts", n)
		}
		all = append(all, placed{m, resolve(root, m.Destination)})
	}
	return all, nil
}

// resolve follows the symbolic links of a path below root, as far as it
// exists.
func resolve(root, at string) string {
	at = path.Clean("/" + at)
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return at
	}
	defer unix.Close(dir)
	top, err := linkOf(dir)
	if err != nil {
		return at
	}
	for first, rest := at, ""; first != "/"; first, rest = path.Dir(first), path.Join(path.Base(first), rest) {
		fd, err := unix.Openat2(dir, first, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
		if err != nil {
			continue
		}
		found, err := linkOf(fd)
		unix.Close(fd)
		if err == nil {
			return path.Join("/", strings.TrimPrefix(found, strings.TrimSuffix(top, "/")), rest)
		}
	}
	return at
}

func linkOf(fd int) (string, error) { return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) }

// covering is the one of mounts in which at lies, of several the nearest.
func covering(mounts []placed, at string) (found placed, ok bool) {
	for _, m := range mounts {
		if inside(at, m.at) && len(m.at) >= len(found.at) {
			found, ok = m, true
		}
	}
	return found, ok
}

// inside reports whether a path is dir or lies below it.
func inside(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// outside are the mount points in a running container of what is the host's:
// bind mounts with all below them, and devices.
func outside(spec *specs.Spec, mounts []mountPoint, pid int) (all []string, err error) {
	root := fmt.Sprintf("/proc/%d/root", pid)
	ours, err := place(spec, root)
	if err != nil {
		return nil, err
	}
	var own []string // bind mounts of the container's own files
	for _, p := range slices.Concat(spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths) {
		own = append(own, resolve(root, p))
	}
	for _, m := range mounts {
		p, ok := covering(ours, m.at)
		bound := ok && p.bind() && (m.at == p.at || !slices.Contains(own, m.at))
		if bound || m.kind == "devtmpfs" {
			all = append(all, m.at)
		}
	}
	return all, nil
}

// InPlace tells criu what takes the place of the mounts that are outside, and
// makes their mount points below root as the creation of a container would have.
func InPlace(o *criu.Options, spec *specs.Spec, root string) error {
	ours, err := place(spec, root)
	if err != nil {
		return err
	}
	hosts, err := mountsOf(os.Getpid())
	if err != nil {
		return err
	}
	given := map[string]bool{}
	give := func(at, source string) {
		if !given[at] {
			given[at] = true
			o.Pair(criu.ExtMount, at, source)
		}
	}
	for _, p := range spec.Linux.MaskedPaths { // in a user namespace by the host's /dev/null
		give(resolve(root, p), os.DevNull)
	}
	for n, m := range ours {
		if err := makeMountPoint(root, ours[:n], m); err != nil {
			return err
		}
		if !m.bind() {
			continue
		}
		give(m.at, m.Source)
		for _, h := range hosts {
			if m.all() && h.at != m.Source && inside(h.at, m.Source) {
				give(path.Join(m.at, strings.TrimPrefix(h.at, m.Source)), h.at)
			}
		}
	}
	for _, name := range [...]string{"null", "zero", "full", "random", "urandom", "tty"} { // the same
		give("/dev/"+name, "/dev/"+name)
	}
	for _, d := range spec.Linux.Devices {
		give(d.Path, d.Path)
	}
	return nil
}

// makeMountPoint makes a mount point that is missing, in the root or in the
// source of a bind mount; of other file systems criu restores the content.
func makeMountPoint(root string, before []placed, m placed) error {
	dir, at := root, m.at
	if p, ok := covering(before, m.at); ok {
		if !p.bind() || !p.directory() {
			return nil
		}
		dir, at = p.Source, strings.TrimPrefix(m.at, p.at)
	}
	if err := makePath(dir, strings.Trim(at, "/"), m.directory()); err != nil {
		return errs.New(errs.System, "making the mount point %s: %w", m.at, err)
	}
	return nil
}

// makePath makes a directory or an empty file below dir, and what is missing
// of the way there. It follows no link.
func makePath(dir, at string, directory bool) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for err == nil && at != "" {
		name, rest, _ := strings.Cut(at, "/")
		var next int
		next, err = unix.Openat2(fd, name, &how)
		if errors.Is(err, unix.ENOENT) {
			if rest != "" || directory {
				err = unix.Mkdirat(fd, name, 0o755)
			} else {
				err = unix.Mknodat(fd, name, unix.S_IFREG|0o644, 0)
			}
			if err == nil {
				next, err = unix.Openat2(fd, name, &how)
			}
		}
		unix.Close(fd)
		fd, at = next, rest
	}
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// outsideKey names a namespace that the container has been given.
func outsideKey(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.NetworkNamespace:
		return "extRootNetNS" // runc's and crun's names, so that each restores what the others have written
	case specs.PIDNamespace:
		return "extRootPidNS"
	}
	return ""
}

// kernelName is what a namespace is called in /proc/PID/ns.
func kernelName(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.NetworkNamespace:
		return "net"
	case specs.MountNamespace:
		return "mnt"
	}
	return string(t)
}

// GivenNamespaces has criu leave the namespaces alone that the spec gives by a
// path, of the kinds for which it can.
func GivenNamespaces(o *criu.Options, s *specs.Spec, pid int) error {
	for n, ns := range s.Linux.Namespaces {
		key := outsideKey(ns.Type)
		if ns.Path == "" || key == "" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, kernelName(ns.Type)), &st); err != nil {
			return errs.New(errs.System, "linux.namespaces[%d]: %w", n, err)
		}
		o.Text(criu.External, fmt.Sprintf("%s[%d]:%s", kernelName(ns.Type), st.Ino, key))
	}
	return nil
}

// GiveNamespaces has criu restore into the namespaces that the spec gives by a
// path. open gets the files that the caller closes after the call.
func GiveNamespaces(o *criu.Options, s *specs.Spec, open func(*os.File)) error {
	for n, ns := range s.Linux.Namespaces {
		switch key := outsideKey(ns.Type); {
		case ns.Path == "":
		case key != "":
			f, err := os.Open(ns.Path)
			if err != nil {
				return errs.New(errs.InvalidParameter, "linux.namespaces[%d]: %w", n, err)
			}
			open(f)
			o.Inherit(key, f)
		case ns.Type == specs.CgroupNamespace:
			return errs.New(errs.NotImplemented, "linux.namespaces[%d]: criu cannot join a cgroup namespace", n)
		default:
			o.Pair(criu.JoinNS, kernelName(ns.Type), ns.Path)
		}
	}
	return nil
}
