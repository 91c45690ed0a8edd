package firewall

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// strays are the ranges of networks that nobody outside may reach straight.
// While the table was gone somebody may have done so, and answers pass: such a
// connection would go on for as long as it is kept up. One that the rules allow
// does not notice when the kernel forgets it.
type strays []netip.Prefix

func (t *Table) straysLocked() (s strays) {
	for _, n := range t.networks {
		for _, p := range n.Subnets {
			if m := n.mode(p.Addr()); m == NAT || m == Isolated {
				s = append(s, p)
			}
		}
	}
	return s
}

// forget has the kernel forget them.
func (s strays) forget() error {
	if len(s) == 0 {
		return nil
	}
	var failed []error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, s)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			failed = append(failed, explain(err, "forgetting connections"))
		}
	}
	return errors.Join(failed...)
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter: what was sent to
// a container's own address from outside of its network.
func (s strays) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	from, ok1 := netip.AddrFromSlice(f.Forward.SrcIP)
	to, ok2 := netip.AddrFromSlice(f.Forward.DstIP)
	if !ok1 || !ok2 {
		return false
	}
	for _, p := range s {
		if p.Contains(to.Unmap()) {
			return !p.Contains(from.Unmap())
		}
	}
	return false
}
