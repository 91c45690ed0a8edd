package network

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// vethPrefix begins the names of our interfaces on the host. The rest is the
// container's IPv4 address in hexadecimal: the kernel, which keeps names
// unique, thereby keeps two containers from having one address, and an engine
// that starts again knows the address of each interface that it finds. An IPv6
// address is too long for that: it is the interface's alias, and where there is
// no other its hash is the name. Without addresses it is the endpoint's ID.
const (
	vethPrefix  = "dv"
	vethPrefixX = "dvx"
)

// vethName names the interface of an endpoint with these addresses.
func vethName(v4, v6 netip.Addr, id string) string {
	if v4.Is4() {
		return fmt.Sprintf("%s%08x", vethPrefix, number(v4))
	}
	if !v6.IsValid() {
		return vethPrefixX + id[:12]
	}
	sum := sha256.Sum256(v6.AsSlice())
	return vethPrefixX + hex.EncodeToString(sum[:6])
}

// vethAddress returns the IPv4 address in a name, false if there is none.
func vethAddress(name string) (netip.Addr, bool) {
	digits, ok := strings.CutPrefix(name, vethPrefix)
	if !ok || len(digits) != 8 {
		return netip.Addr{}, false
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || vethName(address(uint32(n)), netip.Addr{}, "") != name {
		return netip.Addr{}, false
	}
	return address(uint32(n)), true
}

// newID returns 64 hexadecimal digits at random.
func newID() string {
	id := make([]byte, 32)
	rand.Read(id)
	return hex.EncodeToString(id)
}

// randomMAC returns a unicast address of the locally administered space.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2
	return mac
}

// number is an IPv4 address as a number.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// lastOf returns the last address of an IPv4 range: its broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	return address(number(p.Masked().Addr()) | uint32(1<<(32-p.Bits())-1))
}
