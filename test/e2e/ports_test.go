package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// web is a command that serves its argument on port 80.
func web(text string) []string {
	return []string{"busybox", "sh", "-c", "echo " + text + " > /index.html; exec httpd -f -p 80 -h /"}
}

// fetch asks a server on one connection of its own; it waits for the server to
// come up.
func fetch(t *testing.T, address string) string {
	t.Helper()
	var text string
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if text, err = ask(address); err == nil {
			return text
		}
	}
	t.Fatalf("asking %s: %v", address, err)
	return ""
}

func ask(address string) (string, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	r, err := c.Get("http://" + address + "/index.html")
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", r.Status)
	}
	return strings.TrimSpace(string(b)), err
}

// hostPort returns the port of the host that leads to a container's.
func hostPort(t *testing.T, cli enginetest.CLI, container, port string) string {
	t.Helper()
	line, _, _ := strings.Cut(cli.OK(t, "port", container, port), "\n")
	_, number, err := net.SplitHostPort(strings.TrimSpace(strings.Fields(line)[0]))
	if err != nil {
		t.Fatalf("port printed %q", line)
	}
	return number
}

// TestPublish publishes a port that the engine chooses, and reaches it by all
// ways there are from the host and from a container.
func TestPublish(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, append([]string{"run", "-d", "--name", n, "-p", "80"}, web("hello")...)...)
		port := hostPort(t, cli, n, "80/tcp")
		gateway := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}}", n)
		for _, host := range []string{"127.0.0.1", "::1", gateway, "127.1.2.3"} {
			if got := fetch(t, net.JoinHostPort(host, port)); got != "hello" {
				t.Errorf("%s says %q", host, got)
			}
		}
		if got := cli.OK(t, "run", "--rm", "busybox", "wget", "-qO-", "http://"+gateway+":"+port+"/index.html"); got != "hello" {
			t.Errorf("another container gets %q", got)
		}
		if got := cli.OK(t, "exec", n, "wget", "-qO-", "http://"+gateway+":"+port+"/index.html"); got != "hello" {
			t.Errorf("the container itself gets %q", got)
		}
		if got, want := cli.OK(t, "inspect", "-f", `{{range $p, $b := .NetworkSettings.Ports}}{{$p}}={{range $b}}{{.HostIp}} {{.HostPort}},{{end}}{{end}}`, n), fmt.Sprintf("80/tcp=0.0.0.0 %s,:: %[1]s,", port); got != want {
			t.Errorf("inspect shows %q, want %q", got, want)
		}
		if got := cli.OK(t, "ps", "--filter", "name="+n, "--filter", "publish=80", "--format", "{{.Ports}}"); !strings.Contains(got, "0.0.0.0:"+port+"->80/tcp") || !strings.Contains(got, "[::]:"+port+"->80/tcp") {
			t.Errorf("ps shows %q", got)
		}
		cli.OK(t, "stop", "-t", "0", n)
		if l, err := net.Listen("tcp", ":"+port); err != nil {
			t.Error("after the end:", err)
		} else {
			l.Close()
		}
		if got := cli.OK(t, "ps", "-a", "--filter", "name="+n, "--format", "{{.Ports}}"); got != "" {
			t.Errorf("ps shows %q of a container that has ended", got)
		}
	})
}

// TestPublishWhere binds to single addresses, of both families and of both
// protocols.
func TestPublishWhere(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "-p", "127.0.0.1::80", "-p", "[::1]::81", "-p", "127.0.0.1::53/udp", "busybox",
		"sh", "-c", "echo four > /index.html; httpd -p 80 -h /; exec httpd -f -p 81 -h /")
	echoUDP(t, cli, n, ":53")
	if got := fetch(t, "127.0.0.1:"+hostPort(t, cli, n, "80")); got != "four" {
		t.Errorf("127.0.0.1 says %q", got)
	}
	if got := fetch(t, "[::1]:"+hostPort(t, cli, n, "81")); got != "four" {
		t.Errorf("::1 says %q", got)
	}
	gateway := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}}", n)
	if got, err := ask(net.JoinHostPort(gateway, hostPort(t, cli, n, "80"))); err == nil {
		t.Errorf("the host's other addresses lead to a port of 127.0.0.1: %q", got)
	}
	c, err := net.Dial("udp", "127.0.0.1:"+hostPort(t, cli, n, "53/udp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 16)
	for end := time.Now().Add(5 * time.Second); ; {
		fmt.Fprint(c, "ping\n")
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if k, err := c.Read(buf); err == nil && string(buf[:k]) == "ping\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no answer over UDP")
		}
	}
	if got := cli.OK(t, "port", n); !strings.Contains(got, "127.0.0.1") || strings.Contains(got, "0.0.0.0:") {
		t.Errorf("port printed %q", got)
	}
}

// echoUDP answers datagrams in a container.
func echoUDP(t *testing.T, cli enginetest.CLI, container, address string) {
	t.Helper()
	there, err := os.Open("/proc/" + cli.OK(t, "inspect", "-f", "{{.State.Pid}}", container) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	server, err := net.ListenPacket("udp4", address)
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		t.Fatal(back) // and the thread is not used again
	}
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(buf[:n], from)
		}
	}()
}

