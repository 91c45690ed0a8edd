package network

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	apinet "github.com/moby/moby/api/types/network"
)

// vethPrefix begins the names of our interfaces on the host. The rest is the
// container's address in hexadecimal: the kernel, which keeps names unique,
// thereby keeps two containers from having one address, and an engine that
// starts again knows the address of each interface that it finds.
const vethPrefix = "dv"

func vethName(a netip.Addr) string { return fmt.Sprintf("%s%08x", vethPrefix, number(a)) }

// vethAddress returns the address in a name, false if the name is not ours.
func vethAddress(name string) (netip.Addr, bool) {
	digits, ok := strings.CutPrefix(name, vethPrefix)
	if !ok || len(digits) != 8 {
		return netip.Addr{}, false
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || vethName(address(uint32(n))) != name {
		return netip.Addr{}, false
	}
	return address(uint32(n)), true
}

// newEndpoint describes the endpoint at address a of the bridge; no mac means
// a random one.
func newEndpoint(a netip.Addr, bridge netip.Prefix, mac apinet.HardwareAddr) *Endpoint {
	if len(mac) == 0 {
		mac = apinet.HardwareAddr(randomMAC())
	}
	id := make([]byte, 32)
	rand.Read(id)
	return &Endpoint{
		ID: hex.EncodeToString(id), HostVeth: vethName(a), MAC: mac, Interface: "eth0",
		Address4: netip.PrefixFrom(a, bridge.Bits()), Gateway4: bridge.Addr(),
	}
}

// randomMAC returns a unicast address of the locally administered space.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2
	return mac
}
