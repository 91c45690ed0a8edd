// Package firewall keeps one nftables table, inet <name>, that says what may
// pass between networks of containers, the host, and the world, and that maps
// published ports to containers.
//
//	         from the world, other networks, containers              from the host itself
//	                          |                                               |
//	raw ------------ nothing on a wire is from or to 127/8                    |
//	prerouting ----- the host's own address and a published port -- output ---'
//	                          | dnat, source kept         | dnat
//	forward -------- clamp MSS; inward: answers, the      |
//	                 own network, published, trusted      |
//	postrouting ---- masquerade or SNAT to the outside, --'
//	                 127/8 and hairpins by the bridge's address
//	                          |
//	                      container
//
// Networks and ports are elements of sets and maps: the rules are the same for
// any number of them, a container without ports changes nothing, and a range of
// ports that is the same on both sides is one element.
//
// The package owns that table and nothing else of the host's packet filter. It
// must not know what a container or an endpoint is. What the table says
// outlives the process; one that starts again describes its networks and ports
// anew, and Settle writes only what differs.
//
// All methods may be called at once. There is one lock, Table.mu, which is held
// while the kernel is being asked.
package firewall

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// Config describes a table.
type Config struct {
	Name  string // of the table; two engines on one host need different ones
	Group uint32 // interface group of the bridges of all engines on the host, which let each other's containers pass
	// Respect has what the host's own firewall says of a port hold for published
	// ones too: who may not reach a program of the host there does not reach the
	// container.
	Respect bool
	// DirectRouting opens the ports that are published to those who route to the
	// containers' own addresses, too (dockerd's allow-direct-routing).
	DirectRouting bool
	// Accept lets packets with a mark reach containers, whatever is published
	// (dockerd's bridge-accept-fwmark).
	Accept Mark
	Log    *slog.Logger // nil: nothing is logged
}

// Table is what the table in the kernel should say, and keeps it so.
type Table struct {
	config Config

	mu       sync.Mutex
	link     *link                // guarded by mu
	closed   bool                 // guarded by mu
	settled  bool                 // guarded by mu; changes are written at once
	drop     [2]bool              // guarded by mu; by family: forward nothing but containers' traffic
	rules    ruleset              // guarded by mu
	legacy   [2]bool              // guarded by mu; by family: iptables-legacy is in use; only with Respect
	networks map[string]Network   // guarded by mu; by bridge
	forwards map[Forward]struct{} // guarded by mu
	elements map[slot]*content    // guarded by mu; what networks and forwards amount to
	touched  map[slot]content     // guarded by mu; during a change: what was in the places that it touches
	watcher  *watcher             // guarded by mu; nil before Settle
}

