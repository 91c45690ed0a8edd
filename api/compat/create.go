package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// endpointSysctls is the driver option that carries an endpoint's sysctls
// since 1.46.
const endpointSysctls = "com.docker.network.endpoint.sysctls"

// Host says what a default of an older version depends on.
type Host struct {
	CgroupUnified bool // cgroup v2 alone
}

// Create decodes the body of a request to create a container, as a client of
// version v means it, into what the newest version would say. It returns
// warnings for the answer. Unknown fields are accepted, as Docker does.
func Create(v Version, body io.Reader, host Host) (container.CreateRequest, []string, error) {
	var raw bytes.Buffer
	req, err := decodeCreate(io.TeeReader(body, &raw))
	if err != nil {
		return container.CreateRequest{}, nil, err
	}
	if err := validateCreate(req); err != nil {
		return container.CreateRequest{}, nil, err
	}
	hc, nc := req.HostConfig, req.NetworkingConfig

	if hc.NetworkMode == "" || hc.NetworkMode.IsDefault() {
		hc.NetworkMode = network.NetworkBridge
		if ep, ok := nc.EndpointsConfig[network.NetworkDefault]; ok {
			nc.EndpointsConfig[network.NetworkBridge] = ep
			delete(nc.EndpointsConfig, network.NetworkDefault)
		}
	}
	if err := oldDefaults(v, req, host); err != nil {
		return container.CreateRequest{}, nil, err
	}
	if err := checkMounts(v, hc); err != nil {
		return container.CreateRequest{}, nil, err
	}
	warnings, err := migrate(v, req, raw.Bytes())
	if err != nil {
		return container.CreateRequest{}, nil, err
	}
	if hc.PidsLimit != nil && *hc.PidsLimit <= 0 {
		hc.PidsLimit = nil // 0 and anything negative mean no limit
	}
	if hc.MemorySwappiness != nil && *hc.MemorySwappiness == -1 {
		hc.MemorySwappiness = nil // what Docker's command line says for the default
	}
	return req, warnings, nil
}

