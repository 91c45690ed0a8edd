package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/davit-engine/davit/engine"
)

// runtimes reads the key runtimes of daemon.json, and what --add-runtime adds,
// as dockerd has them. A runtime that only containerd could start stays in the
// list, and says so when a container asks for it.
func (c *Config) runtimes() (map[string]engine.Runtime, error) {
	d := &c.Containers
	out := map[string]engine.Runtime{}
	for _, name := range slices.Sorted(maps.Keys(d.Runtimes)) {
		var given struct {
			Path        string         `json:"path"`
			RuntimeArgs []string       `json:"runtimeArgs"`
			RuntimeType string         `json:"runtimeType"`
			Options     map[string]any `json:"options"`
		}
		dec := json.NewDecoder(bytes.NewReader(d.Runtimes[name]))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&given); err != nil {
			return nil, fmt.Errorf("runtimes: %s: %w", name, err)
		}
		r := engine.Runtime{Path: given.Path, Args: given.RuntimeArgs, Type: given.RuntimeType, Options: given.Options}
		switch {
		case given.Path == "" && given.RuntimeType == "":
			return nil, fmt.Errorf("runtimes: %s: either path or runtimeType is required", name)
		case given.Path != "" && given.RuntimeType != "":
			return nil, fmt.Errorf("runtimes: %s: cannot configure both path and runtimeType", name)
		case given.RuntimeType != "" && len(given.RuntimeArgs) > 0:
			return nil, fmt.Errorf("runtimes: %s: runtimeArgs cannot be used with runtimeType", name)
		case given.RuntimeType == runcType:
			if r.Path, _ = given.Options["BinaryName"].(string); r.Path == "" {
				r.Path = "runc"
			}
		case given.Path == "":
			r.Unfit = fmt.Sprintf("runtimeType %s is a program for containerd: give the path of the OCI runtime itself (%q: {%q: ...})", given.RuntimeType, name, "path")
		case len(given.Options) > 0:
			return nil, fmt.Errorf("runtimes: %s: options cannot be used with path", name)
		}
		out[name] = r
	}
	switch d.Runtime {
	case "", "runc", "davit", "davit-runtime", runcType:
	default:
		if _, ok := out[d.Runtime]; !ok {
			return nil, fmt.Errorf("specified default runtime '%s' does not exist", d.Runtime)
		}
	}
	return out, nil
}

// runcType is what containerd calls its support of runc and its like.
const runcType = "io.containerd.runc.v2"