// Open prepares a table in the network namespace of the calling thread. It
// neither reads nor writes it yet: see Settle.
func Open(c Config) (*Table, error) {
	if c.Name == "" || strings.ContainsAny(c.Name, "/ \t\n") || len(c.Name) >= unix.NFT_NAME_MAXLEN {
		return nil, errs.New(errs.InvalidParameter, "%q cannot be the name of an nftables table", c.Name)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l, err := dial()
	if err != nil {
		return nil, err
	}
	return &Table{config: c, link: l, rules: rules(c, [2]bool{}, mirror{}), networks: map[string]Network{}, forwards: map[Forward]struct{}{}, elements: map[slot]*content{}}, nil
}

// SetDrop says whether the host forwards nothing but containers' traffic, by
// family. It is for engines that switched forwarding on themselves: the host
// routes for nobody else then, as before.
func (t *Table) SetDrop(ipv4, ipv6 bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.drop == [2]bool{ipv4, ipv6} {
		return nil
	}
	t.drop = [2]bool{ipv4, ipv6}
	if !t.settled {
		return nil
	}
	_, err := t.compareLocked()
	return err
}

// SetNetwork adds a network, or changes what was said of one. Ports published
// on it follow its modes.
func (t *Table) SetNetwork(n Network) error {
	if err := n.validate(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.networks[n.Bridge]
	err := t.changeLocked(func() error {
		if known {
			t.dropNetworkLocked(old)
		}
		return t.addNetworkLocked(n)
	}, func() {
		t.dropNetworkLocked(n)
		if known {
			t.addNetworkLocked(old)
		}
	})
	if err != nil || !t.settled {
		return err
	}
	return n.openLoopback()
}

// DropNetwork removes a network; one that is not there is no error. Ports that
// are still published on it stay known, for the case that it comes again.
func (t *Table) DropNetwork(bridge string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, known := t.networks[bridge]
	if !known {
		return nil
	}
	return t.changeLocked(func() error {
		t.dropNetworkLocked(old)
		return nil
	}, nil)
}

// addNetworkLocked notes a network and what its forwards amount to. After an
// error nothing is noted.
func (t *Table) addNetworkLocked(n Network) error {
	t.networks[n.Bridge] = n
	var added []element
	for _, e := range t.allOfLocked(n) {
		if err := t.holdLocked(e); err != nil {
			t.releaseLocked(added)
			delete(t.networks, n.Bridge)
			return err
		}
		added = append(added, e)
	}
	return nil
}

func (t *Table) dropNetworkLocked(n Network) {
	t.releaseLocked(t.allOfLocked(n))
	delete(t.networks, n.Bridge)
}

// allOfLocked lists the elements of a network and of what is published on it.
func (t *Table) allOfLocked(n Network) []element {
	all := n.elements()
	for f := range t.forwards {
		if f.Bridge == n.Bridge {
			all = append(all, t.elementsOf(f, n)...)
		}
	}
	return all
}

// Publish adds forwards, all or none. One that is there already is no error; a
// port that leads elsewhere is a Conflict. Forwards on a network that is not
// there yet take effect with it. What the table cannot do is left to others:
// ::1, and a host's address of the one family for a container's of the other.
func (t *Table) Publish(forwards []Forward) error {
	for _, f := range forwards {
		if err := f.validate(); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var added []Forward
	undo := func() {
		for _, f := range added {
			t.unpublishLocked(f)
		}
	}
	return t.changeLocked(func() error {
		for _, f := range forwards {
			if _, known := t.forwards[f]; known {
				continue
			}
			if err := t.publishLocked(f); err != nil {
				undo()
				return err
			}
			added = append(added, f)
		}
		return nil
	}, undo)
}

// Unpublish removes forwards; those that are not there are ignored.
func (t *Table) Unpublish(forwards []Forward) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changeLocked(func() error {
		for _, f := range forwards {
			if _, known := t.forwards[f]; known {
				t.unpublishLocked(f)
			}
		}
		return nil
	}, nil)
}

func (t *Table) publishLocked(f Forward) error {
	if n, known := t.networks[f.Bridge]; known {
		var held []element
		for _, e := range t.elementsOf(f, n) {
			if err := t.holdLocked(e); err != nil {
				t.releaseLocked(held)
				return fmt.Errorf("publishing %s: %w", f, err)
			}
			held = append(held, e)
		}
	}
	t.forwards[f] = struct{}{}
	return nil
}

func (t *Table) unpublishLocked(f Forward) {
	if n, known := t.networks[f.Bridge]; known {
		t.releaseLocked(t.elementsOf(f, n))
	}
	delete(t.forwards, f)
}

// elementsOf lists what a forward is in the table.
func (t *Table) elementsOf(f Forward, n Network) []element {
	all := f.elements(n)
	if t.config.DirectRouting && !n.Internal && (n.mode(f.Address) == NAT || n.mode(f.Address) == NATUnprotected) {
		all = append(all, f.opening())
	}
	return all
}

// holdLocked adds a reference to an element: several forwards may open the same
// port of a container.
func (t *Table) holdLocked(e element) error {
	t.touchLocked(e.slot)
	c := t.elements[e.slot]
	switch {
	case c == nil:
		t.elements[e.slot] = &content{value: e.value, holders: 1}
	case c.value != e.value:
		return errs.New(errs.Conflict, "the port leads to another container already")
	default:
		c.holders++
	}
	return nil
}

func (t *Table) releaseLocked(all []element) {
	for _, e := range all {
		t.touchLocked(e.slot)
		if c := t.elements[e.slot]; c != nil {
			if c.holders--; c.holders == 0 {
				delete(t.elements, e.slot)
			}
		}
	}
}

// touchLocked notes what is in a place before a change.
func (t *Table) touchLocked(s slot) {
	if t.touched == nil {
		return
	}
	if _, noted := t.touched[s]; noted {
		return
	}
	var before content
	if c := t.elements[s]; c != nil {
		before = *c
	}
	t.touched[s] = before
}

// changeLocked makes a change to what the table should say and, once the table
// is settled, writes the difference. If that fails the table is compared as a
// whole: somebody may have changed it. If that fails too, undo takes the change
// back.
func (t *Table) changeLocked(change func() error, undo func()) error {
	if t.closed {
		return errs.New(errs.Unavailable, "the firewall table is being closed")
	}
	if !t.settled {
		return change()
	}
	t.touched = map[slot]content{}
	defer func() { t.touched = nil }()
	if err := change(); err != nil {
		return err
	}
	return t.writeTouchedLocked(undo)
}

// writeTouchedLocked writes what has become of the places that a change
// touched.
func (t *Table) writeTouchedLocked(undo func()) error {
	var d difference
	for s, old := range t.touched {
		now := content{}
		if c := t.elements[s]; c != nil {
			now = *c
		}
		if old.holders > 0 && now.holders > 0 && old.value == now.value {
			continue
		}
		if old.holders > 0 {
			d.remove = append(d.remove, element{s, old.value})
		}
		if now.holders > 0 {
			d.add = append(d.add, element{s, now.value})
		}
	}
	if d.empty() {
		return nil
	}
	if t.link.write(t.rules, d) == nil {
		return nil
	}
	_, err := t.compareLocked()
	if err != nil && undo != nil {
		undo()
		_, again := t.compareLocked()
		err = errors.Join(err, again)
	}
	return err
}

// compareLocked writes what the table does not say and should, and tells
// whether there was anything.
func (t *Table) compareLocked() (wrote bool, err error) {
	t.composeLocked()
	if t.link.sameRules(t.rules) {
		if d, ok := t.link.compare(t.rules, t.elements); ok {
			if d.empty() {
				return false, nil
			}
			if t.link.write(t.rules, d) == nil {
				return true, nil
			}
		}
	}
	return true, t.replaceLocked()
}

// replaceLocked writes the whole table. If the kernel refuses it with what was
// copied of the host's policy, every connection goes the host's way.
func (t *Table) replaceLocked() error {
	elements := make([]element, 0, len(t.elements))
	for s, c := range t.elements {
		elements = append(elements, element{s, c.value})
	}
	err := t.link.replace(t.rules, elements)
	if err != nil && t.config.Respect {
		t.config.Log.Error("the kernel refuses what was copied of the host's packet filter", "table", t.config.Name, "error", err)
		t.rules = rules(t.config, t.drop, opaque([2]bool{true, true}, "the host's packet filter"))
		err = t.link.replace(t.rules, elements)
	}
	return err
}

// composeLocked brings the rules up to date with what they depend on.
func (t *Table) composeLocked() {
	var m mirror
	if t.config.Respect {
		t.legacy = legacy()
		policy, err := t.link.readPolicy(t.config.Name)
		if err == nil {
			m = mirrorOf(policy, t.legacy)
		} else {
			t.config.Log.Error("the host's packet filter cannot be read", "table", t.config.Name, "error", err)
			m = opaque([2]bool{true, true}, "the host's packet filter")
		}
	}
	t.rules = rules(t.config, t.drop, m)
}

// Settle says that all networks and ports of containers that run are described.
// It compares the table with them, writes what differs, and has the table
// watched: from now on changes are written at once, and what others do to the
// table is repaired.
func (t *Table) Settle() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settled || t.closed {
		return nil
	}
	if _, err := t.compareLocked(); err != nil {
		return err
	}
	for _, n := range t.networks {
		if err := n.openLoopback(); err != nil {
			return err
		}
	}
	w, err := watch(t)
	if err != nil {
		return err
	}
	t.watcher, t.settled = w, true
	return nil
}

// repair writes the table if it does not say what it should, and tells whether
// it did, and whether that was for what the host lets in.
func (t *Table) repair() (wrote, followed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false, false, nil
	}
	before := t.rules.edition
	wrote, err = t.compareLocked()
	followed = before != t.rules.edition
	if wrote && !followed && err == nil {
		err = t.straysLocked().forget()
	}
	return wrote, followed, err
}

