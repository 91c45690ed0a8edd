package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	apinet "github.com/moby/moby/api/types/network"
)

// Store holds the networks of an engine: those that exist without being
// created.
type Store struct {
	bridge *Bridge
	since  time.Time
}

// Open makes what the networks need on the host, or takes over what is there.
// Its errors are those of OpenBridge.
func Open(ctx context.Context, c Config) (*Store, error) {
	b, err := OpenBridge(ctx, c)
	if err != nil {
		return nil, err
	}
	s := &Store{bridge: b}
	if info, err := os.Stat(c.StateDir); err == nil {
		s.since = info.ModTime().UTC()
	}
	return s, nil
}

// Create makes a network.
func (s *Store) Create(context.Context, apinet.CreateRequest) (n apinet.Network, warning string, err error) {
	return n, "", errs.New(errs.NotImplemented, "networks of one's own are not supported yet")
}

// Remove takes a network away. Errors: NotFound, Forbidden for one that exists
// without being created or is in use.
func (s *Store) Remove(_ context.Context, id string) error {
	n, err := s.Find(id)
	if err != nil {
		return err
	}
	return errs.New(errs.Forbidden, "%s is a pre-defined network and cannot be removed", n.Name)
}

// Find returns the network of this name or ID, or unique beginning of an ID.
// Errors: NotFound, InvalidParameter for the beginning of several IDs.
func (s *Store) Find(ref string) (apinet.Network, error) {
	var found []apinet.Network
	for _, n := range s.List() {
		switch {
		case n.ID == ref || n.Name == ref:
			return n, nil
		case ref != "" && strings.HasPrefix(n.ID, ref):
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return apinet.Network{}, errs.New(errs.NotFound, "network %s not found", ref)
	case 1:
		return found[0], nil
	}
	return apinet.Network{}, errs.New(errs.InvalidParameter, "network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found))
}

// List describes the networks.
func (s *Store) List() []apinet.Network {
	var list []apinet.Network
	if info := s.bridge.Info(); info.Name != "" {
		n := s.predefined("bridge", "bridge")
		config := apinet.IPAMConfig{Subnet: info.Subnet, Gateway: info.Gateway}
		if info.Pool.IsValid() && info.Pool != info.Subnet {
			config.IPRange = info.Pool
		}
		n.IPAM.Config = append(n.IPAM.Config, config)
		n.Options = map[string]string{
			"com.docker.network.bridge.default_bridge":       "true",
			"com.docker.network.bridge.enable_icc":           strconv.FormatBool(info.Interconnect),
			"com.docker.network.bridge.enable_ip_masquerade": strconv.FormatBool(info.Masquerade),
			"com.docker.network.bridge.host_binding_ipv4":    "0.0.0.0",
			"com.docker.network.bridge.name":                 info.Name,
			"com.docker.network.driver.mtu":                  strconv.Itoa(info.MTU),
		}
		list = append(list, n)
	}
	return append(list, s.predefined("host", "host"), s.predefined("none", "null"))
}

func (s *Store) predefined(name, driver string) apinet.Network {
	id := sha256.Sum256([]byte(s.bridge.config.StateDir + "\x00" + name))
	return apinet.Network{
		Name: name, ID: hex.EncodeToString(id[:]), Created: s.since, Scope: "local", Driver: driver, EnableIPv4: true,
		IPAM: apinet.IPAM{Driver: "default", Config: []apinet.IPAMConfig{}}, Options: map[string]string{}, Labels: map[string]string{},
	}
}

// Status tells how many addresses of a network are in use and free.
func (s *Store) Status(id string) apinet.Status {
	n, err := s.Find(id)
	if err != nil || n.Name != "bridge" {
		return apinet.Status{}
	}
	info := s.bridge.Info()
	// The network's address, the broadcast address and the bridge's own are in use too.
	return apinet.Status{IPAM: apinet.IPAMStatus{Subnets: apinet.SubnetStatuses{
		info.Subnet: {IPsInUse: uint64(info.InUse) + 3, DynamicIPsAvailable: uint64(info.Free)},
	}}}
}

// Acquire returns a sandbox with an endpoint for each wish, of the namespace
// given if that is not nil, which must be new and empty, such as one that
// belongs to another user namespace: it becomes the sandbox's; on error it
// stays the caller's. Without wishes the sandbox has lo alone. Errors:
// NotFound, and those of Bridge.Acquire.
func (s *Store) Acquire(ctx context.Context, wishes []Wish, given *os.File) (*Sandbox, error) {
	switch len(wishes) {
	case 0:
		return s.bridge.AcquireNone(ctx, given)
	case 1:
	default:
		return nil, errs.New(errs.NotImplemented, "several networks are not supported yet")
	}
	n, err := s.Find(wishes[0].Network)
	if err != nil {
		return nil, err
	}
	box, err := s.bridge.Acquire(ctx, wishes[0], given)
	if err != nil {
		return nil, err
	}
	for i := range box.Endpoints {
		box.Endpoints[i].Network = n.ID
	}
	return box, nil
}

// Connect gives the sandbox ns, which has the endpoints on, one more.
func (s *Store) Connect(context.Context, *os.File, []Endpoint, Wish) (Endpoint, error) {
	return Endpoint{}, errs.New(errs.NotImplemented, "networks of one's own are not supported yet")
}

// Disconnect takes an endpoint out of the sandbox ns, which keeps the rest. It
// is Release for an endpoint whose namespace may live on: the interface is
// removed first, in the background, so that nobody answers for an address that
// is another's by then. ns is nil where the namespace cannot be had any more.
func (s *Store) Disconnect(_ context.Context, _ *os.File, e Endpoint, _ []Endpoint) error {
	s.bridge.Disconnect(e)
	return nil
}

// Release gives an endpoint's address back, to be handed out again as late as
// possible. The kernel removes the interface with the namespace, so this does
// not wait for anything. An endpoint that is not in use is ignored.
func (s *Store) Release(e Endpoint) { s.bridge.Release(e) }

// Reserve keeps the endpoint of a container that runs already. To be called for
// each of them after Open, before the first Acquire. Errors: Conflict when
// another endpoint has the address, InvalidParameter when it is not one of the
// network's range (which happens when the bridge had to move).
func (s *Store) Reserve(e Endpoint) error { return s.bridge.Reserve(e) }

// Ready says that all running containers' endpoints are reserved: what is left
// of all others is removed in the background.
func (s *Store) Ready() { s.bridge.Ready() }

// Info describes the default bridge.
func (s *Store) Info() Info { return s.bridge.Info() }

// Close lets go of everything; containers go on as they are. With remove it
// also removes what was made on the host, provided that no endpoint is in use.
// Sandboxes that were acquired stay valid.
func (s *Store) Close(remove bool) error { return s.bridge.Close(remove) }
