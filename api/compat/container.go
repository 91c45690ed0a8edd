package compat

import (
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"
)

// Containers returns a list of containers as a client of version v expects it.
func Containers(v Version, list []container.Summary) any {
	if list == nil {
		list = []container.Summary{}
	}
	for i := range list {
		c := &list[i]
		if v.Before(46) {
			c.HostConfig.Annotations = nil
		}
		if v.Before(48) {
			c.ImageManifestDescriptor = nil
		}
		if v.Before(52) {
			c.Health = nil
		}
	}
	return list
}

// Container returns what is known of a container as a client of version v
// expects it.
func Container(v Version, c container.InspectResponse) any {
	if v.Before(45) {
		oldAliases(&c)
	}
	if v.Before(48) {
		c.ImageManifestDescriptor = nil
	}
	if !v.Before(52) {
		return c
	}
	// 1.52 dropped the default bridge's settings one level up, and says Storage
	// where it said GraphDriver.
	if c.GraphDriver == nil && c.Storage != nil && c.Storage.RootFS != nil && c.Storage.RootFS.Snapshot != nil {
		c.GraphDriver = &storage.DriverData{Name: c.Storage.RootFS.Snapshot.Name}
		c.Storage = nil
	}
	ext := Extended{
		Base:    c,
		Add:     map[string]any{"NetworkSettings": oldNetworkSettings(c.NetworkSettings)},
		Default: map[string]any{"Config": map[string]any{"OnBuild": nil}},
	}
	if v.Before(42) { // always there before
		ext.Default["HostConfig"] = map[string]any{"KernelMemory": 0, "KernelMemoryTCP": 0}
	}
	return ext
}

// oldAliases adds the short ID and the host name to the aliases on networks
// that users made, where 1.45 has DNSNames.
func oldAliases(c *container.InspectResponse) {
	if c.NetworkSettings == nil {
		return
	}
	for name, ep := range c.NetworkSettings.Networks {
		if ep == nil || !container.NetworkMode(name).IsUserDefined() {
			continue
		}
		more := []string{c.ID[:min(12, len(c.ID))]}
		if c.Config != nil {
			more = append(more, c.Config.Hostname)
		}
		ep.Aliases = slices.Clone(ep.Aliases)
		for _, alias := range more {
			if !slices.Contains(ep.Aliases, alias) {
				ep.Aliases = append(ep.Aliases, alias)
			}
		}
	}
}

func oldNetworkSettings(s *container.NetworkSettings) map[string]any {
	ep := &network.EndpointSettings{}
	if s != nil && s.Networks[network.NetworkBridge] != nil {
		ep = s.Networks[network.NetworkBridge]
	}
	address := func(valid bool, text string) string {
		if !valid {
			return ""
		}
		return text
	}
	return map[string]any{
		"Bridge": "", "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
		"SecondaryIPAddresses": nil, "SecondaryIPv6Addresses": nil,
		"EndpointID":          ep.EndpointID,
		"Gateway":             address(ep.Gateway.IsValid(), ep.Gateway.String()),
		"GlobalIPv6Address":   address(ep.GlobalIPv6Address.IsValid(), ep.GlobalIPv6Address.String()),
		"GlobalIPv6PrefixLen": ep.GlobalIPv6PrefixLen,
		"IPAddress":           address(ep.IPAddress.IsValid(), ep.IPAddress.String()),
		"IPPrefixLen":         ep.IPPrefixLen,
		"IPv6Gateway":         address(ep.IPv6Gateway.IsValid(), ep.IPv6Gateway.String()),
		"MacAddress":          ep.MacAddress.String(),
	}
}
