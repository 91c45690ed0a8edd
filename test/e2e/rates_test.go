package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// Ports of a container of line: one sends without end, one takes everything.
const (
	portUp   = "9000"
	portDown = "9001"
)

// line runs a container that sends and receives as fast as it can, and returns
// its address.
func line(t *testing.T, cli enginetest.CLI, n string, args ...string) string {
	t.Helper()
	serve := "nc -ll -p " + portUp + " -e dd if=/dev/zero bs=64k 2>/dev/null & exec nc -ll -p " + portDown + " -e dd of=/dev/null bs=64k"
	cli.OK(t, append(append([]string{"run", "-d", "--name", n}, args...), "busybox", "sh", "-c", serve)...)
	return cli.OK(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", n)
}

// through connects to a container of line.
func through(t *testing.T, address, port string) *net.TCPConn {
	t.Helper()
	var c net.Conn
	enginetest.Eventually(t, 10*time.Second, func() (err error) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(address, port), time.Second)
		return err
	})
	t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetWriteBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// speed measures in Mbit/s what passes, after what was saved up has.
func speed(t *testing.T, c *net.TCPConn) float64 {
	t.Helper()
	pass := func(d time.Duration) (n int64) {
		if err := c.SetDeadline(time.Now().Add(d)); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(c.RemoteAddr().String(), ":"+portUp) {
			n, err = io.Copy(io.Discard, c)
		} else {
			n, err = io.Copy(struct{ io.Writer }{c}, zeros{})
		}
		if !os.IsTimeout(err) {
			t.Fatalf("the stream ended: %v", err)
		}
		return n
	}
	pass(150 * time.Millisecond)
	begin := time.Now()
	return float64(pass(400*time.Millisecond)) * 8 / time.Since(begin).Seconds() / 1e6
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// holds allows for what was received before anybody looked.
func holds(t *testing.T, what string, got, limit float64) {
	t.Helper()
	if got > 1.15*limit || got < limit/3 {
		t.Errorf("%s: %.1f Mbit/s, with a limit of %g", what, got, limit)
	}
}

// rises waits until a stream is faster than some Mbit/s: one that has found its
// speed takes its time to look for another, above all with BBR.
func rises(t *testing.T, c *net.TCPConn, above float64) {
	t.Helper()
	enginetest.Eventually(t, 15*time.Second, func() error {
		if got := speed(t, c); got < above {
			return fmt.Errorf("%.1f Mbit/s, want more than %g", got, above)
		}
		return nil
	})
}

// TestNetworkRate holds a container to a bandwidth, changes it under streams
// that are under way, and has the engine killed in between.
func TestNetworkRate(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	n := name(t, cli)
	address := line(t, cli, n, "--privileged", "--network-rate", "up=10mbit,down=20mbit")
	// What its root does to its own end changes nothing.
	cli.OK(t, "exec", n, "sh", "-c", "ip link set eth0 mtu 60000 qlen 10000; tc qdisc add dev eth0 root pfifo; tc qdisc del dev eth0 root; true")
	up, down := through(t, address, portUp), through(t, address, portDown)
	holds(t, "up", speed(t, up), 10)
	holds(t, "down", speed(t, down), 20)
	if got := cli.OK(t, "stats", "--no-stream", "--rate", "--format", "{{.NetLimit}}", n); got != "20mbit / 10mbit" {
		t.Errorf("stats show %q", got)
	}
	if got := cli.OK(t, "inspect", "-f", `{{index .NetworkSettings.Networks.bridge.DriverOpts "davit.rate"}}`, n); got != "up=10mbit,down=20mbit" {
		t.Errorf("inspect shows %q", got)
	}
	if got := cli.OK(t, "explain", n); !strings.Contains(got, "rate on bridge") {
		t.Errorf("explain says nothing of a rate:\n%s", got)
	}

	cli.OK(t, "update", "--network-rate", "up=40mbit,down=10mbit", n)
	rises(t, up, 15)
	holds(t, "less down", speed(t, down), 10)
	cli.Fails(t, 1, `invalid network rate "up=10"`, "update", "--network-rate", "up=10", n)

	e.Kill(t)
	holds(t, "up, without an engine", speed(t, up), 40)
	e.Restart(t)
	holds(t, "up, with another engine", speed(t, up), 40)
	if got := cli.OK(t, "stats", "--no-stream", "--rate", "--format", "{{.NetLimit}}", n); got != "10mbit / 40mbit" {
		t.Errorf("stats show %q", got)
	}
	cli.OK(t, "update", "--network-rate", "none", n)
	rises(t, up, 60)
	rises(t, down, 60)
	cli.OK(t, "update", "--network-rate", "up=20mbit", n)
	cli.OK(t, "restart", "-t", "0", n)
	address = cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", n)
	holds(t, "up, after a restart", speed(t, through(t, address, portUp)), 20)
	cli.OK(t, "rm", "-f", n)
	enginetest.Eventually(t, 10*time.Second, func() error {
		all, err := net.Interfaces()
		if i := slices.IndexFunc(all, func(i net.Interface) bool { return strings.HasPrefix(i.Name, "di") }); err == nil && i >= 0 {
			err = fmt.Errorf("interface %s is left", all[i].Name)
		}
		return err
	})
}

// TestNetworkRateOfNetwork has a network hold its containers, but for one that
// has a rate of its own.
func TestNetworkRateOfNetwork(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := strings.ToLower(name(t, cli)) // as docker reads name=
		t.Cleanup(func() { cli.Run(t, "network", "rm", n) })
		cli.Fails(t, 1, `invalid network rate "up=fast"`, "network", "create", "-o", "davit.rate=up=fast", n)
		cli.OK(t, "network", "create", "-o", "davit.rate=up=10mbit", n)
		holds(t, "of the network", speed(t, through(t, line(t, cli, n, "--network", n), portUp)), 10)
		other := n + "-own"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", other, n) })
		address := line(t, cli, other, "--network", `name=`+n+`,driver-opt=davit.rate=up=30mbit`)
		holds(t, "of its own", speed(t, through(t, address, portUp)), 30)
		cli.Fails(t, 125, "network rate", "run", "--rm", "--network", `name=bridge,driver-opt=davit.rate=up=30furlongs`, "busybox", "true")
	})
	cli := engine(t).Davit()
	cli.Fails(t, 125, "takes a network of the container's own", "run", "--rm", "--network", "host", "--network-rate", "up=10mbit", "busybox", "true")
	cli.Fails(t, 125, "invalid network rate", "run", "--rm", "--network-rate", "sideways=10mbit", "busybox", "true")
	// Delay and loss need what some kernels do not have.
	if r := cli.Run(t, "run", "--rm", "--network-rate", "delay=1ms", "busybox", "true"); r.Code != 0 && !strings.Contains(r.Stderr, "sch_netem") {
		t.Errorf("a delay: %d, %s", r.Code, r.Stderr)
	}
}
