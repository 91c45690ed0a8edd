package oci

import (
	"fmt"
	"os"

	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/seccomp"
	"github.com/davit-engine/davit/runtime/spawn"
)

func newPlan() *command {
	var dir string
	c := &command{name: "plan", about: "print the system calls by which a bundle's container would start", max: 0}
	c.flags.text(&dir, "bundle b", "directory", "the bundle (default: the working directory)")
	c.run = func(_ *invocation, _ []string) (int, error) {
		b, err := readBundle(dir)
		if err != nil {
			return 1, err
		}
		in := program.Input{Spec: b.spec, Facts: spawn.DetectFacts(), Resctrl: b.spec.Linux.IntelRdt != nil, MakeCwd: true, Hold: true, Detached: true,
			Created: duringCreate(b.spec.Hooks)}
		if in.Root, err = b.root(); err != nil {
			return 1, err
		}
		if in.Seccomp, in.SeccompFlags, err = seccomp.Compile(b.spec.Linux.Seccomp); err != nil {
			return 1, fmt.Errorf("linux.seccomp: %w", err)
		}
		p, err := program.Compile(in)
		if err != nil {
			return 1, err
		}
		_, err = fmt.Fprint(os.Stdout, p)
		return 0, err
	}
	return c
}
