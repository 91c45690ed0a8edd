package container

import (
	"errors"
	"fmt"
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
	host.DNS = []netip.Addr{}
	for _, server := range c.dns.Values {
		host.DNS = append(host.DNS, netip.MustParseAddr(server)) // checked when it was parsed
	}
	host.ExtraHosts = c.hosts.All()
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
