package compat

import (
	"strings"

	"github.com/moby/moby/api/types/system"
)

// Info returns the engine's facts as a client of version v expects them.
func Info(v Version, i system.Info) any {
	extra := map[string]any{}
	if v.Before(44) { // 1.44 brought Status
		runtimes := make(map[string]system.RuntimeWithStatus, len(i.Runtimes))
		for name, r := range i.Runtimes {
			runtimes[name] = system.RuntimeWithStatus{Runtime: r.Runtime}
		}
		i.Runtimes = runtimes
	}
	if v.Before(46) {
		i.Containerd = nil
	}
	if v.Before(49) {
		i.FirewallBackend = nil
		// 1.49 dropped these.
		extra["ContainerdCommit"] = map[string]any{"Expected": i.ContainerdCommit.ID}
		extra["RuncCommit"] = map[string]any{"Expected": i.RuncCommit.ID}
		extra["InitCommit"] = map[string]any{"Expected": i.InitCommit.ID}
		extra["RegistryConfig"] = map[string]any{
			"AllowNondistributableArtifactsCIDRs":     nil,
			"AllowNondistributableArtifactsHostnames": nil,
		}
	}
	if v.Before(50) {
		i.DiscoveredDevices = nil
		extra["BridgeNfIptables"] = false // 1.50 dropped both
		extra["BridgeNfIp6tables"] = false
	}
	if v.Before(52) {
		extra["KernelMemoryTCP"] = false // 1.52 dropped it
	}
	if v.Before(42) {
		extra["KernelMemory"] = false // 1.42 dropped it
	}
	if v.Before(41) {
		i.CgroupVersion = ""
		i.DefaultAddressPools = nil
		extra["ClusterStore"], extra["ClusterAdvertise"] = "", "" // 1.41 dropped both
	}
	if v.Before(53) {
		i.NRI = nil
	}
	if v.Before(39) {
		unknown := func(text *string) {
			if *text == "" {
				*text = "<unknown>"
			}
		}
		unknown(&i.KernelVersion)
		unknown(&i.OperatingSystem)
	}
	if v.Before(25) { // 1.25 brought options of the options
		extra["ExecutionDriver"] = "<not supported>"
		i.SecurityOptions = optionNames(i.SecurityOptions)
	}
	return Extended{Base: i, Add: extra}
}

// optionNames reduces name=seccomp,profile=builtin to seccomp.
func optionNames(options []string) []string {
	names := []string{}
	for _, o := range options {
		for field := range strings.SplitSeq(o, ",") {
			if name, ok := strings.CutPrefix(field, "name="); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// SystemVersion returns the versions of the engine's parts as a client of version
// v expects them.
func SystemVersion(v Version, s system.VersionResponse) any {
	if v.Before(35) { // 1.35 brought Platform and Components
		s.Components = nil
		s.Platform = system.PlatformInfo{}
	}
	return s
}
