package engine

import (
	"context"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/logs/driver"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/volume"
)

// Info describes the engine and its host.
func (e *Engine) Info(ctx context.Context) (system.Info, error) {
	a := e.cfg.About
	images, err := e.cfg.Images.Count(ctx)
	if err != nil {
		return system.Info{}, err
	}
	in := system.Info{
		ID: e.id, Images: images, Driver: storageDriver,
		DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}},
		Plugins:      system.PluginsInfo{Volume: []string{volume.Driver}, Network: network.Drivers(), Log: driver.Names()},
		MemoryLimit:  e.host.has("memory"), SwapLimit: e.host.swap, CPUCfsPeriod: e.host.has("cpu"), CPUCfsQuota: e.host.has("cpu"),
		CPUShares: e.host.has("cpu"), CPUSet: e.host.has("cpuset"), PidsLimit: e.host.has("pids"), OomKillDisable: !e.host.cgroupV2,
		IPv4Forwarding: readsOne("/proc/sys/net/ipv4/ip_forward"),
		Debug:          a.Debug, NFd: openFiles(), NGoroutines: runtime.NumGoroutine(), SystemTime: time.Now().Format(time.RFC3339Nano),
		LoggingDriver: e.cfg.LogDriver, CgroupDriver: "cgroupfs", CgroupVersion: "1", NEventsListener: e.cfg.Events.Subscribers(),
		KernelVersion: e.host.kernel, OperatingSystem: e.host.osName, OSVersion: e.host.osVersion, OSType: "linux", Architecture: machine(),
		IndexServerAddress: "https://index.docker.io/v1/", RegistryConfig: registryConfig(a), NCPU: numCPU(), MemTotal: e.host.memory,
		DockerRootDir: e.cfg.DataRoot, HTTPProxy: a.HTTPProxy, HTTPSProxy: a.HTTPSProxy, NoProxy: a.NoProxy, Name: e.host.name(), Labels: a.Labels,
		ServerVersion: a.Version, DefaultRuntime: e.runtimes.preferred, Runtimes: e.runtimes.info(),
		Swarm:              swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		LiveRestoreEnabled: true, InitBinary: "davit-init", SecurityOptions: e.securityOptions(), Warnings: e.warnings(),
	}
	in.DefaultAddressPools = a.AddressPools
	in.CDISpecDirs = e.cdi.Dirs()
	var complaints []string
	in.DiscoveredDevices, complaints = e.cdi.List()
	in.Warnings = append(in.Warnings, complaints...)
	if in.Labels == nil {
		in.Labels = []string{}
	}
	if e.host.cgroupV2 {
		in.CgroupVersion = "2"
	}
	if e.cfg.Network != nil {
		in.FirewallBackend = &system.FirewallInfo{Driver: "nftables"}
		if e.cfg.Network.Info().Respect {
			in.FirewallBackend.Info = [][2]string{{"Mode", "respect"}}
		}
	}
	e.table.each(func(rec *record.Container) {
		in.Containers++
		switch rec.State.Status {
		case container.StatePaused:
			in.ContainersPaused++
		case container.StateRunning, container.StateRestarting:
			in.ContainersRunning++
		default:
			in.ContainersStopped++
		}
	})
	libraries := libraryVersions()
	in.ContainerdCommit.ID, in.RuncCommit.ID, in.InitCommit.ID = libraries["github.com/containerd/containerd/v2"], a.Version, a.Version
	return in, nil
}

// libraryVersions tells what this program was built with. The containerd of the
// answers is the library that keeps the images.
var libraryVersions = sync.OnceValue(func() map[string]string {
	versions := map[string]string{}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, m := range build.Deps {
			versions[m.Path] = m.Version
		}
	}
	return versions
})

// Version says what runs here.
func (e *Engine) Version(context.Context) (system.VersionResponse, error) {
	a := e.cfg.About
	return system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Davit"},
		Version:  a.Version, APIVersion: a.APIVersion, MinAPIVersion: a.MinAPIVersion, Os: runtime.GOOS, Arch: runtime.GOARCH,
		GitCommit: a.Commit, GoVersion: runtime.Version(), KernelVersion: e.host.kernel, BuildTime: a.BuildTime,
		Components: []system.ComponentVersion{{Name: "Engine", Version: a.Version, Details: map[string]string{
			"ApiVersion": a.APIVersion, "MinAPIVersion": a.MinAPIVersion, "Os": runtime.GOOS, "Arch": runtime.GOARCH, "GitCommit": a.Commit,
			"GoVersion": runtime.Version(), "KernelVersion": e.host.kernel, "BuildTime": a.BuildTime, "Experimental": "false",
		}}, {Name: "containerd", Version: libraryVersions()["github.com/containerd/containerd/v2"], Details: map[string]string{"Kind": "library"}}},
	}, nil
}

func (e *core) securityOptions() []string {
	opts := []string{}
	switch e.cfg.SeccompProfile {
	case "unconfined":
	case "":
		opts = append(opts, "name=seccomp,profile=builtin")
	default:
		opts = append(opts, "name=seccomp,profile=custom")
	}
	if e.cfg.UserNS.private() {
		opts = append(opts, "name=userns")
	}
	if e.cfg.Defaults.CgroupNS.IsPrivate() {
		opts = append(opts, "name=cgroupns")
	}
	if e.cfg.Defaults.NoNewPrivileges {
		opts = append(opts, "name=no-new-privileges")
	}
	return opts
}

func (e *core) warnings() []string {
	w := []string{}
	for _, c := range []string{"memory", "cpu", "cpuset", "pids"} {
		if !e.host.has(c) {
			w = append(w, "WARNING: No "+c+" limit support: the host has no "+c+" cgroup controller")
		}
	}
	if e.host.has("memory") && !e.host.swap {
		w = append(w, "WARNING: No swap limit support: the kernel does not count swap (boot it with swapaccount=1)")
	}
	if e.cfg.Network != nil {
		w = append(w, e.cfg.Network.Warnings()...)
	}
	w = append(w, e.logging.shippers.warnings()...)
	return w
}

// loopback are the addresses whose registries need no certificate, whatever is
// configured.
var loopback = []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")}

func registryConfig(a About) *registry.ServiceConfig {
	c := &registry.ServiceConfig{IndexConfigs: map[string]*registry.IndexInfo{
		"docker.io": {Name: "docker.io", Mirrors: a.Mirrors, Secure: true, Official: true},
	}, Mirrors: a.Mirrors, InsecureRegistryCIDRs: slices.Clone(loopback)}
	for _, host := range a.Insecure {
		if p, err := netip.ParsePrefix(host); err == nil {
			c.InsecureRegistryCIDRs = append(c.InsecureRegistryCIDRs, p)
			continue
		}
		c.IndexConfigs[host] = &registry.IndexInfo{Name: host, Mirrors: []string{}}
	}
	return c
}

// machine is the architecture in uname's words, which is what info shows.
func machine() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

func readsOne(path string) bool {
	data, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(data)) == "1"
}
