package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// addVolumes sorts -v into binds (something is mounted) and anonymous volumes
// (only a place is named), and adds --tmpfs.
func (c *storage) addVolumes(config *container.Config, host *container.HostConfig) error {
	for _, spec := range c.volumes.Values {
		parts := strings.Split(spec, ":")
		if slices.Contains(parts, "") {
			return fmt.Errorf("invalid spec: %s: empty section between colons", spec)
		}
		if len(parts) > 3 {
			return fmt.Errorf("invalid spec: %s: too many colons", spec)
		}
		if len(parts) == 1 {
			if config.Volumes == nil {
				config.Volumes = map[string]struct{}{}
			}
			config.Volumes[spec] = struct{}{}
			continue
		}
		if strings.HasPrefix(parts[0], ".") {
			absolute, err := filepath.Abs(parts[0])
			if err != nil {
				return err
			}
			parts[0] = absolute
		}
		host.Binds = append(host.Binds, strings.Join(parts, ":"))
	}
	for _, t := range c.tmpfs.Values {
		path, options, _ := strings.Cut(t, ":")
		if host.Tmpfs == nil {
			host.Tmpfs = map[string]string{}
		}
		host.Tmpfs[path] = options
	}
	return nil
}

// addPorts sets the published and the exposed ports.
func (c *networking) addPorts(config *container.Config, host *container.HostConfig) error {
	specs, err := shortPorts(c.publish.Values)
	if err != nil {
		return err
	}
	exposed, bindings, err := nat.ParsePortSpecs(specs)
	if err != nil {
		return err
	}
	config.ExposedPorts, host.PortBindings = network.PortSet{}, network.PortMap{}
	for p := range exposed {
		port, err := network.ParsePort(string(p))
		if err != nil {
			return err
		}
		config.ExposedPorts[port] = struct{}{}
		for _, b := range bindings[p] {
			binding := network.PortBinding{HostPort: b.HostPort}
			if b.HostIP != "" {
				if binding.HostIP, err = netip.ParseAddr(b.HostIP); err != nil {
					return err
				}
			}
			host.PortBindings[port] = append(host.PortBindings[port], binding)
		}
	}
	for _, e := range c.expose.Values {
		if strings.Contains(e, ":") {
			return fmt.Errorf("invalid port format for --expose: %s", e)
		}
		ports, err := network.ParsePortRange(e)
		if err != nil {
			return fmt.Errorf("invalid range format for --expose: %s, error: %w", e, err)
		}
		for p := range ports.All() {
			config.ExposedPorts[p] = struct{}{}
		}
	}
	return nil
}

// shortPorts turns the long form of -p (published=8080,target=80,protocol=tcp)
// into the short one.
func shortPorts(specs []string) ([]string, error) {
	out := make([]string, 0, len(specs))
	for _, spec := range specs {
		if !strings.Contains(spec, "=") {
			out = append(out, spec)
			continue
		}
		var published, target string
		protocol := "tcp"
		for field := range strings.SplitSeq(spec, ",") {
			key, value, ok := strings.Cut(field, "=")
			if !ok || value == "" {
				return nil, fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", field)
			}
			switch strings.ToLower(key) {
			case "protocol":
				protocol = strings.ToLower(value)
			case "mode":
			case "target":
				target = value
			case "published":
				published = value
			default:
				return nil, fmt.Errorf("invalid field key: %s", key)
			}
		}
		if target == "" {
			return nil, fmt.Errorf("invalid port spec %q: target is required", spec)
		}
		out = append(out, published+":"+target+"/"+protocol)
	}
	return out, nil
}

// parseRestart reads no, always, unless-stopped, on-failure[:retries].
func parseRestart(text string) (container.RestartPolicy, error) {
	if text == "" {
		return container.RestartPolicy{}, nil
	}
	name, count, has := strings.Cut(text, ":")
	if has && name == "" {
		return container.RestartPolicy{}, errors.New("invalid restart policy format: no policy provided before colon")
	}
	p := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	if count != "" {
		n, err := strconv.Atoi(count)
		if err != nil {
			return p, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		p.MaximumRetryCount = n
	}
	return p, nil
}

// parseDevice reads HOST[:CONTAINER[:rwm]].
func parseDevice(text string) (container.DeviceMapping, error) {
	parts := strings.Split(text, ":")
	m := container.DeviceMapping{PathOnHost: parts[0], PathInContainer: parts[0], CgroupPermissions: "rwm"}
	bad := fmt.Errorf("invalid device specification: %s", text)
	switch {
	case parts[0] == "" || len(parts) > 3:
		return m, bad
	case len(parts) == 3:
		m.PathInContainer, m.CgroupPermissions = parts[1], parts[2]
	case len(parts) == 2 && validDeviceMode(parts[1]):
		m.CgroupPermissions = parts[1]
	case len(parts) == 2:
		m.PathInContainer = parts[1]
	}
	if !validDeviceMode(m.CgroupPermissions) {
		return m, fmt.Errorf("bad mode specified: %s", m.CgroupPermissions)
	}
	if !filepath.IsAbs(m.PathOnHost) {
		return m, fmt.Errorf("%s is not an absolute path", m.PathOnHost)
	}
	if !filepath.IsAbs(m.PathInContainer) {
		return m, fmt.Errorf("%s is not an absolute path", m.PathInContainer)
	}
	return m, nil
}

func validDeviceMode(mode string) bool {
	seen := map[rune]bool{}
	for _, r := range mode {
		if !strings.ContainsRune("rwm", r) || seen[r] {
			return false
		}
		seen[r] = true
	}
	return mode != ""
}

// securityOptions reads --security-opt: a seccomp profile is a file of this
// host, and systempaths=unconfined unmasks what the engine masks by default.
func securityOptions(host *container.HostConfig, options []string) error {
	for _, option := range options {
		key, value, ok := strings.Cut(option, "=")
		if !ok && key != "no-new-privileges" {
			if key, value, ok = strings.Cut(option, ":"); !ok {
				return fmt.Errorf("invalid --security-opt: %q", option)
			}
		}
		switch {
		case option == "systempaths=unconfined":
			host.MaskedPaths, host.ReadonlyPaths = []string{}, []string{}
			continue
		case key == "seccomp" && value != "unconfined" && value != "builtin":
			profile, err := os.ReadFile(value)
			if err != nil {
				return fmt.Errorf("opening seccomp profile (%s) failed: %w", value, err)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, profile); err != nil {
				return fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", value, err)
			}
			option = "seccomp=" + compact.String()
		}
		host.SecurityOpt = append(host.SecurityOpt, option)
	}
	return nil
}

// capabilities gives capabilities the names that the kernel has for them,
// whichever way they were written.
func capabilities(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		n = strings.ToUpper(n)
		if n != "ALL" && !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
