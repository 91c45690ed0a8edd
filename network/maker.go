package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	loIndex     = 1 // lo is always the first interface of a namespace
	eth0Index   = 2 // what eth0 gets, so that nobody need ask
	settleLimit = 100 * time.Millisecond
	settlePoll  = 200 * time.Microsecond
	eth0Beyond  = 100 // what it gets where the kernel puts tunnels into new namespaces
)

// maker makes network namespaces. Its methods run on a thread that is locked
// and lives in the home namespace; they leave it there, or say errStray.
type maker struct {
	home   *os.File // the engine's network namespace
	hostMu sync.Mutex
	host   rtnl            // guarded by hostMu; a socket in the engine's network namespace, wherever the thread is
	links  *netlink.Handle // guarded by hostMu; likewise
	eth0   int             // guarded by hostMu; the index eth0 gets
	bridge device          // guarded by hostMu
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
	return &maker{home: home, host: host, links: links, eth0: eth0Index}, nil
}

func (m *maker) close() {
	m.links.Close()
	m.host.close()
	m.home.Close()
}

// none makes a namespace with lo, or furnishes given so, unless that is nil.
func (m *maker) none(given *os.File) (*os.File, error) {
	return m.inside(given, func(*os.File, rtnl) error { return nil })
}

// bridged makes or furnishes a namespace with lo and eth0, which is e's end on
// the bridge.
func (m *maker) bridged(e *Endpoint, given *os.File) (*os.File, error) {
	ns, err := m.inside(given, func(ns *os.File, r rtnl) error {
		// eth0 gets no IPv6, not even a link-local address, as in Docker
		// when the network has no IPv6; lo keeps ::1.
		if err := sysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		index, bridgeMAC, err := m.connect(e, ns)
		if err != nil {
			return err
		}
		if err := sysctl("net/ipv6/conf/default/disable_ipv6", "0"); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		var b batch
		b.addAddress(index, e.Address4)
		b.setUp(index)
		b.addDefaultRoute(index, e.Gateway4)
		b.setNeighbour(index, e.Gateway4, bridgeMAC)
		return r.do(&b)
	})
	if err == nil {
		m.settle(e.HostVeth)
	}
	return ns, err
}

// settle waits until an interface passes packets. Its end on the host was
// switched on first, when there was no carrier, so it drops everything until a
// worker of the kernel (net/core/link_watch.c) has noticed that there is; the
// container's first ARP request or SYN would be lost, and repeated after one
// second. From Linux 6.8 on asking does the worker's work.
func (m *maker) settle(name string) {
	for end := time.Now().Add(settleLimit); ; time.Sleep(settlePoll) {
		done := false
		var b batch
		b.getState(name, func(operational bool) { done = operational })
		m.hostMu.Lock()
		err := m.host.do(&b)
		m.hostMu.Unlock()
		if done || err != nil || time.Now().After(end) {
			return // later it costs that second, no more
		}
	}
}

// connect makes e's pair of interfaces, and returns the index of eth0 in ns and
// the bridge's MAC.
func (m *maker) connect(e *Endpoint, ns *os.File) (int, net.HardwareAddr, error) {
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	cleared := false
	for {
		var b batch
		b.addVeth(vethEnd{name: e.HostVeth, mac: randomMAC(), mtu: m.bridge.mtu}, m.bridge.index,
			vethEnd{name: "eth0", index: m.eth0, mac: net.HardwareAddr(e.MAC), mtu: m.bridge.mtu}, int(ns.Fd()))
		b.setNeighbour(m.bridge.index, e.Address4.Addr(), net.HardwareAddr(e.MAC))
		err := m.host.do(&b)
		switch {
		case errors.Is(err, unix.EBUSY) && m.eth0 == eth0Index:
			m.eth0 = eth0Beyond
		case errors.Is(err, unix.EEXIST) && !cleared:
			cleared = true
			if err := m.clearLocked(e.HostVeth); err != nil {
				return 0, nil, err
			}
		default:
			return m.eth0, m.bridge.mac, explain(err, "connecting a container to bridge "+m.bridge.name)
		}
	}
}

// clearLocked removes an interface that bears the name of a new one: that of
// an endpoint given back, whose namespace the kernel has not yet removed or
// somebody still holds; its bridge may be gone. It leaves interfaces of other
// bridges alone.
func (m *maker) clearLocked(name string) error {
	link, err := m.links.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return explain(err, "looking at interface "+name)
	}
	if master := link.Attrs().MasterIndex; master != m.bridge.index && master != 0 {
		return errs.New(errs.Conflict, "interface %s exists and is not on bridge %s: another engine uses its address too; remove it, or give the bridges different ranges", name, m.bridge.name)
	}
	var b batch
	b.delLink(link.Attrs().Index)
	if err := m.host.do(&b); !errors.Is(err, unix.ENODEV) {
		return explain(err, "removing interface "+name)
	}
	return nil
}

// bridgeIndex returns the index of the bridge that new sandboxes go to.
func (m *maker) bridgeIndex() int {
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	return m.bridge.index
}

// setBridge says which bridge new sandboxes go to.
func (m *maker) setBridge(d device) {
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	m.bridge = d
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
	defer func() {
		if back := unix.Setns(int(m.home.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, errStray, back)
		}
	}()
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
