package network

import (
	"net"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/shape"
	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
)

// TestRates has a network, an endpoint, and both say what bandwidth there is.
func TestRates(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	s := open(t, testConfig(t))
	slow := create(t, s, apinet.CreateRequest{Name: "slow", Options: map[string]string{shape.Option: "up=1mbit"}})
	if _, _, err := s.Create(t.Context(), apinet.CreateRequest{Name: "wrong", Options: map[string]string{shape.Option: "up=1"}}); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("a network with a rate that is none: %v", err)
	}
	held := func(e Endpoint) shape.Rate {
		t.Helper()
		is, err := s.Rates.Read(e)
		if err != nil {
			t.Fatal(err)
		}
		return is.Rate
	}
	own := map[string]string{shape.Option: "up=3mbit,down=2mbit"}
	for _, c := range []struct {
		network string
		options map[string]string
		want    shape.Rate
	}{
		{"bridge", nil, shape.Rate{}},
		{"bridge", own, shape.Rate{Up: 3e6, Down: 2e6}},
		{slow.ID, nil, shape.Rate{Up: 1e6}},
		{slow.ID, own, shape.Rate{Up: 3e6, Down: 2e6}},
		{slow.ID, map[string]string{shape.Option: "none"}, shape.Rate{}},
	} {
		w := with(Wish{Options: c.options}, c.network)
		box, err := s.Acquire(t.Context(), []Wish{w}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := box.Endpoints[0]
		if got := held(e); got != c.want {
			t.Errorf("on %s with %v: %s, want %s", c.network, c.options, got, c.want)
		}
		if err := s.Rates.Set(e, map[string]string{shape.Option: "down=5mbit"}); err != nil {
			t.Error(err)
		}
		if got := held(e); got != (shape.Rate{Down: 5e6}) {
			t.Errorf("changed on %s: %s", c.network, got)
		}
		box.NetNS.Close()
		s.Release(e)
	}

	// One that comes to live on another network, and leaves it.
	box := acquire(t, s, Wish{})
	e, err := s.Connect(t.Context(), box.NetNS, box.Endpoints, Wish{Network: slow.ID})
	if err != nil {
		t.Fatal(err)
	}
	if got := held(e); got != (shape.Rate{Up: 1e6}) {
		t.Errorf("connected: %s", got)
	}
	if err := s.Disconnect(t.Context(), box.NetNS, e, box.Endpoints); err != nil {
		t.Error(err)
	}

	// What cannot be leaves nothing.
	if _, err := s.Acquire(t.Context(), []Wish{with(Wish{Options: map[string]string{shape.Option: "up=x"}}, "bridge")}, nil); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("a sandbox with a rate that is none: %v", err)
	}
	eventually(t, "the devices of rates are gone", func() bool {
		all, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range all {
			if strings.HasPrefix(i.Name, "di") {
				return false
			}
		}
		return true
	})
}

// TestRefusedRateLeavesNothing: a ready sandbox, with the sockets of its
// resolver, is given up whole when one of several networks cannot be held.
func TestRefusedRateLeavesNothing(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	newWorld(t, 0)
	s := open(t, testConfig(t))
	web, lan := create(t, s, apinet.CreateRequest{Name: "web"}), create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	g, err := s.networks.get(web.ID)
	if err != nil {
		t.Fatal(err)
	}
	full := func() int {
		eventually(t, "the network's sandboxes are ready", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.making == nil && g.shelf.want > 0 && !g.shelf.missing()
		})
		return openFiles(t)
	}
	box := acquire(t, s, Wish{Network: web.ID})
	box.close()
	s.Release(*box.place())
	before := full()
	for range 3 {
		_, err := s.Acquire(t.Context(), []Wish{{Network: web.ID}, {Network: lan.ID, Options: map[string]string{shape.Option: "up=1mbit"}}}, nil)
		if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), "network rate") {
			t.Fatal(err)
		}
	}
	if after := full(); after != before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}
