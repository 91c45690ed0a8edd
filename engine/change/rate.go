package change

import (
	"maps"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/network/shape"
)

// rate decides what bandwidth the container has, on each of the networks that
// it is on by now.
func (p *planner) rate(wish *dialect.Change) error {
	if wish.NetworkRate == nil {
		return nil
	}
	mode := record.ModeOf(p.out.HostConfig)
	list := record.Memberships(p.out.HostConfig, p.out.Networking)
	if !ownNamespace(mode) || len(list) == 0 || mode == network.NetworkNone {
		return invalid("a network rate needs a network of the container's own: it is on %s (NetworkRate)", mode)
	}
	on := map[string]*network.EndpointSettings{}
	for _, m := range list {
		s := *m.Settings
		before := s.DriverOpts[shape.Option]
		s.DriverOpts = maps.Clone(s.DriverOpts)
		if *wish.NetworkRate == "" {
			delete(s.DriverOpts, shape.Option)
		} else {
			if s.DriverOpts == nil {
				s.DriverOpts = map[string]string{}
			}
			s.DriverOpts[shape.Option] = *wish.NetworkRate
		}
		on[m.Network] = &s
		p.note("network rate on "+m.Network, rateWords(before), rateWords(*wish.NetworkRate), true)
	}
	p.out.Networking = &network.NetworkingConfig{EndpointsConfig: on}
	return nil
}

// rateWords tells no limit at all from what the network says, which is "".
func rateWords(text string) string {
	if text == "none" {
		return "no limit"
	}
	return text
}
