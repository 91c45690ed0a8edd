package spec

import (
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Exec is one more process in a running container.
type Exec struct {
	Args        []string
	Env         []string // beside the container's; one without '=' unsets
	WorkingDir  string   // empty: the container's
	Tty         bool
	ConsoleSize [2]uint // height and width; 0: as the kernel has it
	Privileged  bool    // all capabilities, whatever the container has
}

// ExecProcess returns the process of x as in.User. What the container's own
// process may do at most it may do too.
func ExecProcess(in Input, x Exec) (*specs.Process, error) {
	rec := *in.Container
	config, host := *rec.Config, *rec.HostConfig
	config.Tty = x.Tty
	config.Env = append(append([]string{}, config.Env...), x.Env...)
	if x.WorkingDir != "" {
		config.WorkingDir = x.WorkingDir
	}
	host.ConsoleSize = x.ConsoleSize
	rec.Config, rec.HostConfig = &config, &host
	in.Container = &rec
	p := process(in)
	p.Args = x.Args // no init program: the container has one if it wants it
	if x.Privileged {
		all := sorted(in.Host.Capabilities)
		p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Permitted: all, Effective: all}
		return p, nil
	}
	caps, err := capabilities(in)
	if err != nil {
		return nil, err
	}
	p.Capabilities = caps
	return p, nil
}
