package publish

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var protoNumbers = map[string]uint8{TCP: unix.IPPROTO_TCP, UDP: unix.IPPROTO_UDP, SCTP: unix.IPPROTO_SCTP}

// ForgetArrivals makes the kernel forget conversations over UDP to the ports. It
// takes the rules of the firewall for a conversation's first packet only: one
// that began before a port was published, or when it led to another container,
// would go on where it went then for as long as it is kept up. Connections over
// TCP end by themselves when they are sent elsewhere.
func ForgetArrivals(ports []Port) error {
	match := arrivals{}
	for _, p := range ports {
		if p.Proto == UDP {
			match = append(match, p)
		}
	}
	if len(match) == 0 {
		return nil
	}
	return forget(match)
}

// ForgetTarget makes the kernel forget all that it passes on to a container's
// addresses, which nobody has any more.
func ForgetTarget(addresses ...netip.Addr) error {
	match := targets{}
	for _, a := range addresses {
		if a.IsValid() {
			match[a] = true
		}
	}
	if len(match) == 0 {
		return nil
	}
	return forget(match)
}

func forget(match netlink.CustomConntrackFilter) error {
	var failed []error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, match)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			failed = append(failed, fmt.Errorf("forgetting connections: %w", err))
		}
	}
	return errors.Join(failed...)
}

// arrivals matches conversations that were begun with one of the ports.
type arrivals []Port

func (a arrivals) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	to, ok := netip.AddrFromSlice(f.Forward.DstIP)
	if !ok {
		return false
	}
	for _, p := range a {
		if protoNumbers[p.Proto] == f.Forward.Protocol && int(f.Forward.DstPort)-int(p.HostPort) >= 0 && int(f.Forward.DstPort)-int(p.HostPort) < int(p.Count) &&
			overlap(p.HostIP, to.Unmap()) {
			return true
		}
	}
	return false
}

// targets matches what was led to one of the addresses, from another that it
// was sent to.
type targets map[netip.Addr]bool

func (t targets) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	to, ok := netip.AddrFromSlice(f.Reverse.SrcIP)
	return ok && t[to.Unmap()] && !f.Reverse.SrcIP.Equal(f.Forward.DstIP)
}
