package network

import (
	"errors"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
)

// removeLocked takes back all that Open made.
func (b *Bridge) removeLocked() error {
	failed := []error{b.firewall.remove()}
	if b.state.Created {
		link, err := netlink.LinkByName(b.device.name)
		if missing := (netlink.LinkNotFoundError{}); err == nil {
			failed = append(failed, explain(netlink.LinkDel(link), "removing bridge "+b.device.name))
		} else if !errors.As(err, &missing) {
			failed = append(failed, explain(err, "looking for bridge "+b.device.name))
		}
	}
	failed = append(failed, b.stopForwarding())
	if err := os.Remove(statePath(b.config.StateDir, b.config.Bridge)); !errors.Is(err, fs.ErrNotExist) {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// stopForwarding switches IPv4 forwarding off if we switched it on: without the
// table the host would pass on everything. While there is any other bridge
// (Docker's, a hypervisor's, another engine's) it stays.
func (b *Bridge) stopForwarding() error {
	if b.state.Forwarding == "" {
		return nil
	}
	if boot, err := bootID(); err != nil || boot != b.state.Forwarding {
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
	b.config.Log.Info("IPv4 forwarding is off again (net.ipv4.ip_forward=0)")
	return sysctl("net/ipv4/ip_forward", "0")
}
