package explain

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/network/shape"
)

func (e *explainer) files() {
	e.group = "files"
	root := fmt.Sprintf("writable, over %s of the image", count(len(e.Record.Image.Lower), "layer"))
	from := dialect.FromDefault
	if e.host.ReadonlyRootfs {
		root, from = strings.Replace(root, "writable, over", "read-only:", 1), dialect.FromUser
	}
	e.add("/", root, from)
	for _, m := range e.Record.Mounts {
		from := e.from("Volumes."+m.Destination, true)
		if !e.asked(m.Destination) && from == dialect.FromUser {
			from = ""
			if len(e.host.VolumesFrom) > 0 {
				e.add(m.Destination, mountWords(m)+", of another container (--volumes-from)", dialect.FromUser)
				continue
			}
		}
		e.add(m.Destination, mountWords(m), from)
	}
	if len(e.Record.Mounts) == 0 {
		for _, at := range slices.Sorted(maps.Keys(e.config.Volumes)) {
			e.add(at, "anonymous volume", e.from("Volumes."+at, true))
		}
	}
	if !e.host.IpcMode.IsHost() && !e.host.IpcMode.IsContainer() {
		e.add("/dev/shm", "tmpfs of "+units.BytesSize(float64(e.host.ShmSize)), e.or("ShmSize", e.host.ShmSize != 0, "default-shm-size"))
	}
	for _, d := range e.host.Devices {
		e.add(d.PathInContainer, "device "+d.PathOnHost+" ("+cmp.Or(d.CgroupPermissions, "rwm")+")", dialect.FromUser)
	}
}

// asked reports whether the settings themselves mount something there.
func (e *explainer) asked(at string) bool {
	same := func(p string) bool { return strings.TrimSuffix(p, "/") == at }
	for _, b := range e.host.Binds {
		if parts := strings.Split(b, ":"); len(parts) > 1 && same(parts[1]) || same(parts[0]) {
			return true
		}
	}
	if slices.ContainsFunc(e.host.Mounts, func(m mount.Mount) bool { return same(m.Target) }) {
		return true
	}
	for at := range e.host.Tmpfs {
		if same(at) {
			return true
		}
	}
	for at := range e.config.Volumes {
		if same(at) {
			return true
		}
	}
	return false
}

func mountWords(m record.Mount) string {
	text := string(m.Type)
	switch {
	case m.Type == mount.TypeVolume && m.Anonymous:
		text = "anonymous volume"
		if m.Name != "" {
			text += " " + m.Name
		}
	case m.Type == mount.TypeVolume || m.Type == mount.TypeImage:
		text += " " + m.Name
	case m.Source != "":
		text += " of " + m.Source
	}
	if m.Subpath != "" {
		text += ", of it " + m.Subpath
	}
	if !m.RW {
		text += ", read-only"
	}
	return text
}

func (e *explainer) network() {
	e.group = "network"
	h := e.host
	from := dialect.FromUser
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() || h.NetworkMode == network.NetworkBridge {
		from = dialect.FromDefault
	}
	on := e.Record.Memberships()
	if len(on) == 0 {
		e.add("network", record.ModeOf(h), from)
	}
	for _, m := range on {
		if m.Network != network.NetworkBridge {
			from = dialect.FromUser
		}
		e.add("network", m.Network, from)
	}
	for _, p := range e.Record.Endpoints {
		for _, a := range []netip.Prefix{p.Address4, p.Address6} {
			if a.IsValid() {
				e.add("address", a.String(), dialect.FromEngine)
			}
		}
	}
	e.rates()
	if e.Spec.Hostname != "" {
		e.add("host name", e.Spec.Hostname, e.from("Hostname", true))
	}
	e.ports()
	for _, x := range h.ExtraHosts {
		e.add("host", x, dialect.FromUser)
	}
	for _, l := range h.Links {
		e.add("link", l, dialect.FromUser)
	}
	for _, d := range h.DNS {
		e.add("name server", d.String(), dialect.FromUser)
	}
}

// rates says what bandwidth there is, where there is a limit.
func (e *explainer) rates() {
	for _, m := range e.Record.Memberships() {
		text, own := m.Settings.DriverOpts[shape.Option]
		if networks := e.NetworkRates[m.Network]; !own && networks != "" {
			text = networks + " (the network's)"
		}
		if text != "" {
			e.add("rate on "+m.Network, text, dialect.FromUser)
		}
	}
}

func (e *explainer) ports() {
	published := e.host.PortBindings
	all := maps.Clone(e.config.ExposedPorts)
	if all == nil {
		all = network.PortSet{}
	}
	for port := range published {
		all[port] = struct{}{}
	}
	for _, port := range slices.SortedFunc(maps.Keys(all), func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
	}) {
		if _, ok := published[port]; !ok {
			e.add("port "+port.String(), "exposed, not published", e.from("ExposedPorts."+port.String(), true))
		}
		for _, b := range published[port] {
			where := cmp.Or(b.HostPort, "any")
			if b.HostIP.IsValid() {
				where = b.HostIP.String() + ":" + where
			}
			e.add("port "+port.String(), "published at "+where, dialect.FromUser)
		}
	}
}

func (e *explainer) log() {
	e.group = "log"
	l := e.host.LogConfig
	e.add("driver", l.Type, e.or("LogConfig.Type", !slices.Contains(e.origin.Engine, "LogConfig.Type"), "log-driver"))
	for _, k := range slices.Sorted(maps.Keys(l.Config)) {
		e.add(k, l.Config[k], e.or("LogConfig.Config."+k, !slices.Contains(e.origin.Engine, "LogConfig.Config."+k), "log-opts"))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
