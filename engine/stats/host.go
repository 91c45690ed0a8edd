package stats

import (
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// CPU is what all processors of the host have done.
type CPU struct {
	Nanoseconds uint64 // spent since the boot, idle time included, by all together
	Online      uint32 // how many there are
}

// tick is a jiffy as /proc shows it: USER_HZ is 100 on every architecture that
// Davit runs on.
const tick = 10_000_000 // nanoseconds

// ParseCPU reads /proc/stat. As in Docker the first seven columns count: user,
// nice, system, idle, iowait, irq and softirq.
func ParseCPU(text string) CPU {
	var c CPU
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(name, "cpu") {
			break // they come first
		}
		if name != "cpu" {
			c.Online++
			continue
		}
		for i, f := range strings.Fields(rest) {
			if i == 7 {
				break
			}
			n, _ := strconv.ParseUint(f, 10, 64)
			c.Nanoseconds += n * tick
		}
	}
	return c
}

// fallback are the devices that the kernel makes in each network namespace
// once a tunnel's module is loaded, which are no connection of the container's.
var fallback = map[string]bool{
	"lo": true, "tunl0": true, "gre0": true, "gretap0": true, "erspan0": true, "ip_vti0": true, "ip6_vti0": true,
	"sit0": true, "ip6tnl0": true, "ip6gre0": true, "teql0": true,
}

// ParseNetworks reads /proc/PID/net/dev, but for the loopback interface.
func ParseNetworks(text string) map[string]container.NetworkStats {
	var all map[string]container.NetworkStats
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(rest)
		if !ok || fallback[name] || len(f) < 12 {
			continue
		}
		n := func(i int) uint64 {
			v, _ := strconv.ParseUint(f[i], 10, 64)
			return v
		}
		if all == nil {
			all = make(map[string]container.NetworkStats)
		}
		all[name] = container.NetworkStats{
			RxBytes: n(0), RxPackets: n(1), RxErrors: n(2), RxDropped: n(3),
			TxBytes: n(8), TxPackets: n(9), TxErrors: n(10), TxDropped: n(11),
		}
	}
	return all
}
