package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	docker "github.com/moby/moby/client"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// netName is a network's name of this test's own; the network is removed after
// the test, later than the containers that are named after it.
func netName(t *testing.T, cli enginetest.CLI, suffix string) string {
	t.Helper()
	n := strings.ToLower(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()) + "-" + suffix) // docker's client writes names in the long form of --network small
	t.Cleanup(func() { cli.Run(t, "network", "rm", n) })
	return n
}

// interfaces are a running container's interfaces but lo, with their IPv4
// addresses.
func interfaces(t *testing.T, cli enginetest.CLI, n string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(cli.OK(t, "exec", n, "ip", "-4", "-o", "address")) {
		if f := strings.Fields(line); len(f) > 3 && f[1] != "lo" {
			out[f[1]] = f[3]
		}
	}
	return out
}

// on are the networks that inspect shows of a container.
func on(t *testing.T, cli enginetest.CLI, n string) map[string]*network.EndpointSettings {
	t.Helper()
	var out map[string]*network.EndpointSettings
	if err := json.Unmarshal([]byte(cli.OK(t, "inspect", "-f", "{{json .NetworkSettings.Networks}}", n)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// agree checks that what inspect shows is what the container has.
func agree(t *testing.T, cli enginetest.CLI, n string, want ...string) map[string]*network.EndpointSettings {
	t.Helper()
	slices.Sort(want)
	shown, has := on(t, cli, n), interfaces(t, cli, n)
	var addresses, names []string
	for name, s := range shown {
		names = append(names, name)
		addresses = append(addresses, fmt.Sprintf("%s/%d", s.IPAddress, s.IPPrefixLen))
	}
	slices.Sort(names)
	if !slices.Equal(names, want) || len(has) != len(want) {
		t.Errorf("%s is on %q with %v, want %q", n, names, has, want)
	}
	for ifname, a := range has {
		if !slices.Contains(addresses, a) {
			t.Errorf("%s has %s at %s, inspect shows %v", n, a, ifname, addresses)
		}
	}
	return shown
}

// TestSeveralNetworks starts a container on three networks, with wishes.
func TestSeveralNetworks(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		a, b, c := netName(t, cli, "a"), netName(t, cli, "b"), netName(t, cli, "c")
		for _, net := range []string{a, c} {
			cli.OK(t, "network", "create", net)
		}
		cli.OK(t, "network", "create", "--subnet", "10.219.7.0/24", b)
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "--hostname", "box", "--network", c, "--network", "name="+b+",ip=10.219.7.77,alias=www,gw-priority=5,mac-address=02:11:22:33:44:55,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1",
			"--network", a, "busybox", "sleep", "1000")
		shown := agree(t, cli, n, a, b, c)
		has := interfaces(t, cli, n)
		for ifname, net := range map[string]string{"eth0": c, "eth1": a, "eth2": b} {
			if want := fmt.Sprintf("%s/%d", shown[net].IPAddress, shown[net].IPPrefixLen); has[ifname] != want {
				t.Errorf("%s has %s, want that of %s: %s", ifname, has[ifname], net, want)
			}
		}
		s := shown[b]
		if s.IPAddress.String() != "10.219.7.77" || s.MacAddress.String() != "02:11:22:33:44:55" || s.GwPriority != 5 || !slices.Equal(s.Aliases, []string{"www"}) || s.NetworkID == "" || s.EndpointID == "" {
			t.Errorf("on %s: %+v", b, s)
		}
		if want := []string{n, "www", cli.OK(t, "inspect", "-f", "{{.Id}}", n)[:12], "box"}; !slices.Equal(s.DNSNames, want) {
			t.Errorf("its names are %q, want %q", s.DNSNames, want)
		}
		if got := cli.OK(t, "exec", n, "ip", "route", "show", "default"); !strings.Contains(got, "10.219.7.1 dev eth2") {
			t.Errorf("the default route is %q, want through %s", got, b)
		}
		if key, pid := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.SandboxKey}}", n), cli.OK(t, "inspect", "-f", "{{.State.Pid}}", n); key != "/proc/"+pid+"/ns/net" {
			t.Errorf("its network namespace is at %q", key)
		}
		if got := cli.OK(t, "exec", n, "sh", "-c", "cd /proc/sys/net/ipv4/conf; cat eth0/log_martians eth2/log_martians"); got != "0\n1" {
			t.Errorf("parameters of eth0 and eth2: %q", got)
		}
		if got := cli.OK(t, "network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.MacAddress}}{{end}}", b); got != n+" 10.219.7.77/24 02:11:22:33:44:55" {
			t.Errorf("the network has %q", got)
		}
		cli.Fails(t, 1, "error while removing network: network "+b+" has active endpoints (name:\""+n+"\" id:\""+s.EndpointID[:12]+"\")", "network", "rm", b)
		if got := cli.OK(t, "ps", "--filter", "network="+a, "--format", "{{.Names}}"); got != n {
			t.Errorf("on network %s is %q", a, got)
		}
		cli.OK(t, "restart", "-t", "0", n)
		if now := agree(t, cli, n, a, b, c)[b].IPAddress; now != s.IPAddress {
			t.Errorf("after a restart it has %s", now)
		}
		cli.OK(t, "stop", "-t", "0", n)
		cli.OK(t, "network", "rm", a)
		cli.Fails(t, 1, "failed to set up container networking: network "+a+" not found", "start", n)
		cli.OK(t, "network", "create", a)
		cli.OK(t, "start", n)
		agree(t, cli, n, a, b, c)
	})
}

