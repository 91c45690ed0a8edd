package engine

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/link"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/shape"
)

func validateNetwork(c *container.Config, h *container.HostConfig) error {
	m := h.NetworkMode
	switch {
	case m.IsContainer() && c.Hostname != "":
		return errs.New(errs.InvalidParameter, "conflicting options: hostname and the network mode")
	case h.UTSMode.IsHost() && c.Hostname != "":
		return errs.New(errs.InvalidParameter, "conflicting options: hostname and the UTS mode")
	case m.IsContainer() && m.ConnectedContainer() == "":
		return errs.New(errs.InvalidParameter, "invalid container format container:<name|id>")
	}
	if path, ok := record.NetNS(m); ok {
		switch {
		case !filepath.IsAbs(path):
			return errs.New(errs.InvalidParameter, "invalid network mode %s: it takes the absolute path of a network namespace: ns:/run/netns/NAME", m)
		case len(h.PortBindings) > 0 || h.PublishAllPorts:
			return errs.New(errs.InvalidParameter, "conflicting options: port publishing and network mode %s: who made the namespace decides what reaches it", m)
		case len(h.Links) > 0:
			return errs.New(errs.InvalidParameter, "conflicting options: links and network mode %s", m)
		}
	}
	// Whether the network or the other container exists is asked at the start:
	// Docker's client takes a 404 of create for a missing image, and pulls it.
	return nil
}

// Driver options of an endpoint that are the engine's business, by Docker's
// keys.
const (
	endpointSysctls   = "com.docker.network.endpoint.sysctls" // parameters of the interface, which stands in them as IFNAME
	endpointInterface = "com.docker.network.endpoint.ifname"  // its name in the container
)

// networking checks what is asked of a container's networks and returns it with
// the networks under their names. One that does not exist is left to the start:
// Docker's client takes a 404 of create for a missing image, and pulls it. The
// texts are Docker's where it has them; a static address on the default bridge
// it does not have.
func (d *drafter) networking(h *container.HostConfig, nc *network.NetworkingConfig) (*network.NetworkingConfig, error) {
	if record.ForeignNet(h.NetworkMode) || record.Detached(nc) {
		return nc, nil // Docker's clients name another's network in nc too
	}
	asked := record.Memberships(h, nc)
	out := &network.NetworkingConfig{EndpointsConfig: make(map[string]*network.EndpointSettings, len(asked))}
	for _, a := range asked {
		n, err := d.nets.find(a.Network)
		if err != nil {
			n = network.Network{Name: a.Network}
		}
		if err := validateEndpoint(&n, a.Settings); err != nil {
			return nil, err
		}
		for other := range out.EndpointsConfig {
			if err := together(n.Name, other); err != nil {
				return nil, err
			}
		}
		if _, twice := out.EndpointsConfig[n.Name]; twice {
			return nil, errs.New(errs.InvalidParameter, "network %s is given twice, by its name and by its ID", n.Name)
		}
		out.EndpointsConfig[n.Name] = a.Settings
	}
	return out, nil
}

// unpublished warns of published ports that nothing leads to: those of a
// container that is on none of the networks that publish. The text for the
// host's network is Docker's.
func (d *drafter) unpublished(rec *record.Container) []string {
	h := rec.HostConfig
	if len(h.PortBindings) == 0 && !h.PublishAllPorts {
		return nil
	}
	if h.NetworkMode.IsHost() {
		return []string{"Published ports are discarded when using host network mode"}
	}
	var own []string
	for _, m := range rec.Memberships() {
		n, err := d.nets.find(m.Network)
		if err != nil || n.Driver == "bridge" {
			return nil
		}
		if n.Driver != "null" {
			own = append(own, fmt.Sprintf("%s (%s)", n.Name, n.Driver))
		}
	}
	if len(own) == 0 {
		return nil
	}
	return []string{"Published ports are discarded: containers are reached at their own addresses on network " + strings.Join(own, ", ")}
}

// wholeID completes a network mode that is the beginning of an ID, as Docker
// does.
func (d *drafter) wholeID(h *container.HostConfig) {
	if h.NetworkMode == "" || !h.NetworkMode.IsUserDefined() {
		return
	}
	if n, err := d.nets.find(string(h.NetworkMode)); err == nil && string(h.NetworkMode) != n.Name {
		h.NetworkMode = container.NetworkMode(n.ID)
	}
}