// legacyChanged reports whether iptables-legacy has come into use since the rules
// were composed.
func (t *Table) legacyChanged() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.config.Respect && !t.closed && t.legacy != legacy()
}

// socketNumber is that of the socket which writes.
func (t *Table) socketNumber() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.link.number
}

// Warnings names what of the host's own firewall stands in the way of
// containers' traffic, each with the line that helps, and what of it could not
// be read though it is to be respected.
func (t *Table) Warnings() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	bridges := make([]string, 0, len(t.networks))
	for b := range t.networks {
		bridges = append(bridges, b)
	}
	if t.closed {
		return nil
	}
	slices.Sort(bridges)
	warnings := t.link.obstacles(bridges)
	for _, what := range t.rules.passed {
		warnings = append(warnings, "firewall-mode respect: "+what+" cannot be read by the engine: connections to published ports that get there go through the host and the userland forwarder, and come from the host's address")
	}
	return warnings
}

// Close stops watching. The table stays, and with it all that passes.
func (t *Table) Close() {
	t.mu.Lock()
	w := t.watcher
	closed := t.closed
	t.closed = true
	t.mu.Unlock()
	if closed {
		return
	}
	if w != nil {
		w.close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.link.close()
}

// Remove closes and deletes the table; one that is gone is no error.
func (t *Table) Remove() error {
	t.Close()
	l, err := dial()
	if err != nil {
		return err
	}
	defer l.close()
	return l.remove(t.config.Name)
}

// explain wraps an error of the kernel with what was being done, and with what
// to do about it where that is known.
func explain(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return errs.New(errs.Forbidden, "%s: %w: run the engine as root, or give it CAP_NET_ADMIN", doing, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOENT):
		return errs.New(errs.System, "%s: %w: the kernel lacks a module: load it (modprobe -a nf_tables nft_ct nft_chain_nat nft_masq nft_fib_inet), or start the engine with bridge none", doing, err)
	}
	return errs.New(errs.System, "%s: %w", doing, err)
}