// TestConnectAndDisconnect moves a running container between networks.
func TestConnectAndDisconnect(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		a, b := netName(t, cli, "a"), netName(t, cli, "b")
		cli.OK(t, "network", "create", "--subnet", "10.219.8.0/24", a)
		cli.OK(t, "network", "create", b)
		n, peer := name(t, cli), netName(t, cli, "peer")
		t.Cleanup(func() { cli.Run(t, "rm", "-f", peer) })
		cli.OK(t, "run", "-d", "--name", peer, "--network", a, "--ip", "10.219.8.9", "busybox", "sleep", "1000")
		cli.OK(t, "run", "-d", "--name", n, "busybox", "sleep", "1000")
		pid := cli.OK(t, "inspect", "-f", "{{.State.Pid}}", n)

		cli.OK(t, "network", "connect", "--ip", "10.219.8.20", "--alias", "www", a, n)
		s := agree(t, cli, n, a, "bridge")[a]
		if s.IPAddress.String() != "10.219.8.20" || !slices.Contains(s.DNSNames, "www") {
			t.Errorf("on %s: %+v", a, s)
		}
		cli.OK(t, "exec", n, "ping", "-c", "1", "-W", "5", "10.219.8.9")
		cli.Fails(t, 1, "endpoint with name "+n+" already exists in network "+a, "network", "connect", a, n)
		cli.Fails(t, 1, "no configured subnet or ip-range contain the IP address 10.1.1.1", "network", "connect", "--ip", "10.1.1.1", b, n)
		cli.Fails(t, 1, "network nowhere not found", "network", "connect", "nowhere", n)
		cli.Fails(t, 1, "No such container: nobody", "network", "connect", a, "nobody")
		cli.Fails(t, 1, "endpoint nobody not found", "network", "disconnect", "-f", a, "nobody")
		cli.Fails(t, 1, "cannot connect container to host network", "network", "connect", "host", n)
		cli.Fails(t, 1, "with one of the networks in private (none) mode", "network", "connect", "none", n)

		cli.OK(t, "network", "disconnect", "bridge", n)
		agree(t, cli, n, a)
		if got := cli.OK(t, "exec", n, "ip", "route", "show", "default"); !strings.Contains(got, "via 10.219.8.1 ") {
			t.Errorf("the default route is %q, want through %s", got, a)
		}
		cli.OK(t, "exec", n, "ping", "-c", "1", "-W", "5", "10.219.8.9")
		cli.Fails(t, 1, "is not connected to network bridge", "network", "disconnect", "bridge", n)
		cli.OK(t, "network", "disconnect", a, n)
		agree(t, cli, n)
		cli.OK(t, "restart", "-t", "0", n)
		agree(t, cli, n)
		cli.OK(t, "network", "connect", b, n)
		agree(t, cli, n, b)
		if now := cli.OK(t, "inspect", "-f", "{{.State.Pid}}", peer); now == pid {
			t.Errorf("pid %s again", now)
		}

		// One that does not run.
		cli.OK(t, "stop", "-t", "0", n)
		cli.Fails(t, 1, "is not connected to the network "+a, "network", "disconnect", a, n)
		cli.OK(t, "network", "connect", "--ip", "10.219.8.30", a, n)
		cli.OK(t, "network", "disconnect", b, n)
		cli.OK(t, "start", n)
		if got := agree(t, cli, n, a)[a].IPAddress.String(); got != "10.219.8.30" {
			t.Errorf("it has %s", got)
		}
	})
}

