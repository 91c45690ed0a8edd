package shape

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// answerLimit bounds in seconds how long the kernel is waited for.
const answerLimit = 10

// ifbPrefix begins the names of our ifb devices; the rest is the index of the
// interface that each is for, in hexadecimal.
const ifbPrefix = "di"

func ifbName(index int) string { return fmt.Sprintf("%s%08x", ifbPrefix, index) }

// ifbOwner is the opposite of ifbName; false if the name is not ours.
func ifbOwner(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, ifbPrefix)
	n, err := strconv.ParseUint(digits, 16, 31)
	if !ok || err != nil || ifbName(int(n)) != name {
		return 0, false
	}
	return int(n), true
}

// Shaper holds interfaces of one network namespace.
type Shaper struct {
	links   *netlink.Handle
	sockets map[int]*nl.SocketHandle
	coarse  atomic.Bool // the kernel has no fq_codel

	mu    sync.Mutex
	owned map[string]ifb // guarded by mu; by the interface that each is for
	stray []int          // guarded by mu; devices of nobody
}

// ifb is a device of ours, and the interface that it is for, by their indices.
type ifb struct{ index, owner int }

// Queue is what has become of one direction's packets.
type Queue struct {
	Bytes, Packets uint64 // that have passed
	Waiting        uint32 // bytes, now
	Dropped        uint32 // packets, because too many waited
	Held           uint32 // times that a packet had to wait for the rate
}

// State is what the kernel holds an interface to.
type State struct {
	Rate     Rate // without Burst
	Up, Down Queue
}

// Is reports whether r is what holds the interface, as far as the kernel tells.
func (s State) Is(r Rate) bool {
	return s.Rate.Up/8 == r.Up/8 && s.Rate.Down/8 == r.Down/8 &&
		(s.Rate.Delay-r.Delay).Abs() < time.Microsecond && math.Abs(s.Rate.Loss-r.Loss) < .01
}

// Open finds what an earlier engine left in the network namespace of the
// calling thread, which stays the Shaper's.
func Open() (*Shaper, error) {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		links.Close()
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	if err := socket.SetReceiveTimeout(&unix.Timeval{Sec: answerLimit}); err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	s := &Shaper{
		links: links, sockets: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}, owned: map[string]ifb{},
	}
	if err := s.adopt(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the Shaper; what it has set stays.
func (s *Shaper) Close() {
	s.links.Close()
	for _, h := range s.sockets {
		h.Close()
	}
}

func (s *Shaper) adopt() error {
	all, err := net.Interfaces() // names and indices are enough
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	names := map[int]string{}
	for _, i := range all {
		names[i.Index] = i.Name
	}
	for _, i := range all {
		owner, ours := ifbOwner(i.Name)
		if !ours {
			continue
		}
		if name, lives := names[owner]; lives {
			s.owned[name] = ifb{index: i.Index, owner: owner}
			continue
		}
		if link, err := s.links.LinkByIndex(i.Index); err == nil && link.Type() == "ifb" {
			s.stray = append(s.stray, i.Index)
		}
	}
	return nil
}

// Sweep removes what Open found that was for interfaces which are gone. Each
// takes some milliseconds.
func (s *Shaper) Sweep() error {
	s.mu.Lock()
	stray := s.stray
	s.stray = nil
	s.mu.Unlock()
	var failed []error
	for _, index := range stray {
		failed = append(failed, s.dropIFB(index))
	}
	return errors.Join(failed...)
}

// Set holds an interface of the host, the other end of which is a container's,
// to a rate: from then on, whatever held before. For one interface it is called
// by one at a time. Packets that wait are kept
// where the kernel can. If it fails the interface is held to nothing. Errors:
// NotImplemented when the kernel lacks what the rate needs, NotFound when there
// is no such interface.
func (s *Shaper) Set(device string, r Rate) error {
	link, err := s.find(device)
	if err != nil {
		return err
	}
	now, err := s.read(link)
	if err != nil {
		return err
	}
	on := place{device: device, mtu: link.Attrs().MTU}
	if err := s.follow(link, decide(on, ifbName(link.Attrs().Index), now.Rate, r)); err != nil {
		return errors.Join(explain(device, r, err), s.follow(link, decide(on, ifbName(link.Attrs().Index), Rate{Up: 1, Down: 1}, Rate{})))
	}
	return nil
}

// find returns an interface of the host.
func (s *Shaper) find(device string) (netlink.Link, error) {
	link, err := s.links.LinkByName(device)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil, errs.New(errs.NotFound, "interface %s is gone", device)
	}
	if err != nil {
		return nil, fmt.Errorf("looking at interface %s: %w", device, err)
	}
	return link, nil
}

