package attack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// sleeper starts a container on a network with names, and opens its network.
func sleeper(t *testing.T, cli enginetest.CLI, n string, flags ...string) *os.File {
	t.Helper()
	t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
	cli.OK(t, append(append([]string{"run", "-d", "--name", n}, flags...), "hostile", "sleep", "1000")...)
	ns, err := os.Open("/proc/" + cli.OK(t, "inspect", "-f", "{{.State.Pid}}", n) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func names(t *testing.T, cli enginetest.CLI) string {
	t.Helper()
	cli.OK(t, "network", "create", t.Name())
	t.Cleanup(func() { cli.OK(t, "network", "rm", t.Name()) })
	return t.Name()
}

// inside runs fn on a thread in a network namespace, which ends with it.
func inside(t *testing.T, ns *os.File, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// resolverAt connects to the resolver of a container.
func resolverAt(t *testing.T, ns *os.File, network string) (c net.Conn) {
	t.Helper()
	inside(t, ns, func() (err error) {
		c, err = net.Dial(network, "127.0.0.11:53")
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func question(t *testing.T, name string) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// found looks a name up as clients do: a question that is not answered in a
// second is repeated.
func found(t *testing.T, ns *os.File, name string) (address string) {
	t.Helper()
	c := resolverAt(t, ns, "udp4")
	defer c.Close()
	q, buf := question(t, name), make([]byte, 65536)
	for range 5 {
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		var m dnsmessage.Message
		if err == nil {
			err = m.Unpack(buf[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range m.Answers {
			if r, ok := a.Body.(*dnsmessage.AResource); ok {
				address += net.IP(r.A[:]).String() + " "
			}
		}
		return strings.TrimSpace(address)
	}
	return "no answer"
}

// shimOf is the process of a container's shim.
func shimOf(t *testing.T, cli enginetest.CLI, n string) int {
	t.Helper()
	id := cli.OK(t, "inspect", "-f", "{{.Id}}", n)
	for _, s := range shared.engine.Shims() {
		if s.ID == id {
			return s.ShimPid
		}
	}
	t.Fatalf("%s has no shim", n)
	return 0
}

// TestQuestionFlood: a container that asks for more than anybody answers, by
// UDP and with connections that say nothing, harms itself at most, and its
// shim, the host's process, holds little for it.
func TestQuestionFlood(t *testing.T) {
	cli := engine(t)
	on := names(t, cli)
	bad := sleeper(t, cli, "flooding", "--network", on, "--dns", "192.0.2.1")
	good := sleeper(t, cli, "asking", "--network", on)
	address := cli.OK(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "flooding")
	shim := shimOf(t, cli, "flooding")
	var flood sync.WaitGroup
	c := resolverAt(t, bad, "udp4")
	flood.Go(func() {
		q := question(t, "nowhere.example")
		for i := range 20000 {
			binary.BigEndian.PutUint16(q, uint16(i))
			_, _ = c.Write(q) // what the kernel refuses is lost, as it would be
		}
	})
	for range 120 {
		resolverAt(t, bad, "tcp4")
	}
	for range 10 {
		if got := found(t, good, "flooding"); got != address {
			t.Errorf("another container finds %q", got)
		}
	}
	flood.Wait()
	if got := found(t, bad, "asking"); got == "" || got == "no answer" {
		t.Errorf("the container itself finds %q", got)
	}
	held, err := os.ReadDir("/proc/" + strconv.Itoa(shim) + "/fd")
	if err != nil || len(held) > 700 {
		t.Errorf("the shim holds %d files, %v", len(held), err)
	}
	if kib := resident(t, shim); kib > 24<<10 {
		t.Errorf("the shim holds %d KiB", kib)
	}
	enginetest.Eventually(t, 20*time.Second, func() error {
		if held, err := os.ReadDir("/proc/" + strconv.Itoa(shim) + "/fd"); err != nil || len(held) > 100 {
			return fmt.Errorf("after the flood the shim holds %d files, %v", len(held), err)
		}
		return nil
	})
	if got := cli.OK(t, "exec", "flooding", "echo", "well"); got != "well" {
		t.Error(got)
	}
}

// resident is the memory of a process that is its own, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "Private_") {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
	}
	return total
}

// TestLyingServer: a name server that answers with anything but an answer, at
// any length, by either protocol.
func TestLyingServer(t *testing.T) {
	cli := engine(t)
	on := names(t, cli)
	ns := sleeper(t, cli, "lied-to", "--network", on, "--dns", "127.0.0.1")
	shim := shimOf(t, cli, "lied-to")
	inside(t, ns, func() error {
		udp, err := net.ListenPacket("udp4", "127.0.0.1:53")
		if err != nil {
			return err
		}
		tcp, err := net.Listen("tcp4", "127.0.0.1:53")
		if err != nil {
			return err
		}
		t.Cleanup(func() { udp.Close(); tcp.Close() })
		go lieByUDP(udp)
		go lieByTCP(tcp)
		return nil
	})
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			c := resolverAt(t, ns, "udp4")
			buf := make([]byte, 65536)
			for range 20 {
				if _, err := c.Write(question(t, "lies.example")); err != nil {
					t.Error(err)
				}
				c.SetReadDeadline(time.Now().Add(6 * time.Second))
				if _, err := c.Read(buf); err != nil {
					t.Errorf("no answer at all: %v", err)
					return
				}
			}
		})
		asking.Go(func() {
			for range 10 {
				c := resolverAt(t, ns, "tcp4")
				q := question(t, "lies.example")
				if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
					t.Error(err)
				}
				c.SetReadDeadline(time.Now().Add(6 * time.Second))
				var head [2]byte
				if _, err := io.ReadFull(c, head[:]); err != nil {
					t.Errorf("no answer by TCP: %v", err)
					return
				}
				if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(head[:]))); err != nil {
					t.Errorf("half an answer by TCP: %v", err)
					return
				}
				c.Close()
			}
		})
	}
	asking.Wait()
	if got := found(t, ns, "lied-to"); got == "" || got == "no answer" {
		t.Errorf("its own name leads to %q", got)
	}
	if kib := resident(t, shim); kib > 24<<10 {
		t.Errorf("the shim holds %d KiB", kib)
	}
	if got := cli.OK(t, "exec", "lied-to", "echo", "well"); got != "well" {
		t.Error(got)
	}
}

// lie is something in place of an answer to q; good says that it is to be one
// in the end, so that no question waits for long.
func lie(q []byte) []byte {
	out := append([]byte(nil), q...)
	if len(out) < 12 {
		return nil
	}
	out[2] |= 0x80
	switch rand.IntN(8) {
	case 0:
		return append(out, make([]byte, 65000-len(out))...) // the question, and then nothing for long
	case 1:
		out[7] = 0xff // more answers than there are
	case 2:
		out[0]++ // another question's
		return out
	case 3:
		return out[:rand.IntN(len(out))]
	case 4:
		for i := 4; i < len(out); i++ {
			out[i] = byte(rand.Uint32())
		}
	case 5:
		return nil
	case 6:
		return []byte{}
	}
	return out
}

func lieByUDP(udp net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := udp.ReadFrom(buf)
		if err != nil {
			return
		}
		for range rand.IntN(4) {
			if out := lie(buf[:n]); out != nil {
				_, _ = udp.WriteTo(out, from)
			}
		}
		refusal := append([]byte(nil), buf[:n]...)
		refusal[2], refusal[3] = 0x81, 0x83
		_, _ = udp.WriteTo(refusal, from)
	}
}

