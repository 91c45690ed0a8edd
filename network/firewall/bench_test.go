package firewall

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/davit-engine/davit/test/alone"
)

// BenchmarkPublish publishes ports and takes them back: one, a range that is
// the same on both sides, and one that is not.
func BenchmarkPublish(b *testing.B) {
	if !alone.Run(b) {
		return
	}
	topology(b)
	table := settled(b, []Network{plain("br1")})
	for _, c := range []struct {
		name  string
		count uint16
		port  uint16
	}{{"one", 1, 80}, {"range", 10000, 20000}, {"others", 10000, 10000}} {
		b.Run(fmt.Sprint(c.name, "=", c.count), func(b *testing.B) {
			f := []Forward{{Bridge: "br1", Proto: "tcp", HostIP: netip.IPv4Unspecified(), HostPort: 20000, Count: c.count, Address: addresses[self][0], Port: c.port}}
			for b.Loop() {
				if err := table.Publish(f); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := table.Unpublish(f); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
