package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestNetworks lists and shows the networks that are there without being
// created, through docker's command line.
func TestNetworks(t *testing.T) {
	e := engine(t)
	cli := e.Docker(t)
	n := name(t, cli)
	if got, want := cli.OK(t, "network", "ls", "--filter", "type=builtin", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"), "bridge bridge local\nhost host local\nnone null local"; got != want {
		t.Errorf("network ls printed %q, want %q", got, want)
	}
	for filter, want := range map[string]string{"name=ost": "host", "driver=null": "none", "label=x": ""} {
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

// networks makes networks of this test's own, which are removed after the
// test; each argument is the options of one.
func networks(t *testing.T, cli enginetest.CLI, options ...string) []string {
	t.Helper()
	var names []string
	for i, o := range options {
		// In lower case, as docker's client makes it that in the long form of --network.
		n := fmt.Sprintf("%s-net%d", strings.ToLower(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())), i)
		t.Cleanup(func() {
			if r := cli.Run(t, "network", "rm", n); r.Code != 0 && !strings.Contains(r.Stderr, "not found") {
				t.Errorf("removing %s: %s", n, r.Stderr)
			}
		})
		cli.OK(t, slices.Concat([]string{"network", "create"}, strings.Fields(o), []string{n})...)
		names = append(names, n)
	}
	return names
}

// TestNetworkLife creates, shows, uses and removes networks.
func TestNetworkLife(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		c := name(t, cli)
		nets := networks(t, cli,
			"--subnet 10.231.7.0/24 --gateway 10.231.7.9 --ip-range 10.231.7.128/25 --aux-address printer=10.231.7.128 --label tier=front -o com.docker.network.driver.mtu=1400 --attachable",
			"--internal --ipv6 --subnet 10.231.8.0/24 --subnet fd31:7::/64 --label tier=back", "")
		for template, want := range map[string]string{
			"{{.Driver}} {{.Scope}} {{.EnableIPv4}} {{.EnableIPv6}} {{.Internal}} {{.Attachable}} {{.Ingress}} {{.ConfigOnly}}": "bridge local true false false true false false",
			"{{.IPAM.Driver}} {{range .IPAM.Config}}{{.Subnet}} {{.IPRange}} {{.Gateway}} {{.AuxiliaryAddresses}}{{end}}":       "default 10.231.7.0/24 10.231.7.128/25 10.231.7.9 map[printer:10.231.7.128]",
			"{{.Labels}} {{.Options}} {{.Containers}}": "map[tier:front] map[com.docker.network.driver.mtu:1400] map[]",
		} {
			if got := cli.OK(t, "network", "inspect", "-f", template, nets[0]); got != want {
				t.Errorf("%s is %q, want %q", template, got, want)
			}
		}
		if got, want := cli.OK(t, "network", "inspect", "-f", "{{.EnableIPv6}} {{.Internal}} {{range .IPAM.Config}}{{.Subnet}} {{end}}", nets[1]), "true true 10.231.8.0/24 fd31:7::/64"; got != want {
			t.Errorf("the second is %q, want %q", got, want)
		}
		if got := cli.OK(t, "network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", nets[2]); !strings.HasSuffix(got, "/24") {
			t.Errorf("a network without a wish has %s, want 256 addresses", got)
		}
		for filter, want := range map[string][]string{
			"label=tier": nets[:2], "label=tier=back": nets[1:2], "name=^" + nets[2] + "$": nets[2:], "dangling=true": nets, "type=custom": nets, "driver=bridge": append([]string{"bridge"}, nets...),
		} {
			got := strings.Fields(cli.OK(t, "network", "ls", "--filter", filter, "--format", "{{.Name}}"))
			if got = slices.DeleteFunc(got, func(n string) bool { return n != "bridge" && !slices.Contains(nets, n) }); !slices.Equal(got, want) {
				t.Errorf("filter %s shows %v, want %v", filter, got, want)
			}
		}

		// The first address of the range that is not the printer's.
		cli.OK(t, "run", "-d", "--name", c, "--network", nets[0], "busybox", "sleep", "1000")
		if got, want := cli.OK(t, "inspect", "-f", "{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{$e.IPAddress}}/{{$e.IPPrefixLen}} {{$e.Gateway}}{{end}}", c), nets[0]+" 10.231.7.129/24 10.231.7.9"; got != want {
			t.Errorf("the container is at %q, want %q", got, want)
		}
		if got := cli.OK(t, "exec", c, "sh", "-c", "cat /sys/class/net/eth0/mtu; ip route | grep default"); got != "1400\ndefault via 10.231.7.9 dev eth0" {
			t.Errorf("inside: %q", got)
		}
		if got := cli.OK(t, "ps", "--filter", "network="+nets[0], "--format", "{{.Names}} {{.Networks}}"); got != c+" "+nets[0] {
			t.Errorf("ps shows %q", got)
		}
		cli.Fails(t, 1, "network "+nets[0]+" has active endpoints (name:\""+c+"\" id:\"", "network", "rm", nets[0])
		cli.Fails(t, 1, "network with name "+nets[0]+" already exists", "network", "create", nets[0])
		for args, text := range map[string]string{
			"--subnet 10.231.7.128/25":                                "Pool overlaps with other one on this address space",
			"--subnet 10.231.9.1/24":                                  "invalid subnet 10.231.9.1/24",
			"--subnet 10.231.9.0/24 --gateway 10.231.9.1 -d nonsense": "nonsense",
			"--ipv4=false":                                            "IPv4 or IPv6 must be enabled",
			"-o com.docker.network.bridge.enable_icc=maybe":           "com.docker.network.bridge.enable_icc",
			"-o com.docker.network.driver.mtu=many":                   "com.docker.network.driver.mtu",
			"-o com.docker.network.bridge.gateway_mode_ipv4=sideways": "gateway",
			"--ingress":                   "ngress",
			"--scope swarm":               "cannot create a swarm scoped network when swarm is not active",
			"-d overlay":                  "This node is not a swarm manager",
			"--config-from nothing-there": "configuration network \"nothing-there\" does not exist",
			"--ipam-driver nonsense":      "nonsense",
			"-d host":                     "only one instance of \"host\" network is allowed",
			"-d null":                     "only one instance of \"null\" network is allowed",
		} {
			bad := nets[0] + "-bad"
			cli.Fails(t, 1, text, slices.Concat([]string{"network", "create"}, strings.Fields(args), []string{bad})...)
			cli.OK(t, "network", "rm", "-f", bad)
		}
		for _, taken := range []string{"bridge", "host", "none", "default"} {
			cli.Fails(t, 1, "operation is not permitted on predefined "+taken+" network", "network", "create", taken)
		}
		cli.Fails(t, 125, "network nothing-there not found", "run", "--rm", "--network", "nothing-there", "busybox", "true")

		cli.OK(t, "rm", "-f", c)
		if r := cli.Run(t, "network", "rm", nets[0], "nothing-there", nets[1]); r.Code != 1 || r.Stdout != nets[0]+"\n"+nets[1]+"\n" || !strings.Contains(r.Stderr, "network nothing-there not found") {
			t.Errorf("%+v", r)
		}
		cli.OK(t, "network", "rm", "-f", nets[0])
		cli.Fails(t, 1, "network "+nets[1]+" not found", "network", "inspect", nets[1])
	})
}

