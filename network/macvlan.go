package network

import (
	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

const optionMacvlanMode = "macvlan_mode"

// macvlanModes are the modes by Docker's names, as the kernel numbers them
// (MACVLAN_MODE_*, linux/if_link.h).
var macvlanModes = map[string]uint32{"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}

const macvlanMode = 1 // IFLA_MACVLAN_MODE

// newMacvlanDriver returns the driver of networks in which each container has
// a MAC address of its own on the LAN.
func newMacvlanDriver(p *parents) driver {
	d := &stackedDriver{kind: kindMacvlan, parents: p}
	d.parse = func(n *apinet.Network) (stackedOptions, error) {
		o, err := d.common(n)
		name := n.Options[optionMacvlanMode]
		if name == "" {
			name = "bridge"
		}
		mode, ok := macvlanModes[name]
		if err == nil && !ok {
			err = errs.New(errs.InvalidParameter, "requested macvlan mode '%s' is not valid, 'bridge' mode is the macvlan driver default: use bridge, vepa, private or passthru", name)
		}
		// The one interface on a parent passed through has its MAC; to give it
		// another would change that of the host.
		o.sole, o.borrowed = name == "passthru", name == "passthru"
		o.data = func(b *batch) { b.number(macvlanMode, mode) }
		return o, err
	}
	return d
}
