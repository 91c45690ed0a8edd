package cgroup

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// hierarchy is one mounted cgroup hierarchy.
type hierarchy struct {
	mount       string // where it is mounted, without a trailing slash
	v2          bool
	own         string   // the group of this process, below mount
	controllers []string // v1: those that it carries, "name=x" included; v2: cgroup.controllers of its root
}

// Hierarchies is what Discover found: the mounted hierarchies of this host.
type Hierarchies struct {
	all []hierarchy
	fs  files
}

// Discover reads the mounted hierarchies from /proc/self/mountinfo and
// /proc/self/cgroup. It costs three short reads.
func Discover() (*Hierarchies, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, errs.New(errs.System, "looking for cgroups: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, errs.New(errs.System, "looking for cgroups: %w", err)
	}
	h := &Hierarchies{all: parseMounts(string(mounts), parseGroups(string(own))), fs: kernel{}}
	if len(h.all) == 0 {
		return nil, errs.New(errs.System,
			"no cgroup hierarchy is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup`")
	}
	for i := range h.all {
		if !h.all[i].v2 {
			continue
		}
		list, err := h.fs.read(h.all[i].mount + "/cgroup.controllers")
		if err != nil {
			return nil, errs.New(errs.System, "reading the cgroup controllers: %w", err)
		}
		h.all[i].controllers = strings.Fields(list)
	}
	return h, nil
}

// parseGroups returns the groups of a process by controller, from the lines of
// /proc/self/cgroup, which look like "3:cpu,cpuacct:/path". Named hierarchies
// count as controllers ("name=systemd"); that of v2 is empty.
func parseGroups(text string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		list, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			all[name] = path
		}
	}
	return all
}

// parseMounts returns the cgroup mounts among the lines of mountinfo
// (proc(5)): a v1 mount names its controllers among the super block's options,
// where they are told from other options by those of own, the groups of this
// process. Of several mounts of one hierarchy the first below /sys/fs/cgroup is
// taken, else the first.
func parseMounts(text string, own map[string]string) []hierarchy {
	var found []hierarchy
	for line := range strings.Lines(text) {
		// The separator is looked for last: it cannot occur in what follows it.
		sep := strings.LastIndex(line, " - cgroup")
		if sep < 0 {
			continue
		}
		left, right := strings.Fields(line[:sep]), strings.Fields(line[sep+3:])
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		hy := hierarchy{mount: Unescape(left[4]), v2: right[0] == "cgroup2"}
		name := ""
		if !hy.v2 {
			if right[0] != "cgroup" {
				continue
			}
			for option := range strings.SplitSeq(right[2], ",") {
				if _, ok := own[option]; ok {
					hy.controllers = append(hy.controllers, option)
				}
			}
			if len(hy.controllers) == 0 {
				continue
			}
			name = hy.controllers[0]
		}
		hy.own = below(own[name], Unescape(left[3]))
		same := slices.IndexFunc(found, func(f hierarchy) bool {
			return f.v2 == hy.v2 && (hy.v2 || slices.Contains(f.controllers, hy.controllers[0]))
		})
		switch {
		case same < 0:
			found = append(found, hy)
		case isUsual(hy.mount) && !isUsual(found[same].mount):
			found[same] = hy
		}
	}
	return found
}

// below returns where a group is in a mount that shows the tree from root on.
func below(group, root string) string {
	if root == "/" {
		return group
	}
	if rest, ok := strings.CutPrefix(group, root); ok && (rest == "" || rest[0] == '/') {
		return rest
	}
	return "/" // not to be seen there
}

func isUsual(mount string) bool {
	return mount == "/sys/fs/cgroup" || strings.HasPrefix(mount, "/sys/fs/cgroup/")
}

// Unescape undoes mountinfo's octal escapes, such as \040 for a space.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// find returns the index of the hierarchy that carries the controller under
// its v1 or its v2 name.
func (h *Hierarchies) find(v1, v2 string) (int, bool) {
	for i, hy := range h.all {
		name := v1
		if hy.v2 {
			name = v2
		}
		if name != "" && slices.Contains(hy.controllers, name) {
			return i, true
		}
	}
	return 0, false
}

func (h *Hierarchies) unified() (int, bool) {
	i := slices.IndexFunc(h.all, func(hy hierarchy) bool { return hy.v2 })
	return i, i >= 0
}

// Version says what the host mounts: 2 if the v2 hierarchy alone, else 1.
// Docker reports it so in its info.
func (h *Hierarchies) Version() int {
	if len(h.all) == 1 && h.all[0].v2 {
		return 2
	}
	return 1
}

// Has reports whether the host has a controller, named as on v1 (cpu, cpuset,
// memory, pids, blkio, hugetlb, devices, freezer). On v2 devices and freezer
// are no controllers but always there.
func (h *Hierarchies) Has(controller string) bool {
	v2 := controller
	switch controller {
	case "blkio":
		v2 = "io"
	case "devices", "freezer":
		if h.Version() == 2 {
			return true
		}
	}
	_, ok := h.find(controller, v2)
	return ok
}

// Prune removes the directory path from each hierarchy where it is there and
// empty: an engine that goes away for good calls it for the parent of its
// containers' groups. A directory in use is left alone.
func (h *Hierarchies) Prune(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	for _, hy := range h.all {
		err := h.fs.rmdir(hy.mount + path)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			return errs.New(errs.System, "removing the cgroup: %w", err)
		}
	}
	return nil
}