// TestNetworkConfigurations makes networks of a configuration that another one
// holds.
func TestNetworkConfigurations(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		nets := networks(t, cli, "--config-only --subnet 10.231.10.0/24 --label from=conf")
		conf, n := nets[0], nets[0]+"-of"
		t.Cleanup(func() {
			if r := cli.Run(t, "network", "rm", n); r.Code != 0 {
				t.Logf("removing %s: %s", n, r.Stderr)
			}
		})
		cli.Fails(t, 125, "", "run", "--rm", "--network", conf, "busybox", "true")
		cli.OK(t, "network", "create", "--config-from", conf, n)
		if got, want := cli.OK(t, "network", "inspect", "-f", "{{.ConfigFrom.Network}} {{(index .IPAM.Config 0).Subnet}} {{.Labels.from}} {{.ConfigOnly}}", n), conf+" 10.231.10.0/24 conf false"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		cli.Fails(t, 1, "configuration network \""+conf+"\" is in use", "network", "rm", conf)
		cli.Fails(t, 1, "user-specified configurations are not supported if the network depends on a configuration network", "network", "create", "--config-from", conf, "--subnet", "10.231.11.0/24", n+"2")
		cli.OK(t, "run", "--rm", "--network", n, "busybox", "true")
	})
}

// inside are the interfaces and addresses of a container, but for loopback and
// link-local ones, and its default routes.
func inside(t *testing.T, cli enginetest.CLI, c string) string {
	t.Helper()
	return cli.OK(t, "exec", c, "sh", "-c", `ip -o addr show scope global | awk '$2 != "lo" {print $2, $4}' | sort; for v in 4 6; do ip -$v route | awk '$1 == "default" {print "via", $3}'; done`)
}

