package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// BenchmarkSandbox shows what each way to a sandbox costs, and what the raw
// batch saves over one netlink call after the other.
func BenchmarkSandbox(b *testing.B) {
	if !alone.Run(b) {
		return
	}
	c := testConfig(b)
	c.PoolSize = -1
	cold := open(b, c)
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			s, err := cold.Acquire(b.Context(), onBridge, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.NetNS.Close()
			cold.Release(*s.place())
			b.StartTimer()
		}
	})
	b.Run("none", func(b *testing.B) {
		for b.Loop() {
			s, err := cold.Acquire(b.Context(), nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.NetNS.Close()
			b.StartTimer()
		}
	})
	b.Run("one-call-after-the-other", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			e := cold.describe(b)
			b.StartTimer()
			if err := onThread(func() error { return oneByOne(cold, e) }); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			cold.networks.bridge.forget(e)
			b.StartTimer()
		}
	})
	c = testConfig(b)
	c.Bridge, c.PoolSize = "davit1", 100
	warm := open(b, c)
	b.Run("ready", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			eventually(b, "a ready sandbox", func() bool { return warm.Info().Ready > 50 })
			b.StartTimer()
			s, err := warm.Acquire(b.Context(), onBridge, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.NetNS.Close()
			warm.Release(*s.place())
			b.StartTimer()
		}
	})
}

// oneByOne does with vishvananda/netlink what maker.bridged does in batches.
func oneByOne(bridge *Store, e *Endpoint) error {
	e.HostVeth = vethName(e.Address4.Addr(), netip.Addr{}, e.ID)
	ns, err := bridge.maker.inside(nil, func(ns *os.File, _ rtnl) error {
		host, err := netlink.NewHandleAt(netns.NsHandle(bridge.maker.home.Fd()), unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer host.Close()
		here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer here.Close()
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: e.HostVeth, MTU: 1500, MasterIndex: bridge.lan().index, NumTxQueues: 1, NumRxQueues: 1},
			PeerName: "eth0", PeerHardwareAddr: net.HardwareAddr(e.MAC), PeerNamespace: netlink.NsFd(ns.Fd())}
		if err := host.LinkAdd(pair); err != nil {
			return err
		}
		h, err := host.LinkByName(e.HostVeth)
		if err != nil {
			return err
		}
		eth0, err := here.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(
			host.LinkSetUp(h),
			here.AddrAdd(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: e.Address4.Addr().AsSlice(), Mask: net.CIDRMask(16, 32)}}),
			here.LinkSetUp(eth0),
			here.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: e.Gateway4.AsSlice()}),
		)
	})
	if err != nil {
		return err
	}
	return ns.Close()
}

// BenchmarkBurst has 100 containers come to one network at once, and go again.
func BenchmarkBurst(b *testing.B) {
	if !alone.Run(b) {
		return
	}
	s := open(b, testConfig(b))
	n := create(b, s, apinet.CreateRequest{Name: "n"})
	for _, network := range []string{"bridge", n.ID} {
		b.Run(map[bool]string{true: "bridge", false: "user"}[network == "bridge"], func(b *testing.B) {
			for b.Loop() {
				boxes := make([]*Sandbox, 100)
				var all sync.WaitGroup
				for i := range boxes {
					all.Go(func() {
						var err error
						if boxes[i], err = s.Acquire(context.Background(), []Wish{{Network: network}}, nil); err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
				b.StopTimer()
				if b.Failed() {
					return
				}
				for _, box := range boxes {
					box.close()
					s.Release(box.Endpoints[0])
				}
				b.StartTimer()
			}
		})
	}
}
