package e2e

import (
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestNetworks lists and shows the networks that are there without being
// created, through docker's command line.
func TestNetworks(t *testing.T) {
	e := engine(t)
	cli := e.Docker(t)
	n := name(t, cli)
	if got, want := cli.OK(t, "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"), "bridge bridge local\nhost host local\nnone null local"; got != want {
		t.Errorf("network ls printed %q, want %q", got, want)
	}
	for filter, want := range map[string]string{"name=ost": "host", "driver=null": "none", "type=custom": "", "dangling=true": "", "label=x": ""} {
		if got := cli.OK(t, "network", "ls", "--filter", filter, "--format", "{{.Name}}"); got != want {
			t.Errorf("network ls with filter %s printed %q, want %q", filter, got, want)
		}
	}
	cli.OK(t, "run", "-d", "--name", n, "busybox", "sleep", "1000")
	address := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}/{{.NetworkSettings.Networks.bridge.IPPrefixLen}} {{.NetworkSettings.Networks.bridge.MacAddress}}", n)
	got := cli.OK(t, "network", "inspect", "-f", `{{range .Containers}}{{if eq .Name "`+n+`"}}{{.IPv4Address}} {{.MacAddress}}{{end}}{{end}}`, "bridge")
	if got != address {
		t.Errorf("the network has the container at %q, which says %q", got, address)
	}
	gateway := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}} {{.NetworkSettings.Networks.bridge.NetworkID}}", n)
	got = cli.OK(t, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}} {{.Id}}", "bridge")
	if got != gateway {
		t.Errorf("the bridge's gateway and ID are %q, the container has %q", got, gateway)
	}
	if got := cli.OK(t, "network", "inspect", "-f", `{{index .Options "com.docker.network.bridge.name"}}`, "bridge"); got != e.Bridge {
		t.Errorf("the bridge is called %q, want %q", got, e.Bridge)
	}
	id := strings.Fields(gateway)[1]
	if got := cli.OK(t, "network", "inspect", "-f", "{{.Name}}", id[:12]); got != "bridge" {
		t.Errorf("the network by a part of its ID is %q", got)
	}
	cli.OK(t, "network", "prune", "-f")
	cli.Fails(t, 1, "network nothing-there not found", "network", "inspect", "nothing-there")
	cli.Fails(t, 1, "bridge is a pre-defined network and cannot be removed", "network", "rm", "bridge")

	for mode, want := range map[string]string{"host": "host", "none": "none"} {
		other := n + "-" + mode
		t.Cleanup(func() { cli.Run(t, "rm", "-f", other) })
		cli.OK(t, "run", "-d", "--name", other, "--network", mode, "busybox", "sleep", "1000")
		if got := cli.OK(t, "network", "inspect", "-f", `{{range .Containers}}{{.Name}} {{end}}`, want); !strings.Contains(got+" ", other+" ") {
			t.Errorf("network %s has %q, want %s on it", mode, got, other)
		}
	}
	each(t, func(t *testing.T, cli enginetest.CLI) {
		cli.OK(t, "run", "--rm", "--network", "default", "busybox", "true")
	})
}