// TestNetworkConnect takes a running container on and off networks.
func TestNetworkConnect(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		c := name(t, cli)
		nets := networks(t, cli, "--subnet 10.231.12.0/24", "--subnet 10.231.13.0/24 --ipv6 --subnet fd31:13::/64")
		one, two := nets[0], nets[1]
		cli.OK(t, "run", "-d", "--name", c, "--network", one, "busybox", "sleep", "1000")
		if got, want := inside(t, cli, c), "eth0 10.231.12.2/24\nvia 10.231.12.1"; got != want {
			t.Errorf("on one network: %q, want %q", got, want)
		}
		since := time.Now()
		cli.OK(t, "network", "connect", "--ip", "10.231.13.77", "--ip6", "fd31:13::77", "--alias", "other", "--gw-priority", "5", two, c)
		if got, want := inside(t, cli, c), "eth0 10.231.12.2/24\neth1 10.231.13.77/24\neth1 fd31:13::77/64\nvia 10.231.13.1\nvia fd31:13::1"; got != want {
			t.Errorf("on both: %q, want %q", got, want)
		}
		shown := func(n string) string {
			return cli.OK(t, "inspect", "-f", `{{with index .NetworkSettings.Networks "`+n+`"}}{{.IPAddress}} {{.GlobalIPv6Address}} {{.Gateway}} {{.Aliases}} {{.GwPriority}}{{end}}`, c)
		}
		if got, want := shown(two), "10.231.13.77 fd31:13::77 10.231.13.1 [other] 5"; got != want {
			t.Errorf("inspect shows %q, want %q", got, want)
		}
		if got := cli.OK(t, "network", "inspect", "-f", `{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.IPv6Address}}{{end}}`, two); got != c+" 10.231.13.77/24 fd31:13::77/64" {
			t.Errorf("the network shows %q", got)
		}
		cli.Fails(t, 1, "endpoint with name "+c+" already exists in network "+two, "network", "connect", two, c)
		cli.Fails(t, 1, "network "+one[:len(one)-1]+" not found", "network", "rm", one[:len(one)-1]) // names are not cut
		cli.Fails(t, 1, "has active endpoints", "network", "rm", two)
		cli.Fails(t, 1, "No such container: nobody", "network", "connect", two, "nobody")
		cli.Fails(t, 1, "network nothing-there not found", "network", "connect", "nothing-there", c)
		cli.Fails(t, 1, "host", "network", "connect", "host", c)

		cli.OK(t, "network", "disconnect", one, c)
		if got, want := inside(t, cli, c), "eth1 10.231.13.77/24\neth1 fd31:13::77/64\nvia 10.231.13.1\nvia fd31:13::1"; got != want {
			t.Errorf("off the first: %q, want %q", got, want)
		}
		cli.Fails(t, 1, "is not connected to network "+one, "network", "disconnect", one, c)
		cli.OK(t, "network", "connect", one, c)
		cli.OK(t, "network", "connect", "bridge", c)
		got := strings.Split(cli.OK(t, "ps", "--filter", "name=^/"+c+"$", "--format", "{{.Networks}}"), ",")
		if slices.Sort(got); !slices.Equal(got, []string{"bridge", one, two}) {
			t.Errorf("ps shows %q", got)
		}

		// What was connected live is there after a restart, with its address.
		cli.OK(t, "restart", "-t", "0", c)
		if got := inside(t, cli, c); !strings.Contains(got, " 10.231.13.77/24\n") || !strings.Contains(got, " 10.231.12.") || !strings.Contains(got, "via 10.231.13.1") {
			t.Errorf("after a restart: %q", got)
		}
		// And while it is down.
		cli.OK(t, "stop", "-t", "0", c)
		cli.OK(t, "network", "disconnect", two, c)
		cli.OK(t, "network", "disconnect", "bridge", c)
		cli.OK(t, "start", c)
		if got := inside(t, cli, c); !strings.HasPrefix(got, "eth0 10.231.12.") || !strings.HasSuffix(got, "\nvia 10.231.12.1") || strings.Count(got, "\n") != 1 {
			t.Errorf("after leaving while it was down: %q", got)
		}
		cli.OK(t, "network", "disconnect", "-f", one, c)
		if got := inside(t, cli, c); got != "" {
			t.Errorf("on no network: %q", got)
		}
		events := cli.OK(t, "events", "--since", fmt.Sprint(since.Unix()), "--until", fmt.Sprint(time.Now().Unix()+1), "--filter", "type=network", "--filter", "network="+two, "--filter", "event=connect", "--filter", "event=disconnect", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
		if want := "connect " + two + "\ndisconnect " + two; !strings.HasPrefix(events, want) {
			t.Errorf("events are %q, want %q first", events, want)
		}
	})
}

