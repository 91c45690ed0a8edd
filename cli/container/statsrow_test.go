package container

import (
	"testing"

	"github.com/davit-engine/davit/cli/client"
)

// TestNetLimits shows what interfaces are held to.
func TestNetLimits(t *testing.T) {
	one := client.Rate{Up: client.Direction{Limit: 10e6, Dropped: 3}, Down: client.Direction{Limit: 1.5e9}}
	for _, c := range []struct {
		rates           map[string]client.Rate
		limits, dropped string
	}{
		{nil, "-", "-"},
		{map[string]client.Rate{"eth0": one}, "1.5gbit / 10mbit", "0 / 3"},
		{map[string]client.Rate{"eth1": {Up: client.Direction{Limit: 64e3}}, "eth0": one}, "eth0 1.5gbit / 10mbit, eth1 - / 64kbit", "eth0 0 / 3, eth1 0 / 0"},
	} {
		r := statsRow{line: statsLine{rates: c.rates}}
		if r.NetLimit() != c.limits || r.NetDropped() != c.dropped {
			t.Errorf("%v: %q, %q", c.rates, r.NetLimit(), r.NetDropped())
		}
	}
}