// Read tells what holds an interface, and what has become of its packets.
// Errors: NotFound when there is no such interface.
func (s *Shaper) Read(device string) (State, error) {
	link, err := s.find(device)
	if err != nil {
		return State{}, err
	}
	return s.read(link)
}

func (s *Shaper) read(link netlink.Link) (st State, err error) {
	rate, queue, err := s.readChain(link.Attrs().Index)
	if err != nil {
		return State{}, fmt.Errorf("reading the rate of %s: %w", link.Attrs().Name, err)
	}
	st.Rate.Down, st.Down = rate.Up, queue
	s.mu.Lock()
	held, ok := s.owned[link.Attrs().Name]
	s.mu.Unlock()
	if !ok || held.owner != link.Attrs().Index {
		return st, nil
	}
	if rate, queue, err = s.readChain(held.index); err != nil {
		return State{}, fmt.Errorf("reading the rate of %s: %w", link.Attrs().Name, err)
	}
	st.Rate.Up, st.Rate.Delay, st.Rate.Loss, st.Up = rate.Up, rate.Delay, rate.Loss, queue
	return st, nil
}

// readChain reads the disciplines of a device, whose rate it calls Up. The
// first one of a chain counts all of it.
func (s *Shaper) readChain(index int) (r Rate, counters Queue, err error) {
	for _, handle := range []uint32{rootTBF, netem, delayedTBF, onlyNetem} {
		q, err := s.get(index, handle)
		if err != nil {
			return Rate{}, Queue{}, err
		}
		if q == nil {
			continue
		}
		switch q.kind {
		case "tbf":
			r.Up = q.rate
		case "netem":
			r.Delay, r.Loss = q.delay, q.loss
		}
		if handle != delayedTBF {
			counters = q.Queue
		} else {
			counters.Held = q.Held
		}
		if handle == rootTBF {
			break
		}
	}
	return r, counters, nil
}

// Forget lets go of an interface that is gone, or is about to be removed with
// its namespace, so that another one may have its name. What is returned
// removes what was for it, which takes some milliseconds; nil if there is
// nothing to remove.
func (s *Shaper) Forget(device string) (remove func() error) {
	s.mu.Lock()
	held, ok := s.owned[device]
	delete(s.owned, device)
	s.mu.Unlock()
	if !ok {
		return nil
	}
	return func() error {
		if err := s.dropIFB(held.index); err != nil {
			return fmt.Errorf("removing interface %s: %w", ifbName(held.owner), err)
		}
		return nil
	}
}