// TestNetworkAddresses runs containers with addresses of both families, and
// looks who reaches whom.
func TestNetworkAddresses(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		nets := networks(t, cli, "--subnet 10.231.14.0/24", "--subnet 10.231.15.0/24 --ipv6 --subnet fd31:15::/64", "--ipv4=false --ipv6 --subnet fd31:16::/64")
		c := name(t, cli)
		cli.OK(t, "run", "-d", "--name", c,
			"--network", "name="+nets[0]+",ip=10.231.14.9,mac-address=02:42:0a:e7:0e:09,alias=a,gw-priority=-1",
			"--network", "name="+nets[1]+",ip6=fd31:15::9,alias=b,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1",
			"busybox", "sleep", "1000")
		if got, want := inside(t, cli, c), "eth0 10.231.14.9/24\neth1 10.231.15.2/24\neth1 fd31:15::9/64\nvia 10.231.15.1\nvia fd31:15::1"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := cli.OK(t, "exec", c, "sh", "-c", "cat /sys/class/net/eth0/address /proc/sys/net/ipv4/conf/eth1/log_martians /proc/sys/net/ipv4/conf/eth0/log_martians"); got != "02:42:0a:e7:0e:09\n1\n0" {
			t.Errorf("inside: %q", got)
		}
		if got, want := cli.OK(t, "inspect", "-f", `{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{$e.MacAddress}} {{$e.GwPriority}} {{$e.Aliases}};{{end}}`, c), nets[0]+" 02:42:0a:e7:0e:09 -1 [a];"; !strings.HasPrefix(got, want) {
			t.Errorf("inspect shows %q, want %q", got, want)
		}
		if got := cli.OK(t, "run", "--rm", "--network", nets[2], "busybox", "sh", "-c", "ip -o -4 addr show dev eth0 | wc -l; ip -o -6 addr show dev eth0 scope global | awk '{print $4}'; ip -6 route | awk '$1 == \"default\" {print $3}'"); got != "0\nfd31:16::2/64\nfd31:16::1" {
			t.Errorf("without IPv4: %q", got)
		}
		if got := cli.OK(t, "run", "--rm", "--network", nets[0], "--link-local-ip", "169.254.8.8", "busybox", "sh", "-c", "ip -o -4 addr show dev eth0 | awk '{print $4}' | sort"); !strings.Contains(got, "169.254.8.8/") {
			t.Errorf("the link-local address is missing: %q", got)
		}
		// Neighbours on one network reach each other, on two they do not.
		run := func(n, script string) string {
			return cli.OK(t, "run", "--rm", "--network", n, "busybox", "sh", "-c", script)
		}
		if got := run(nets[0], "ping -c 1 -w 5 10.231.14.9 >/dev/null && echo reached"); got != "reached" {
			t.Errorf("a neighbour: %q", got)
		}
		if got := run("bridge", "ping -c 1 -W 1 10.231.14.9 >/dev/null || echo not reached"); got != "not reached" {
			t.Errorf("from another network: %q", got)
		}
		if got := cli.OK(t, "run", "--rm", "--network", "container:"+c, "busybox", "ip", "-o", "-4", "addr", "show", "dev", "eth1"); !strings.Contains(got, "10.231.15.2/24") {
			t.Errorf("in the other's namespace: %q", got)
		}
		cli.Fails(t, 125, "no configured subnet", "run", "--rm", "--network", nets[0], "--ip", "10.99.0.1", "busybox", "true")
		cli.Fails(t, 125, "Address already in use", "run", "--rm", "--network", nets[0], "--ip", "10.231.14.9", "busybox", "true")
		cli.Fails(t, 125, "", "run", "--rm", "--network", "host", "--ip", "10.231.14.9", "busybox", "true")
		cli.Fails(t, 125, "", "run", "--rm", "--network", "container:"+c, "-p", "80:80", "busybox", "true")
	})
}

