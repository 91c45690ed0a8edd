package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// post sends a body to the shared engine as it is, and returns the status and
// the answer. An engine that hangs up while it is still being told has refused.
func post(t *testing.T, path string, body []byte) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", shared.engine.Socket)
	}}}
	resp, err := c.Post("http://engine"+path, "application/json", bytes.NewReader(body))
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return http.StatusRequestEntityTooLarge, err.Error()
	}
	must(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(answer)
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return text
}

// links are the interfaces of this host, but for those that engines name
// themselves: other engines may run beside this one.
func links(t *testing.T) []string {
	t.Helper()
	list, err := netlink.LinkList()
	must(t, err)
	var names []string
	for _, l := range list {
		if name := l.Attrs().Name; l.Type() != "veth" && !strings.HasPrefix(name, "br-") && !strings.HasPrefix(name, "dv") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestHostileNetworks asks for networks that would take devices, files or
// addresses that are not theirs. Each is refused as the caller's mistake, and
// nothing is left of it.
func TestHostileNetworks(t *testing.T) {
	cli := engine(t)
	parameters := []string{"/proc/sys/net/ipv4/conf/all/route_localnet", "/proc/sys/net/ipv4/conf/default/route_localnet", "/proc/sys/net/ipv4/conf/lo/route_localnet", "/proc/sys/net/ipv6/conf/all/disable_ipv6"}
	state := func() string {
		out := fmt.Sprintln(links(t)) + cli.OK(t, "network", "ls", "--format", "{{.Name}}")
		for _, p := range parameters {
			v, _ := os.ReadFile(p) // a kernel without IPv6 has fewer
			out += string(v)
		}
		return out
	}
	before := state()
	type object = map[string]any
	option := func(key string, values ...string) (list []object) {
		for _, v := range values {
			list = append(list, object{"Name": "hostile", "Options": object{key: v}})
		}
		return list
	}
	ipam := func(configs ...object) (list []object) {
		for _, c := range configs {
			list = append(list, object{"Name": "hostile", "EnableIPv6": strings.Contains(fmt.Sprint(c), "::"), "IPAM": object{"Config": []object{c}}})
		}
		return list
	}
	named := func(names ...string) (list []object) {
		for _, n := range names {
			list = append(list, object{"Name": n})
		}
		return list
	}
	for _, o := range slices.Concat(
		named("", " ", "a\nb", "a\x00b", "a\x1b[2Jb", "container:x", "ns:/proc/1/ns/net", "host", "none", "bridge", "default", strings.Repeat("x", 10_000)),
		option("com.docker.network.bridge.name", "../../tmp/x", "a/b", "lo", "all", "default", ".", "..", "x y", "x\ny", "averylongnameofabridge", shared.engine.Bridge, "%d%d"),
		option("com.docker.network.container_iface_prefix", "../x", "a/b", "x y", "averylongprefix", "eth%d"),
		option("com.docker.network.driver.mtu", "-1", "1400;x", "99999999999999999999", "70000000"),
		option("com.docker.network.bridge.enable_icc", "perhaps"),
		option("com.docker.network.bridge.enable_ip_masquerade", "1400"),
		option("com.docker.network.bridge.inhibit_ipv4", "maybe"),
		option("com.docker.network.bridge.host_binding_ipv4", "not an address", "::"),
		option("com.docker.network.host_ipv4", "fd00::1", "x"),
		option("com.docker.network.bridge.gateway_mode_ipv4", "sideways", "../routed"),
		ipam(
			object{"Subnet": "0.0.0.0/0"}, object{"Subnet": "127.0.0.0/24"}, object{"Subnet": "224.0.0.0/24"}, object{"Subnet": "::/0"}, object{"Subnet": "::1/128"}, object{"Subnet": "ff02::/64"},
			object{"Subnet": "10.232.0.1/24"}, object{"Subnet": "128.0.0.0/1"}, object{"Subnet": "::ffff:10.232.0.0/120"},
			object{"Subnet": "10.232.0.0/24", "Gateway": "10.233.0.1"}, object{"Subnet": "10.232.0.0/24", "Gateway": "fd00::1"}, object{"Subnet": "10.232.0.0/24", "IPRange": "10.233.0.0/25"},
			object{"Subnet": "10.232.0.0/24", "IPRange": "10.232.0.0/16"}, object{"Subnet": "10.232.0.0/24", "AuxiliaryAddresses": object{"a": "10.233.0.1"}},
			object{"Subnet": "10.232.0.0/24", "Gateway": "10.232.0.5", "AuxiliaryAddresses": object{"a": "10.232.0.5"}}, object{"Gateway": "10.232.0.1"}, object{"IPRange": "10.232.0.0/25"},
			object{"Subnet": "10.232.0.0/24", "Gateway": "10.232.0.1%eth0"}, object{"Subnet": "x"},
		),
		[]object{
			{"Name": "hostile", "Driver": "../../bin/sh"}, {"Name": "hostile", "Driver": "host"}, {"Name": "hostile", "Driver": "null"}, {"Name": "hostile", "Driver": "cni:../../etc/passwd"},
			{"Name": "hostile", "Scope": "swarm"}, {"Name": "hostile", "Ingress": true}, {"Name": "hostile", "ConfigFrom": object{"Network": "../x"}}, {"Name": "hostile", "EnableIPv4": false},
			{"Name": "hostile", "IPAM": object{"Driver": "../../x"}}, {"Name": "hostile", "IPAM": object{"Config": []object{{"Subnet": "10.232.0.0/24"}, {"Subnet": "10.232.0.128/25"}}}},
		},
	) {
		body := encode(t, o)
		if status, answer := post(t, "/networks/create", body); status < 400 || status >= 500 {
			t.Errorf("%.300s: status %d, %s", body, status, answer)
			cli.Run(t, "network", "rm", fmt.Sprint(o["Name"]))
		}
	}
	for _, body := range []string{"", "null", "[]", "{", `{"Name":5}`, `{"Name":"x","Options":[]}`, `{"Name":"x"} {}`, strings.Repeat("[", 1<<20), `{"Name":"x","Labels":{"a":"` + strings.Repeat("x", 5<<20) + `"}}`} {
		if status, answer := post(t, "/networks/create", []byte(body)); status < 400 || status >= 500 {
			t.Errorf("%.40s: status %d, %s", body, status, answer)
		}
	}
	if after := state(); after != before {
		t.Errorf("something is left or changed:\n%s\nbefore:\n%s", after, before)
	}
}

// TestHostileEndpoints asks for places in a network that are others', or no
// places at all, for a container that runs and for one that is to be made.
func TestHostileEndpoints(t *testing.T) {
	cli := engine(t)
	cli.OK(t, "network", "create", "--subnet", "10.232.1.0/24", "--ipv6", "--subnet", "fd32:1::/64", "--aux-address", "printer=10.232.1.200", "places")
	t.Cleanup(func() { cli.Run(t, "network", "rm", "places") })
	for _, c := range []string{"neighbour", "mover"} {
		t.Cleanup(func() { cli.Run(t, "rm", "-f", c) })
	}
	cli.OK(t, "run", "-d", "--name", "neighbour", "--network", "places", "--ip", "10.232.1.9", "--network-alias", "victim", "busybox", "sleep", "1000")
	cli.OK(t, "run", "-d", "--name", "mover", "busybox", "sleep", "1000")
	look := func() string {
		return cli.OK(t, "exec", "mover", "sh", "-c", "ip -o link | wc -l; ip route; cat /etc/hosts /proc/sys/net/ipv4/ip_forward")
	}
	before := look()
	const mac, ip4, ip6 = `"MacAddress":"%s"`, `"IPAMConfig":{"IPv4Address":"%s"}`, `"IPAMConfig":{"IPv6Address":"%s"}`
	const sysctls, ifname, alias = `"DriverOpts":{"com.docker.network.endpoint.sysctls":"%s"}`, `"DriverOpts":{"com.docker.network.endpoint.ifname":"%s"}`, `"Aliases":["%s"]`
	for form, values := range map[string][]string{
		ip4:     {"10.232.1.1", "10.232.1.0", "10.232.1.255", "10.232.1.9", "10.232.1.200", "10.233.1.1", "0.0.0.0", "255.255.255.255", "fd32:1::9", "127.0.0.1", "224.0.0.1"},
		ip6:     {"fd32:1::1", "fd32:2::5", "::", "::1", "fe80::1%eth0", "10.232.1.10", "::ffff:10.232.1.10", "ff02::1"},
		mac:     {"x", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:42", "02:42:0a:e8:01:09:00:00"},
		ifname:  {"lo", "../x", "a/b", "averylongnameofaninterface", ".", "all", "x y"},
		sysctls: {"kernel.core_pattern=x", "net.ipv4.ip_forward=1", "net.ipv4.conf.IFNAME.forwarding=1,net.ipv4.ip_forward=1", "net.ipv4.conf.IFNAME/../all.forwarding=1", "net.ipv4.conf.IFNAME...ip_forward=1", "net.ipv4.conf.IFNAME.no_such=1"},
		alias:   {"a\\nb", "a b", "victim\\t127.0.0.1", "a\\u0000b", strings.Repeat("x", 300)},
	} {
		for _, v := range values {
			settings := fmt.Sprintf(form, v)
			status, answer := post(t, "/networks/places/connect", []byte(`{"Container":"mover","EndpointConfig":{`+settings+`}}`))
			if status < 400 || status >= 500 {
				t.Errorf("connect with %s: status %d, %s", settings, status, answer)
			}
			cli.Run(t, "network", "disconnect", "places", "mover")
			// In create the form is what is refused; what is taken only now is at the start.
			status, answer = post(t, "/containers/create?name=made", []byte(`{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"places"},"NetworkingConfig":{"EndpointsConfig":{"places":{`+settings+`}}}}`))
			if status == http.StatusCreated {
				if status, answer = post(t, "/containers/made/start", nil); status < 400 || status >= 500 {
					t.Errorf("start with %s: status %d, %s", settings, status, answer)
				}
				cli.OK(t, "rm", "-f", "made")
			} else if status < 400 || status >= 500 {
				t.Errorf("create with %s: status %d, %s", settings, status, answer)
			}
		}
	}
	if after := look(); after != before {
		t.Errorf("the container has changed:\n%s\nbefore:\n%s", after, before)
	}
	if got := cli.OK(t, "network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "places"); got != "neighbour" {
		t.Errorf("on the network is %q", got)
	}
}
