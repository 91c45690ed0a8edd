// Package mountpoint reads what a request wants to have mounted: -v, --mount,
// --tmpfs, --volumes-from and the volumes that an image declares.
//
// It is pure: it opens nothing and creates nothing. A name of a volume or of
// an image is a name still, and whether the source of a bind is there is not
// looked at. The rules and texts are those of Docker's parser for Linux (moby
// daemon/volume/mounts). Errors are errs.InvalidParameter, or
// errs.NotImplemented for kinds of mounts that are not of this system.
package mountpoint

import (
	"maps"
	"path"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// Wanted is one mount of a request.
type Wanted struct {
	record.Mount
	Labels  map[string]string // of a volume that is made for it
	Options map[string]string // of the volume's driver
}

// Parse lists what -v, --mount and --tmpfs ask for, in that order, and then
// the places of anonymous volumes that nothing of these covers. taken are
// destinations that --volumes-from has filled: it stands back behind
// everything but anonymous volumes.
func Parse(c *container.Config, h *container.HostConfig, taken func(destination string) bool) ([]Wanted, error) {
	if len(h.Binds)+len(h.Mounts)+len(h.Tmpfs)+len(c.Volumes) == 0 {
		return nil, nil
	}
	var out []Wanted
	seen := map[string]bool{}
	add := func(w Wanted, err error) error {
		switch {
		case err != nil:
			return err
		case seen[w.Destination]:
			return errs.New(errs.InvalidParameter, "Duplicate mount point: %s", w.Destination)
		}
		seen[w.Destination] = true
		out = append(out, w)
		return nil
	}
	for _, b := range h.Binds {
		if err := add(parseBind(b, h.VolumeDriver)); err != nil {
			return nil, err
		}
	}
	for _, m := range h.Mounts { // which say themselves which driver they want
		if err := add(fromMount(m, "")); err != nil {
			return nil, err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(h.Tmpfs)) {
		if err := add(parseTmpfs(target, h.Tmpfs[target])); err != nil {
			return nil, err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(c.Volumes)) {
		destination := path.Clean("/" + target)
		if destination == "/" {
			return nil, errs.New(errs.InvalidParameter, "invalid volume specification: '%s': invalid specification: destination can't be '/'", target)
		}
		if seen[destination] || taken != nil && taken(destination) {
			continue
		}
		if err := add(anonymous(destination, h.VolumeDriver), nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// localDriver is the driver of volumes whose driver nobody has named.
const localDriver = "local"

// anonymous is a volume without a name.
func anonymous(destination, driver string) Wanted {
	if driver == "" {
		driver = localDriver
	}
	return Wanted{Mount: record.Mount{
		Type: mount.TypeVolume, Destination: destination, Driver: driver, RW: true, Anonymous: true, Options: bindOptions(true, true, defaultPropagation, ""),
	}}
}

// Show is the mount as inspect and ps have it; ok says that they have it.
func Show(m *record.Mount) (p container.MountPoint, ok bool) {
	if m.Hidden {
		return p, false
	}
	return container.MountPoint{Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, Driver: m.Driver, Mode: m.Mode, RW: m.RW, Propagation: m.Propagation}, true
}

// Inherit is a mount of another container's as --volumes-from has it.
func Inherit(m record.Mount, rw bool) record.Mount {
	m.Mode, m.CreateSource, m.NoCopy = "", false, true
	if !rw && m.RW {
		m.RW = false
		m.Options = readOnly(m.Options)
	}
	return m
}

// readOnly are options with those of a read-only mount.
func readOnly(options []string) []string {
	ro := "ro"
	if slices.Contains(options, "rbind") {
		ro = "rro"
	}
	return append(slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "rw" }), ro)
}