// TestBothFamilies: addresses of IPv6 beside or without those of IPv4, and of
// the link.
func TestBothFamilies(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		dual, six := netName(t, cli, "dual"), netName(t, cli, "six")
		cli.OK(t, "network", "create", "--ipv6", "--subnet", "10.219.11.0/24", "--subnet", "fd00:db8:11::/64", dual)
		cli.OK(t, "network", "create", "--ipv6", "--ipv4=false", six)
		n, peer := name(t, cli), netName(t, cli, "peer")
		t.Cleanup(func() { cli.Run(t, "rm", "-f", peer) })
		cli.OK(t, "run", "-d", "--name", peer, "--network", dual, "busybox", "sleep", "1000")
		cli.OK(t, "run", "-d", "--name", n, "--network", dual, "--ip", "10.219.11.77", "--ip6", "fd00:db8:11::77", "--link-local-ip", "169.254.9.9", "busybox", "sleep", "1000")
		s := on(t, cli, n)[dual]
		if s.IPAddress.String() != "10.219.11.77" || s.GlobalIPv6Address.String() != "fd00:db8:11::77" || s.GlobalIPv6PrefixLen != 64 || s.IPv6Gateway.String() != "fd00:db8:11::1" {
			t.Errorf("on %s: %+v", dual, s)
		}
		has := cli.OK(t, "exec", n, "ip", "-o", "address")
		for _, a := range []string{"10.219.11.77/24", "fd00:db8:11::77/64", "169.254.9.9/"} {
			if !strings.Contains(has, a) {
				t.Errorf("the container has not %s:\n%s", a, has)
			}
		}
		other := on(t, cli, peer)[dual]
		cli.OK(t, "exec", n, "ping", "-c", "1", "-W", "5", other.GlobalIPv6Address.String())
		cli.OK(t, "network", "connect", six, n)
		if s := on(t, cli, n)[six]; s.IPAddress.IsValid() || s.IPPrefixLen != 0 || !s.GlobalIPv6Address.Is6() || s.Gateway.IsValid() {
			t.Errorf("on %s: %+v", six, s)
		}
		cli.OK(t, "exec", n, "ping", "-c", "1", "-W", "5", on(t, cli, n)[six].IPv6Gateway.String())
		cli.Fails(t, 125, "no configured subnet or ip-range contain the IP address fd00::1", "run", "--rm", "--network", dual, "--ip6", "fd00::1", "busybox", "true")
		cli.Fails(t, 125, "no configured subnet or ip-range contain the IP address 10.9.9.9", "run", "--rm", "--network", six, "--ip", "10.9.9.9", "busybox", "true")
		cli.Fails(t, 125, "Address already in use", "run", "--rm", "--network", dual, "--ip6", "fd00:db8:11::77", "busybox", "true")
	})
}

