package flags

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// Attachment is one --network: a name or mode, with options in the long form
// name=NET,alias=...,ip=...
type Attachment struct {
	Target     string
	Aliases    []string
	DriverOpts map[string]string
	Links      []string
	IPv4, IPv6 netip.Addr
	LinkLocal  []netip.Addr
	MAC        network.HardwareAddr
	GwPriority int
}

// Networks collects --network options.
type Networks struct{ Values []Attachment }

// Set implements pflag.Value.
func (n *Networks) Set(v string) error {
	if !strings.Contains(v, "=") || strings.HasPrefix(v, "container:") {
		n.Values = append(n.Values, Attachment{Target: v})
		return nil
	}
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return err
	}
	a := Attachment{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !ok || key == "" {
			return fmt.Errorf("invalid field %s", field)
		}
		value = strings.TrimSpace(value)
		switch key {
		case "name":
			a.Target = value
		case "alias":
			a.Aliases = append(a.Aliases, value)
		case "driver-opt":
			k, opt, ok := strings.Cut(value, "=")
			if !ok || k == "" {
				return errors.New("invalid key value pair format in driver options")
			}
			if a.DriverOpts == nil {
				a.DriverOpts = map[string]string{}
			}
			a.DriverOpts[strings.TrimSpace(k)] = strings.TrimSpace(opt)
		case "ip":
			a.IPv4, err = parseAddress(value)
		case "ip6":
			a.IPv6, err = parseAddress(value)
		case "mac-address":
			var mac net.HardwareAddr
			if mac, err = net.ParseMAC(value); err != nil {
				return fmt.Errorf("%s is not a valid mac address", value)
			}
			a.MAC = network.HardwareAddr(mac)
		case "link-local-ip":
			var ip netip.Addr
			ip, err = parseAddress(value)
			a.LinkLocal = append(a.LinkLocal, ip)
		case "gw-priority":
			if a.GwPriority, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("invalid gw-priority (%s): %w", value, errors.Unwrap(err))
			}
		default:
			return errors.New("invalid field key " + key)
		}
		if err != nil {
			return fmt.Errorf("invalid value for '%s': %w", key, err)
		}
	}
	if a.Target == "" {
		return errors.New("network name/id is not specified")
	}
	n.Values = append(n.Values, a)
	return nil
}

// Type implements pflag.Value.
func (*Networks) Type() string     { return "network" }
func (n *Networks) String() string { return "" }
