// Package devices gives containers the devices that their vendors describe in
// the Container Device Interface (CDI): nodes, mounts, variables and hooks.
//
// It owns the reading of the descriptions, which is done anew for each
// container that asks, so that it needs no watch on their directories; and the
// choice of a description for a request such as that of --gpus. It changes OCI
// specs, and knows neither requests of the API nor running containers. A
// Registry may be used by several goroutines at once.
package devices

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	schema "tags.cncf.io/container-device-interface/specs-go"

	"github.com/davit-engine/davit/errs"
)

// Registry finds descriptions of devices.
type Registry struct{ dirs []string }

// New returns a Registry of the descriptions in these directories, of which a
// later one goes before an earlier one. Without any it has no devices.
func New(dirs []string) *Registry { return &Registry{slices.Clone(dirs)} }

// Dirs lists the directories.
func (r *Registry) Dirs() []string { return slices.Clone(r.dirs) }

// List lists the devices that there are, and what is wrong with descriptions.
func (r *Registry) List() (devices []system.DeviceInfo, warnings []string) {
	cache, err := r.open()
	if err != nil {
		return nil, nil
	}
	for _, name := range cache.ListDevices() {
		devices = append(devices, system.DeviceInfo{Source: "cdi", ID: name})
	}
	return devices, complaints(cache)
}

// Inject adds the devices that are asked for to a spec. Errors are
// InvalidParameter: Docker's where there is no driver for a request, and the
// name of a device that nobody describes.
func (r *Registry) Inject(s *specs.Spec, requests []container.DeviceRequest) error {
	if len(requests) == 0 {
		return nil
	}
	cache, err := r.open()
	if err != nil && !errors.Is(err, errNone) {
		return errs.New(errs.System, "reading descriptions of devices: %w", err)
	}
	var names []string
	for _, q := range requests {
		n, err := choose(q, vendors(cache))
		if err != nil {
			return err
		}
		names = append(names, n...)
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	names = slices.Compact(names)
	before := len(s.Linux.Devices)
	if _, err := cache.InjectDevices(s, names...); err != nil {
		text := ""
		if c := complaints(cache); len(c) > 0 {
			text = " (" + strings.Join(c, "; ") + ")"
		}
		return errs.New(errs.InvalidParameter, "CDI device injection failed: %w%s: `davit info` lists the devices that are described in %s", err, text, strings.Join(r.dirs, ", "))
	}
	bindNodes(s, before, hostPaths(cache, names))
	return nil
}

// errNone says that there is nowhere to look.
var errNone = errors.New("no CDI specification directories specified")

func (r *Registry) open() (*cdi.Cache, error) {
	if len(r.dirs) == 0 {
		return nil, errNone
	}
	return cdi.NewCache(cdi.WithSpecDirs(r.dirs...), cdi.WithAutoRefresh(false))
}

// complaints are the errors in descriptions. A directory that is missing is
// fine.
func complaints(cache *cdi.Cache) (list []string) {
	found := cache.GetErrors()
	for _, path := range slices.Sorted(maps.Keys(found)) {
		for _, err := range found[path] {
			if !errors.Is(err, fs.ErrNotExist) {
				list = append(list, fmt.Sprintf("CDI: %s: %v", path, err))
			}
		}
	}
	return list
}

// vendors is the set of vendor/class of what is described; nil without a cache.
func vendors(cache *cdi.Cache) map[string]bool {
	if cache == nil {
		return nil
	}
	kinds := map[string]bool{}
	for _, name := range cache.ListDevices() {
		kind, _, _ := strings.Cut(name, "=")
		kinds[kind] = true
	}
	return kinds
}

// gpus are the drivers that --gpus may mean, in the order in which they are
// tried, with what they can do.
var gpus = []struct {
	driver, kind string
	capabilities []string
}{
	{"nvidia", "nvidia.com/gpu", []string{"gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display"}},
	{"amd", "amd.com/gpu", []string{"gpu", "amd"}},
}

// choose returns the names of the described devices that a request means.
// kinds is what is described, nil where CDI is off.
func choose(q container.DeviceRequest, kinds map[string]bool) ([]string, error) {
	if q.Driver == "cdi" && kinds != nil {
		switch {
		case q.Count != 0:
			return nil, errs.New(errs.InvalidParameter, "unexpected count in CDI device request")
		case len(q.Options) > 0:
			return nil, errs.New(errs.InvalidParameter, "unexpected options in CDI device request")
		}
		return q.DeviceIDs, nil
	}
	for _, g := range gpus {
		if !kinds[g.kind] || q.Driver != "" && q.Driver != g.driver || q.Driver == "" && !matches(q.Capabilities, g.capabilities) {
			continue
		}
		return numbered(q, g.kind)
	}
	return nil, errs.New(errs.InvalidParameter, "could not select device driver %q with capabilities: %v", q.Driver, q.Capabilities)
}

// matches reports whether one of the sets that are asked for is wholly there.
func matches(sets [][]string, have []string) bool {
	return slices.ContainsFunc(sets, func(set []string) bool {
		return !slices.ContainsFunc(set, func(c string) bool { return !slices.Contains(have, c) })
	})
}

// numbered names devices of a kind: those listed, all, or the first of them.
func numbered(q container.DeviceRequest, kind string) ([]string, error) {
	var ids []string
	switch {
	case len(q.DeviceIDs) > 0 && q.Count > 0:
		return nil, errs.New(errs.InvalidParameter, "cannot set both Count and DeviceIDs on device request")
	case len(q.DeviceIDs) > 0:
		ids = q.DeviceIDs
	case q.Count < 0:
		ids = []string{"all"}
	case q.Count > maxCount:
		return nil, errs.New(errs.InvalidParameter, "device request: %d devices are more than a host has", q.Count)
	default:
		for i := range q.Count {
			ids = append(ids, strconv.Itoa(i))
		}
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = kind + "=" + id
	}
	return names, nil
}

// maxCount bounds how many devices a request can count up.
const maxCount = 1024

// hostPaths tells where on the host the nodes of described devices lie, by
// their paths in the container.
func hostPaths(cache *cdi.Cache, names []string) map[string]string {
	at := map[string]string{}
	for _, name := range names {
		d := cache.GetDevice(name)
		if d == nil {
			continue
		}
		for _, list := range [][]*schema.DeviceNode{d.GetSpec().ContainerEdits.DeviceNodes, d.ContainerEdits.DeviceNodes} {
			for _, n := range list {
				if at[n.Path] = n.HostPath; n.HostPath == "" {
					at[n.Path] = n.Path
				}
			}
		}
	}
	return at
}

// bindNodes turns device nodes that were added to a container with a user
// namespace into bind mounts of the host's: its root can make no nodes.
func bindNodes(s *specs.Spec, before int, hostPath map[string]string) {
	private := slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	if !private || len(s.Linux.Devices) <= before {
		return
	}
	for _, d := range s.Linux.Devices[before:] {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: d.Path, Type: "bind", Source: hostPath[d.Path], Options: []string{"bind", "rprivate"}})
	}
	s.Linux.Devices = s.Linux.Devices[:before]
}
