package network

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/davit-engine/davit/network/ipam"
	"golang.org/x/sys/unix"
)

const (
	// lookPause is how long after a change the host is looked at: who connects
	// to a VPN changes much at once.
	lookPause = 200 * time.Millisecond
	// lookAgain is how long after that it is not looked at again.
	lookAgain = 2 * time.Second
)

// surroundings watches the host's interfaces and routes. A range that something
// else begins to use, such as a VPN, is reported, since packets for one of the
// two get lost; no network gets it any more (see Create). And networks follow
// the MTU of the interface that leads to the outside.
type surroundings struct {
	networks *directory
	log      interface{ Warn(string, ...any) }
	socket   *os.File
	done     chan struct{}

	mu      sync.Mutex
	clashes []string // guarded by mu
}

// elsewhere drops the events that each start of a container causes: the
// link-local addresses of its interface, and the routes that the kernel makes of
// itself. It looks at the first message of a packet; events come one by one.
var elsewhere = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 4}, // low byte of nlmsg_type, which is below 256
	{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: unix.RTM_NEWROUTE, Jt: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 19}, // ifa_scope
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.RT_SCOPE_LINK, Jt: 3},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 21}, // rtm_protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.RTPROT_KERNEL, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
}

// watchSurroundings looks at the host as it is, and whenever it changes, in the
// network namespace of the calling thread.
func watchSurroundings(d *directory, c Config) (*surroundings, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, explain(err, "opening a netlink socket")
	}
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, explain(err, "watching the host's routes")
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(elsewhere)), Filter: &elsewhere[0]}); err != nil {
		unix.Close(fd)
		return nil, explain(err, "watching the host's routes")
	}
	w := &surroundings{networks: d, log: c.Log, socket: os.NewFile(uintptr(fd), "route events"), done: make(chan struct{})}
	w.look()
	go w.run()
	return w, nil
}

func (w *surroundings) close() {
	w.socket.Close()
	<-w.done
}

func (w *surroundings) run() {
	defer close(w.done)
	buf := make([]byte, 32<<10)
	var last time.Time
	due := false
	for {
		_, err := w.socket.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.socket.SetReadDeadline(time.Time{})
			w.look()
			last, due = time.Now(), false
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			w.log.Warn("the host's routes are no longer watched", "error", err)
			return
		case !due: // ENOBUFS: events were lost
			w.socket.SetReadDeadline(time.Now().Add(max(lookPause, lookAgain-time.Since(last))))
			due = true
		}
	}
}

// look compares the host with the networks.
func (w *surroundings) look() {
	// One that is created or removed meanwhile is not taken for somebody else's.
	networks := w.networks.all()
	host, err := hostRanges(devices(networks))
	if err != nil {
		w.log.Warn("cannot tell whether networks and the host use the same addresses", "error", err)
		return
	}
	mtu := egressMTU()
	var clashes []string
	for _, g := range networks {
		for _, c := range g.net.IPAM.Config {
			if t, clash := ipam.Clash(c.Subnet, host); clash && g.traits.ready {
				clashes = append(clashes, fmt.Sprintf("network %s has the addresses %s, and %s has %s: what is for one of them may go to the other; remove the network and create it again to have it move (davit network rm, create)",
					g.net.Name, c.Subnet, t.By, t.Prefix))
			}
		}
		g.follow(mtu)
	}
	slices.Sort(clashes)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range clashes {
		if !slices.Contains(w.clashes, c) {
			w.log.Warn(c)
		}
	}
	w.clashes = clashes
}

// warnings says which networks and what else use the same addresses.
func (w *surroundings) warnings() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.clashes)
}

// follow gives the network the MTU of the way to the outside, where it is one
// that does so. The sandboxes that are ready have the old one.
func (g *segment) follow(mtu int) {
	l, can := g.lan.(interface{ follow(mtu int) (bool, error) })
	if !can {
		return
	}
	changed, err := l.follow(mtu)
	if err != nil {
		g.store.config.Log.Warn("a network keeps its MTU", "network", g.net.Name, "error", err)
	}
	if changed {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.emptyLocked()
		g.store.pool.wakeUp()
	}
}

// devices lists the indexes of the networks' devices.
func devices(networks []*segment) []int {
	var all []int
	for _, g := range networks {
		if b, is := g.lan.(*bridge); is {
			all = append(all, b.now().index)
		}
	}
	return all
}
