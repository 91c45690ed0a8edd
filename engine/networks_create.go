package engine

import (
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// validateNetworkCreate refuses what no network can be whatever its driver, in
// Docker's words where it has them.
func validateNetworkCreate(req *network.CreateRequest) error {
	forbidden := func(format string, args ...any) error { return errs.New(errs.Forbidden, format, args...) }
	name := req.Name
	switch {
	case strings.TrimSpace(name) == "":
		return errs.New(errs.InvalidParameter, "invalid name: name is empty")
	case name == networkBridge, name == networkHost, name == networkNone, name == network.NetworkDefault:
		return forbidden("operation is not permitted on predefined %s network ", name)
	case strings.HasPrefix(name, "container:"), strings.HasPrefix(name, "ns:"):
		return errs.New(errs.InvalidParameter, "invalid name: %q stands for the network of something else: take a name without it", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errs.New(errs.InvalidParameter, "invalid name: %q has control characters", name)
	case len(name) > 255:
		return errs.New(errs.InvalidParameter, "invalid name: it is longer than 255 bytes")
	case req.Scope == "swarm":
		return forbidden("cannot create a swarm scoped network when swarm is not active")
	case req.Driver == "overlay":
		return forbidden(`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	case req.Ingress:
		return forbidden("Ingress network can only be global scope network")
	case req.Scope != "" && req.Scope != "local":
		return errs.New(errs.InvalidParameter, "invalid scope %q: networks of this engine are local", req.Scope)
	case req.ConfigOnly && (req.Ingress || req.Internal || req.Attachable || req.Scope != ""):
		return forbidden("configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.")
	case req.ConfigOnly && req.ConfigFrom != nil && req.ConfigFrom.Network != "":
		return forbidden("a configuration network cannot depend on another configuration network")
	}
	return nil
}

// configured is a request with the configuration that another network holds.
func configured(req network.CreateRequest, from *network.Network) (network.CreateRequest, error) {
	ipam := network.IPAM{}
	if req.IPAM != nil {
		ipam = *req.IPAM
	}
	switch {
	case req.EnableIPv4 != nil && !*req.EnableIPv4, req.EnableIPv6 != nil && *req.EnableIPv6, len(req.Labels) > 0,
		ipam.Driver != "" && ipam.Driver != "default", len(ipam.Options) > 0, len(ipam.Config) > 0:
		return req, errs.New(errs.Forbidden, "user-specified configurations are not supported if the network depends on a configuration network")
	case len(req.Options) > 0:
		return req, errs.New(errs.Forbidden, "network driver options are not supported if the network depends on a configuration network")
	}
	v4, v6 := from.EnableIPv4, from.EnableIPv6
	ipam = from.IPAM
	req.EnableIPv4, req.EnableIPv6, req.IPAM, req.Options, req.Labels = &v4, &v6, &ipam, from.Options, from.Labels
	return req, nil
}
