package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// host is a machine of its own as far as networks go: a namespace with an
// engine in it, on a wire with the others.
type host struct {
	netns   string // name
	address string // on the wire
	engine  *enginetest.Engine
	cli     enginetest.CLI
}

// ip runs the program ip in the host's namespace.
func (h host) ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", h.netns}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// twoHosts makes two hosts, 192.0.2.1 and 192.0.2.2, connected by their
// interfaces wire.
func twoHosts(t *testing.T) (hosts [2]host) {
	t.Helper()
	enginetest.NeedRoot(t)
	enginetest.NeedProgram(t, "ip")
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	for i := range hosts {
		h := host{netns: fmt.Sprintf("davit-host%d-%d", i+1, os.Getpid()), address: fmt.Sprintf("192.0.2.%d", i+1)}
		ip("netns", "add", h.netns)
		t.Cleanup(func() { ip("netns", "delete", h.netns) })
		hosts[i] = h
	}
	ip("-n", hosts[0].netns, "link", "add", "wire", "type", "veth", "peer", "wire", "netns", hosts[1].netns)
	for i, h := range hosts {
		h.ip(t, "link", "set", "lo", "up")
		h.ip(t, "address", "add", h.address+"/24", "dev", "wire")
		h.ip(t, "link", "set", "wire", "up")
		e := enginetest.Start(t, enginetest.Config{NetNS: "/run/netns/" + h.netns, NoRegistry: true})
		importBusybox(t, e)
		hosts[i].engine, hosts[i].cli = e, e.Davit()
	}
	return hosts
}

