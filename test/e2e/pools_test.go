package e2e

import (
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestAddressPools: networks get their ranges from the pools that are set, and
// it is said when these have run out.
func TestAddressPools(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{NoRegistry: true, Args: []string{
		"--default-address-pool", "base=198.18.40.0/29,size=30", "--default-address-pool", "base=fd40::/63,size=64",
	}})
	cli := e.Davit()
	if got := cli.OK(t, "info", "-f", "{{range .DefaultAddressPools}}{{.Base}} {{.Size}} {{end}}"); got != "198.18.40.0/29 30 fd40::/63 64 " && got != "198.18.40.0/29 30 fd40::/63 64" {
		t.Errorf("info has the pools %q", got)
	}
	for i, c := range []struct {
		args []string
		want string // "" for an error
	}{
		{[]string{"--ipv6"}, "198.18.40.0/30 198.18.40.1 fd40::/64 fd40::1"},
		{nil, "198.18.40.4/30 198.18.40.5"},
		{nil, ""},
		{[]string{"--ipv6", "--ipv4=false"}, "fd40:0:0:1::/64 fd40:0:0:1::1"},
		{[]string{"--subnet", "198.18.41.0/29", "--ip-range", "198.18.41.4/30"}, "198.18.41.0/29 198.18.41.4"},
	} {
		name := string(rune('a' + i))
		args := append(append([]string{"network", "create"}, c.args...), name)
		if c.want == "" {
			cli.Fails(t, 1, "all predefined address pools have been fully subnetted", args...)
			continue
		}
		cli.OK(t, args...)
		t.Cleanup(func() { cli.OK(t, "network", "rm", name) })
		if got := strings.TrimSpace(cli.OK(t, "network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{end}}", name)); got != c.want {
			t.Errorf("network %s has %q, want %q", name, got, c.want)
		}
	}
	cli.Fails(t, 1, "invalid pool request: Pool overlaps with other one on this address space: 198.18.40.4/31 overlaps 198.18.40.4/30 of network b", "network", "create", "--subnet", "198.18.40.4/31", "x")
	cli.Fails(t, 1, "invalid network config:", "network", "create", "--subnet", "198.18.50.1/24", "x")
	// A range that is full says so, and which.
	importBusybox(t, e)
	cli.OK(t, "run", "-d", "--name", "one", "--network", "b", "busybox", "sleep", "1000")
	if r := cli.Run(t, "run", "--rm", "--network", "b", "busybox", "true"); r.Code == 0 || !strings.Contains(r.Stderr, "no available IPv4 addresses in 198.18.40.4/30") {
		t.Errorf("a full network: exit code %d: %s", r.Code, r.Stderr)
	}
	if r := cli.Run(t, "run", "--rm", "--network", "e", "--ip", "198.18.41.4", "busybox", "true"); r.Code == 0 || !strings.Contains(r.Stderr, "Address already in use: 198.18.41.4 is the gateway") {
		t.Errorf("the gateway's address: exit code %d: %s", r.Code, r.Stderr)
	}
	if r := cli.Run(t, "run", "--rm", "--network", "e", "--ip", "198.18.60.4", "busybox", "true"); r.Code == 0 || !strings.Contains(r.Stderr, "no configured subnet or ip-range contain the IP address 198.18.60.4") {
		t.Errorf("an address of no subnet: exit code %d: %s", r.Code, r.Stderr)
	}
	cli.OK(t, "rm", "-f", "one")
}
