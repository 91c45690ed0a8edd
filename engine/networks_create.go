package engine

import (
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// validateNetworkCreate refuses names that mean something else here, and what
// belongs to swarms, in Docker's words where it has them; the rest is known to
// the store.
func validateNetworkCreate(req *network.CreateRequest) error {
	forbidden := func(format string, args ...any) error { return errs.New(errs.Forbidden, format, args...) }
	name := req.Name
	switch {
	case strings.HasPrefix(name, "container:"), strings.HasPrefix(name, "ns:"):
		return errs.New(errs.InvalidParameter, "invalid name: %q stands for the network of something else: take a name without it", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errs.New(errs.InvalidParameter, "invalid name: %q has control characters", name)
	case len(name) > 255:
		return errs.New(errs.InvalidParameter, "invalid name: it is longer than 255 bytes")
	case req.Driver == "overlay", req.Scope == "swarm":
		return forbidden(`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
	case req.Ingress:
		return forbidden("Ingress network can only be global scope network")
	case req.Scope != "" && req.Scope != "local":
		return errs.New(errs.InvalidParameter, "invalid scope %q: networks of this engine are local", req.Scope)
	}
	return nil
}
