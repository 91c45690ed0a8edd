package seccomp

import (
	"encoding/json"

	"github.com/davit-engine/davit/errs"
	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Default returns Docker's default profile for this kernel and architecture
// and for a container with the given capabilities, such as CAP_SYS_ADMIN:
// those of its bounding set.
func Default(caps []string) (*specs.LinuxSeccomp, error) {
	p, err := profiles.GetDefaultProfile(forCaps(caps))
	if err != nil {
		return nil, errs.New(errs.System, "resolving the default seccomp profile: %w", err)
	}
	return p, nil
}

// FromProfileJSON resolves a profile in Docker's JSON format, as given by
// `--security-opt seccomp=`, like Default does for the default one. It returns
// nil for a profile that has neither a default action nor rules: Docker takes
// that to mean no filter.
func FromProfileJSON(data []byte, caps []string) (*specs.LinuxSeccomp, error) {
	// The library would follow a null.
	var outline struct {
		Syscalls []*struct{} `json:"syscalls"`
	}
	if err := json.Unmarshal(data, &outline); err != nil {
		return nil, errs.New(errs.InvalidParameter, "decoding the seccomp profile: %w", err)
	}
	for i, s := range outline.Syscalls {
		if s == nil {
			return nil, errs.New(errs.InvalidParameter, "decoding the seccomp profile: rule %d is null", i+1)
		}
	}
	p, err := profiles.LoadProfile(string(data), forCaps(caps))
	if err != nil {
		return nil, errs.New(errs.InvalidParameter, "reading the seccomp profile: %w", err)
	}
	return p, nil
}

func forCaps(caps []string) *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
}
