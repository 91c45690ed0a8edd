package publish

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var protoNumbers = map[string]uint8{TCP: unix.IPPROTO_TCP, UDP: unix.IPPROTO_UDP, SCTP: unix.IPPROTO_SCTP}

// Forgetter has the kernel forget conversations, in the background: to find
// them it looks through all that it has room for, which takes 10 ms and more
// however few there are. What is asked for while it looks is done in one go
// after that. All methods may be called at once.
type Forgetter struct {
	log *slog.Logger

	mu      sync.Mutex
	next    forgotten     // guarded by mu
	running chan struct{} // guarded by mu; closed when nothing is left to do; nil while there is nothing
}

// NewForgetter returns one that logs what fails.
func NewForgetter(log *slog.Logger) *Forgetter { return &Forgetter{log: log} }

// Arrivals forgets conversations over UDP to the ports. The kernel takes the
// rules of the firewall for a conversation's first packet only: one that began
// before a port was published, or when it led to another container, would go on
// where it went then for as long as it is kept up. Connections over TCP end by
// themselves when they are sent elsewhere.
func (f *Forgetter) Arrivals(ports []Port) {
	var udp []Port
	for _, p := range ports {
		if p.Proto == UDP {
			udp = append(udp, p)
		}
	}
	f.add(forgotten{ports: udp})
}

// Target forgets all that is passed on to a container's addresses, which are no
// longer its.
func (f *Forgetter) Target(addresses ...netip.Addr) {
	f.add(forgotten{targets: slices.DeleteFunc(addresses, func(a netip.Addr) bool { return !a.IsValid() })})
}

func (f *Forgetter) add(more forgotten) {
	if more.empty() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next.ports, f.next.targets = append(f.next.ports, more.ports...), append(f.next.targets, more.targets...)
	if f.running == nil {
		f.running = make(chan struct{})
		go f.run()
	}
}

func (f *Forgetter) run() {
	for {
		f.mu.Lock()
		now := f.next
		f.next = forgotten{}
		if now.empty() {
			close(f.running)
			f.running = nil
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		if err := now.forget(); err != nil {
			f.log.Warn("connections to ports that led elsewhere before may go on there", "error", err)
		}
	}
}

// Wait returns when all that was asked for is done.
func (f *Forgetter) Wait() {
	f.mu.Lock()
	running := f.running
	f.mu.Unlock()
	if running != nil {
		<-running
	}
}

// forgotten says which conversations: those that were begun with one of the
// ports, and those that were led to one of the addresses from another that they
// were sent to.
type forgotten struct {
	ports   []Port
	targets []netip.Addr
}

func (f *forgotten) empty() bool { return len(f.ports) == 0 && len(f.targets) == 0 }

func (f *forgotten) forget() error {
	var failed []error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			failed = append(failed, fmt.Errorf("forgetting connections: %w", err))
		}
	}
	return errors.Join(failed...)
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f *forgotten) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, ok := netip.AddrFromSlice(flow.Forward.DstIP)
	if !ok {
		return false
	}
	for _, p := range f.ports {
		if at := int(flow.Forward.DstPort) - int(p.HostPort); protoNumbers[p.Proto] == flow.Forward.Protocol && at >= 0 && at < int(p.Count) && overlap(p.HostIP, to.Unmap()) {
			return true
		}
	}
	from, ok := netip.AddrFromSlice(flow.Reverse.SrcIP)
	return ok && slices.Contains(f.targets, from.Unmap()) && from.Unmap() != to.Unmap()
}