// TestPublishTaken names who has a port.
func TestPublishTaken(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, append([]string{"run", "-d", "--name", n, "-p", "80"}, web("first")...)...)
		port := hostPort(t, cli, n, "80")
		second := n + "-2"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", second) })
		cli.Fails(t, 125, "failed to set up container networking: driver failed programming external connectivity on endpoint "+second, "run", "-d", "--name", second, "-p", port+":80", "busybox", "true")
		cli.Fails(t, 1, "Bind for 0.0.0.0:"+port+" failed: port is already allocated: container "+n+" has it", "start", second)
		cli.Fails(t, 1, "Bind for 127.0.0.1:"+port+" failed: port is already allocated", append([]string{"start"}, cli.OK(t, "create", "--name", second+"-3", "-p", "127.0.0.1:"+port+":80", "busybox", "true"))...)
		cli.OK(t, "rm", second+"-3")
		if got := cli.OK(t, "inspect", "-f", "{{.State.Status}}", second); got != "created" {
			t.Errorf("the second is %q", got)
		}
		cli.OK(t, "rm", "-f", n)
		cli.OK(t, "start", second)

		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := l.Addr().(*net.TCPAddr)
		r := cli.Run(t, "run", "--rm", "-p", fmt.Sprintf("%d:80", at.Port), "busybox", "true")
		if want := fmt.Sprintf("failed to bind host port 0.0.0.0:%d/tcp: address already in use: ", at.Port); r.Code != 125 || !strings.Contains(r.Stderr, want) || !regexp.MustCompile(`\(process \d+\) has it`).MatchString(r.Stderr) {
			t.Errorf("a port that this test has: %d %q", r.Code, r.Stderr)
		}
		cli.Fails(t, 125, "cannot assign requested address", "run", "--rm", "-p", "192.0.2.1:80:80", "busybox", "true")
	})
}

// TestPublishRange publishes many ports at once, by one socket of the shim and
// without one of their own in memory.
func TestPublishRange(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "-p", "21000-21999:21000-21999", "-p", "22000-22002:80", "busybox", "sh", "-c", "echo last > /index.html; exec httpd -f -p 21999 -h /")
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		if got := fetch(t, host+":21999"); got != "last" {
			t.Errorf("%s says %q", host, got)
		}
	}
	if l, err := net.Listen("tcp", ":21500"); err == nil {
		l.Close()
		t.Error("a port of the range is free")
	}
	if got := cli.OK(t, "ps", "--filter", "name="+n, "--format", "{{.Ports}}"); !strings.Contains(got, "0.0.0.0:21000-21999->21000-21999/tcp") {
		t.Errorf("ps shows %q", got)
	}
	if got := hostPort(t, cli, n, "80"); got != "22000" {
		t.Errorf("of a range for one port %s was taken", got)
	}
	cli.OK(t, "rm", "-f", n)
	l, err := net.Listen("tcp", ":21500")
	if err != nil {
		t.Fatal("after the end:", err)
	}
	l.Close()
}

// TestPublishAll publishes what a container exposes.
func TestPublishAll(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, append([]string{"run", "-d", "--name", n, "-P", "--expose", "80", "--expose", "7000-7002/udp"}, web("all")...)...)
		if got := fetch(t, "127.0.0.1:"+hostPort(t, cli, n, "80")); got != "all" {
			t.Errorf("port 80 says %q", got)
		}
		if got := strings.Count(cli.OK(t, "port", n), "->"); got != 8 {
			t.Errorf("%d lines, want 2 for each of 4 ports", got)
		}
	})
}

// TestPublishLives keeps published ports while the engine is killed and started
// again under load: no request fails.
func TestPublishLives(t *testing.T) {
	enginetest.NeedRoot(t)
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, append([]string{"run", "-d", "--name", "web", "-p", "80"}, web("alive")...)...)
	port := hostPort(t, cli, "web", "80")
	gateway := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}}", "web")
	before := cli.OK(t, "inspect", "-f", "{{json .NetworkSettings.Ports}}", "web")
	hosts := []string{"127.0.0.1", gateway, "[::1]"}
	for _, h := range hosts {
		fetch(t, h+":"+port)
	}
	ctx, stop := context.WithCancel(t.Context())
	var asked, failed atomic.Int64
	var load sync.WaitGroup
	for _, h := range hosts {
		load.Go(func() {
			for ctx.Err() == nil {
				asked.Add(1)
				if got, err := ask(h + ":" + port); err != nil || got != "alive" {
					failed.Add(1)
					t.Errorf("%s: %q, %v", h, got, err)
				}
			}
		})
	}
	for range 3 {
		e.Kill(t)
		time.Sleep(100 * time.Millisecond) // of load without an engine
		e.Restart(t)
		cli.OK(t, "run", "--rm", "-p", "80", "busybox", "true")
	}
	stop()
	load.Wait()
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	if after := cli.OK(t, "inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"); after != before {
		t.Errorf("ports were %s and are %s", before, after)
	}
	cli.Fails(t, 125, "port is already allocated: container web has it", "run", "--rm", "-p", port+":80", "busybox", "true")
	cli.OK(t, "rm", "-f", "web")
	cli.OK(t, "run", "--rm", "-p", port+":80", "busybox", "true")
}