func lieByTCP(tcp net.Listener) {
	for {
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 4096)
			n, err := c.Read(buf)
			if err != nil || n < 3 {
				return
			}
			out := lie(buf[2:n])
			size := len(out)
			if rand.IntN(4) == 0 {
				size = 65535 // that do not come
			}
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(size)), out...))
		}()
	}
}

// TestForgedNames: names that are more than names put nothing into what others
// are told.
func TestForgedNames(t *testing.T) {
	cli := engine(t)
	on := names(t, cli)
	victim := sleeper(t, cli, "believing", "--network", on)
	for i, alias := range []string{
		"x\n10.9.9.9 forged", "x 10.9.9.9", "10.9.9.9,10.9.9.8 forged", "forged\t", "\x00forged", strings.Repeat("forged.", 60), strings.Repeat("f", 64), "..", "forged..example",
	} {
		n := "forging" + strconv.Itoa(i)
		t.Cleanup(func() { cli.Run(t, "rm", "-f", n) })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		// What is refused is as good as what does nothing.
		_ = cli.Command(ctx, "run", "-d", "--name", n, "--network", on, "--network-alias", alias, "hostile", "sleep", "1000").Run()
		cancel()
	}
	for _, name := range []string{"forged", "x", "10.9.9.9", "forged.example"} {
		if got := found(t, victim, name); strings.Contains(got, "10.9.9") {
			t.Errorf("%s leads to %s", name, got)
		}
	}
	if got := found(t, victim, "believing"); got == "" || got == "no answer" {
		t.Errorf("a name beside the forged ones leads to %q", got)
	}
}
