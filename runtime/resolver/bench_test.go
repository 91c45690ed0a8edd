package resolver

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkOwn is the time from a question to its answer on networks of so
// many containers.
func BenchmarkOwn(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k := newBench(b, onNetworks(), 0)
			var list []Entry
			for i := range n {
				list = append(list, Entry{[]netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, []string{fmt.Sprintf("service-%d", i), fmt.Sprintf("%012x", i)}})
			}
			k.write("names", NamesFile(list))
			exchange(b, k, fmt.Sprintf("service-%d.", n-1))
		})
	}
}

// BenchmarkForwarded is the same for a question that a server on this host
// answers at once.
func BenchmarkForwarded(b *testing.B) {
	port, _ := serveAt(b, func(_ string, _ bool, q []byte) []byte { return answerWith(b, q, 0, "192.0.2.1") }, "127.0.0.2")
	exchange(b, newBench(b, &Plan{Servers: addrs("127.0.0.2")}, port), "example.com.")
}

func exchange(b *testing.B, k *bench, name string) {
	c, err := net.Dial("udp", k.udp)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	msg, buf := question(b, name, a, 0), make([]byte, 4096)
	for b.Loop() {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
