package network

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/firewall"
	apinet "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

// The options of bridge networks, by Docker's names.
const (
	optionName        = "com.docker.network.bridge.name"
	optionICC         = "com.docker.network.bridge.enable_icc"
	optionMasquerade  = "com.docker.network.bridge.enable_ip_masquerade"
	optionBinding     = "com.docker.network.bridge.host_binding_ipv4"
	optionInhibit     = "com.docker.network.bridge.inhibit_ipv4"
	optionMode4       = "com.docker.network.bridge.gateway_mode_ipv4"
	optionMode6       = "com.docker.network.bridge.gateway_mode_ipv6"
	optionTrusted     = "com.docker.network.bridge.trusted_host_interfaces"
	optionDefault     = "com.docker.network.bridge.default_bridge"
	optionMTU         = "com.docker.network.driver.mtu"
	optionHost4       = "com.docker.network.host_ipv4"
	optionHost6       = "com.docker.network.host_ipv6"
	optionIfacePrefix = "com.docker.network.container_iface_prefix"
	optionIPv4        = "com.docker.network.enable_ipv4"
	optionIPv6        = "com.docker.network.enable_ipv6"
)

// The gateway modes of a bridge network, for each family.
const (
	modeNAT         = "nat"
	modeUnprotected = "nat-unprotected"
	modeRouted      = "routed"
	modeIsolated    = "isolated"
)

// bridgeOptions are the options of a bridge network, read.
type bridgeOptions struct {
	name         string
	mtu          int // 0: not given
	interconnect bool
	masquerade   bool
	inhibit4     bool
	mode4, mode6 string
	host4, host6 netip.Addr
	trusted      []string
	nickname     string
}

// parseBridgeOptions reads the options of a network, and ignores those that it
// does not know, as Docker does. Errors: InvalidParameter in Docker's words.
func parseBridgeOptions(n *apinet.Network) (bridgeOptions, error) {
	o := bridgeOptions{interconnect: true, masquerade: true, mode4: modeNAT, mode6: modeNAT, nickname: "eth"}
	var err error
	failed := func(key, value, why string) {
		if err == nil {
			err = errs.New(errs.InvalidParameter, "failed to parse %s value: %s (%s)", key, value, why)
		}
	}
	boolean := func(key string, at *bool) {
		if value, given := n.Options[key]; given {
			is, e := strconv.ParseBool(value)
			if e != nil {
				failed(key, value, e.Error())
			}
			*at = is
		}
	}
	address := func(key string, v4 bool, at *netip.Addr) {
		if value, given := n.Options[key]; given {
			a, e := netip.ParseAddr(value)
			if e != nil || a.Unmap().Is4() != v4 {
				failed(key, value, "not an address of its family")
			}
			*at = a.Unmap()
		}
	}
	mode := func(key string, at *string) {
		switch value, given := n.Options[key]; {
		case !given:
		case value == modeNAT, value == modeUnprotected, value == modeRouted, value == modeIsolated:
			*at = value
		default:
			failed(key, value, "unknown gateway mode "+value)
		}
	}
	var ignored bool
	boolean(optionICC, &o.interconnect)
	boolean(optionMasquerade, &o.masquerade)
	boolean(optionInhibit, &o.inhibit4)
	boolean(optionDefault, &ignored)
	mode(optionMode4, &o.mode4)
	mode(optionMode6, &o.mode6)
	address(optionHost4, true, &o.host4)
	address(optionHost6, false, &o.host6)
	if value, given := n.Options[optionBinding]; given {
		if a, e := netip.ParseAddr(value); e != nil || !a.Is4() {
			failed(optionBinding, value, "not an IPv4 address")
		}
	}
	if value, given := n.Options[optionMTU]; given {
		var e error
		if o.mtu, e = strconv.Atoi(value); e != nil {
			failed(optionMTU, value, e.Error())
		}
	}
	if value := n.Options[optionIfacePrefix]; value != "" {
		o.nickname = value
	}
	o.trusted = strings.FieldsFunc(n.Options[optionTrusted], func(r rune) bool { return r == ':' })
	o.name = n.Options[optionName]
	if err != nil {
		return o, err
	}
	switch {
	case o.mtu < 0 || o.mtu != 0 && o.mtu < 68 || o.mtu > 65535:
		err = errs.New(errs.InvalidParameter, "invalid MTU number: %d: it is from 68 to 65535 bytes", o.mtu)
	case n.EnableIPv6 && o.mtu != 0 && o.mtu < 1280:
		err = errs.New(errs.InvalidParameter, "invalid MTU number: %d: IPv6 needs 1280 bytes", o.mtu)
	case o.mode4 == modeIsolated && !n.Internal, o.mode6 == modeIsolated && !n.Internal:
		err = errs.New(errs.InvalidParameter, "gateway mode 'isolated' can only be used for an internal network")
	case o.name != "" && !validInterface(o.name):
		err = badInterface("the name of a bridge", o.name)
	case !validInterface(o.nickname + "100"):
		err = errs.New(errs.InvalidParameter, "%s %q is no beginning of an interface's name: at most %d characters, no space, slash, colon or percent sign", optionIfacePrefix, o.nickname, unix.IFNAMSIZ-4)
	}
	for _, name := range o.trusted {
		if err == nil && !validInterface(name) {
			err = badInterface(optionTrusted, name)
		}
	}
	return o, err
}

// describe tells the firewall of a network whose device is bridge.
func (o *bridgeOptions) describe(n *apinet.Network, bridge string) (about firewall.Network, err error) {
	about = firewall.Network{
		Bridge: bridge, Masquerade4: o.masquerade, Masquerade6: o.masquerade, SNAT4: o.host4, SNAT6: o.host6,
		Interconnect: o.interconnect, Internal: n.Internal, Trusted: o.trusted,
	}
	for _, c := range n.IPAM.Config {
		about.Subnets = append(about.Subnets, c.Subnet)
	}
	if about.Mode4, err = firewall.ParseMode(o.mode4); err == nil {
		about.Mode6, err = firewall.ParseMode(o.mode6)
	}
	return about, err
}

// publishing says how ports are published on the network; fallback is where if
// the network does not say.
func (o *bridgeOptions) publishing(n *apinet.Network, about firewall.Network, fallback netip.Addr) *reach {
	r := &reach{bridge: about.Bridge, mode4: about.Mode4, mode6: about.Mode6, internal: about.Internal, host: fallback}
	if value, given := n.Options[optionBinding]; given {
		r.host, _ = netip.ParseAddr(value) // which has been checked
	}
	if r.host = r.host.Unmap(); r.host.IsUnspecified() {
		r.host = netip.Addr{}
	}
	return r
}

// validInterface says whether the kernel takes a name for an interface. "all"
// and "default" are where it keeps parameters of all interfaces.
func validInterface(name string) bool {
	return name != "all" && name != "default" && name != "" && len(name) < unix.IFNAMSIZ && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r%")
}

func badInterface(what, name string) error {
	return errs.New(errs.InvalidParameter, "%q cannot be %s: at most %d characters, no space, slash, colon or percent sign, and not all or default", name, what, unix.IFNAMSIZ-1)
}
