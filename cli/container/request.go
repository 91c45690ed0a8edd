package container

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/flags"
)

// request turns the parsed options and the arguments IMAGE [COMMAND...] into
// the request that creates the container. proxies are variables that the
// user's configuration gives every container.
func (c *creation) request(f *pflag.FlagSet, args []string, proxies map[string]string) (*client.CreateOptions, error) {
	config, err := c.config(f, args, proxies)
	if err != nil {
		return nil, err
	}
	host, err := c.hostConfig(f)
	if err != nil {
		return nil, err
	}
	if err := c.addVolumes(config, host); err != nil {
		return nil, err
	}
	if err := c.addPorts(config, host); err != nil {
		return nil, err
	}
	endpoints, err := c.networking.endpoints(host)
	if err != nil {
		return nil, err
	}
	platform, err := flags.Platform(c.platform)
	if err != nil {
		return nil, err
	}
	return &client.CreateOptions{
		CreateRequest: container.CreateRequest{
			Config: config, HostConfig: host, NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: endpoints},
		},
		Name: c.name, Platform: platform,
	}, nil
}

func (c *creation) config(f *pflag.FlagSet, args []string, proxies map[string]string) (*container.Config, error) {
	env, err := flags.ReadFiles(c.envFiles.Values, c.env.Values, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	labels, err := flags.ReadFiles(c.labelFiles.Values, c.labels.Values, nil)
	if err != nil {
		return nil, err
	}
	config := &container.Config{
		Hostname: c.hostname, Domainname: c.domainname, User: c.user,
		Tty: c.tty, OpenStdin: c.stdin, AttachStdin: c.stdin,
		Env: withProxies(env, proxies), Labels: flags.Pairs(labels),
		Image: args[0], WorkingDir: c.workdir, StopSignal: c.stopSignal,
	}
	for _, stream := range c.attach.Values {
		switch stream {
		case "stdin":
			config.AttachStdin = true
		case "stdout":
			config.AttachStdout = true
		case "stderr":
			config.AttachStderr = true
		}
	}
	if len(c.attach.Values) == 0 {
		config.AttachStdout, config.AttachStderr = true, true
	}
	// Close stdin once its one attached client is gone.
	config.StdinOnce = config.OpenStdin && config.AttachStdin
	if len(args) > 1 {
		config.Cmd = args[1:]
	}
	if f.Changed("entrypoint") {
		// An empty one takes the image's away.
		config.Entrypoint = []string{c.entrypoint}
	}
	if f.Changed("stop-timeout") {
		config.StopTimeout = &c.stopTimeout
	}
	config.Healthcheck, err = c.health.config()
	return config, err
}

// withProxies appends the proxy variables that env does not set itself.
func withProxies(env []string, proxies map[string]string) []string {
	for _, name := range sortedKeys(proxies) {
		set := false
		for _, e := range env {
			key, _, _ := strings.Cut(e, "=")
			set = set || key == name
		}
		if !set {
			env = append(env, name+"="+proxies[name])
		}
	}
	return env
}

// validUserns knows more than Docker's client, which takes host only.
func validUserns(mode string) bool {
	switch mode {
	case "", "host", "auto", "private":
		return true
	}
	name, ok := strings.CutPrefix(mode, "container:")
	return ok && name != ""
}

func (c *creation) hostConfig(f *pflag.FlagSet) (*container.HostConfig, error) {
	restart, err := parseRestart(c.restart)
	if err != nil {
		return nil, err
	}
	if c.autoRemove && !restart.IsNone() {
		return nil, errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	if c.logDriver == "none" && len(c.logOptions.Values) > 0 {
		return nil, errors.New("invalid logging opts for driver none")
	}
	host := &container.HostConfig{
		ContainerIDFile: c.cidFile, AutoRemove: c.autoRemove, RestartPolicy: restart,
		LogConfig:  container.LogConfig{Type: c.logDriver, Config: flags.Pairs(c.logOptions.Values)},
		Runtime:    c.runtime,
		Umask:      c.umask.Value,
		Privileged: c.privileged, ReadonlyRootfs: c.readOnly, OomScoreAdj: c.oomScoreAdj,
		CapAdd: capabilities(c.capAdd.Values), CapDrop: capabilities(c.capDrop.Values), GroupAdd: c.groups.Values,
		IpcMode: container.IpcMode(c.ipc), PidMode: container.PidMode(c.pid), UTSMode: container.UTSMode(c.uts),
		UsernsMode: container.UsernsMode(c.userns), CgroupnsMode: container.CgroupnsMode(c.cgroupns), Isolation: container.Isolation(c.how),
		Sysctls: c.sysctls.Values, ShmSize: c.shmSize.Value,
		VolumeDriver: c.volumeDriver, VolumesFrom: c.volumesFrom.Values, Mounts: c.mounts.Values,
		DNSOptions: c.dnsOptions.All(), DNSSearch: c.dnsSearch.All(), PublishAllPorts: c.publishAll,
	}
	for _, mode := range [...]struct {
		valid bool
		text  string
	}{
		{host.PidMode.Valid(), "--pid: invalid PID mode"},
		{host.UTSMode.Valid(), "--uts: invalid UTS mode"},
		{validUserns(c.userns), "--userns: invalid USER mode: use host, auto, private or container:NAME"},
		{host.CgroupnsMode.Valid(), "--cgroupns: invalid CGROUP mode"},
	} {
		if !mode.valid {
			return nil, errors.New(mode.text)
		}
	}
	host.Annotations = c.annotated()
	if f.Changed("init") {
		host.Init = &c.useInit
	}
	for _, o := range c.storageOptions.Values {
		key, value, ok := strings.Cut(o, "=")
		if !ok {
			return nil, errors.New("invalid storage option")
		}
		if host.StorageOpt == nil {
			host.StorageOpt = map[string]string{}
		}
		host.StorageOpt[key] = value
	}
	if err := securityOptions(host, c.security.Values); err != nil {
		return nil, err
	}
	if host.DNS, err = parseAddresses(c.dns.All()); err != nil {
		return nil, err
	}
	host.ExtraHosts, err = extraHosts(c.hosts.Values)
	if err != nil {
		return nil, err
	}
	host.Resources, err = c.resources(f)
	return host, err
}

func (c *creation) resources(f *pflag.FlagSet) (container.Resources, error) {
	if c.swappiness != -1 && (c.swappiness < 0 || c.swappiness > 100) {
		return container.Resources{}, fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", c.swappiness)
	}
	r := container.Resources{
		CgroupParent: c.cgroupParent,
		Memory:       c.memory.Value, MemoryReservation: c.memoryReservation.Value, MemorySwap: c.memorySwap.Value,
		MemorySwappiness: &c.swappiness, OomKillDisable: &c.oomKillDisable,
		NanoCPUs: c.cpus.Nano, CPUCount: c.cpuCount, CPUPercent: c.cpuPercent, CPUShares: c.cpuShares,
		CPUPeriod: c.cpuPeriod, CPUQuota: c.cpuQuota, CPURealtimePeriod: c.cpuRTPeriod, CPURealtimeRuntime: c.cpuRTRuntime,
		CpusetCpus: c.cpusetCPUs, CpusetMems: c.cpusetMems, PidsLimit: &c.pids,
		BlkioWeight: c.blkioWeight, BlkioWeightDevice: c.weights.Values,
		BlkioDeviceReadBps: c.readBps.Values, BlkioDeviceWriteBps: c.writeBps.Values,
		BlkioDeviceReadIOps: c.readIOps.Values, BlkioDeviceWriteIOps: c.writeIOps.Values,
		IOMaximumIOps: c.ioMaxIOps, IOMaximumBandwidth: uint64(c.ioMaxBandwidth.Value),
		Ulimits: c.ulimits.Sorted(), DeviceCgroupRules: c.deviceRules.Values, DeviceRequests: c.gpus.Values,
	}
	if !f.Changed("memory-swappiness") {
		unset := int64(-1)
		r.MemorySwappiness = &unset
	}
	for _, d := range c.devices.Values {
		if strings.Contains(d, "=") && !strings.HasPrefix(d, "/") {
			r.DeviceRequests = append(r.DeviceRequests, container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{d}})
			continue
		}
		m, err := parseDevice(d)
		if err != nil {
			return r, err
		}
		r.Devices = append(r.Devices, m)
	}
	return r, nil
}

// annotated are the annotations, with what Docker's API has no field for.
func (c *creation) annotated() map[string]string {
	all := flags.Pairs(c.annotations.Values)
	for key, value := range map[string]string{annotationOnFailure: c.onFailure, "com.davit.depends-on": strings.Join(c.dependsOn.Values, ",")} {
		if value == "" {
			continue
		}
		if all == nil {
			all = map[string]string{}
		}
		all[key] = value
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

func (h *health) config() (*container.HealthConfig, error) {
	set := h.command != "" || h.interval != 0 || h.timeout != 0 || h.startPeriod != 0 || h.startInterval != 0 || h.retries != 0
	switch {
	case h.disable && set:
		return nil, errors.New("--no-healthcheck conflicts with --health-* options")
	case h.disable:
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	case !set:
		return nil, nil
	case h.interval < 0:
		return nil, errors.New("--health-interval cannot be negative")
	case h.timeout < 0:
		return nil, errors.New("--health-timeout cannot be negative")
	case h.retries < 0:
		return nil, errors.New("--health-retries cannot be negative")
	case h.startPeriod < 0:
		return nil, errors.New("--health-start-period cannot be negative")
	case h.startInterval < 0:
		return nil, errors.New("--health-start-interval cannot be negative")
	}
	c := &container.HealthConfig{Interval: h.interval, Timeout: h.timeout, StartPeriod: h.startPeriod, StartInterval: h.startInterval, Retries: h.retries}
	if h.command != "" {
		c.Test = []string{"CMD-SHELL", h.command}
	}
	return c, nil
}

// endpoints sets the host configuration's network mode and returns what each
// network is to be joined with.
func (n *networking) endpoints(host *container.HostConfig) (map[string]*network.EndpointSettings, error) {
	wished := n.networks.Values
	if len(wished) == 0 {
		wished = []flags.Attachment{{Target: "default"}}
	}
	// Options beside --network belong to the first network.
	first := wished[0]
	simple, err := n.simple()
	if err != nil {
		return nil, err
	}
	for _, c := range [...]struct {
		both bool
		text string
	}{
		{len(simple.Aliases) > 0 && len(first.Aliases) > 0, "conflicting options: cannot specify both --network-alias and per-network alias"},
		{len(simple.Links) > 0 && !userDefined(first.Target) && first.LongForm, "links are only supported for user-defined networks"},
		{simple.IPv4.IsValid() && first.IPv4.IsValid(), "conflicting options: cannot specify both --ip and per-network IPv4 address"},
		{simple.IPv6.IsValid() && first.IPv6.IsValid(), "conflicting options: cannot specify both --ip6 and per-network IPv6 address"},
		{simple.MACAddress != "" && first.MACAddress != "", "conflicting options: cannot specify both --mac-address and per-network MAC address"},
		{len(simple.LinkLocal) > 0 && len(first.LinkLocal) > 0, "conflicting options: cannot specify both --link-local-ip and per-network link-local IP addresses"},
	} {
		if c.both {
			return nil, errors.New(c.text)
		}
	}
	first.Aliases = append(first.Aliases, simple.Aliases...)
	first.Links, first.LinkLocal = n.links.Values, append(first.LinkLocal, simple.LinkLocal...)
	if simple.IPv4.IsValid() {
		first.IPv4 = simple.IPv4
	}
	if simple.IPv6.IsValid() {
		first.IPv6 = simple.IPv6
	}
	if simple.MACAddress != "" {
		first.MACAddress = simple.MACAddress
	}
	host.NetworkMode = container.NetworkMode(first.Target)
	host.Links = n.links.Values // of the default network, and what older engines read
	if !userDefined(first.Target) {
		first.Links = nil
	}
	if len(wished) == 1 && n.plain(first) {
		// Nothing but a mode: the engine needs no endpoint. Docker sends one for a network by name.
		return map[string]*network.EndpointSettings{first.Target: {}}, nil
	}
	endpoints := map[string]*network.EndpointSettings{}
	for i, a := range wished {
		if i == 0 {
			a = first
		}
		if _, twice := endpoints[a.Target]; twice {
			return nil, fmt.Errorf("network %q is specified multiple times", a.Target)
		}
		if i > 0 && (!userDefined(a.Target) && a.Target != "bridge" || !userDefined(first.Target) && !multi(first.Target)) {
			return nil, errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
		}
		settings, err := endpoint(a)
		if err != nil {
			return nil, err
		}
		endpoints[a.Target] = settings
	}
	return endpoints, nil
}

// simple are the options of a network that are given without naming it.
func (n *networking) simple() (a flags.Attachment, err error) {
	a.Aliases, a.Links, a.MACAddress = n.aliases.Values, n.links.Values, n.mac
	if n.ip != "" {
		if a.IPv4, err = netip.ParseAddr(n.ip); err != nil {
			return a, fmt.Errorf("invalid argument %q for \"--ip\" flag: %w", n.ip, err)
		}
	}
	if n.ip6 != "" {
		if a.IPv6, err = netip.ParseAddr(n.ip6); err != nil {
			return a, fmt.Errorf("invalid argument %q for \"--ip6\" flag: %w", n.ip6, err)
		}
	}
	a.LinkLocal, err = parseAddresses(n.linkLocal.Values)
	return a, err
}

func (n *networking) plain(a flags.Attachment) bool {
	return len(a.Aliases) == 0 && len(a.Links) == 0 && len(a.DriverOpts) == 0 && len(a.LinkLocal) == 0 &&
		!a.IPv4.IsValid() && !a.IPv6.IsValid() && a.MACAddress == "" && a.GwPriority == 0
}

func endpoint(a flags.Attachment) (*network.EndpointSettings, error) {
	s := &network.EndpointSettings{Aliases: a.Aliases, Links: a.Links, DriverOpts: a.DriverOpts, GwPriority: a.GwPriority}
	if a.MACAddress != "" {
		mac, err := net.ParseMAC(a.MACAddress)
		if err != nil {
			return nil, fmt.Errorf("%s is not a valid mac address", a.MACAddress)
		}
		s.MacAddress = network.HardwareAddr(mac)
	}
	if a.IPv4.IsValid() || a.IPv6.IsValid() || len(a.LinkLocal) > 0 {
		s.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: a.IPv4, IPv6Address: a.IPv6, LinkLocalIPs: a.LinkLocal}
	}
	return s, nil
}

// userDefined reports whether a network mode names a network that somebody
// created.
func userDefined(mode string) bool {
	switch mode {
	case "", "default", "bridge", "host", "none":
		return false
	}
	return !strings.HasPrefix(mode, "container:")
}

func multi(mode string) bool { return mode == "default" || mode == "bridge" }