// together refuses two networks that a container cannot be on at once.
func together(a, b string) error {
	switch {
	case a == b:
	case a == networkHost || b == networkHost:
		return errs.New(errs.InvalidParameter, "container sharing network namespace with another container or host cannot be connected to any other network")
	case a == networkNone || b == networkNone:
		return errs.New(errs.InvalidParameter, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
	}
	return nil
}

// validateEndpoint checks what is asked of a container's place on n, of which
// nothing but the name is known where it does not exist.
func validateEndpoint(n *network.Network, ep *network.EndpointSettings) error {
	invalid := func(format string, args ...any) error {
		return errs.New(errs.InvalidParameter, "invalid endpoint settings:\n"+format, args...)
	}
	var ip network.EndpointIPAMConfig
	if ep.IPAMConfig != nil {
		ip = *ep.IPAMConfig
	}
	own := userDefined(n)
	switch {
	case (ip.IPv4Address.IsValid() || ip.IPv6Address.IsValid()) && !own && n.Name != networkBridge:
		return invalid("user specified IP address is supported on user defined networks only")
	case len(ep.Aliases) > 0 && !own:
		return invalid("network-scoped alias is supported only for containers in user defined networks")
	case len(ep.MacAddress) > 0 && !own && n.Name != networkBridge:
		return errs.New(errs.InvalidParameter, "conflicting options: mac-address and the network mode")
	case ip.IPv4Address.IsValid() && (!ip.IPv4Address.Is4() || ip.IPv4Address.IsUnspecified()):
		return invalid("invalid IPv4 address: %s", ip.IPv4Address)
	case ip.IPv6Address.IsValid() && (!ip.IPv6Address.Is6() || ip.IPv6Address.Is4In6() || ip.IPv6Address.IsUnspecified() || ip.IPv6Address.Zone() != ""):
		return invalid("invalid IPv6 address: %s", ip.IPv6Address)
	case len(ep.Links) > 0 && !own:
		return errs.New(errs.InvalidParameter, "links of an endpoint are for networks that users have made: use HostConfig.Links")
	}
	for _, a := range ip.LinkLocalIPs {
		if !a.IsValid() || a.IsUnspecified() {
			return invalid("invalid link-local IP address: %s", a)
		}
	}
	for _, a := range []netip.Addr{ip.IPv4Address, ip.IPv6Address} {
		if a.IsValid() && n.ID != "" && !slices.ContainsFunc(n.IPAM.Config, func(c network.IPAMConfig) bool { return c.Subnet.Contains(a) }) {
			return invalid("no configured subnet or ip-range contain the IP address %s", a)
		}
	}
	for _, l := range ep.Links {
		if _, _, err := link.Parse(l); err != nil {
			return err
		}
	}
	for _, name := range ep.Aliases {
		if !validAlias(name) {
			return invalid("invalid alias %q: a name has no spaces and no control characters", name)
		}
	}
	if rate, err := shape.Parse(ep.DriverOpts[shape.Option]); err != nil {
		return err
	} else if rate != (shape.Rate{}) && (n.Name == networkHost || n.Name == networkNone) {
		return invalid("a network rate (%s) needs a network of the container's own: it cannot hold network mode %s", shape.Option, n.Name)
	}
	if name := ep.DriverOpts[endpointInterface]; name != "" && !validInterface(name) {
		return invalid("invalid interface name %q: at most %d characters, no space, slash or colon (%s)", name, unix.IFNAMSIZ-1, endpointInterface)
	}
	_, err := interfaceSysctls(ep, "")
	return err
}

// validAlias reports whether others can ask for a container by this name.
func validAlias(name string) bool {
	return name != "" && len(name) < 256 && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// validInterface reports whether the kernel takes the name for an interface
// that is not its own.
func validInterface(name string) bool {
	switch name {
	case "lo", "all", "default", ".", "..":
		return false
	}
	return len(name) < unix.IFNAMSIZ && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' || r == '%' })
}

// interfaceSysctls are the parameters of an endpoint's interface, by the names
// that they have in the container.
func interfaceSysctls(ep *network.EndpointSettings, ifname string) (map[string]string, error) {
	text := ep.DriverOpts[endpointSysctls]
	if text == "" {
		return nil, nil
	}
	out := map[string]string{}
	for setting := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(setting, "=")
		words := strings.SplitN(name, ".", 5)
		if !ok || len(words) != 5 || words[0] != "net" || !strings.EqualFold(words[3], "IFNAME") || strings.Contains(name, "/") { // Docker's client writes it small
			return nil, errs.New(errs.InvalidParameter, "unable to parse driver option %s: %q is not of the form net.X.Y.IFNAME.Z=VALUE", endpointSysctls, setting)
		}
		words[3] = ifname
		out[strings.Join(words, ".")] = value
	}
	return out, nil
}

// endpointParameters are interfaceSysctls of all of a container's endpoints.
func (l *launcher) endpointParameters(rec *record.Container) (map[string]string, error) {
	var out map[string]string
	for _, a := range rec.Memberships() {
		if a.Settings.DriverOpts[endpointSysctls] == "" {
			continue
		}
		n, err := l.nets.find(a.Network)
		if err != nil {
			return nil, err
		}
		on := endpointOn(rec, n.ID)
		if on == nil {
			continue
		}
		found, err := interfaceSysctls(a.Settings, on.Interface)
		if err != nil {
			return nil, err
		}
		out = mergeMaps(out, found)
	}
	return out, nil
}
