package mountpoint

import (
	"path"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

const defaultPropagation = "rprivate"

// mode is what stands behind the second colon of -v.
type mode struct {
	readOnly, noCopy, consistency, label bool
	propagation, idmap                   string
}

// parseMode reads a comma separated mode. Of each kind of word there may be
// one.
func parseMode(text string) (m mode, ok bool) {
	if text == "" {
		return m, true
	}
	rw := false
	once := func(set *bool) bool {
		was := *set
		*set = true
		return !was
	}
	for _, word := range strings.Split(text, ",") {
		ok := true
		switch word {
		case "rw", "ro":
			ok = once(&rw)
			m.readOnly = word == "ro"
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			ok = m.propagation == ""
			m.propagation = word
		case "idmap", "ridmap", "noidmap":
			ok = m.idmap == ""
			m.idmap = word
		case "z", "Z": // labels need SELinux
			ok = once(&m.label)
		case "consistent", "cached", "delegated": // for a remote file system
			ok = once(&m.consistency)
		case "nocopy":
			ok = once(&m.noCopy)
		default:
			ok = false
		}
		if !ok {
			return m, false
		}
	}
	return m, true
}

func invalidMode(text string) error { return errs.New(errs.InvalidParameter, "invalid mode: %s", text) }

// parseBind reads source:target[:mode] of -v. A source that is no path names a
// volume; one word alone is the place of an anonymous one.
func parseBind(text, driver string) (Wanted, error) {
	parts := strings.SplitN(text, ":", 4)
	source, target, modeText := "", parts[0], ""
	switch len(parts) {
	case 2:
		source, target = parts[0], parts[1]
	case 3:
		source, target, modeText = parts[0], parts[1], parts[2]
	}
	if _, isMode := parseMode(target); parts[0] == "" || len(parts) > 3 || len(parts) > 1 && (target == "" || isMode) {
		return Wanted{}, errs.New(errs.InvalidParameter, "invalid volume specification: '%s'", text)
	}
	md, ok := parseMode(modeText)
	if !ok {
		return Wanted{}, invalidMode(modeText)
	}
	m := mount.Mount{Type: mount.TypeVolume, Source: source, Target: target, ReadOnly: md.readOnly, Consistency: mount.Consistency(md.idmap)}
	if path.IsAbs(source) {
		m.Type = mount.TypeBind
	}
	if md.noCopy {
		m.VolumeOptions = &mount.VolumeOptions{NoCopy: true}
	}
	if md.propagation != "" {
		m.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(md.propagation)}
	}
	w, err := fromMount(m, driver)
	if err != nil {
		return Wanted{}, errs.New(errs.KindOf(err), "invalid volume specification: '%s': %w", text, err)
	}
	if w.Type == mount.TypeBind || modeText != "" {
		w.Mode = modeText
	}
	w.CreateSource = w.Type == mount.TypeBind
	return w, nil
}

// ParseFrom reads container[:mode] of --volumes-from.
func ParseFrom(text string) (ref string, rw bool, err error) {
	if text == "" {
		return "", false, errs.New(errs.InvalidParameter, "volumes-from specification cannot be an empty string")
	}
	ref, modeText, _ := strings.Cut(text, ":")
	m, ok := parseMode(modeText)
	if !ok || m.propagation != "" || m.noCopy || m.idmap != "" {
		return "", false, invalidMode(modeText)
	}
	return ref, !m.readOnly, nil
}

// bindOptions writes a bind mount's options. readOnly "" is recursive where
// the mount is, "non-recursive" is not, "force" must be.
func bindOptions(rw, recursive bool, propagation, readOnly string) []string {
	kind := "rbind"
	if !recursive {
		kind = "bind"
	}
	opts := []string{kind, propagation}
	switch {
	case rw:
		return opts
	case recursive && readOnly != "non-recursive":
		return append(opts, "rro")
	}
	return append(opts, "ro")
}

// asVolume reads a --mount of type volume.
func asVolume(w mount.Mount, target, driver string, bad refusal) (Wanted, error) {
	o := w.VolumeOptions
	if o == nil {
		o = &mount.VolumeOptions{}
	}
	switch {
	case w.BindOptions != nil:
		return Wanted{}, bad("field BindOptions must not be specified")
	case o.Subpath != "" && w.Source == "":
		return Wanted{}, bad("must not set Subpath when using anonymous volumes")
	case !localPath(o.Subpath):
		return Wanted{}, bad("subpath must be a relative path within the volume")
	case w.ReadOnly && w.Source == "":
		return Wanted{}, bad("must not set ReadOnly mode when using anonymous volumes")
	}
	if driver == "" {
		driver = localDriver
	}
	out := Wanted{Labels: o.Labels}
	if c := o.DriverConfig; c != nil {
		if c.Name != "" {
			driver = c.Name
		}
		out.Options = c.Options
	}
	out.Mount = record.Mount{
		Type: mount.TypeVolume, Name: w.Source, Destination: target, Driver: driver, RW: !w.ReadOnly, Subpath: o.Subpath, NoCopy: o.NoCopy,
		Anonymous: w.Source == "", IDMap: idmapOf(w), Options: bindOptions(!w.ReadOnly, true, defaultPropagation, ""),
	}
	if driver == localDriver {
		out.Mode = "z" // as Docker has it for volumes of its own driver
	}
	return out, nil
}
