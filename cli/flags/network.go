package flags

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
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
	MACAddress string
	GwPriority int
	LongForm   bool
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
	a := Attachment{LongForm: true}
	for _, field := range fields {
		key, value, ok := strings.Cut(strings.ToLower(field), "=")
		key = strings.TrimSpace(key)
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
			// Keys and values of drivers keep their case.
			_, original, _ := strings.Cut(field, "=")
			k, opt, ok := strings.Cut(original, "=")
			if !ok || k == "" {
				return errors.New("invalid key value pair format in driver options")
			}
			if a.DriverOpts == nil {
				a.DriverOpts = map[string]string{}
			}
			a.DriverOpts[strings.TrimSpace(k)] = strings.TrimSpace(opt)
		case "ip":
			a.IPv4, err = netip.ParseAddr(value)
		case "ip6":
			a.IPv6, err = netip.ParseAddr(value)
		case "mac-address":
			a.MACAddress = value
		case "link-local-ip":
			var ip netip.Addr
			ip, err = netip.ParseAddr(value)
			a.LinkLocal = append(a.LinkLocal, ip)
		case "gw-priority":
			a.GwPriority, err = strconv.Atoi(value)
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