// follow takes the steps of a plan.
func (s *Shaper) follow(link netlink.Link, p plan) error {
	indices := map[string]int{link.Attrs().Name: link.Attrs().Index}
	s.mu.Lock()
	held, ok := s.owned[link.Attrs().Name]
	s.mu.Unlock()
	if ok && held.owner == link.Attrs().Index {
		indices[ifbName(held.owner)] = held.index
	}
	for _, step := range p {
		if err := s.take(link, step, indices); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shaper) take(link netlink.Link, at step, indices map[string]int) (err error) {
	index := indices[at.device]
	switch at.verb {
	case addIFB:
		if index, err = s.addIFB(at.device, link.Attrs()); err != nil {
			return err
		}
		indices[at.device] = index
		before := s.Forget(link.Attrs().Name) // of an interface that somebody has removed
		s.mu.Lock()
		s.owned[link.Attrs().Name] = ifb{index: index, owner: link.Attrs().Index}
		s.mu.Unlock()
		if before != nil {
			return before()
		}
		return nil
	case dropIFB:
		if remove := s.Forget(link.Attrs().Name); remove != nil {
			return remove()
		}
		return nil
	case redirect:
		return s.redirect(index, indices[at.to])
	case release:
		return s.drop(index, netlink.HANDLE_INGRESS)
	case clearAll:
		return s.drop(index, netlink.HANDLE_ROOT)
	}
	_, finest := at.kind.(fqCodel)
	if finest && s.coarse.Load() {
		return nil
	}
	err = s.set(index, at)
	if finest && errors.Is(err, unix.ENOENT) {
		s.coarse.Store(true)
		return nil
	}
	if err != nil {
		return &stepError{at, err}
	}
	return nil
}

// stepError says which step the kernel refused.
type stepError struct {
	step step
	err  error
}

func (e *stepError) Error() string {
	return strings.TrimSpace(plan{e.step}.String()) + ": " + e.err.Error()
}
func (e *stepError) Unwrap() error { return e.err }

// explain gives a failure the words that help.
func explain(device string, r Rate, err error) error {
	var at *stepError
	if errors.As(err, &at) && errors.Is(err, unix.ENOENT) {
		switch at.step.kind.(type) {
		case late:
			return errs.New(errs.NotImplemented, "network rate %s: this host's kernel cannot delay or lose packets: it lacks the module sch_netem", r)
		case tbf:
			return errs.New(errs.NotImplemented, "network rate %s: this host's kernel cannot limit rates: it lacks the module sch_tbf", r)
		}
	}
	if errs.KindOf(err) != errs.Unknown {
		return err
	}
	return fmt.Errorf("network rate %s on %s: %w", r, device, err)
}

// addIFB makes the device that holds what a container sends, and switches it on.
func (s *Shaper) addIFB(name string, owner *netlink.LinkAttrs) (int, error) {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.NumTxQueues, a.NumRxQueues = name, owner.MTU, 1, 1
	link := &netlink.Ifb{LinkAttrs: a}
	err := s.links.LinkAdd(link)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return 0, errs.New(errs.NotImplemented, "what a container sends cannot be limited or delayed by this host's kernel: it lacks the module ifb")
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, fmt.Errorf("creating %s: %w", name, err)
	}
	made, err := s.links.LinkByName(name)
	if err == nil {
		// Without this IPv6 would give it an address and speak through it. A
		// kernel without IPv6 refuses it, and need not be told.
		_ = s.links.LinkSetIP6AddrGenMode(made, nl.IN6_ADDR_GEN_MODE_NONE)
		err = s.links.LinkSetUp(made)
	}
	if err != nil {
		return 0, fmt.Errorf("switching %s on: %w", name, err)
	}
	return made.Attrs().Index, nil
}

// dropIFB removes a device; that it is gone is no error.
func (s *Shaper) dropIFB(index int) error {
	err := s.links.LinkDel(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// redirect sends all that a device receives through the ifb.
func (s *Shaper) redirect(index, ifb int) error {
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
	if err := s.links.QdiscAdd(ingress); err != nil && !errors.Is(err, unix.EEXIST) {
		if errors.Is(err, unix.ENOENT) {
			return errs.New(errs.NotImplemented, "what a container sends cannot be limited or delayed by this host's kernel: it lacks the module sch_ingress")
		}
		return fmt.Errorf("catching what a container sends: %w", err)
	}
	attrs := netlink.FilterAttrs{LinkIndex: index, Parent: netlink.MakeHandle(0xffff, 0), Priority: 1, Protocol: unix.ETH_P_ALL}
	action := []netlink.Action{netlink.NewMirredAction(ifb)}
	// Either classifier does; kernels are built without the one or the other.
	err := s.links.FilterAdd(&netlink.MatchAll{FilterAttrs: attrs, Actions: action})
	if errors.Is(err, unix.ENOENT) {
		err = s.links.FilterAdd(&netlink.U32{FilterAttrs: attrs, Actions: action})
	}
	if errors.Is(err, unix.ENOENT) {
		return errs.New(errs.NotImplemented, "what a container sends cannot be limited or delayed by this host's kernel: it lacks the module cls_matchall or act_mirred")
	}
	if err != nil {
		return fmt.Errorf("redirecting what a container sends: %w", err)
	}
	return nil
}