// TestNetworkPrune removes what nobody uses; on an engine of its own, as it
// would remove other tests' networks.
func TestNetworkPrune(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	for _, cli := range e.CLIs(t) {
		for _, n := range []string{"used", "unused", "kept"} {
			cli.OK(t, "network", "create", "--label", n, n)
		}
		cli.OK(t, "run", "-d", "--name", "cc", "--network", "used", "busybox", "sleep", "1000")
		if r := cli.Feed(t, strings.NewReader("n\n"), "network", "prune"); r.Code != 0 || strings.Contains(r.Stdout, "Deleted") {
			t.Errorf("%s: asked and told no: %+v", cli.Name, r)
		}
		if got := cli.OK(t, "network", "prune", "-f", "--filter", "until=1h"); got != "" {
			t.Errorf("%s: prune of the old printed %q", cli.Name, got)
		}
		if got := cli.OK(t, "network", "prune", "-f", "--filter", "label!=kept"); got != "Deleted Networks:\nunused" {
			t.Errorf("%s: prune printed %q", cli.Name, got)
		}
		if got := cli.OK(t, "system", "prune", "-f"); !strings.Contains(got, "Deleted Networks:\nkept\n") {
			t.Errorf("%s: system prune printed %q", cli.Name, got)
		}
		cli.OK(t, "rm", "-f", "cc")
		cli.OK(t, "network", "rm", "used")
		if got := cli.OK(t, "network", "ls", "-q", "--filter", "type=custom"); got != "" {
			t.Errorf("%s: left is %q", cli.Name, got)
		}
	}
}

// TestNetworkPorts publishes ports of containers on networks of users, and
// follows them as the containers move.
func TestNetworkPorts(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		nets := networks(t, cli, "--internal", "--subnet 10.231.17.0/24", "--ipv6")
		n := name(t, cli)
		cli.OK(t, append([]string{"run", "-d", "--name", n, "--network", nets[0], "--network", nets[1], "-p", "80", "-p", "127.0.0.1::80"}, web("moving")...)...)
		// Ports that the engine chooses may be others after a move, as with Docker.
		reach := func(when string) (addresses []string) {
			t.Helper()
			for _, line := range strings.Split(cli.OK(t, "port", n, "80"), "\n") {
				_, port, err := net.SplitHostPort(line)
				if err != nil {
					t.Fatalf("port printed %q", line)
				}
				address := net.JoinHostPort("127.0.0.1", port)
				if got := fetch(t, address); got != "moving" {
					t.Errorf("%s %s says %q", when, address, got)
				}
				addresses = append(addresses, address)
			}
			return addresses
		}
		reach("on two networks")
		if got := cli.OK(t, "exec", n, "sh", "-c", "ip route | grep default"); !strings.Contains(got, "10.231.17.1") {
			t.Errorf("the default route is %q", got)
		}
		cli.OK(t, "network", "connect", nets[2], n)
		cli.OK(t, "network", "disconnect", nets[1], n)
		last := reach("after a move")
		cli.OK(t, "network", "disconnect", nets[2], n)
		for _, address := range last {
			if got, err := ask(address); err == nil {
				t.Errorf("on an internal network alone %s says %q", address, got)
			}
		}
		if got := cli.OK(t, "port", n); got != "" {
			t.Errorf("on an internal network alone port prints %q", got)
		}
		cli.OK(t, "network", "connect", nets[1], n)
		reach("back again")
		if cli.Name == "davit" {
			if got := cli.OK(t, "port", n, "80", "--format", "{{.Reach}}"); strings.Count(got, "world") == 0 || strings.Count(got, "host") != 1 {
				t.Errorf("its ports reach %q", got)
			}
			if got := cli.OK(t, "ps", "--filter", "name=^/"+n+"$", "--format", "{{.Reach}}"); got != "world" {
				t.Errorf("it reaches %q", got)
			}
		}
	})
}
