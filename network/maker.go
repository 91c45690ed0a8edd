package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	loIndex      = 1 // lo is always the first interface of a namespace
	firstIndex   = 2 // what the first interface gets, so that nobody need ask
	carrierLimit = 100 * time.Millisecond
	carrierPoll  = 200 * time.Microsecond
	indexBeyond  = 100 // what it gets where the kernel puts tunnels into new namespaces
)

// maker makes network namespaces. Its methods run on a thread that is locked
// and lives in the home namespace; they leave it there, or say errStray.
type maker struct {
	home   *os.File // the engine's network namespace
	hostMu sync.Mutex
	host   rtnl            // guarded by hostMu; a socket in the engine's network namespace, wherever the thread is
	links  *netlink.Handle // guarded by hostMu; likewise
	first  int             // guarded by hostMu; the index of the first interface in a new namespace
}

// errStray says that the thread could not go back to the engine's network
// namespace. It must end, never serve anybody else.
var errStray = errors.New("cannot return to the engine's network namespace")

// newMaker must be called in the engine's network namespace.
func newMaker() (*maker, error) {
	home, err := openNetNS()
	if err != nil {
		return nil, err
	}
	host, err := openRtnl()
	if err != nil {
		home.Close()
		return nil, err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		host.close()
		home.Close()
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return &maker{home: home, host: host, links: links, first: firstIndex}, nil
}

func (m *maker) close() {
	m.links.Close()
	m.host.close()
	m.home.Close()
}

// job is an interface to be made.
type job struct {
	e       *Endpoint
	g       *segment
	options map[string]string
}

// sandbox makes a namespace with lo and the interfaces of jobs, or furnishes
// given so, unless that is nil. Whatever fails, the kernel removes everything
// with a namespace that was made here.
func (m *maker) sandbox(ctx context.Context, given *os.File, jobs []job) (*os.File, error) {
	ns, err := m.inside(given, func(ns *os.File, r rtnl) error {
		return plugIn(ctx, entry{ns: ns, rtnl: r}, nil, jobs)
	})
	if err == nil {
		m.awaitCarriers(jobs)
	}
	return ns, err
}

// extend adds the interfaces of jobs to a namespace that somebody may live in
// and that has the legs on. What it made by the time it fails stays.
func (m *maker) extend(ctx context.Context, ns *os.File, on []leg, jobs []job) error {
	err := m.enter(ns, func(r rtnl) error {
		return plugIn(ctx, entry{ns: ns, rtnl: r, position: -1}, on, jobs)
	})
	if err == nil {
		m.awaitCarriers(jobs)
	}
	return err
}

// plugIn makes the interfaces of jobs, with their addresses, and sees to the
// default routes among them and those that are there. The thread is in the
// namespace.
func plugIn(ctx context.Context, at entry, on []leg, jobs []job) error {
	var b batch
	indexes := map[string]int{}
	all := slices.Clone(on)
	for i, j := range jobs {
		if at.position >= 0 {
			at.position = i
		}
		p, err := j.attach(ctx, at)
		if err != nil {
			return err
		}
		all = append(all, legOf(*j.e, j.g))
		if p.done {
			continue
		}
		indexes[j.e.ID] = p.index
		if j.e.Address4.IsValid() {
			b.addAddress(p.index, j.e.Address4)
		}
		if j.e.Address6.IsValid() {
			b.addAddress(p.index, j.e.Address6)
		}
		for _, a := range j.e.LinkLocal {
			b.addAddress(p.index, linkLocal(a))
		}
		b.setUp(p.index)
	}
	if err := addDefaults(&b, on, all, indexes); err != nil {
		return err
	}
	if len(b.names) == 0 {
		return nil
	}
	if err := at.rtnl.do(&b); err != nil {
		return err
	}
	for _, j := range jobs {
		if j.g.traits.ipv6 && indexes[j.e.ID] != 0 {
			awaitCarrier(j.e.Interface, at.rtnl.do)
			awaitAddress(j.e.Address6.Addr(), at.rtnl.do)
		}
	}
	return nil
}

// attach makes the interface and sets its parameters. The first address of a
// new interface would switch its IPv6 on.
func (j job) attach(ctx context.Context, at entry) (plug, error) {
	const fresh = "net/ipv6/conf/default/disable_ipv6"
	if !j.g.traits.ipv6 {
		// No IPv6, not even a link-local address, as in Docker where the
		// network has none; lo keeps ::1.
		if err := sysctl(fresh, "1"); err != nil && !errors.Is(err, unix.ENOENT) {
			return plug{}, err
		}
	}
	p, err := j.g.lan.attach(ctx, j.e, at, j.options)
	if !j.g.traits.ipv6 {
		if back := sysctl(fresh, "0"); err == nil && back != nil && !errors.Is(back, unix.ENOENT) {
			err = back
		}
	}
	if err != nil || p.done {
		return p, err
	}
	if j.g.traits.ipv6 {
		// Nobody but the engine says which addresses and routes it has, and
		// nobody has its link-local one.
		for _, s := range [][2]string{{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"accept_dad", "0"}} {
			if err := sysctl("net/ipv6/conf/"+j.e.Interface+"/"+s[0], s[1]); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// linkLocal returns a link-local address with the length of its range.
func linkLocal(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(a, 16)
	}
	return netip.PrefixFrom(a, 64)
}

func (m *maker) awaitCarriers(jobs []job) {
	for _, j := range jobs {
		if j.e.HostVeth != "" {
			awaitCarrier(j.e.HostVeth, m.inHost)
		}
	}
}

// awaitCarrier waits until an interface passes packets. Its end on the host was
// switched on first, when there was no carrier, so it drops everything until a
// worker of the kernel (net/core/link_watch.c) has noticed that there is; the
// container's first ARP request or SYN would be lost, and repeated after one
// second. The other end has no IPv6 before that either. From Linux 6.8 on asking
// does the worker's work.
func awaitCarrier(name string, do func(*batch) error) {
	for end := time.Now().Add(carrierLimit); ; time.Sleep(carrierPoll) {
		done := false
		var b batch
		b.getState(name, func(_ int, operational bool) { done = operational })
		if err := do(&b); done || err != nil || time.Now().After(end) {
			return // later it costs that second, no more
		}
	}
}

// awaitAddress waits until an IPv6 address is there in truth: a worker of the
// kernel (net/ipv6/addrconf.c) has it listen to its neighbours and take what is
// for it. Without that a first connection takes a second.
func awaitAddress(a netip.Addr, do func(*batch) error) {
	for end := time.Now().Add(carrierLimit); a.IsValid() && time.Now().Before(end); time.Sleep(carrierPoll) {
		done := false
		var b batch
		b.getOwn(a, func() { done = true })
		if err := do(&b); done || err != nil {
			return
		}
	}
}

// inHost does a batch in the engine's network namespace.
func (m *maker) inHost(b *batch) error {
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	return m.host.do(b)
}

// indexOf returns the index of an interface of the host, 0 if there is none.
func (m *maker) indexOf(name string) int {
	index := 0
	var b batch
	b.getState(name, func(i int, _ bool) { index = i })
	_ = m.inHost(&b) // what is not there has no index
	return index
}

// connect makes e's pair of interfaces, the one on the host on bridge d, and
// returns the index of the other. apart separates it from others on the bridge
// that are so.
func (m *maker) connect(e *Endpoint, at entry, d device, apart bool) (int, error) {
	cleared := false
	for {
		m.hostMu.Lock()
		first := m.first
		index := 0
		if at.position >= 0 {
			index = first + at.position
		}
		var b batch
		b.addVeth(vethEnd{name: e.HostVeth, mac: randomMAC(), mtu: d.mtu}, d.index,
			vethEnd{name: e.Interface, index: index, mac: net.HardwareAddr(e.MAC), mtu: d.mtu}, int(at.ns.Fd()))
		if e.Address6.IsValid() {
			b.setAlias(e.HostVeth, e.Address6.Addr().String())
		}
		for _, a := range []netip.Prefix{e.Address4, e.Address6} {
			if a.IsValid() {
				if apart {
					b.fixNeighbour(d.index, a.Addr(), net.HardwareAddr(e.MAC))
				} else {
					b.updateNeighbour(d.index, a.Addr(), net.HardwareAddr(e.MAC))
				}
			}
		}
		b.setPort(e.HostVeth, apart)
		err := m.host.do(&b)
		if errors.Is(err, unix.EBUSY) && first == firstIndex && index > 0 {
			m.first = indexBeyond
			m.hostMu.Unlock()
			continue
		}
		m.hostMu.Unlock()
		switch {
		case errors.Is(err, unix.EEXIST) && !cleared:
			cleared = true
			if err := m.clear(e.HostVeth, d); err != nil {
				return 0, err
			}
			continue
		case errors.Is(err, unix.EEXIST):
			return 0, errs.New(errs.Conflict, "connecting a container to bridge %s: %w: the container has an interface %s already", d.name, err, e.Interface)
		case errors.Is(err, unix.EXFULL):
			return 0, errs.New(errs.Exhausted, "bridge %s is full: the kernel connects at most 1023 interfaces to one, so put more containers on another network (davit network create)", d.name)
		case err != nil:
			return 0, explain(err, "connecting a container to bridge "+d.name)
		}
		if index == 0 {
			if index, err = at.indexOf(e.Interface); err != nil {
				return 0, err
			}
		}
		if apart {
			if err := m.pin(e, d); err != nil {
				return 0, err
			}
		}
		return index, nil
	}
}

// indexOf returns the index of an interface in the namespace.
func (at entry) indexOf(name string) (index int, err error) {
	var b batch
	b.getState(name, func(i int, _ bool) { index = i })
	if err := at.rtnl.do(&b); err != nil {
		return 0, err
	}
	return index, nil
}

// pin tells the bridge where e's MAC is, since it is not to learn that.
func (m *maker) pin(e *Endpoint, d device) error {
	index := m.indexOf(e.HostVeth)
	var b batch
	b.addForwarding(index, net.HardwareAddr(e.MAC))
	return explain(m.inHost(&b), "pinning a container's MAC on bridge "+d.name)
}

// clear removes an interface that bears the name of a new one: that of
// an endpoint given back, whose namespace the kernel has not yet removed or
// somebody still holds; its bridge may be gone. It leaves interfaces of other
// bridges alone.
func (m *maker) clear(name string, d device) error {
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	link, err := m.links.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return explain(err, "looking at interface "+name)
	}
	if master := link.Attrs().MasterIndex; master != d.index && master != 0 {
		return errs.New(errs.Conflict, "interface %s exists and is not on bridge %s: another engine uses its address too; remove it, or give the bridges different ranges", name, d.name)
	}
	var b batch
	b.delLink(link.Attrs().Index)
	if err := m.host.do(&b); !errors.Is(err, unix.ENODEV) {
		return explain(err, "removing interface "+name)
	}
	return nil
}

// remove removes interfaces of the host at once. Those that are gone are no
// error.
func (m *maker) remove(names []string) error {
	var marked int
	var b batch
	for _, name := range names {
		if index := m.indexOf(name); index > 0 {
			b.setGroup(index, doomedGroup)
			marked++
		}
	}
	if marked == 0 {
		return nil
	}
	if err := m.inHost(&b); err != nil && !errors.Is(err, unix.ENODEV) {
		return explain(err, "removing the interfaces of containers")
	}
	var del batch
	del.delGroup(doomedGroup)
	if err := m.inHost(&del); !errors.Is(err, unix.ENODEV) {
		return explain(err, "removing the interfaces of containers")
	}
	return nil
}

// enter runs fn in a namespace that is there, with a socket into it.
func (m *maker) enter(ns *os.File, fn func(rtnl) error) (err error) {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	defer m.goHome(&err)
	r, err := openRtnl()
	if err != nil {
		return err
	}
	defer r.close()
	return fn(r)
}

// goHome leaves a namespace.
func (m *maker) goHome(err *error) {
	if back := unix.Setns(int(m.home.Fd()), unix.CLONE_NEWNET); back != nil {
		*err = errors.Join(*err, errStray, back)
	}
}

// inside makes a namespace, unless it is given one, switches lo on, and runs
// setUp in it with a socket into it. Whatever fails, the kernel removes
// everything with the namespace.
func (m *maker) inside(given *os.File, setUp func(*os.File, rtnl) error) (_ *os.File, err error) {
	if given == nil {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return nil, fmt.Errorf("creating a network namespace: %w", err)
		}
	} else if err := unix.Setns(int(given.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering a network namespace: %w", err)
	}
	defer m.goHome(&err)
	ns := given
	if ns == nil {
		if ns, err = openNetNS(); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				ns.Close()
			}
		}()
	}
	r, err := openRtnl()
	if err != nil {
		return nil, err
	}
	defer r.close()
	// Docker's defaults for a container with a namespace of its own: any
	// user may ping and bind low ports. A spec may set them again.
	for name, value := range map[string]string{"net/ipv4/ip_unprivileged_port_start": "0", "net/ipv4/ping_group_range": "0 2147483647"} {
		if err := sysctl(name, value); err != nil {
			return nil, err
		}
	}
	var b batch
	b.setUp(loIndex)
	if err := r.do(&b); err != nil {
		return nil, err
	}
	return ns, setUp(ns, r)
}

// onThread runs fn on a thread that no other goroutine uses meanwhile, and that
// ends with it if fn says errStray.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := fn()
		if !errors.Is(err, errStray) {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// openNetNS opens the network namespace of the calling thread.
func openNetNS() (*os.File, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the thread's network namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), "netns"), nil
}

// sysctl sets a kernel parameter, for net/ in the thread's network namespace.
func sysctl(name, value string) error {
	fd, err := unix.Open("/proc/sys/"+name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("setting sysctl %s: %w", strings.ReplaceAll(name, "/", "."), err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return fmt.Errorf("setting sysctl %s to %s: %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}
