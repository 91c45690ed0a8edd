package attack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// walled is an engine on a host of its own, 192.0.2.1, with a neighbour on its
// wire, 192.0.2.2, who has routes to whatever the host has behind it.
type walled struct {
	host, lan string // network namespaces
	engine    *enginetest.Engine
	cli       enginetest.CLI
}

func startWalled(t *testing.T, args ...string) walled {
	t.Helper()
	enginetest.NeedRoot(t)
	enginetest.NeedProgram(t, "ip")
	enginetest.NeedProgram(t, "nft")
	enginetest.NeedProgram(t, "curl")
	w := walled{host: fmt.Sprintf("davit-wall-%d", os.Getpid()), lan: fmt.Sprintf("davit-lan-%d", os.Getpid())}
	for _, ns := range []string{w.host, w.lan} {
		command(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { command(t, "ip", "netns", "delete", ns) })
		command(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	command(t, "ip", "-n", w.host, "link", "add", "wire", "type", "veth", "peer", "wire", "netns", w.lan)
	for i, ns := range []string{w.host, w.lan} {
		command(t, "ip", "-n", ns, "address", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", "wire")
		command(t, "ip", "-n", ns, "link", "set", "wire", "up")
	}
	command(t, "ip", "-n", w.lan, "route", "add", "default", "via", "192.0.2.1")
	w.engine = enginetest.Start(t, enginetest.Config{NetNS: "/run/netns/" + w.host, NoRegistry: true, Args: args})
	w.cli = w.engine.Davit()
	source := client.ImageImportSource{Source: bytes.NewReader(enginetest.BusyboxTar(t)), SourceName: "-"}
	answer, err := w.engine.Client(t).ImageImport(context.Background(), source, "busybox:latest", client.ImageImportOptions{Changes: []string{`CMD ["sh"]`, "ENV PATH=/bin"}})
	must(t, err)
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	must(t, err)
	return w
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// web starts a container that says its name on port 80.
func (w walled) web(t *testing.T, name string, args ...string) {
	t.Helper()
	w.cli.OK(t, append(append([]string{"run", "-d", "--name", name}, args...), "busybox", "sh", "-c", "echo "+name+" >/index.html; exec httpd -f -h /")...)
	t.Cleanup(func() { w.cli.Run(t, "rm", "-f", name) })
}

func (w walled) address(t *testing.T, container string) string {
	t.Helper()
	return w.cli.OK(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
}

// get fetches a page from a namespace; "" is none.
func get(ns, at string, patience string) string {
	out, _ := exec.Command("ip", "netns", "exec", ns, "curl", "-s", "-m", patience, "http://"+at+"/").Output()
	return strings.TrimSpace(string(out))
}

// listenIn listens in a network namespace.
func listenIn(t *testing.T, ns, at string) (l net.Listener) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this
		f, err := os.Open("/run/netns/" + ns)
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			l, err = net.Listen("tcp", at)
		}
		done <- err
	}()
	must(t, <-done)
	return l
}

// sees asks until there is the answer, for at most ten seconds.
func sees(t *testing.T, what, ns, at, want string) {
	t.Helper()
	enginetest.Eventually(t, 10*time.Second, func() error {
		if got := get(ns, at, "2"); got != want {
			return fmt.Errorf("%s: %s says %q, want %q", what, at, got, want)
		}
		return nil
	})
}

// TestNeighbours tries to reach what is not published to whom asks: before and
// after the host's packet filter is flushed, as firewalls do that reload
// (CVE-2025-54388, CVE-2025-54410), and while no engine runs.
func TestNeighbours(t *testing.T) {
	w := startWalled(t)
	w.cli.OK(t, "network", "create", "other")
	t.Cleanup(func() { w.cli.Run(t, "network", "rm", "other") })
	w.web(t, "open", "-p", "8080:80")
	w.web(t, "local", "-p", "127.0.0.1:8081:80")
	w.web(t, "hidden", "--network", "other")
	local, hidden := w.address(t, "local"), w.address(t, "hidden")
	gateway := w.cli.OK(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", "local")

	// A service of the host that trusts whoever is on it.
	listener := listenIn(t, w.host, "127.0.0.1:7777")
	defer listener.Close()
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "trusted") }))
	// The neighbour, and a container with all rights, send to 127.0.0.1 by the wire.
	byWire := func(gateway string) string {
		return "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip route del local 127.0.0.1 table local; ip route add 127.0.0.1 via " + gateway
	}
	command(t, "ip", "netns", "exec", w.lan, "sh", "-c", byWire("192.0.2.1")+" src 192.0.2.2")
	w.cli.OK(t, "run", "-d", "--privileged", "--name", "hostile", "busybox", "sh", "-c", byWire(gateway)+"; exec sleep 1000")
	t.Cleanup(func() { w.cli.Run(t, "rm", "-f", "hostile") })

	inside := map[string]string{}
	for _, name := range []string{"hostile", "hidden"} { // whose namespaces are named while the engine can say them
		pid, ns := w.cli.OK(t, "inspect", "-f", "{{.State.Pid}}", name), fmt.Sprintf("davit-%s-%d", name, os.Getpid())
		command(t, "ip", "netns", "attach", ns, pid)
		t.Cleanup(func() { command(t, "ip", "netns", "delete", ns) })
		inside[name] = ns
	}
	check := func(when string) {
		t.Helper()
		sees(t, when, w.lan, "192.0.2.1:8080", "open")
		sees(t, when, w.host, "127.0.0.1:8080", "open")
		sees(t, when, w.host, "127.0.0.1:8081", "local")
		sees(t, when, w.host, hidden, "hidden")
		sees(t, when, w.host, "127.0.0.1:7777", "trusted")
		var all sync.WaitGroup
		defer all.Wait()
		for what, at := range map[string][2]string{
			"published for the host":                          {w.lan, "192.0.2.1:8081"},
			"published for the host, at its 127.0.0.1":        {w.lan, "127.0.0.1:8081"},
			"published for the host, straight":                {w.lan, local},
			"not published, straight":                         {w.lan, hidden},
			"a service on the host's 127.0.0.1":               {w.lan, "127.0.0.1:7777"},
			"a service on the host's 127.0.0.1, by container": {inside["hostile"], "127.0.0.1:7777"},
			"published for the host, by container":            {inside["hostile"], "127.0.0.1:8081"},
			"published for the host, by gateway":              {inside["hostile"], gateway + ":8081"},
			"another network":                                 {inside["hostile"], hidden},
			"another network, the other way":                  {inside["hidden"], local},
		} {
			all.Go(func() {
				if got := get(at[0], at[1], "0.5"); got != "" {
					t.Errorf("%s, %s: %s answers %q", when, what, at[1], got)
				}
			})
		}
	}
	check("at first")
	command(t, "ip", "netns", "exec", w.host, "nft", "flush", "ruleset")
	enginetest.Eventually(t, time.Second, func() error {
		return exec.Command("ip", "netns", "exec", w.host, "nft", "list", "chain", "inet", w.engine.Bridge, "inward").Run()
	})
	check("after a flush")
	w.engine.Kill(t)
	check("without an engine")
	w.engine.Restart(t)
	check("with the next engine")
}