func decodeCreate(body io.Reader) (container.CreateRequest, error) {
	var req container.CreateRequest
	dec := json.NewDecoder(body)
	if err := dec.Decode(&req); err != nil {
		if err == io.EOF {
			return req, errs.New(errs.InvalidParameter, "invalid JSON: got EOF while reading request body")
		}
		return req, errs.New(errs.InvalidParameter, "invalid JSON: %w", err)
	}
	if dec.More() {
		return req, errs.New(errs.InvalidParameter, "unexpected content after JSON")
	}
	if req.Config == nil {
		return req, errs.New(errs.InvalidParameter, "config cannot be empty in order to create a container")
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	if req.NetworkingConfig == nil {
		req.NetworkingConfig = &network.NetworkingConfig{}
	}
	if req.NetworkingConfig.EndpointsConfig == nil {
		req.NetworkingConfig.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	for name, ep := range req.NetworkingConfig.EndpointsConfig {
		if ep == nil { // "name": null
			req.NetworkingConfig.EndpointsConfig[name] = &network.EndpointSettings{}
		}
	}
	return req, nil
}

// validateCreate refuses what contradicts itself whatever the host is.
func validateCreate(req container.CreateRequest) error {
	c, hc := req.Config, req.HostConfig
	invalid := func(format string, args ...any) error { return errs.New(errs.InvalidParameter, format, args...) }
	if hc.NetworkMode == "container" || hc.NetworkMode.IsContainer() {
		switch {
		case hc.NetworkMode.ConnectedContainer() == "":
			return invalid("invalid network mode: invalid container format container:<name|id>")
		case c.Hostname != "":
			return invalid("conflicting options: hostname and the network mode")
		case len(hc.Links) > 0:
			return invalid("conflicting options: container type network can't be used with links. This would result in undefined behavior")
		case len(hc.DNS) > 0:
			return invalid("conflicting options: dns and the network mode")
		case len(hc.ExtraHosts) > 0:
			return invalid("conflicting options: custom host-to-IP mapping and the network mode")
		case len(hc.PortBindings) > 0 || hc.PublishAllPorts:
			return invalid("conflicting options: port publishing and the container type network mode")
		case len(c.ExposedPorts) > 0:
			return invalid("conflicting options: port exposing and the container type network mode")
		}
	}
	switch {
	case hc.UTSMode.IsHost() && c.Hostname != "":
		return invalid("conflicting options: hostname and the UTS mode")
	case hc.NetworkMode.IsHost() && len(hc.Links) > 0:
		return invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	case !hc.Isolation.IsDefault():
		return invalid("invalid isolation (%s): linux only supports 'default'", hc.Isolation)
	case hc.IOMaximumBandwidth != 0:
		return invalid("invalid option: QoS maximum bandwidth configuration is not supported on linux")
	case hc.IOMaximumIOps != 0:
		return invalid("invalid option: QoS maximum IOPs configuration is not supported on linux")
	case hc.CPURealtimePeriod != 0 && hc.CPURealtimeRuntime > hc.CPURealtimePeriod:
		return invalid("cpu real-time runtime cannot be higher than cpu real-time period")
	case hc.CPUShares < 0:
		return invalid("invalid CPU shares (%d): value must be a positive integer", hc.CPUShares)
	}
	return nil
}

// oldDefaults sets what an older version means where it says nothing, and
// drops what it could not have meant.
func oldDefaults(v Version, req container.CreateRequest, host Host) error {
	c, hc, nc := req.Config, req.HostConfig, req.NetworkingConfig
	if v.Before(25) { // whose clients removed containers themselves
		hc.AutoRemove = false
	}
	if v.Before(40) && hc.IpcMode.IsEmpty() {
		hc.IpcMode = container.IPCModeShareable
	}
	if v.Before(41) && hc.CgroupnsMode.IsEmpty() && !host.CgroupUnified {
		hc.CgroupnsMode = container.CgroupnsModeHost
	}
	if v.Before(42) {
		hc.ConsoleSize = [2]uint{}
	}
	if v.Before(43) {
		hc.Annotations = nil
	}
	if v.Before(44) {
		if c.Healthcheck != nil {
			c.Healthcheck.StartInterval = 0
		}
		if len(nc.EndpointsConfig) > 1 {
			return errs.New(errs.InvalidParameter, "Container cannot be created with multiple network endpoints: %s",
				strings.Join(slices.Sorted(maps.Keys(nc.EndpointsConfig)), ", "))
		}
	}
	if v.Before(48) {
		for _, ep := range nc.EndpointsConfig {
			ep.GwPriority = 0
		}
	}
	if v.Before(56) {
		hc.Umask = nil
	}
	for i := range hc.Mounts {
		oldMount(v, &hc.Mounts[i])
	}
	return nil
}

func oldMount(v Version, m *mount.Mount) {
	if v.Before(40) && m.BindOptions != nil {
		m.BindOptions.NonRecursive = false
	}
	if v.Before(42) {
		if m.BindOptions != nil {
			m.BindOptions.CreateMountpoint = false
		}
		// Wrong pairs were not refused then.
		if m.Type != mount.TypeVolume {
			m.VolumeOptions = nil
		}
		if m.Type != mount.TypeTmpfs {
			m.TmpfsOptions = nil
		}
	}
	if v.Before(44) && m.Type == mount.TypeBind && m.ReadOnly && (m.BindOptions == nil || !m.BindOptions.ReadOnlyForceRecursive) {
		// Read-only bind mounts became recursively so in 1.44.
		if m.BindOptions == nil {
			m.BindOptions = &mount.BindOptions{}
		}
		m.BindOptions.ReadOnlyNonRecursive = true
	}
	if v.Before(46) && m.TmpfsOptions != nil {
		m.TmpfsOptions.Options = nil
	}
}

// checkMounts refuses mounts that v does not have, where ignoring them would
// mislead.
func checkMounts(v Version, hc *container.HostConfig) error {
	for _, m := range hc.Mounts {
		var text string
		switch {
		case !v.Before(42) && m.VolumeOptions != nil && m.Type != mount.TypeVolume:
			text = fmt.Sprintf("VolumeOptions must not be specified on mount type %q", m.Type)
		case !v.Before(42) && m.BindOptions != nil && m.Type != mount.TypeBind:
			text = fmt.Sprintf("BindOptions must not be specified on mount type %q", m.Type)
		case !v.Before(42) && m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs:
			text = fmt.Sprintf("TmpfsOptions must not be specified on mount type %q", m.Type)
		case v.Before(44) && m.Type == mount.TypeBind && m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive:
			text = "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"
		case v.Before(45) && m.VolumeOptions != nil && m.VolumeOptions.Subpath != "":
			text = "VolumeOptions.Subpath needs API v1.45 or newer"
		case v.Before(48) && m.Type == mount.TypeImage:
			text = `Mount type "Image" needs API v1.48 or newer`
		default:
			continue
		}
		return errs.New(errs.InvalidParameter, "%s", text)
	}
	return nil
}

// migrate moves settings to where the newest version has them.
func migrate(v Version, req container.CreateRequest, body []byte) ([]string, error) {
	var warnings []string
	warn := func(text string, err error) error {
		if text != "" {
			warnings = append(warnings, text)
		}
		return err
	}
	_ = warn(volumeDriver(v, req.HostConfig), nil)
	if v.Before(52) {
		var old struct{ MacAddress network.HardwareAddr }
		// A malformed address counts as none, as in Docker; the rest of the body was
		// decoded before.
		_ = json.Unmarshal(body, &old)
		if err := warn(macAddress(v, req, old.MacAddress)); err != nil {
			return nil, err
		}
	}
	if err := warn(interfaceSysctls(v, req)); err != nil {
		return nil, err
	}
	_ = warn(emptyBindings(v, req.HostConfig), nil)
	return warnings, nil
}

func volumeDriver(v Version, hc *container.HostConfig) string {
	if hc.VolumeDriver == "" || v.Before(48) {
		return ""
	}
	for _, m := range hc.Mounts {
		named := m.VolumeOptions != nil && m.VolumeOptions.DriverConfig != nil && m.VolumeOptions.DriverConfig.Name != ""
		if m.Type == mount.TypeVolume && !named {
			return "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. " +
				"Use '--mount type=volume,volume-driver=...' instead"
		}
	}
	return ""
}

// macAddress moves the container's own MAC address, which 1.44 deprecated and
// 1.52 removed, to the endpoint of its main network.
func macAddress(v Version, req container.CreateRequest, mac network.HardwareAddr) (string, error) {
	mode := req.HostConfig.NetworkMode
	owns := mode.IsBridge() || mode.IsUserDefined()
	if v.Before(44) {
		if len(mac) == 0 {
			for _, ep := range req.NetworkingConfig.EndpointsConfig {
				ep.MacAddress = nil // not known then
			}
			return "", nil
		}
		if !owns {
			return "", errs.New(errs.InvalidParameter, "conflicting options: mac-address and the network mode")
		}
		ep, err := mainEndpoint(v, mode, req.NetworkingConfig)
		if err == nil {
			ep.MacAddress = mac
		}
		return "", err
	}
	if len(mac) == 0 {
		return "", nil
	}
	if owns {
		ep, err := mainEndpoint(v, mode, req.NetworkingConfig)
		switch {
		case err != nil:
			return "", fmt.Errorf("unable to migrate container-wide MAC address to a specific network: %w", err)
		case len(ep.MacAddress) == 0:
			ep.MacAddress = mac
		case !slices.Equal(ep.MacAddress, mac):
			return "", errs.New(errs.InvalidParameter, "the container-wide MAC address must match the endpoint-specific "+
				"MAC address for the main network, or be left empty")
		}
	}
	return "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.", nil
}

// interfaceSysctls moves sysctls that name eth0 to the main network's
// endpoint; from 1.48 on they are refused.
func interfaceSysctls(v Version, req container.CreateRequest) (string, error) {
	hc := req.HostConfig
	if !hc.NetworkMode.IsPrivate() {
		return "", nil
	}
	var moved, settings []string
	for _, name := range slices.Sorted(maps.Keys(hc.Sysctls)) {
		part := strings.SplitN(name, ".", 5)
		if len(part) != 5 || part[0] != "net" || !strings.HasPrefix(part[3], "eth") {
			continue
		}
		switch {
		case !v.Before(48):
			return "", errs.New(errs.InvalidParameter, "interface specific sysctl setting %q must be supplied using driver option '%s'", name, endpointSysctls)
		case part[3] != "eth0":
			return "", errs.New(errs.InvalidParameter, "unable to determine network endpoint for sysctl %s, use driver option '%s' to set per-interface sysctls", name, endpointSysctls)
		}
		moved = append(moved, name)
		settings = append(settings, fmt.Sprintf("net.%s.%s.IFNAME.%s=%s", part[1], part[2], part[4], hc.Sysctls[name]))
	}
	if len(moved) == 0 {
		return "", nil
	}
	ep, err := mainEndpoint(v, hc.NetworkMode, req.NetworkingConfig)
	if err != nil {
		return "", fmt.Errorf("unable to find a network for sysctl %s: %w", moved[0], err)
	}
	value := strings.Join(settings, ",")
	warning := fmt.Sprintf("Migrated sysctl %q to DriverOpts{%q:%q}.", strings.Join(moved, ","), endpointSysctls, value)
	if ep.DriverOpts == nil {
		ep.DriverOpts = map[string]string{}
	}
	if own, ok := ep.DriverOpts[endpointSysctls]; ok {
		value += "," + own // the last one wins
	}
	ep.DriverOpts[endpointSysctls] = value
	for _, name := range moved {
		delete(hc.Sysctls, name)
	}
	return warning, nil
}

// emptyBindings gives a port with an empty list of bindings one that leaves
// address and port to the engine.
func emptyBindings(v Version, hc *container.HostConfig) string {
	var empty []string
	for port, bindings := range hc.PortBindings {
		if len(bindings) == 0 {
			hc.PortBindings[port] = []network.PortBinding{{}}
			empty = append(empty, port.String())
		}
	}
	if len(empty) == 0 || v.Before(52) {
		return ""
	}
	slices.Sort(empty)
	return fmt.Sprintf("Following container port(s) have an empty list of port-bindings: %s. Such bindings will be discarded in a future version.",
		strings.Join(empty, ", "))
}

// mainEndpoint finds or makes the settings of the network that mode names.
func mainEndpoint(v Version, mode container.NetworkMode, nc *network.NetworkingConfig) (*network.EndpointSettings, error) {
	name := mode.NetworkName()
	if len(nc.EndpointsConfig) == 0 {
		ep := &network.EndpointSettings{}
		nc.EndpointsConfig[name] = ep
		return ep, nil
	}
	if v.Before(44) { // there is but one, whatever it is called
		for _, ep := range nc.EndpointsConfig {
			return ep, nil
		}
	}
	if ep, ok := nc.EndpointsConfig[name]; ok {
		return ep, nil
	}
	return nil, errs.New(errs.InvalidParameter, "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
}