// TestLoneModes: what stands alone cannot be connected, but for none, which can
// be left.
func TestLoneModes(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		net := netName(t, cli, "net")
		cli.OK(t, "network", "create", net)
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "--network", "none", "busybox", "sleep", "1000")
		guest, host := netName(t, cli, "guest"), netName(t, cli, "host")
		t.Cleanup(func() { cli.Run(t, "rm", "-f", guest, host) })
		cli.OK(t, "run", "-d", "--name", guest, "--network", "container:"+n, "busybox", "sleep", "1000")
		cli.OK(t, "run", "-d", "--name", host, "--network", "host", "busybox", "sleep", "1000")
		for who, text := range map[string]string{n: "private (none) mode", guest: "container sharing network namespace with another container or host", host: "container sharing network namespace with another container or host"} {
			cli.Fails(t, 1, text, "network", "connect", net, who)
		}
		cli.Fails(t, 1, "cannot disconnect container from host network", "network", "disconnect", "host", host)
		cli.OK(t, "network", "disconnect", "none", n)
		cli.OK(t, "network", "connect", net, n)
		agree(t, cli, n, net)
		if got, want := interfaces(t, cli, guest), interfaces(t, cli, n); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("who shares its network has %v, it has %v", got, want)
		}
	})
}

// TestNetworkEvents follows what happens to a network and on it.
func TestNetworkEvents(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	net, n := netName(t, cli, "net"), name(t, cli)
	since := time.Now()
	id := cli.OK(t, "network", "create", net)
	cli.OK(t, "run", "-d", "--name", n, "--network", net, "busybox", "sleep", "1000")
	cli.OK(t, "network", "connect", "bridge", n)
	cli.OK(t, "network", "disconnect", net, n)
	cli.OK(t, "rm", "-f", n)
	cli.OK(t, "network", "rm", net)
	var got []string
	enginetest.Eventually(t, 10*time.Second, func() error {
		got = nil
		out := cli.OK(t, "events", "--since", since.Format(time.RFC3339Nano), "--until", time.Now().Format(time.RFC3339Nano), "--format", "{{json .}}", "--filter", "type=network")
		for line := range strings.Lines(out) {
			var m struct {
				Action string
				Actor  struct {
					ID         string
					Attributes map[string]string
				}
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			a := m.Actor.Attributes
			if m.Actor.ID == id || a["container"] != "" && strings.HasPrefix(a["name"], "bridge") {
				got = append(got, m.Action+" "+a["name"]+" "+a["type"])
			}
		}
		if len(got) < 6 {
			return fmt.Errorf("%d events", len(got))
		}
		return nil
	})
	want := []string{"create " + net + " bridge", "connect " + net + " bridge", "connect bridge bridge", "disconnect " + net + " bridge", "disconnect bridge bridge", "destroy " + net + " bridge"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestNetworksSurviveTheEngine kills the engine while containers are on several
// networks, and while they move.
func TestNetworksSurviveTheEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, "network", "create", "a")
	cli.OK(t, "network", "create", "b")
	cli.OK(t, "run", "-d", "--name", "web", "--network", "a", "--network", "b", "busybox", "sleep", "1000")
	cli.OK(t, "run", "-d", "--name", "db", "--network", "a", "busybox", "sleep", "1000")
	before := fmt.Sprint(on(t, cli, "web")["a"].IPAddress, on(t, cli, "web")["b"].IPAddress)
	db := on(t, cli, "db")["a"].IPAddress.String()
	e.Kill(t)
	e.Restart(t)
	shown := agree(t, cli, "web", "a", "b")
	if now := fmt.Sprint(shown["a"].IPAddress, shown["b"].IPAddress); now != before {
		t.Errorf("it had %s, now %s", before, now)
	}
	cli.OK(t, "exec", "web", "ping", "-c", "1", "-W", "5", db)
	cli.OK(t, "run", "-d", "--name", "other", "--network", "a", "busybox", "sleep", "1000")
	if got := on(t, cli, "other")["a"].IPAddress.String(); got == db || strings.Contains(before, got) {
		t.Errorf("the address %s is given twice", got)
	}
	cli.Fails(t, 1, "has active endpoints", "network", "rm", "b")

	// Whenever it is killed, afterwards the container has what the record says.
	for i := range 8 {
		verb := []string{"connect", "disconnect"}[i%2]
		cmd := cli.Command(context.Background(), "network", verb, "bridge", "web")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		e.Kill(t)
		_ = cmd.Wait()
		e.Restart(t)
		var names []string
		for net := range on(t, cli, "web") {
			names = append(names, net)
		}
		slices.Sort(names)
		agree(t, cli, "web", names...)
		if i%2 == 0 && !slices.Contains(names, "bridge") {
			cli.OK(t, "network", "connect", "bridge", "web")
		}
		if i%2 == 1 && slices.Contains(names, "bridge") {
			cli.OK(t, "network", "disconnect", "bridge", "web")
		}
	}
	cli.OK(t, "rm", "-f", "web", "db", "other")
	cli.OK(t, "network", "rm", "a", "b")
}

// TestUpdateMovesBetweenNetworks: davit update changes networks under a running
// process.
func TestUpdateMovesBetweenNetworks(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	a, b := netName(t, cli, "a"), netName(t, cli, "b")
	cli.OK(t, "network", "create", "--subnet", "10.219.9.0/24", a)
	cli.OK(t, "network", "create", b)
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--rm", "--name", n, "busybox", "sleep", "1000")
	pid := cli.OK(t, "inspect", "-f", "{{.State.Pid}}", n)
	cli.OK(t, "update", "--network", a, "--network", b, "--network-rm", "bridge", n)
	agree(t, cli, n, a, b)
	cli.OK(t, "update", "--network", "name="+a+",ip=10.219.9.99", n)
	if got := agree(t, cli, n, a, b)[a].IPAddress.String(); got != "10.219.9.99" {
		t.Errorf("it has %s", got)
	}
	// What fails changes nothing.
	other := netName(t, cli, "other")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", other) })
	cli.OK(t, "run", "-d", "--name", other, "--network", a, "--ip", "10.219.9.50", "busybox", "sleep", "1000")
	cli.Fails(t, 1, "", "update", "--network", "name="+a+",ip=10.219.9.50", "--network-rm", b, n)
	agree(t, cli, n, a, b)
	cli.OK(t, "update", "--network", "none", n)
	agreeNone(t, cli, n)
	cli.OK(t, "update", "--network", "bridge", n)
	agree(t, cli, n, "bridge")
	if now := cli.OK(t, "inspect", "-f", "{{.State.Pid}}", n); now != pid {
		t.Errorf("the process was restarted: pid %s, now %s", pid, now)
	}
}

func agreeNone(t *testing.T, cli enginetest.CLI, n string) {
	t.Helper()
	if has := interfaces(t, cli, n); len(has) > 0 {
		t.Errorf("%s has %v", n, has)
	}
	if shown := on(t, cli, n); len(shown) != 1 || shown["none"] == nil {
		t.Errorf("%s is on %v", n, shown)
	}
}

// TestPruneNetworks removes what nobody runs on.
func TestPruneNetworks(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	label := "prune=" + strings.ToLower(t.Name())
	used, free, config := netName(t, cli, "used"), netName(t, cli, "free"), netName(t, cli, "config")
	cli.OK(t, "network", "create", "--label", label, used)
	cli.OK(t, "network", "create", "--label", label, free)
	cli.OK(t, "network", "create", "--label", label, "--config-only", "--subnet", "10.219.10.0/24", config)
	from := netName(t, cli, "from")
	cli.OK(t, "network", "create", "--config-from", config, from)
	if got := cli.OK(t, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}} {{.ConfigFrom.Network}}", from); got != "10.219.10.0/24 "+config {
		t.Errorf("a network with a configuration is %q", got)
	}
	cli.Fails(t, 1, "configuration network \""+config+"\" is in use", "network", "rm", config)
	cli.OK(t, "network", "rm", from)
	n := name(t, cli)
	cli.Fails(t, 125, "cannot create endpoint on configuration-only network", "run", "--rm", "--network", config, "busybox", "true")
	cli.OK(t, "run", "-d", "--name", n, "--network", used, "busybox", "sleep", "1000")
	if got := cli.OK(t, "network", "ls", "--filter", "label="+label, "--filter", "dangling=true", "--format", "{{.Name}}"); got != config+"\n"+free && got != free+"\n"+config {
		t.Errorf("nobody is on %q", got)
	}
	got := cli.OK(t, "network", "prune", "-f", "--filter", "label="+label)
	if !strings.Contains(got, free) || strings.Contains(got, used) || strings.Contains(got, config) {
		t.Errorf("prune printed %q", got)
	}
	cli.OK(t, "network", "inspect", used, config)
	cli.Fails(t, 1, "not found", "network", "inspect", free)
}

