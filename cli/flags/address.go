package flags

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// Address is an IP address without a zone.
type Address struct{ Value netip.Addr }

// Set implements pflag.Value.
func (a *Address) Set(v string) (err error) {
	a.Value, err = parseAddress(v)
	return err
}

// Type implements pflag.Value.
func (*Address) Type() string { return "ip" }

func (a *Address) String() string {
	if !a.Value.IsValid() {
		return ""
	}
	return a.Value.String()
}

// Addresses collects IP addresses, of which an option may name several, with
// commas between.
type Addresses struct{ Values []netip.Addr }

// Set implements pflag.Value.
func (a *Addresses) Set(v string) error {
	for word := range strings.SplitSeq(v, ",") {
		address, err := parseAddress(word)
		if err != nil {
			return err
		}
		a.Values = append(a.Values, address)
	}
	return nil
}

// Type implements pflag.Value.
func (*Addresses) Type() string   { return "ipSlice" }
func (*Addresses) String() string { return "" }

func parseAddress(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil || address.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("failed to parse IP: %q", text)
	}
	return address.Unmap(), nil
}

// DNSServer checks the address of a name server.
func DNSServer(v string) (string, error) {
	address, err := netip.ParseAddr(strings.TrimSpace(v))
	if err != nil {
		return "", fmt.Errorf("IP address is not correctly formatted: %s", v)
	}
	return address.String(), nil
}

// ExtraHost checks NAME:ADDRESS or NAME=ADDRESS, of which it returns the former.
// The address may stand in brackets, or be "host-gateway".
func ExtraHost(v string) (string, error) {
	name, address, ok := strings.Cut(v, "=")
	if !ok {
		name, address, ok = strings.Cut(v, ":")
	}
	if !ok || name == "" {
		return "", fmt.Errorf("bad format for add-host: %q", v)
	}
	if address == "host-gateway" {
		return name + ":" + address, nil
	}
	bare := address
	if strings.HasPrefix(bare, "[") && strings.HasSuffix(bare, "]") {
		bare = bare[1 : len(bare)-1]
	}
	if _, err := netip.ParseAddr(bare); err != nil {
		return "", fmt.Errorf("invalid IP address in add-host: %q", address)
	}
	return name + ":" + bare, nil
}

// MAC is the hardware address of an interface.
type MAC struct{ Value network.HardwareAddr }

// Set implements pflag.Value.
func (m *MAC) Set(v string) error {
	address, err := net.ParseMAC(strings.TrimSpace(v))
	if err != nil {
		return fmt.Errorf("%s is not a valid mac address", v)
	}
	m.Value = network.HardwareAddr(address)
	return nil
}

// Type implements pflag.Value.
func (*MAC) Type() string     { return "string" }
func (m *MAC) String() string { return m.Value.String() }
