package seccomp

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzProfileJSON: no input makes the reader or the compiler panic, and what
// compiles means what it says.
func FuzzProfileJSON(f *testing.F) {
	p, err := Default(dockerCaps)
	if err != nil {
		f.Fatal(err)
	}
	p.Syscalls = p.Syscalls[1:] // all but the longest
	whole, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
		"syscalls":[{"name":"mount","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"}},
		{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}],"excludes":{"arches":["s390"]}}]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[null]}`))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"args":[null]}],"archMap":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := FromProfileJSON(text, dockerCaps)
		if err != nil {
			if !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("kind of %v", err)
			}
			return
		}
		program, _, err := compile(p, "amd64")
		if err != nil || p == nil || len(p.Syscalls) == 0 {
			return
		}
		code := decode(program)
		for _, d := range someCalls(p, 40) {
			got, _, err := interpret(code, d)
			if want, _ := evaluate(p, "amd64", d); err != nil || got != want {
				t.Fatalf("%v: %+v gives %#x, want %#x", err, d, got, want)
			}
		}
	})
}

// FuzzCompile compares the compiler with the evaluator over profiles that
// the fuzzer steers by a seed and by one condition of its own.
func FuzzCompile(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint8(0), uint64(5), uint64(5), uint64(5))
	f.Add(uint64(2), uint8(6), uint8(3), uint64(1)<<32, uint64(1), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, seed uint64, op, index uint8, value, two, arg uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		for goarch, arches := range families {
			p := randomProfile(r, arches)
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{pick(r, table[:]).name}, Action: specs.ActTrap,
				Args: []specs.LinuxSeccompArg{{Index: uint(index % 6), Op: operators[int(op)%len(operators)], Value: value, ValueTwo: two}}})
			calls := randomCalls(r, p, goarch, 20)
			for i := range calls {
				calls[i].args[index%6] = arg
			}
			verify(t, p, goarch, calls)
		}
	})
}

func someCalls(p *specs.LinuxSeccomp, n int) []data {
	named := *p
	named.Syscalls = nil
	for _, s := range p.Syscalls {
		if len(s.Names) > 0 {
			named.Syscalls = append(named.Syscalls, s)
		}
	}
	if len(named.Syscalls) == 0 {
		return nil
	}
	return randomCalls(rand.New(rand.NewPCG(1, 1)), &named, "amd64", n)
}
