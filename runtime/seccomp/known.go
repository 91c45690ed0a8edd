package seccomp

import (
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Words are those of the OCI runtime spec that a profile may be written in,
// each list sorted.
type Words struct{ Actions, Operators, Archs, Flags []string }

// Known returns the words that Compile understands.
func Known() Words {
	w := Words{
		Actions: texts(specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActLog,
			specs.ActNotify, specs.ActTrace, specs.ActTrap),
		Operators: texts(specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual,
			specs.OpGreaterThan, specs.OpMaskedEqual),
		Flags: texts("SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv),
	}
	for _, m := range family(runtime.GOARCH) {
		w.Archs = append(w.Archs, string(m.arch))
	}
	if runtime.GOARCH == "amd64" {
		w.Archs = append(w.Archs, string(specs.ArchX32))
	}
	slices.Sort(w.Archs)
	return w
}

func texts[T ~string](words ...T) []string {
	var all []string
	for _, w := range words {
		all = append(all, string(w))
	}
	slices.Sort(all)
	return all
}
