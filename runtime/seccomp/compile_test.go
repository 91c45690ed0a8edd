package seccomp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// dockerCaps are the capabilities that Docker gives by default.
var dockerCaps = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID
	CAP_SETUID CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE`)

func defaultProfile(t testing.TB) *specs.LinuxSeccomp {
	t.Helper()
	p, err := Default(dockerCaps)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// interesting are values about which comparisons of halves can go wrong.
var interesting = []uint64{0, 1, 2, 5, 38, 40, 41, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 | 5, 1<<32 | 40,
	0x7fffffff_00000000, 0xffffffff_00000000, 0xffffffff_ffffffff}

var operators = []specs.LinuxSeccompOperator{specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
	specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// randomProfile returns a profile over few calls, so that rules collide.
func randomProfile(r *rand.Rand, arches []specs.Arch) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActLog, specs.ActKillProcess, specs.ActTrap, specs.ActTrace, specs.ActKill, specs.ActNotify}
	p := &specs.LinuxSeccomp{DefaultAction: pick(r, actions[:len(actions)-1]), Architectures: arches}
	names := []string{"socket", "sendmsg", "semget", "ipc", "socketcall", "ioctl", "no_such_call"}
	for range 2 + r.IntN(30) {
		names = append(names, table[r.IntN(len(table))].name)
	}
	for range 1 + r.IntN(40) {
		s := specs.LinuxSyscall{Action: pick(r, actions[:1+r.IntN(len(actions))]), Names: []string{pick(r, names)}}
		if r.IntN(3) == 0 {
			s.Names = append(s.Names, pick(r, names))
		}
		if s.Action == specs.ActNotify && slices.Contains(s.Names, "write") {
			s.Action = specs.ActLog
		}
		if s.Action == specs.ActErrno && r.IntN(2) == 0 {
			errno := uint(r.IntN(3))
			s.ErrnoRet = &errno
		}
		for range max(0, r.IntN(6)-2) {
			s.Args = append(s.Args, specs.LinuxSeccompArg{Index: uint(r.IntN(4)), Op: pick(r, operators),
				Value: pick(r, interesting), ValueTwo: pick(r, interesting)})
		}
		p.Syscalls = append(p.Syscalls, s)
	}
	return p
}

// randomCalls returns calls around those that a profile names.
func randomCalls(r *rand.Rand, p *specs.LinuxSeccomp, goarch string, n int) []data {
	var audits []uint32
	for _, m := range family(goarch) {
		audits = append(audits, m.audit)
	}
	var calls []data
	for range n {
		d := data{arch: pick(r, audits), number: uint32(r.IntN(600))}
		if r.IntN(40) == 0 {
			d.arch, d.number = pick(r, []uint32{d.arch, 0, unix.AUDIT_ARCH_S390X}), r.Uint32()
		} else if c, ok := lookup(pick(r, pick(r, p.Syscalls).Names)); ok && r.IntN(8) != 0 {
			for _, m := range family(goarch) {
				if m.audit == d.arch {
					d.number = uint32(c.number[m.column])
				}
			}
			if d.arch == unix.AUDIT_ARCH_X86_64 && r.IntN(3) == 0 {
				d.number = uint32(c.number[x32])
			}
			d.number += pick(r, []uint32{0, 0, 0, 0, 1, 1<<32 - 1})
		}
		for i := range d.args {
			d.args[i] = pick(r, interesting)
			if r.IntN(4) == 0 {
				d.args[i] += pick(r, []uint64{1, 1<<64 - 1})
			}
		}
		calls = append(calls, d)
	}
	return calls
}

// text prints a profile for an error.
func text(p *specs.LinuxSeccomp) string {
	b, _ := json.Marshal(p)
	return string(b[:min(len(b), 4000)])
}

// verify checks the program against what the profile says.
func verify(t *testing.T, p *specs.LinuxSeccomp, goarch string, calls []data) {
	t.Helper()
	program, _, err := compile(p, goarch)
	if err != nil {
		t.Fatalf("compiling: %v", err)
	}
	code := decode(program)
	for _, d := range calls {
		got, _, err := interpret(code, d)
		want, _ := evaluate(p, goarch, d)
		if err != nil || got != want {
			t.Fatalf("%v: on %s %+v gives %#x, want %#x by the profile %s", err, goarch, d, got, want, text(p))
		}
	}
}

var families = map[string][]specs.Arch{
	"amd64": {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
	"arm64": {specs.ArchAARCH64, specs.ArchARM},
	"386":   {specs.ArchX86},
	"arm":   {specs.ArchARM},
}

func TestProgramsMeanWhatProfilesSay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for goarch, arches := range families {
		for i := range 150 {
			p := randomProfile(r, arches[:1+i%len(arches)])
			if i%50 == 0 {
				p.Architectures = nil
			}
			verify(t, p, goarch, randomCalls(r, p, goarch, 300))
		}
	}
}

// Each single operator, against all pairs of interesting values.
func TestOperators(t *testing.T) {
	for _, op := range operators {
		for _, value := range interesting {
			for _, two := range interesting {
				for _, name := range []string{"clone", "socket"} { // compared whole, and by half
					p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: families["amd64"], Syscalls: []specs.LinuxSyscall{{
						Names: []string{name}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Op: op, Value: value, ValueTwo: two}}}}}
					c, _ := lookup(name)
					var calls []data
					for _, arg := range interesting {
						calls = append(calls, data{uint32(c.number[amd64]), unix.AUDIT_ARCH_X86_64, [6]uint64{1: arg}},
							data{uint32(c.number[i386]), unix.AUDIT_ARCH_I386, [6]uint64{1: arg & 0xffffffff}})
					}
					verify(t, p, "amd64", calls)
				}
				if op != specs.OpMaskedEqual {
					break
				}
			}
		}
	}
}

func TestDefaultProfile(t *testing.T) {
	program, flags, err := Compile(defaultProfile(t))
	if err != nil {
		t.Skip(err)
	}
	again, _, _ := Compile(defaultProfile(t))
	if !bytes.Equal(program, again) {
		t.Error("two runs differ")
	}
	if flags != unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW {
		t.Errorf("flags %#x", flags)
	}
	t.Logf("%d instructions", len(program)/8)
	const (
		allow  = unix.SECCOMP_RET_ALLOW
		refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		nosys  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		x86    = unix.AUDIT_ARCH_X86_64
		x86old = unix.AUDIT_ARCH_I386
	)
	p := defaultProfile(t)
	p.Architectures = families["amd64"]
	program, _, err = compile(p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string, column int) uint32 {
		c, ok := lookup(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		return uint32(c.number[column])
	}
	for _, c := range []struct {
		name string
		d    data
		want uint32
	}{
		{"read", data{number("read", amd64), x86, [6]uint64{}}, allow},
		{"read of i386", data{number("read", i386), x86old, [6]uint64{}}, allow},
		{"read of x32", data{number("read", x32), x86, [6]uint64{}}, allow},
		{"amd64's ioctl with the x32 bit", data{number("ioctl", amd64) | x32Bit, x86, [6]uint64{}}, refuse},
		{"x32's own ioctl", data{number("ioctl", x32), x86, [6]uint64{}}, allow},
		{"keyctl", data{number("keyctl", amd64), x86, [6]uint64{}}, refuse},
		{"bpf", data{number("bpf", amd64), x86, [6]uint64{}}, refuse},
		{"mount", data{number("mount", amd64), x86, [6]uint64{}}, refuse},
		{"clone3", data{number("clone3", amd64), x86, [6]uint64{}}, nosys},
		{"clone of a thread", data{number("clone", amd64), x86, [6]uint64{0x3d0f00}}, allow},
		{"clone with NEWUSER", data{number("clone", amd64), x86, [6]uint64{unix.CLONE_NEWUSER}}, refuse},
		{"socket INET", data{number("socket", amd64), x86, [6]uint64{unix.AF_INET}}, allow},
		{"socket VSOCK", data{number("socket", amd64), x86, [6]uint64{unix.AF_VSOCK}}, refuse},
		{"socket ALG", data{number("socket", amd64), x86, [6]uint64{unix.AF_ALG}}, refuse},
		{"socket VSOCK with dirt in the upper half", data{number("socket", amd64), x86, [6]uint64{1<<32 | unix.AF_VSOCK}}, refuse},
		{"socket ALG with dirt in the upper half", data{number("socket", amd64), x86, [6]uint64{1<<32 | unix.AF_ALG}}, refuse},
		{"newer than the profile", data{5000, x86, [6]uint64{}}, nosys},
		{"newer on i386", data{5000, x86old, [6]uint64{}}, nosys},
		{"newer on x32", data{x32Bit | 5000, x86, [6]uint64{}}, nosys},
		{"another architecture", data{0, unix.AUDIT_ARCH_AARCH64, [6]uint64{}}, unix.SECCOMP_RET_KILL_THREAD},
	} {
		got, _, err := interpret(decode(program), c.d)
		if err != nil || got != c.want {
			t.Errorf("%s: got %#x, want %#x (%v)", c.name, got, c.want, err)
		}
	}
}

// Capabilities open what they stand for.
func TestDefaultFollowsCapabilities(t *testing.T) {
	mount := func(caps ...string) uint32 {
		p, err := Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		program, _, err := Compile(p)
		if err != nil {
			t.Skip(err)
		}
		got, _, err := interpret(decode(program), data{unix.SYS_MOUNT, nativeAudit(t), [6]uint64{}})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := mount(); got != unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM) {
		t.Errorf("without CAP_SYS_ADMIN: %#x", got)
	}
	if got := mount("CAP_SYS_ADMIN"); got != unix.SECCOMP_RET_ALLOW {
		t.Errorf("with CAP_SYS_ADMIN: %#x", got)
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		flags []specs.LinuxSeccompFlag
		want  uint32
		kind  errs.Kind
	}{
		{nil, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, errs.Unknown},
		{[]specs.LinuxSeccompFlag{}, 0, errs.Unknown},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"}, unix.SECCOMP_FILTER_FLAG_LOG, errs.Unknown},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"}, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, errs.Unknown},
		{[]specs.LinuxSeccompFlag{"LOG"}, 0, errs.InvalidParameter},
	} {
		_, got, err := compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: c.flags}, "amd64")
		if got != c.want || errs.KindOf(err) != c.kind {
			t.Errorf("%q: got %#x, %v", c.flags, got, err)
		}
		notify := []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActNotify}}
		want := c.want | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		if slices.Contains(c.flags, specs.LinuxSeccompFlagWaitKillableRecv) {
			want |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		}
		_, got, err = compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: c.flags, Syscalls: notify}, "amd64")
		if err == nil && got != want || errs.KindOf(err) != c.kind {
			t.Errorf("%q with a listener: got %#x, %v", c.flags, got, err)
		}
	}
}

func TestErrors(t *testing.T) {
	rule := func(s specs.LinuxSyscall) *specs.LinuxSeccomp {
		s.Names = []string{"read"}
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{s}}
	}
	arg := func(a specs.LinuxSeccompArg) *specs.LinuxSeccomp {
		return rule(specs.LinuxSyscall{Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{a}})
	}
	errno := uint(4096)
	big := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for i := range uint64(900) {
		big.Syscalls = append(big.Syscalls, specs.LinuxSyscall{Names: []string{"clone"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Op: specs.OpEqualTo, Value: i}}})
	}
	for _, c := range []struct {
		name, goarch string
		p            *specs.LinuxSeccomp
		kind         errs.Kind
		want         string
	}{
		{"no default action", "amd64", &specs.LinuxSeccomp{}, errs.InvalidParameter, "unknown action"},
		{"an unknown action", "amd64", rule(specs.LinuxSyscall{Action: "SCMP_ACT_X"}), errs.InvalidParameter, `rule 1 of the profile, for ["read"]`},
		{"notify by default", "amd64", &specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, errs.InvalidParameter, "cannot be the default action"},
		{"notify of write", "amd64", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "write"}, Action: specs.ActNotify}}},
			errs.InvalidParameter, "cannot be used for the write syscall"},
		{"an architecture of nobody", "amd64", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_X"}}, errs.InvalidParameter, `"SCMP_ARCH_X"`},
		{"an operator", "amd64", arg(specs.LinuxSeccompArg{Op: "SCMP_CMP_X"}), errs.InvalidParameter, "unknown operator"},
		{"a seventh argument", "amd64", arg(specs.LinuxSeccompArg{Index: 6, Op: specs.OpEqualTo}), errs.InvalidParameter, "no argument 6"},
		{"a huge errno", "amd64", rule(specs.LinuxSyscall{Action: specs.ActErrno, ErrnoRet: &errno}), errs.InvalidParameter, "4096"},
		{"an architecture", "amd64", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"x86"}}, errs.InvalidParameter, `"x86"`},
		{"a host without a table", "riscv64", &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, errs.NotImplemented, "riscv64"},
		{"too big", "amd64", big, errs.InvalidParameter, "4096"},
	} {
		_, _, err := compile(c.p, c.goarch)
		if errs.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v, want %v with %q", c.name, err, c.kind, c.want)
		}
	}
	if program, _, err := Compile(nil); program != nil || err != nil {
		t.Errorf("nil: %v, %v", program, err)
	}
}

// Sections longer than a conditional jump reaches.
func TestLongJumps(t *testing.T) {
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: families["amd64"]}
	for i, name := range []string{"read", "clone", "socket", "ioctl", "openat2"} {
		for v := range uint64(30) {
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
				{Index: uint(i), Op: specs.OpEqualTo, Value: 3 * v}, {Index: 5, Op: specs.OpLessThan, Value: v << 31}}})
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	calls := randomCalls(r, p, "amd64", 4000)
	for i := range calls {
		calls[i].args[r.IntN(5)] = uint64(r.IntN(200))
	}
	verify(t, p, "amd64", calls)
}

func TestTable(t *testing.T) {
	seen := make(map[[2]int32]string)
	for i, c := range table {
		if i > 0 && table[i-1].name >= c.name {
			t.Errorf("%s is not in order", c.name)
		}
		for column, number := range c.number {
			key := [2]int32{int32(column), number}
			if old, ok := seen[key]; ok && number >= 0 && c.name != "sync_file_range2" {
				t.Errorf("column %d: %s and %s are both %d", column, old, c.name, number)
			}
			seen[key] = c.name
		}
		if name := c.name; name != strings.ToLower(name) || strings.Contains(name, " ") {
			t.Errorf("odd name %q", name)
		}
	}
	if len(table) < 480 {
		t.Errorf("only %d calls", len(table))
	}
}

// The table is what the generator makes of the x/sys that go.mod names.
func TestTableIsUpToDate(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	want, err := exec.Command("go", "run", "./gen").Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("table.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("table.go is not what `go generate` gives: run it")
	}
}

func TestFromProfileJSON(t *testing.T) {
	p, err := FromProfileJSON([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"archMap":[
		{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],
		"syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},
		{"name":"mount","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
		{"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"200.0"}},
		{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}],"excludes":{"caps":["CAP_SYS_ADMIN"]}}]}`),
		[]string{"CAP_SYS_ADMIN"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range p.Syscalls {
		names = append(names, s.Names...)
	}
	if got := strings.Join(names, " "); got != "read write mount ptrace" {
		t.Errorf("rules for %s", got)
	}
	if len(p.Architectures) != 2 || *p.DefaultErrnoRet != 38 {
		t.Errorf("%+v", p)
	}
	for _, text := range []string{"", "x", "[]", `{"syscalls":[null]}`, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"]}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}`,
		`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"includes":{"minKernel":"x"}}]}`} {
		if _, err := FromProfileJSON([]byte(text), nil); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if p, err := FromProfileJSON([]byte("{}"), nil); p != nil || err != nil {
		t.Errorf("an empty profile: %v, %v", p, err)
	}
}

func nativeAudit(t testing.TB) uint32 {
	m := family(runtime.GOARCH)
	if m == nil {
		t.Skipf("no table for %s", runtime.GOARCH)
	}
	return m[0].audit
}