// TestRenameOnNetworks: a container's new name is its name on its networks.
func TestRenameOnNetworks(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	net, n := netName(t, cli, "net"), name(t, cli)
	cli.OK(t, "network", "create", net)
	cli.OK(t, "run", "-d", "--name", n+"-old", "--network", net, "busybox", "sleep", "1000")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", n+"-old") })
	cli.OK(t, "rename", n+"-old", n)
	if names := on(t, cli, n)[net].DNSNames; len(names) == 0 || names[0] != n {
		t.Errorf("its names are %q", names)
	}
	data, err := exec.Command("sh", "-c", "cat "+e.Exec+"/containers/*/endpoints.json").Output()
	if err != nil || !bytes.Contains(data, []byte(`"`+n+`"`)) {
		t.Errorf("%v: %s", err, data)
	}
}

// TestMovesAtOnce has several clients move the same containers between the same
// networks, and take these away meanwhile.
func TestMovesAtOnce(t *testing.T) {
	e := engine(t)
	cli, client := e.Davit(), e.Client(t)
	ctx := context.Background()
	var nets, containers []string
	for i := range 3 {
		nets = append(nets, netName(t, cli, fmt.Sprint("net", i)))
		cli.OK(t, "network", "create", nets[i])
	}
	for i := range 3 {
		n := netName(t, cli, fmt.Sprint("c", i))
		t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
		containers = append(containers, n)
		cli.OK(t, "run", "-d", "--name", n, "--network", nets[i], "busybox", "sleep", "1000")
	}
	var work sync.WaitGroup
	until := time.Now().Add(2 * time.Second)
	for i := range 6 {
		work.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for time.Now().Before(until) {
				net, n := nets[random.IntN(len(nets))], containers[random.IntN(len(containers))]
				// Whether each succeeds depends on the others.
				switch random.IntN(8) {
				case 0:
					_, _ = client.NetworkRemove(ctx, net, docker.NetworkRemoveOptions{})
				case 1:
					_, _ = client.NetworkCreate(ctx, net, docker.NetworkCreateOptions{})
				case 2:
					_, _ = client.NetworkInspect(ctx, net, docker.NetworkInspectOptions{})
				case 3:
					zero := 0
					_, _ = client.ContainerRestart(ctx, n, docker.ContainerRestartOptions{Timeout: &zero})
				case 4, 5:
					_, _ = client.NetworkConnect(ctx, net, docker.NetworkConnectOptions{Container: n})
				default:
					_, _ = client.NetworkDisconnect(ctx, net, docker.NetworkDisconnectOptions{Container: n})
				}
			}
		})
	}
	work.Wait()
	for i, n := range containers {
		for _, net := range nets {
			cli.Run(t, "network", "create", net)
		}
		cli.Run(t, "start", n)
		agree(t, cli, n, slices.Collect(maps.Keys(on(t, cli, n)))...)
		if i == 0 {
			continue
		}
		// They still find each other.
		cli.Run(t, "network", "connect", nets[0], n)
		cli.Run(t, "network", "connect", nets[0], containers[0])
		cli.OK(t, "exec", n, "ping", "-c", "1", "-W", "5", on(t, cli, containers[0])[nets[0]].IPAddress.String())
	}
}
