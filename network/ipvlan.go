package network

import (
	"encoding/binary"

	apinet "github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

const (
	optionIPvlanMode = "ipvlan_mode"
	optionIPvlanFlag = "ipvlan_flag"
)

// The modes and flags by Docker's names, as the kernel numbers them
// (IPVLAN_MODE_*, IPVLAN_F_*, linux/if_link.h).
var (
	ipvlanModes = map[string]uint16{"l2": 0, "l3": 1, "l3s": 2}
	ipvlanFlags = map[string]uint16{"bridge": 0, "private": 1, "vepa": 2}
)

const (
	ipvlanMode = 1 // IFLA_IPVLAN_MODE
	ipvlanFlag = 2 // IFLA_IPVLAN_FLAGS
)

// newIPvlanDriver returns the driver of networks in which containers share the
// MAC address of the parent and are told apart by their IP addresses. In the
// modes l3 and l3s the parent routes for them: they see no broadcasts, and
// others need a route to their range.
func newIPvlanDriver(p *parents) driver {
	d := &stackedDriver{kind: kindIPvlan, parents: p}
	d.parse = func(n *apinet.Network) (stackedOptions, error) {
		o, err := d.common(n)
		name, flagName := n.Options[optionIPvlanMode], n.Options[optionIPvlanFlag]
		if name == "" {
			name = "l2"
		}
		if flagName == "" {
			flagName = "bridge"
		}
		mode, ok := ipvlanModes[name]
		flag, flagOK := ipvlanFlags[flagName]
		switch {
		case err != nil:
		case !ok:
			err = errs.New(errs.InvalidParameter, "requested ipvlan mode '%s' is not valid, 'l2' mode is the ipvlan driver default: use l2, l3 or l3s", name)
		case !flagOK:
			err = errs.New(errs.InvalidParameter, "requested ipvlan flag '%s' is not valid, 'bridge' is the ipvlan driver default: use bridge, private or vepa", flagName)
		}
		o.sole, o.borrowed, o.routed = true, true, name != "l2"
		o.data = func(b *batch) {
			b.attr(ipvlanMode, binary.NativeEndian.AppendUint16(nil, mode))
			b.attr(ipvlanFlag, binary.NativeEndian.AppendUint16(nil, flag))
		}
		return o, err
	}
	return d
}
