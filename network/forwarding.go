package network

import (
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// switchForwarding lets the host pass packets on between interfaces, and says
// whether the table is to drop what is not containers': where it was we who did
// that in this boot.
func switchForwarding(s *state, c Config) (drop bool, err error) {
	const path = "/proc/sys/net/ipv4/ip_forward"
	id, err := bootID()
	if err != nil {
		return false, err
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("reading sysctl net.ipv4.ip_forward: %w", err)
	}
	if now[0] == '0' {
		if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
			return false, explain(err, "switching IPv4 forwarding on")
		}
		s.Forwarding = id
		c.Log.Info("IPv4 forwarding was off and is on now (net.ipv4.ip_forward=1), for containers to reach other hosts")
	}
	if drop = s.Forwarding == id && !c.ForwardNoDrop; drop {
		c.Log.Info("what is neither from nor to a container is not forwarded, as before (ip-forward-no-drop changes that)", "table", c.Table)
	}
	return drop, nil
}

// stopForwarding switches forwarding off if we switched it on: without the
// table the host would pass on everything. While there is any other bridge
// (Docker's, a hypervisor's, another engine's) it stays.
func stopForwarding(s state, c Config) error {
	if s.Forwarding == "" {
		return nil
	}
	if boot, err := bootID(); err != nil || boot != s.Forwarding {
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
	c.Log.Info("IPv4 forwarding is off again (net.ipv4.ip_forward=0)")
	return sysctl("net/ipv4/ip_forward", "0")
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot ID: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
