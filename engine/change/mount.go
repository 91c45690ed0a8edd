package change

import (
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/davit-engine/davit/dialect"
)

// mounts decides what is mounted where. What is new takes the place of what
// was there.
func (p *planner) mounts(wish *dialect.Change) error {
	for _, key := range slices.Sorted(maps.Keys(wish.Mounts)) {
		target := path.Clean(key)
		if !path.IsAbs(target) || target == "/" {
			return invalid("invalid mount target %q: it must be an absolute path other than / (Mounts)", key)
		}
		var now *mount.Mount
		if m := wish.Mounts[key]; m != nil {
			if m.Target != "" && path.Clean(m.Target) != target {
				return invalid("the mount for %s has the target %s (Mounts)", target, m.Target)
			}
			copied := *m
			copied.Target = target
			now = &copied
		}
		if err := p.mountAt(target, now); err != nil {
			return err
		}
	}
	return nil
}

// mountAt decides about one target; nil takes away what is there.
func (p *planner) mountAt(target string, now *mount.Mount) error {
	h := p.out.HostConfig
	if now != nil && slices.ContainsFunc(h.Mounts, func(m mount.Mount) bool { m.Target = path.Clean(m.Target); return reflect.DeepEqual(m, *now) }) {
		return nil
	}
	from, found := p.at(target)
	switch {
	case !found && now == nil:
		return invalid("nothing is mounted at %s (Mounts)", target)
	case found && !p.unmount(target):
		return invalid("what is mounted at %s comes from another container (--volumes-from) and cannot change alone (Mounts)", target)
	case found:
		p.out.Unmounted = append(p.out.Unmounted, target)
		for _, old := range p.rec.Mounts {
			if old.Destination == target && old.Anonymous {
				p.out.Plan.Warnings = append(p.out.Plan.Warnings, "the anonymous volume "+old.Name+" that was mounted at "+target+" is kept")
			}
		}
	}
	to := ""
	if now != nil {
		h.Mounts = append(h.Mounts, *now)
		p.out.Mounted = append(p.out.Mounted, *now)
		if to = mountText(*now); to == from {
			to += " (other options)"
		}
	}
	p.note("mount "+target, from, to, false)
	return nil
}

// at says in words what is mounted at target.
func (p *planner) at(target string) (text string, found bool) {
	h := p.out.HostConfig
	for _, m := range h.Mounts {
		if path.Clean(m.Target) == target {
			return mountText(m), true
		}
	}
	for _, b := range h.Binds {
		if source, at, mode := cutBind(b); at == target {
			m := mount.Mount{Type: mount.TypeVolume, Source: source, ReadOnly: slices.Contains(strings.Split(mode, ","), "ro")}
			if path.IsAbs(source) {
				m.Type = mount.TypeBind
			}
			return mountText(m), true
		}
	}
	for at := range h.Tmpfs {
		if path.Clean(at) == target {
			return mountText(mount.Mount{Type: mount.TypeTmpfs}), true
		}
	}
	for _, m := range p.rec.Mounts {
		if m.Destination == target {
			name := m.Name
			if name == "" {
				name = m.Source
			}
			return mountText(mount.Mount{Type: m.Type, Source: name, ReadOnly: !m.RW}), true
		}
	}
	for at := range p.out.Config.Volumes {
		if path.Clean(at) == target {
			return mountText(mount.Mount{Type: mount.TypeVolume}), true
		}
	}
	return "", false
}

// unmount takes out what the settings mount at target, and reports whether
// they do.
func (p *planner) unmount(target string) bool {
	c, h := p.out.Config, p.out.HostConfig
	before := len(h.Mounts) + len(h.Binds) + len(h.Tmpfs) + len(c.Volumes)
	h.Mounts = slices.DeleteFunc(h.Mounts, func(m mount.Mount) bool { return path.Clean(m.Target) == target })
	h.Binds = slices.DeleteFunc(h.Binds, func(b string) bool { _, at, _ := cutBind(b); return at == target })
	maps.DeleteFunc(h.Tmpfs, func(at, _ string) bool { return path.Clean(at) == target })
	maps.DeleteFunc(c.Volumes, func(at string, _ struct{}) bool { return path.Clean(at) == target })
	p.own("Volumes." + target)
	return len(h.Mounts)+len(h.Binds)+len(h.Tmpfs)+len(c.Volumes) < before
}

// cutBind splits SOURCE:TARGET[:MODE].
func cutBind(bind string) (source, target, mode string) {
	source, rest, _ := strings.Cut(bind, ":")
	target, mode, _ = strings.Cut(rest, ":")
	return source, path.Clean(target), mode
}

func mountText(m mount.Mount) string {
	kind := m.Type
	if kind == "" {
		kind = mount.TypeVolume
	}
	text := string(kind)
	if m.Source != "" {
		text += " " + m.Source
	} else if kind == mount.TypeVolume {
		text = "anonymous volume"
	}
	if m.ReadOnly {
		text += " (read-only)"
	}
	return text
}
