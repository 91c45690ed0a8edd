package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/firewall"
	"github.com/vishvananda/netlink"
)

const (
	forwardIPv4 = "net/ipv4/ip_forward"
	forwardIPv6 = "net/ipv6/conf/all/forwarding"
	acceptRA    = "accept_ra"
)

// forwarding has the host pass packets on between interfaces, and what is not
// containers' dropped where it was we who switched it on in this boot.
type forwarding struct {
	config Config
	wall   *firewall.Table
	memory *memory

	mu   sync.Mutex
	on   [2]bool // guarded by mu; by family: it was seen to
	drop [2]bool // guarded by mu; by family
}

// ensure switches forwarding on where it is off, IPv6's only if that is asked
// for: there is no need before the first network that has it.
func (f *forwarding) ensure(ipv6 bool) error {
	if !f.config.Forward {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	boot, err := bootID()
	if err != nil {
		return err
	}
	before := f.drop
	if !f.on[0] {
		if err := f.switch4(boot); err != nil {
			return err
		}
		f.on[0], f.drop[0] = true, f.memory.now().Forwarding == boot && !f.config.ForwardNoDrop
	}
	if ipv6 && !f.on[1] {
		if err := f.switch6(boot); err != nil {
			return err
		}
		f.on[1], f.drop[1] = true, f.memory.now().Forwarding6 == boot && !f.config.ForwardNoDrop
	}
	if f.drop != before {
		f.config.Log.Info("what is neither from nor to a container is not forwarded, as before (ip-forward-no-drop changes that)", "table", f.config.Table, "ipv4", f.drop[0], "ipv6", f.drop[1])
	}
	return f.wall.SetDrop(f.drop[0], f.drop[1])
}

func (f *forwarding) switch4(boot string) error {
	now, err := readSysctl(forwardIPv4)
	if err != nil {
		return explain(err, "looking whether the host forwards IPv4")
	}
	if now != "0" {
		return nil
	}
	if err := sysctl(forwardIPv4, "1"); err != nil {
		return explain(err, "switching IPv4 forwarding on")
	}
	f.config.Log.Info("IPv4 forwarding was off and is on now (net.ipv4.ip_forward=1), for containers to reach other hosts")
	return f.memory.change(func(k *state) { k.Forwarding = boot })
}

// switch6 is switch4 for IPv6. A host that forwards ignores routers'
// advertisements, which may be where it has its own address and route from:
// interfaces that listen to them are told to go on with it.
func (f *forwarding) switch6(boot string) error {
	now, err := readSysctl(forwardIPv6)
	if errors.Is(err, fs.ErrNotExist) {
		return errs.New(errs.InvalidParameter, "this host's kernel has no IPv6 (ipv6.disable=1 or no module): leave --ipv6 out")
	}
	if err != nil {
		return explain(err, "looking whether the host forwards IPv6")
	}
	if now != "0" {
		return nil
	}
	listening, err := listeners()
	if err != nil {
		return err
	}
	for _, name := range listening {
		if err := sysctl("net/ipv6/conf/"+name+"/"+acceptRA, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return explain(err, "having "+name+" listen to routers as before")
		}
	}
	if err := sysctl(forwardIPv6, "1"); err != nil {
		return explain(err, "switching IPv6 forwarding on")
	}
	f.config.Log.Info("IPv6 forwarding was off and is on now (net.ipv6.conf.all.forwarding=1), for containers to reach other hosts", "accept_ra=2", listening)
	return f.memory.change(func(k *state) { k.Forwarding6, k.Listening = boot, listening })
}

// listeners lists the interfaces that listen to routers as long as the host
// does not forward. Bridges do not: behind them are containers or guests.
func listeners() ([]string, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, explain(err, "listing interfaces")
	}
	var all []string
	for _, l := range links {
		name := l.Attrs().Name
		if value, err := readSysctl("net/ipv6/conf/" + name + "/" + acceptRA); err == nil && value == "1" && l.Type() != "bridge" && l.Attrs().MasterIndex == 0 && name != "lo" {
			all = append(all, name)
		}
	}
	return all, nil
}

func readSysctl(name string) (string, error) {
	value, err := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(value)), err
}

// stop switches forwarding off if we switched it on: without the
// table the host would pass on everything. While there is any other bridge
// (Docker's, a hypervisor's, another engine's) it stays.
func (f *forwarding) stop() error {
	s, log := f.memory.now(), f.config.Log
	if s.Forwarding == "" && s.Forwarding6 == "" {
		return nil
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	links, err := dump(netlink.LinkList)
	if err != nil {
		return explain(err, "listing interfaces")
	}
	for _, l := range links {
		if l.Type() == "bridge" {
			return nil
		}
	}
	var failed []error
	if s.Forwarding == boot {
		log.Info("IPv4 forwarding is off again (net.ipv4.ip_forward=0)")
		failed = append(failed, sysctl(forwardIPv4, "0"))
	}
	if s.Forwarding6 == boot {
		log.Info("IPv6 forwarding is off again (net.ipv6.conf.all.forwarding=0)")
		failed = append(failed, sysctl(forwardIPv6, "0"))
		for _, name := range s.Listening {
			if err := sysctl("net/ipv6/conf/"+name+"/"+acceptRA, "1"); !errors.Is(err, fs.ErrNotExist) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
