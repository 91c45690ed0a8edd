package cgroup

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func rule(allow bool, kind string, major, minor int64, acc string) specs.LinuxDeviceCgroup {
	d := specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Access: acc}
	if major != wildcard {
		d.Major = &major
	}
	if minor != wildcard {
		d.Minor = &minor
	}
	return d
}

func TestDeviceRules(t *testing.T) {
	const std = "c *:* m, b *:* m, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, c 1:8 rwm, c 1:9 rwm, c 5:0 rwm, c 5:2 rwm, c 136:* rwm"
	denyAll, allowAll := rule(false, "a", -1, -1, "rwm"), rule(true, "", -1, -1, "rwm")
	for _, c := range []struct {
		name string
		list []specs.LinuxDeviceCgroup
		want string
	}{
		{"deny all", []specs.LinuxDeviceCgroup{denyAll}, "deny; " + std},
		{"allow all", []specs.LinuxDeviceCgroup{denyAll, allowAll}, "allow; "},
		{"no default", []specs.LinuxDeviceCgroup{rule(true, "b", 8, 0, "r")}, "deny; b 8:0 r, " + std},
		{"merged", []specs.LinuxDeviceCgroup{denyAll, rule(true, "c", 1, 3, "r"), rule(true, "c", 1, 3, "w"), rule(true, "u", 9, 9, "m")},
			"deny; c 1:3 rwm, c 9:9 m, " + strings.Replace(std, "c 1:3 rwm, ", "", 1)},
		{"taken back", []specs.LinuxDeviceCgroup{rule(true, "b", 8, 0, "rw"), rule(true, "b", 8, 1, "rw"), rule(false, "b", 8, -1, "w")},
			"deny; b 8:0 r, b 8:1 r, " + std},
		{"all kinds of a number", []specs.LinuxDeviceCgroup{rule(true, "a", 7, 7, "rw")}, "deny; b 7:7 rw, c 7:7 rw, " + std},
		{"some access to all", []specs.LinuxDeviceCgroup{rule(true, "a", -1, -1, "r")}, "deny; b *:* rm, c *:* rm, " + std[len("c *:* m, b *:* m, "):]},
		{"holes in allow", []specs.LinuxDeviceCgroup{allowAll, rule(false, "b", 8, -1, "w"), rule(false, "c", 1, 1, "rwm")}, "allow; b 8:* w, c 1:1 rwm"},
		{"no access", []specs.LinuxDeviceCgroup{allowAll, rule(false, "b", 8, -1, "")}, "allow; "},
	} {
		r, err := deviceRules(c.list)
		var list []string
		for _, e := range r.exceptions {
			list = append(list, e.String())
		}
		got := map[bool]string{true: "allow; ", false: "deny; "}[r.allow] + strings.Join(list, ", ")
		if err != nil || got != c.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", c.name, err, got, c.want)
		}
	}
	_, err := deviceRules([]specs.LinuxDeviceCgroup{denyAll, rule(true, "b", 8, -1, "rw"), rule(false, "b", 8, 1, "w")})
	if err == nil {
		t.Error("a hole in an exception is accepted")
	}
}

// allows judges an access as the kernel's v1 controller does.
func (r rules) allows(kind byte, major, minor int64, acc access) bool {
	for _, e := range r.exceptions {
		if !e.covers(exception{kind: kind, major: major, minor: minor}) {
			continue
		}
		if r.allow && e.access&acc != 0 {
			return false
		}
		if !r.allow && acc&^e.access == 0 {
			return true
		}
	}
	return r.allow
}

// interpret runs the few instructions that device programs consist of.
func interpret(code []bpfInstruction, context [3]uint32) (result uint64, err error) {
	var reg [11]uint64
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		switch in.code {
		case opLoad:
			reg[in.dst] = uint64(context[in.offset/4])
		case opMove:
			reg[in.dst] = uint64(uint32(reg[in.src]))
		case opSet:
			reg[in.dst] = uint64(int64(in.imm))
		case opAnd:
			reg[in.dst] = uint64(uint32(reg[in.dst]) & uint32(in.imm))
		case opShift:
			reg[in.dst] = uint64(uint32(reg[in.dst]) >> in.imm)
		case opUnless:
			if uint32(reg[in.dst]) != uint32(in.imm) {
				pc += int(in.offset)
			}
		case opIfEqual:
			if uint32(reg[in.dst]) == uint32(in.imm) {
				pc += int(in.offset)
			}
		case opExit:
			return reg[regResult], nil
		default:
			return 0, fmt.Errorf("unknown instruction %#x at %d", in.code, pc)
		}
	}
	return 0, fmt.Errorf("ran off the end")
}

func TestDeviceProgramFollowsTheRules(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	number := func() int64 { return []int64{wildcard, 0, 1, 5, 1<<32 - 1}[random.IntN(5)] }
	allowed := 0
	for range 3000 {
		r := rules{allow: random.IntN(2) == 0}
		for range random.IntN(6) {
			r.add(exception{"bc"[random.IntN(2)], number(), number(), access(1 + random.IntN(7))})
		}
		code := r.program()
		for range 50 {
			kind, major, minor, acc := random.IntN(2), max(number(), 0), max(number(), 0), access(1+random.IntN(7))
			got, err := interpret(code, [3]uint32{uint32(acc)<<16 | uint32(kind+1), uint32(major), uint32(minor)})
			want := r.allows("bc"[kind], major, minor, acc)
			if err != nil || (got == 1) != want || got > 1 {
				t.Fatalf("%v: rules %+v, %c %d:%d access %d: got %d, want %v", err, r, "bc"[kind], major, minor, acc, got, want)
			}
			allowed += int(got)
		}
	}
	if allowed == 0 {
		t.Error("nothing was ever allowed")
	}
}

// The kernel's verifier takes the program, and it works.
func TestDeviceProgramInTheKernel(t *testing.T) {
	h := real(t, isV2)
	c := mustCreate(t, h, parent(t, h)+"/devices", nil)
	r, err := deviceRules([]specs.LinuxDeviceCgroup{rule(false, "a", -1, -1, "rwm"), rule(true, "c", 1, 11, "w")})
	if err != nil {
		t.Fatal(err)
	}
	if err := setDeviceProgram(c.dirs[0].path, r.program()); err != nil {
		if strings.Contains(err.Error(), unix.ENOSYS.Error()) || strings.Contains(err.Error(), unix.EINVAL.Error()) {
			t.Skipf("this kernel has no device programs: %v", err)
		}
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, n := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"kmsg", 1, 11}, {"vcs", 7, 0}} {
		if err := unix.Mknod(dir+"/"+n.name, unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor))); err != nil {
			t.Skip(err)
		}
	}
	script := `set -e; cd ` + dir + `
: < null
: > null
: >> kmsg
if (: < kmsg) 2>/dev/null; then echo kmsg can be read; exit 1; fi
if (: < vcs) 2>/dev/null; then echo vcs can be read; exit 1; fi
(: < vcs) 2>&1 | grep -q "not permitted"
mknod made c 7 1`
	if err := run(t, c, script).Wait(); err != nil {
		t.Error(err)
	}
}