// importBusybox gives an engine that reaches no registry the image busybox.
func importBusybox(t *testing.T, e *enginetest.Engine) {
	t.Helper()
	source := client.ImageImportSource{Source: bytes.NewReader(enginetest.BusyboxTar(t)), SourceName: "-"}
	answer, err := e.Client(t).ImageImport(context.Background(), source, "busybox:latest", client.ImageImportOptions{Changes: []string{`CMD ["sh"]`, "ENV PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err != nil {
		t.Fatal(err)
	}
}

// converse has a container of one host fetch a page from one of the other, and the
// other way round. Each must see the address that the other one has itself.
func converse(t *testing.T, hosts [2]host, options [2][]string) {
	t.Helper()
	var addresses [2]string
	for i, h := range hosts {
		t.Cleanup(func() { h.cli.Run(t, "rm", "-f", "web") })
		h.cli.OK(t, append(append([]string{"run", "-d", "--name", "web"}, options[i]...), "busybox", "sh", "-c", "echo from host "+h.address+" >/index.html; exec httpd -f -vv -h /")...)
		addresses[i] = h.cli.OK(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "web")
	}
	for i, h := range hosts {
		other := hosts[1-i]
		enginetest.Eventually(t, 10*time.Second, func() error {
			r := h.cli.Run(t, "exec", "web", "timeout", "2", "wget", "-q", "-O", "-", "http://"+addresses[1-i]+"/")
			if r.Code != 0 || r.Stdout != "from host "+other.address+"\n" {
				return fmt.Errorf("from %s to %s: exit code %d: %s%s", addresses[i], addresses[1-i], r.Code, r.Stdout, r.Stderr)
			}
			return nil
		})
		enginetest.Eventually(t, 10*time.Second, func() error {
			if log := other.cli.Run(t, "logs", "web"); !strings.Contains(log.Stderr, addresses[i]+"]:") {
				return fmt.Errorf("the container at %s was asked by somebody else than %s: %s", addresses[1-i], addresses[i], log.Stderr)
			}
			return nil
		})
	}
}

// TestMultiHost connects containers of two hosts by each of the drivers that
// can.
func TestMultiHost(t *testing.T) {
	hosts := twoHosts(t)
	dir := t.TempDir()
	t.Run("cni", func(t *testing.T) {
		if _, err := os.Stat("/usr/lib/cni/host-local"); err != nil {
			t.Skip("needs the CNI plugins (Debian: containernetworking-plugins)")
		}
		for i, h := range hosts {
			conf := filepath.Join(dir, fmt.Sprintf("%d.conflist", i))
			text := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "mesh", "plugins": [{"type": "bridge", "bridge": "mesh0", "isGateway": true,
				"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.%d.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`, filepath.Join(dir, fmt.Sprint("leases", i)), i+1)
			if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			h.ip(t, "route", "add", fmt.Sprintf("10.244.%d.0/24", 2-i), "via", hosts[1-i].address)
			h.cli.OK(t, "network", "create", "-d", "cni:"+conf, "pods")
		}
		// What plugins have made outlives the engine, and the next one takes it back.
		h, other := hosts[0], hosts[1]
		h.cli.OK(t, "run", "-d", "--name", "kept", "--network", "pods", "busybox", "sh", "-c", "echo here >/index.html; exec httpd -f -h /")
		address := h.cli.OK(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "kept")
		h.engine.Kill(t)
		enginetest.Eventually(t, 10*time.Second, func() error {
			if got := other.cli.Run(t, "run", "--rm", "--network", "pods", "busybox", "timeout", "2", "wget", "-q", "-O", "-", "http://"+address); got.Stdout != "here\n" {
				return fmt.Errorf("while the engine is dead: exit code %d: %s", got.Code, got.Stderr)
			}
			return nil
		})
		h.engine.Restart(t)
		h.cli.OK(t, "rm", "-f", "kept")
		enginetest.Eventually(t, 10*time.Second, func() error {
			if left, _ := filepath.Glob(filepath.Join(dir, "leases0", "mesh", "10.*")); len(left) > 0 {
				return fmt.Errorf("leases %v", left)
			}
			return nil
		})
		converse(t, hosts, [2][]string{{"--network", "pods"}, {"--network", "pods", "--userns", "auto"}})
	})
	t.Run("routed", func(t *testing.T) {
		for i, h := range hosts {
			h.ip(t, "route", "add", fmt.Sprintf("10.50.%d.0/24", 2-i), "via", hosts[1-i].address)
			h.cli.OK(t, "network", "create", "--subnet", fmt.Sprintf("10.50.%d.0/24", i+1), "-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "routed")
		}
		// A port that is published is open at the container's own address.
		converse(t, hosts, [2][]string{{"--network", "routed", "-p", "80"}, {"--network", "routed", "-p", "80"}})
	})
	t.Run("macvlan", func(t *testing.T) {
		for i, h := range hosts {
			h.cli.OK(t, "network", "create", "-d", "macvlan", "-o", "parent=wire", "--subnet", "192.0.2.0/24", "--ip-range", fmt.Sprintf("192.0.2.%d/26", 64*(i+1)), "lan")
		}
		converse(t, hosts, [2][]string{{"--network", "lan"}, {"--network", "lan", "--userns", "auto"}})
	})
	t.Run("ports", func(t *testing.T) {
		h := hosts[0]
		if r := h.cli.Run(t, "run", "--rm", "-p", "80", "--network", "lan", "busybox", "true"); r.Code != 0 || !strings.Contains(r.Stderr, "Published ports are discarded: containers are reached at their own addresses on network lan (macvlan)") {
			t.Errorf("exit code %d: %s", r.Code, r.Stderr)
		}
		if r := h.cli.Run(t, "run", "--rm", "-p", "80", "--network", "host", "busybox", "true"); r.Code != 0 || !strings.Contains(r.Stderr, "Published ports are discarded when using host network mode") {
			t.Errorf("exit code %d: %s", r.Code, r.Stderr)
		}
		if r := h.cli.Run(t, "run", "--rm", "-p", "80", "--network", "lan", "--network", "bridge", "busybox", "true"); r.Code != 0 || r.Stderr != "" {
			t.Errorf("exit code %d: %s", r.Code, r.Stderr)
		}
	})
	t.Run("vxlan", func(t *testing.T) {
		for i, h := range hosts {
			if out, err := exec.Command("ip", "-n", h.netns, "link", "add", "vx7", "type", "vxlan", "id", "7", "dstport", "4789", "remote", hosts[1-i].address, "dev", "wire").CombinedOutput(); err != nil {
				t.Skipf("this kernel has no vxlan: %s", out)
			}
			h.ip(t, "link", "set", "vx7", "up")
			h.cli.OK(t, "network", "create", "-d", "macvlan", "-o", "parent=vx7", "--subnet", "10.60.0.0/24", "overlay")
		}
		converse(t, hosts, [2][]string{{"--network", "overlay", "--ip", "10.60.0.11"}, {"--network", "overlay", "--ip", "10.60.0.12"}})
	})
}

// TestDrivers: what cannot be is said by both command lines when the network
// is created, and info has the drivers.
func TestDrivers(t *testing.T) {
	engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		if got := cli.OK(t, "info", "-f", "{{.Plugins.Network}}"); got != "[bridge cni host ipvlan macvlan null]" {
			t.Errorf("drivers %s", got)
		}
		n := name(t, cli)
		for _, c := range []struct {
			want string
			args []string
		}{
			{"loopback interface is not a valid macvlan parent link", []string{"-d", "macvlan", "-o", "parent=lo"}},
			{"-o parent interface was not found on the host: nothing0", []string{"-d", "macvlan", "-o", "parent=nothing0"}},
			{"requested ipvlan mode 'l4' is not valid", []string{"-d", "ipvlan", "-o", "ipvlan_mode=l4"}},
			{"CNI configuration nothing-there: ", []string{"-d", "cni:nothing-there"}},
			{`plugin "odd" not found`, []string{"-d", "odd"}},
		} {
			cli.Fails(t, 1, c.want, append(append([]string{"network", "create"}, c.args...), n)...)
		}
	})
}
