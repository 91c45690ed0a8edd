package record

import (
	"cmp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	apinet "github.com/moby/moby/api/types/network"
)

// netNSPrefix begins the network mode of a container that lives in a network
// namespace that somebody else has made; the rest is its path.
const netNSPrefix = "ns:"

// NetNS returns the path of the network namespace that a mode names, false if
// it names none.
func NetNS(mode container.NetworkMode) (path string, ok bool) {
	return strings.CutPrefix(string(mode), netNSPrefix)
}

// ForeignNet reports whether a container in this mode lives in a network that
// is neither its own nor the host's: another container's or somebody else's. It
// is on no networks, and cannot be connected to any.
func ForeignNet(mode container.NetworkMode) bool {
	_, ns := NetNS(mode)
	return ns || mode.IsContainer()
}

// Membership is a network that a container is to be on.
type Membership struct {
	Network  string                   // name; where there was none of it when it was asked for, what the user wrote
	Settings *apinet.EndpointSettings // what was asked for; never nil
}

// Memberships lists the networks that a container is to be on, in the order of
// its interfaces: that of its network mode first, the others by name. The
// host's network and none count as networks; who lives in a ForeignNet is on
// none of its own.
func (c *Container) Memberships() []Membership {
	if c.Config.NetworkDisabled {
		return nil
	}
	return Memberships(c.HostConfig, c.NetworkingConfig)
}

// Memberships is Container.Memberships for settings that are no container yet.
// Without endpoints it is the network mode that counts.
func Memberships(h *container.HostConfig, nc *apinet.NetworkingConfig) []Membership {
	mode := ModeOf(h)
	switch {
	case ForeignNet(h.NetworkMode):
		return nil
	case nc == nil || len(nc.EndpointsConfig) == 0:
		return []Membership{{mode, &apinet.EndpointSettings{}}}
	case Detached(nc):
		return nil
	}
	list := make([]Membership, 0, len(nc.EndpointsConfig))
	for name, settings := range nc.EndpointsConfig {
		if settings == nil {
			settings = &apinet.EndpointSettings{}
		}
		if name == apinet.NetworkDefault {
			name = apinet.NetworkBridge
		}
		list = append(list, Membership{name, settings})
	}
	slices.SortFunc(list, func(a, b Membership) int {
		switch mode {
		case a.Network:
			return -1
		case b.Network:
			return 1
		}
		return cmp.Compare(a.Network, b.Network)
	})
	return list
}

// Detach says that a container has been taken off all of its networks, which
// differs from settings that name none.
func Detach() *apinet.NetworkingConfig {
	return &apinet.NetworkingConfig{EndpointsConfig: map[string]*apinet.EndpointSettings{apinet.NetworkNone: nil}}
}

// Detached reports whether nc is what Detach returns.
func Detached(nc *apinet.NetworkingConfig) bool {
	if nc == nil || len(nc.EndpointsConfig) != 1 {
		return false
	}
	settings, ok := nc.EndpointsConfig[apinet.NetworkNone]
	return ok && settings == nil
}

// ModeOf returns a container's network mode: the name of a network,
// container:<id>, or ns:<path>.
func ModeOf(h *container.HostConfig) string {
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() {
		return apinet.NetworkBridge
	}
	return string(h.NetworkMode)
}