// TestPublishChange publishes ports of a container that runs and takes them
// back: its process and its other ports go on.
func TestPublishChange(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, append([]string{"run", "-d", "--name", n, "-p", "80"}, web("same")...)...)
	port, before := hostPort(t, cli, n, "80"), inspect(t, cli, n)
	other := freePort(t)
	cli.OK(t, "update", "-p", "127.0.0.1:"+other+":80/udp", "-p", other+":81", n)
	if got := fetch(t, "127.0.0.1:"+port); got != "same" {
		t.Errorf("the port that did not change says %q", got)
	}
	if l, err := net.Listen("tcp", ":"+other); err == nil {
		l.Close()
		t.Error("a port that was added is free")
	}
	taken := n + "-taken"
	t.Cleanup(func() { cli.Run(t, "rm", "-f", taken) })
	cli.OK(t, append([]string{"run", "-d", "--name", taken, "-p", "80"}, web("taken")...)...)
	cli.Fails(t, 1, "port is already allocated: container "+taken+" has it", "update", "-p", hostPort(t, cli, taken, "80")+":81", n)
	if got := hostPort(t, cli, n, "81"); got != other {
		t.Errorf("after a change that failed port 81 is at %s, was at %s", got, other)
	}
	cli.OK(t, "update", "-p", "[::1]:"+other+":80", "--publish-rm", "81", n)
	if got := fetch(t, "[::1]:"+other); got != "same" {
		t.Errorf("the changed port says %q", got)
	}
	if _, err := ask("127.0.0.1:" + port); err == nil {
		t.Error("the port that was before still leads somewhere")
	}
	if got := cli.OK(t, "port", n); strings.Contains(got, "81/tcp") {
		t.Errorf("port printed %q after port 81 was taken back", got)
	}
	if after := inspect(t, cli, n); after.State.Pid != before.State.Pid {
		t.Error("the container was restarted")
	}
}

// freePort is a port of the host that nobody has at this moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// TestPublishMoves publishes on the network that has the default route, also
// after the container was taken off it.
func TestPublishMoves(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	first, second, apart := n+"-1", n+"-2", n+"-apart"
	t.Cleanup(func() { cli.Run(t, "network", "rm", first, second, apart) })
	for _, net := range []string{first, second} {
		cli.OK(t, "network", "create", net)
	}
	cli.OK(t, "network", "create", "--internal", apart)
	t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
	cli.OK(t, append([]string{"run", "-d", "--name", n, "--network", first, "-p", "80"}, web("moves")...)...)
	check := func(where string) {
		t.Helper()
		port := hostPort(t, cli, n, "80")
		for _, host := range []string{"127.0.0.1", "[::1]"} {
			if got := fetch(t, host+":"+port); got != "moves" {
				t.Errorf("%s: %s says %q", where, host, got)
			}
		}
	}
	check("on the first network")
	cli.OK(t, "network", "connect", apart, n)
	cli.OK(t, "network", "connect", second, n)
	check("on all")
	cli.OK(t, "network", "disconnect", first, n)
	check("on the second")
	cli.OK(t, "network", "disconnect", second, n)
	if got := cli.OK(t, "port", n); got != "" {
		t.Errorf("on an internal network port printed %q", got)
	}
	cli.OK(t, "network", "connect", first, n)
	check("back on the first")
}

// TestPublishSettings has the engine publish on the loopback interface unless
// somebody says otherwise, and pass nothing on.
func TestPublishSettings(t *testing.T) {
	enginetest.NeedRoot(t)
	e := enginetest.Start(t, enginetest.Config{Args: []string{"--publish-default-ip", "127.0.0.1", "--userland-proxy=false", "--default-network-opt", "bridge=com.docker.network.driver.mtu=1400"}})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, append([]string{"run", "-d", "--name", "local", "-p", "80"}, web("local")...)...)
	cli.OK(t, append([]string{"run", "-d", "--name", "all", "-p", "0.0.0.0::80", "-p", "[::]::80"}, web("all")...)...)
	if got := cli.OK(t, "port", "local"); !strings.Contains(got, "-> 127.0.0.1:") || strings.Contains(got, "\n") {
		t.Errorf("port printed %q", got)
	}
	gateway := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}}", "all")
	for container, hosts := range map[string][]string{"local": {"127.0.0.1"}, "all": {"127.0.0.1", gateway}} {
		port := hostPort(t, cli, container, "80")
		for _, host := range hosts {
			if got := fetch(t, host+":"+port); got != container {
				t.Errorf("%s says %q", host, got)
			}
		}
		if got, err := ask("[::1]:" + port); err == nil {
			t.Errorf("somebody passes on from ::1: %q", got)
		}
	}
	cli.OK(t, "network", "create", "mine")
	if got := cli.OK(t, "network", "inspect", "-f", `{{index .Options "com.docker.network.driver.mtu"}}`, "mine"); got != "1400" {
		t.Errorf("a new network's MTU is %q", got)
	}
}
