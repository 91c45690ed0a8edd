package seccomp

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Each word that is listed compiles, and one that is not does not.
func TestKnown(t *testing.T) {
	w := Known()
	compiles := func(action, operator, arch, flag string) error {
		_, _, err := Compile(&specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.Arch(arch)}, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(flag)},
			Syscalls: []specs.LinuxSyscall{{Names: []string{"personality"}, Action: specs.LinuxSeccompAction(action),
				Args: []specs.LinuxSeccompArg{{Op: specs.LinuxSeccompOperator(operator)}}}},
		})
		return err
	}
	check := func(list []string, compiles func(string) error) {
		if len(list) == 0 {
			t.Error("an empty list")
		}
		for _, word := range list {
			if err := compiles(word); err != nil {
				t.Errorf("%s: %v", word, err)
			}
		}
		if compiles("BOGUS") == nil {
			t.Error("BOGUS compiles as well")
		}
	}
	check(w.Actions, func(s string) error { return compiles(s, w.Operators[0], w.Archs[0], w.Flags[0]) })
	check(w.Operators, func(s string) error { return compiles("SCMP_ACT_ERRNO", s, w.Archs[0], w.Flags[0]) })
	check(w.Archs, func(s string) error { return compiles("SCMP_ACT_ERRNO", w.Operators[0], s, w.Flags[0]) })
	check(w.Flags, func(s string) error { return compiles("SCMP_ACT_ERRNO", w.Operators[0], w.Archs[0], s) })
}
