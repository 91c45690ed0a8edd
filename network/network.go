// Package network gives containers their network namespaces: with nothing but
// lo, or with an interface on each of several networks.
//
//	            host                        |      a container's namespace
//	                                        |
//	uplink <- inet <table> -> davit0 - dv.. === eth0  172.17.0.2/16
//	              |         172.17.0.1      |
//	              +---------> br-1f..- dv.. === eth1  172.18.0.2/24
//	                        172.18.0.1      |   lo    127.0.0.1
//
// Store holds the networks: the default bridge and those that users made. Each
// is a segment, which has what all networks have (addresses, endpoints, ready
// sandboxes), over a lan, which a driver has opened.
//
// The package owns the devices of networks, their ranges of addresses, the
// interfaces of containers, one nftables table, and a pool of sandboxes made
// before they are asked for. It must not know what a container is: it hands out
// namespaces and endpoints and is told when they are free again. Devices, the
// table and small files in StateDir outlive the process: sandboxes that were
// not handed over are held by file descriptors only, so the kernel removes them
// with the process, however it ends.
//
// All methods may be called at once. Lock order: Store.changing, segment.mu,
// then bridge.mu or pool.mu, then those of the table and of sockets; none but
// the first is held while a sandbox is being made.
package network

import (
	"log/slog"
	"net/netip"
	"os"

	"github.com/davit-engine/davit/network/firewall"
	"github.com/davit-engine/davit/network/ipam"
	"github.com/davit-engine/davit/network/publish"
	apinet "github.com/moby/moby/api/types/network"
)

// Config says how the default bridge is to be. The zero value of a field means
// what Docker does by default.
type Config struct {
	Bridge         string       // name of the bridge device; "" is davit0, "none" is no default bridge at all
	BIP            netip.Prefix // the bridge's own address and its range; zero: an existing bridge's, last time's, or a free range
	FixedCIDR      netip.Prefix // part of the range that containers get addresses from; zero: all of it
	IPv6           bool         // the default bridge has IPv6 too
	BIP6           netip.Prefix // likewise for IPv6; zero: the first address of FixedCIDR6, last time's, or one of a free range
	FixedCIDR6     netip.Prefix
	Gateway4       netip.Addr // what containers on the default bridge have as default gateway; zero: the bridge (Docker's default-gateway)
	Gateway6       netip.Addr
	MTU            int             // bytes; 0: that of the interface the default route goes through
	Forward        bool            // switch IPv4 forwarding on if it is off (Docker's ip-forward)
	ForwardNoDrop  bool            // having switched it on, let the host forward other traffic too (Docker's ip-forward-no-drop)
	Masquerade     bool            // give traffic to the outside the host's address (Docker's ip-masq)
	NoInterconnect bool            // containers on the bridge cannot reach each other (Docker's icc=false)
	Pools          []ipam.Pool     // what networks get addresses from that do not say; a family without any: ipam's defaults
	Firewall       firewall.Config // whether the host's own is respected, and who is let in; the rest is not the caller's
	Table          string          // name of the nftables table; "" is davit, or davit-<bridge> where the bridge is not davit0
	PoolSize       int             // sandboxes kept ready of each sort; 0: DefaultPoolSize; negative: no pool
	StateDir       string          // where the range is remembered; made if missing
	Log            *slog.Logger    // nil: nothing is logged

	// PublishOn is where ports are published if neither the user nor the network
	// says; invalid or unspecified: on all addresses. BridgePublishOn is that of
	// the default bridge, if it is valid.
	PublishOn, BridgePublishOn netip.Addr
	NoProxy                    bool                         // nobody listens at published ports (Docker's userland-proxy=false): where the firewall cannot lead is no way in
	Options                    map[string]map[string]string // of networks to be made, by driver, if their creator does not say
}

// Endpoint is a sandbox's place on one network. It lives as long as the
// container runs and is kept, as JSON, in the container's record.
type Endpoint struct {
	Network            string // ID
	ID                 string // 64 hexadecimal digits
	Interface          string // in the container
	HostVeth           string `json:",omitempty"` // name of the interface on the host; "" where there is none
	MAC                apinet.HardwareAddr
	Address4, Address6 netip.Prefix   `json:",omitzero"` // with the length of the network's range; invalid: none
	Gateway4, Gateway6 netip.Addr     `json:",omitzero"`
	LinkLocal          []netip.Addr   `json:",omitempty"` // more addresses, of the link alone
	Priority           int            `json:",omitempty"` // of those of a sandbox the highest has the default route
	Ports              []publish.Port `json:",omitempty"` // what is published
	Names              []string       `json:",omitempty"` // by which others on the network find it; the first is that of its address
}

// Sandbox is a network namespace ready for a container to join. Whoever
// acquired it closes NetNS as soon as a process has joined it, and Resolver as
// soon as somebody answers there.
type Sandbox struct {
	NetNS     *os.File
	Endpoints []Endpoint // in the order of their interfaces; none: lo alone
	Resolver  []*os.File // what OpenResolver makes, if that was done ahead
}

// close gives the sandbox up.
func (s *Sandbox) close() {
	s.NetNS.Close()
	closeAll(s.Resolver)
}

// Wish is what a container asks for of one network; zero fields are chosen
// here.
type Wish struct {
	Network            string // ID
	MAC                apinet.HardwareAddr
	Address4, Address6 netip.Addr
	LinkLocal          []netip.Addr
	Interface          string
	Priority           int
	Options            map[string]string // of the endpoint, for the driver
}

// Info describes the bridge, for inspect and info.
type Info struct {
	Name         string       // of the device; "" when there is no bridge
	Subnet       netip.Prefix // masked
	Gateway      netip.Addr
	Pool         netip.Prefix // what addresses are given from: Subnet or FixedCIDR
	MTU          int
	Masquerade   bool
	Interconnect bool // containers may reach each other
	InUse, Free  int  // addresses: given to containers (not those kept ready), and still to be given
	Ready        int  // sandboxes waiting on the bridge
	Respect      bool // the host's own firewall decides who reaches published ports, of all networks
}
