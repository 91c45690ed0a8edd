package network

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/ipam"
	"github.com/davit-engine/davit/network/shape"
	apinet "github.com/moby/moby/api/types/network"
)

// Create makes a network. A request that names a configuration network has what
// that holds already. The warning is for the user. Errors: Conflict for a name
// in use, NotFound for a driver, InvalidParameter and Forbidden for what cannot
// be; the texts are Docker's.
func (s *Store) Create(ctx context.Context, r apinet.CreateRequest) (_ apinet.Network, warning string, err error) {
	if err := s.begin(); err != nil {
		return apinet.Network{}, "", err
	}
	defer s.work.Done()
	s.changing.Lock()
	defer s.changing.Unlock()
	n, err := s.plan(r)
	if err != nil {
		return apinet.Network{}, "", err
	}
	if n.ConfigOnly {
		g, err := newSegment(s, n)
		if err == nil {
			err = s.save(g)
		}
		if err != nil {
			return apinet.Network{}, "", err
		}
		s.networks.add(g)
		return n, "", nil
	}
	g, warning, err := s.found(ctx, n)
	if err != nil {
		return apinet.Network{}, "", err
	}
	if err := s.settle(); err != nil {
		_, err2 := g.close(true)
		return apinet.Network{}, "", errors.Join(err, err2)
	}
	if err := s.save(g); err != nil {
		_, err2 := g.close(true)
		return apinet.Network{}, "", errors.Join(err, err2)
	}
	s.networks.add(g)
	return g.net, warning, nil
}

// plan checks a request and describes the network, but for its ranges.
func (s *Store) plan(r apinet.CreateRequest) (apinet.Network, error) {
	n := apinet.Network{
		Name: r.Name, ID: newID(), Created: time.Now().UTC(), Scope: "local", Driver: r.Driver, EnableIPv4: true,
		Internal: r.Internal, Attachable: r.Attachable, Ingress: r.Ingress, ConfigOnly: r.ConfigOnly,
		Options: maps.Clone(r.Options), Labels: maps.Clone(r.Labels), IPAM: apinet.IPAM{Driver: "default"},
	}
	if n.Options == nil {
		n.Options = map[string]string{}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	if r.IPAM != nil {
		n.IPAM = *r.IPAM
		if n.IPAM.Driver == "" {
			n.IPAM.Driver = "default"
		}
	}
	if r.ConfigFrom != nil {
		n.ConfigFrom = *r.ConfigFrom
	}
	if _, err := shape.Of(n.Options, nil); err != nil {
		return n, err
	}
	switch {
	case n.Driver == "host", n.Driver == "null":
		return n, errs.New(errs.Forbidden, "only one instance of %q network is allowed", n.Driver)
	case n.ConfigOnly && n.Driver != "" && n.Driver != "default" && n.Driver != "bridge": // Docker's client says bridge
		return n, errs.New(errs.Forbidden, "configuration network can only be of the default driver")
	}
	if slices.ContainsFunc(s.List(), func(o apinet.Network) bool { return o.Name == n.Name }) {
		return n, errs.New(errs.Conflict, "network with name %s already exists", n.Name)
	}
	if n.Driver == "" || n.Driver == "default" {
		n.Driver = "bridge"
	}
	for key, value := range s.config.Options[n.Driver] {
		if _, given := n.Options[key]; !given && !n.ConfigOnly {
			n.Options[key] = value
		}
	}
	if err := families(&n, r); err != nil {
		return n, err
	}
	if n.ConfigOnly {
		n.Driver = "null"
		return n, ipam.Validate(n.IPAM.Config, n.EnableIPv6)
	}
	if !n.EnableIPv4 && !n.EnableIPv6 {
		return n, errs.New(errs.InvalidParameter, "IPv4 or IPv6 must be enabled")
	}
	if n.IPAM.Driver != "default" && n.IPAM.Driver != "null" {
		return n, errs.New(errs.NotFound, "ipam driver %q not found: this engine has default and null; a network of CNI brings its own", n.IPAM.Driver)
	}
	return n, nil
}

// families settles which of them the network has.
func families(n *apinet.Network, r apinet.CreateRequest) error {
	for _, f := range []struct {
		asked *bool
		key   string
		on    *bool
	}{{r.EnableIPv4, optionIPv4, &n.EnableIPv4}, {r.EnableIPv6, optionIPv6, &n.EnableIPv6}} {
		value, given := n.Options[f.key]
		switch {
		case f.asked != nil:
			*f.on = *f.asked
			delete(n.Options, f.key)
		case given:
			var err error
			if *f.on, err = strconv.ParseBool(value); err != nil {
				return errs.New(errs.InvalidParameter, "driver-opt %q is not a valid bool", f.key)
			}
		}
	}
	return nil
}

// found chooses a planned network's ranges and has its driver open it. Until it
// is open no other engine may choose.
func (s *Store) found(ctx context.Context, n apinet.Network) (*segment, string, error) {
	d, err := s.driver(n.Driver)
	if err != nil {
		return nil, "", err
	}
	kind, err := d.plan(&n)
	if err != nil {
		return nil, "", err
	}
	l, err := rangeLock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer l.release()
	warning := ""
	if kind != rangesDriver && n.IPAM.Driver != "null" {
		host, err := hostRanges(devices(s.networks.all()))
		if err != nil {
			return nil, "", err
		}
		given := n.IPAM.Config
		n.IPAM.Config, err = ipam.Plan(
			ipam.Request{Config: given, V4: n.EnableIPv4, V6: n.EnableIPv6, Gateway: kind == rangesPlanned},
			ipam.World{Pools: ipam.NewPools(s.config.Pools, s.config.StateDir), Networks: s.networks.ranges(), Host: host})
		if err != nil {
			return nil, "", err
		}
		for _, c := range given {
			if t, clash := ipam.Clash(c.Subnet, host); clash && kind == rangesPlanned && c.Subnet.IsValid() {
				warning = "subnet " + c.Subnet.String() + " overlaps " + t.Prefix.String() + " of " + t.By + ": this host cannot reach those addresses outside while the network exists"
			}
		}
	} else {
		n.IPAM.Config = []apinet.IPAMConfig{}
	}
	g, err := newSegment(s, n)
	if err != nil {
		return nil, "", err
	}
	if n.EnableIPv6 && kind == rangesPlanned && !n.Internal {
		if err := s.forwarding.ensure(true); err != nil {
			return nil, "", err
		}
	}
	return g, warning, s.open(ctx, g)
}

// Remove takes a network away. Errors: NotFound, Forbidden for one that exists
// without being created or is in use.
func (s *Store) Remove(_ context.Context, id string) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.work.Done()
	s.changing.Lock()
	defer s.changing.Unlock()
	n, err := s.Find(id)
	if err != nil {
		return err
	}
	if n.Name == "bridge" || n.Name == "host" || n.Name == "none" {
		return errs.New(errs.Forbidden, "%s is a pre-defined network and cannot be removed", n.Name)
	}
	g, err := s.networks.get(n.ID)
	if err != nil {
		return err
	}
	g.awaitGoing()
	if !g.retire(true) {
		return errs.New(errs.Forbidden, "error while removing network: network %s id %s has active endpoints: disconnect its containers first", n.Name, n.ID)
	}
	// First the file: what is left of a network that nobody knows does no harm.
	if err := forgetNetwork(s.config.StateDir, n.ID); err != nil {
		g.retire(false)
		return err
	}
	s.networks.drop(g)
	s.pool.leave(g)
	_, err = g.close(true)
	return err
}