// TestRespect publishes ports on a host whose own firewall is to be respected.
func TestRespect(t *testing.T) {
	enginetest.NeedProgram(t, "iptables-restore")
	w := startWalled(t, "--firewall-mode=respect")
	rules := func(text string) {
		t.Helper()
		cmd := exec.Command("ip", "netns", "exec", w.host, "iptables-restore")
		cmd.Stdin = strings.NewReader("*filter\n:INPUT DROP\n:FORWARD ACCEPT\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n" + text + "COMMIT\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("iptables-restore: %v: %s", err, out)
		}
	}
	closed := func(when, at string) {
		t.Helper()
		enginetest.Eventually(t, 5*time.Second, func() error {
			if got := get(w.lan, at, "1"); got != "" {
				return fmt.Errorf("%s: %s answers %q", when, at, got)
			}
			return nil
		})
	}
	rules("-A INPUT -p tcp --dport 8080 -j ACCEPT\n-A INPUT -p tcp --dport 80 -j ACCEPT\n")
	w.web(t, "allowed", "-p", "8080:80")
	w.web(t, "denied", "-p", "8081:80")
	sees(t, "a port that the host allows", w.lan, "192.0.2.1:8080", "allowed")
	sees(t, "for the host itself", w.host, "127.0.0.1:8081", "denied")
	closed("a port that the host does not allow", "192.0.2.1:8081")
	rules("-A INPUT -p tcp --dport 8081 -j ACCEPT\n")
	sees(t, "a port that the host allows now", w.lan, "192.0.2.1:8081", "denied")
	closed("a port that it no longer allows", "192.0.2.1:8080")
	// What the engine cannot read the host decides itself, and the shim passes on.
	rules("-A INPUT -p tcp --dport 8080 -m recent --name davit --set\n-A INPUT -p tcp --dport 8080 -j ACCEPT\n-A INPUT -p tcp --dport 8081 -m recent --name davit --set -j DROP\n")
	sees(t, "by a rule that cannot be read", w.lan, "192.0.2.1:8080", "allowed")
	closed("by a rule that cannot be read", "192.0.2.1:8081")
	if info := w.cli.Run(t, "info"); !strings.Contains(info.Stderr, "chain ip filter INPUT (match recent) cannot be read") {
		t.Errorf("info does not say so: %s", info.Stderr)
	} else if !strings.Contains(info.Stdout, "Mode: respect") {
		t.Errorf("info does not name the mode:\n%s", info.Stdout)
	}
}
