package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
)

// place is the network namespace that a container starts in, and the file
// that holds it until the shim has it.
type place struct{ netns *os.File }

func (p place) close() {
	if p.netns != nil {
		_ = p.netns.Close()
	}
}

func (p place) files() []syscall.Conn {
	if p.netns == nil {
		return nil
	}
	return []syscall.Conn{p.netns}
}

// enterNetwork gets the container's network namespace and notes its endpoint
// in rec.
func (l *launcher) enterNetwork(ctx context.Context, rec *record.Container) (place, error) {
	h := rec.HostConfig
	rec.Endpoint = nil
	switch {
	case h.NetworkMode.IsHost():
		return place{}, nil
	case h.NetworkMode.IsContainer():
		pid, err := l.pidOf(h.NetworkMode.ConnectedContainer())
		if err != nil {
			return place{}, err
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return place{}, errs.New(errs.Conflict, "joining the network of container %s: %w", h.NetworkMode.ConnectedContainer(), err)
		}
		return place{f}, nil
	case h.NetworkMode.IsNone() || rec.Config.NetworkDisabled:
		s, err := l.cfg.Network.AcquireNone(ctx, nil)
		if err != nil {
			return place{}, err
		}
		return place{s.NetNS}, nil
	}
	s, err := l.cfg.Network.Acquire(ctx, wish(rec))
	if err != nil {
		return place{}, err
	}
	p := s.Endpoint
	rec.Endpoint = &record.Endpoint{
		NetworkID: networkBridge, ID: p.ID, HostVeth: p.HostVeth, MAC: p.MAC.String(), Address: p.Address.String(), Gateway: p.Gateway.String(),
	}
	return place{s.NetNS}, nil
}

// wish reads the address and MAC that the user wants on the bridge.
func wish(rec *record.Container) network.Wish {
	var w network.Wish
	if rec.NetworkingConfig == nil {
		return w
	}
	for _, s := range rec.NetworkingConfig.EndpointsConfig {
		if s == nil {
			continue
		}
		w.MAC = net.HardwareAddr(slices.Clone(s.MacAddress))
		if s.IPAMConfig != nil {
			w.Address = s.IPAMConfig.IPv4Address
		}
	}
	return w
}

// leaveNetwork gives the container's address back. Interfaces go with the
// namespace, when its last process does.
func (k *keeper) leaveNetwork(rec *record.Container) {
	if p, ok := endpointOf(rec); ok {
		k.cfg.Network.Release(p)
	}
	rec.Endpoint = nil
}

// noteEndpoint writes the container's endpoint beside the shim's state, for an
// engine that must take the container over before this one recorded its start.
func (l *launcher) noteEndpoint(rec *record.Container) error {
	if rec.Endpoint == nil {
		return nil
	}
	data, err := json.Marshal(rec.Endpoint)
	if err == nil {
		err = os.WriteFile(filepath.Join(l.runDir(rec.ID), "endpoint.json"), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting the container's endpoint: %w", err)
	}
	return nil
}

// lastEndpoint reads what noteEndpoint wrote.
func (e *core) lastEndpoint(id string) *record.Endpoint {
	p := new(record.Endpoint)
	if err := readJSON(filepath.Join(e.runDir(id), "endpoint.json"), p); err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			e.log.Error("reading a container's endpoint", "container", id, "error", err)
		}
		return nil
	}
	return p
}

// endpointOf turns the recorded endpoint into the network's terms.
func endpointOf(rec *record.Container) (network.Endpoint, bool) {
	if rec.Endpoint == nil {
		return network.Endpoint{}, false
	}
	address, err := netip.ParsePrefix(rec.Endpoint.Address)
	if err != nil {
		return network.Endpoint{}, false
	}
	gateway, _ := netip.ParseAddr(rec.Endpoint.Gateway)
	mac, err := net.ParseMAC(rec.Endpoint.MAC)
	if err != nil {
		return network.Endpoint{}, false
	}
	return network.Endpoint{ID: rec.Endpoint.ID, HostVeth: rec.Endpoint.HostVeth, MAC: mac, Address: address, Gateway: gateway}, true
}
