// Package resctrl puts a container into a class of service of the kernel's
// resctrl filesystem (linux.intelRdt of the OCI runtime spec): shares of the
// processor's caches and of memory bandwidth.
//
// It owns one group: a directory below the filesystem's root. It must not know
// how processes start: whoever is to be in the group writes itself into a tasks
// file. A Group is for one goroutine at a time.
package resctrl

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Root is where the filesystem belongs.
const Root = "/sys/fs/resctrl"

// Group is a class of service, and the monitoring group in it if there is one.
type Group struct {
	dir, monitor string // monitor: empty without
	own          bool   // the container's alone
}

// New makes the group that r asks for below root (Root, but for tests), and
// sets its shares. id names the container. A group named by r.ClosID may be
// there already, and must be if r sets no shares. Errors are of kind
// errs.NotImplemented where no resctrl is mounted, errs.InvalidParameter for
// what r cannot mean.
func New(root, id string, r *specs.LinuxIntelRdt) (*Group, error) {
	var st unix.Statfs_t
	if root == Root && (unix.Statfs(root, &st) != nil || st.Type != unix.RDTGROUP_SUPER_MAGIC) {
		return nil, errs.New(errs.NotImplemented, "linux.intelRdt: resctrl is not mounted on %s, or the processor has none", root)
	}
	name := r.ClosID
	if name == "" {
		name = id
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	shares, err := schemata(r)
	if err != nil {
		return nil, err
	}
	g := &Group{dir: filepath.Join(root, name), own: r.ClosID == ""}
	err = os.Mkdir(g.dir, 0o755)
	switch {
	case err == nil && r.ClosID != "" && shares == "":
		_ = os.Remove(g.dir)
		return nil, errs.New(errs.InvalidParameter, "linux.intelRdt: there is no group %q, and no shares to make it with", name)
	case err != nil && !(os.IsExist(err) && r.ClosID != ""):
		return nil, errs.New(errs.System, "linux.intelRdt: making group %q: %w", name, err)
	}
	made := err == nil
	if err := g.fill(root, id, shares, r.EnableMonitoring); err != nil {
		if made {
			_ = os.Remove(g.dir)
		}
		return nil, err
	}
	return g, nil
}

// Open finds a group that New has made, for Remove.
func Open(root, id string, r *specs.LinuxIntelRdt) *Group {
	g := &Group{dir: filepath.Join(root, id), own: r.ClosID == ""}
	if r.ClosID != "" {
		g.dir = filepath.Join(root, r.ClosID)
	}
	if r.EnableMonitoring {
		g.monitor = filepath.Join(g.dir, "mon_groups", id)
	}
	return g
}

func (g *Group) fill(root, id, shares string, monitor bool) error {
	if shares != "" {
		if err := write(filepath.Join(g.dir, "schemata"), shares); err != nil {
			status, _ := os.ReadFile(filepath.Join(root, "info/last_cmd_status")) // in words, if the kernel has any
			return errs.New(errs.System, "linux.intelRdt: setting shares: %w %s", err, strings.TrimSpace(string(status)))
		}
	}
	if monitor {
		if err := checkName(id); err != nil {
			return err
		}
		g.monitor = filepath.Join(g.dir, "mon_groups", id)
		if err := os.Mkdir(g.monitor, 0o755); err != nil {
			return errs.New(errs.System, "linux.intelRdt: making a monitoring group: %w", err)
		}
	}
	return nil
}

// Tasks opens the files that a process writes "0" into to join, as with those
// of cgroup v1. The caller closes them.
func (g *Group) Tasks() (files []*os.File, err error) {
	for _, dir := range []string{g.dir, g.monitor} {
		if dir == "" {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, errs.New(errs.System, "linux.intelRdt: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// Remove gives the group up once the container has ended. A group that the
// spec has named stays: others may be in it. What is gone is no error.
func (g *Group) Remove() error {
	for _, dir := range []string{g.monitor, g.dir} {
		if dir == "" || dir == g.dir && !g.own {
			continue
		}
		if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
			return errs.New(errs.System, "linux.intelRdt: removing a group: %w", err)
		}
	}
	return nil
}

// checkName refuses what is not a group, or nobody's to take.
func checkName(name string) error {
	switch name {
	case "", ".", "..", "info", "mon_groups", "mon_data":
	default:
		if !strings.ContainsAny(name, "/\n\x00") {
			return nil
		}
	}
	return errs.New(errs.InvalidParameter, "linux.intelRdt: %q is not a group's name", name)
}

// schemata returns what goes into the file of that name.
func schemata(r *specs.LinuxIntelRdt) (string, error) {
	lines := r.Schemata
	if len(lines) == 0 {
		for _, s := range []struct{ prefix, schema, field string }{{"L3:", r.L3CacheSchema, "l3CacheSchema"}, {"MB:", r.MemBwSchema, "memBwSchema"}} {
			for line := range strings.Lines(s.schema) {
				if line = strings.TrimSpace(line); line == "" {
					continue
				}
				if !strings.HasPrefix(line, s.prefix) && !(s.prefix == "L3:" && (strings.HasPrefix(line, "L3CODE:") || strings.HasPrefix(line, "L3DATA:"))) {
					return "", errs.New(errs.InvalidParameter, "linux.intelRdt: %s does not begin with %s: %q", s.field, s.prefix, line)
				}
				lines = append(lines, line)
			}
		}
	}
	if len(lines) == 0 {
		return "", nil
	}
	for _, line := range lines {
		if strings.ContainsAny(line, "\n\x00") || !strings.Contains(line, ":") {
			return "", errs.New(errs.InvalidParameter, "linux.intelRdt: schemata: %q is not a line", line)
		}
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// write writes a file that is there.
func write(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
