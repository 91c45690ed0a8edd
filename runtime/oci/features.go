package oci

import (
	"os"

	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/seccomp"
	"github.com/davit-engine/davit/version"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

func newFeatures() *command {
	return &command{name: "features", about: "print what this runtime can do, as JSON", max: 0,
		run: func(*invocation, []string) (int, error) {
			return 0, printJSON(os.Stdout, knownFeatures(), "    ")
		}}
}

// knownFeatures follows features.md of the runtime spec: what is implemented,
// whether this host has it or not.
func knownFeatures() *features.Features {
	yes := true
	var hooks []string
	for _, k := range hookKinds {
		hooks = append(hooks, k.name)
	}
	known := seccomp.Known()
	modes, flags := program.MemoryPolicies()
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         hooks,
		MountOptions:  program.MountOptions(),
		Linux: &features.Linux{
			Namespaces:   []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"},
			Capabilities: program.Capabilities(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp: &features.Seccomp{Enabled: &yes, Actions: known.Actions, Operators: known.Operators, Archs: known.Archs,
				KnownFlags: known.Flags, SupportedFlags: known.Flags},
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MemoryPolicy:    &features.MemoryPolicy{Modes: modes, Flags: flags},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		Annotations: map[string]string{
			"org.davit-engine.davit-runtime.version":            version.Version,
			"org.opencontainers.runc.checkpoint.enabled":        "true",
			"org.davit-engine.davit-runtime.checkpoint.enabled": "true",
		},
	}
}
