package cgroup

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// access is a set of ways to use a device, with the bits of the kernel's
// BPF_DEVCG_ACC_*.
type access uint8

const (
	mknod access = 1 << iota
	read
	write
	everything = mknod | read | write
)

// wildcard stands for any major or minor number.
const wildcard = -1

// exception is one device, or one range of devices, that differs from the
// group's default.
type exception struct {
	kind         byte // 'b' or 'c'
	major, minor int64
	access       access
}

// String prints an exception as devices.allow takes it.
func (e exception) String() string {
	number := func(n int64) string {
		if n == wildcard {
			return "*"
		}
		return decimal(n)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%c %s:%s ", e.kind, number(e.major), number(e.minor))
	for _, a := range []struct {
		bit  access
		name byte
	}{{read, 'r'}, {write, 'w'}, {mknod, 'm'}} {
		if e.access&a.bit != 0 {
			b.WriteByte(a.name)
		}
	}
	return b.String()
}

// covers reports whether each device of o is one of e.
func (e exception) covers(o exception) bool {
	return e.kind == o.kind && (e.major == wildcard || e.major == o.major) && (e.minor == wildcard || e.minor == o.minor)
}

// meets reports whether some device is in both.
func (e exception) meets(o exception) bool {
	same := func(a, b int64) bool { return a == wildcard || b == wildcard || a == b }
	return e.kind == o.kind && same(e.major, o.major) && same(e.minor, o.minor)
}

// rules is what a list of device rules comes to: a default and exceptions from
// it. An access is judged as the kernel's v1 controller judges it: where the
// default is to deny, one exception must grant all that is asked for; where it
// is to allow, an exception that names any of it denies.
type rules struct {
	allow      bool
	exceptions []exception
}

// standardDevices are those that a container has whatever its list of devices
// says, as in runc and crun: any node may be made, the usual ones opened.
var standardDevices = [...]exception{
	{'c', wildcard, wildcard, mknod},
	{'b', wildcard, wildcard, mknod},
	{'c', 1, 3, everything},          // null
	{'c', 1, 5, everything},          // zero
	{'c', 1, 7, everything},          // full
	{'c', 1, 8, everything},          // random
	{'c', 1, 9, everything},          // urandom
	{'c', 5, 0, everything},          // tty
	{'c', 5, 2, everything},          // ptmx
	{'c', 136, wildcard, everything}, // pts
}

// deviceRules reduces a list, in which later entries override earlier ones, to
// rules. It starts from denying all, so that a list of allowed devices without
// a leading "deny all" means what it says. A rule that would cut a hole into an
// earlier exception is an error, since v1 would silently ignore it.
func deviceRules(list []specs.LinuxDeviceCgroup) (rules, error) {
	var r rules
	for _, d := range list {
		acc, err := parseAccess(d.Access)
		if err != nil {
			return rules{}, err
		}
		if acc == 0 {
			continue
		}
		e := exception{major: wildcard, minor: wildcard, access: acc}
		if d.Major != nil {
			e.major = *d.Major
		}
		if d.Minor != nil {
			e.minor = *d.Minor
		}
		if e.major < wildcard || e.minor < wildcard || e.major > 1<<32-1 || e.minor > 1<<32-1 {
			return rules{}, fmt.Errorf("invalid device number %d:%d", e.major, e.minor)
		}
		kinds := "bc"
		switch d.Type {
		case "", "a":
			if e.major == wildcard && e.minor == wildcard && acc == everything {
				r = rules{allow: d.Allow}
				continue
			}
		case "c", "u": // mknod's "u" is the same as "c"
			kinds = "c"
		case "b":
			kinds = "b"
		default:
			return rules{}, fmt.Errorf("invalid device type %q: it must be a, b or c", d.Type)
		}
		for i := range len(kinds) {
			e.kind = kinds[i]
			if d.Allow == r.allow {
				err = r.remove(e)
			} else {
				r.add(e)
			}
			if err != nil {
				return rules{}, err
			}
		}
	}
	if !r.allow {
		for _, e := range standardDevices {
			r.add(e)
		}
	}
	return r, nil
}

func (r *rules) add(e exception) {
	for i, old := range r.exceptions {
		if old.kind == e.kind && old.major == e.major && old.minor == e.minor {
			r.exceptions[i].access |= e.access
			return
		}
	}
	r.exceptions = append(r.exceptions, e)
}

func (r *rules) remove(e exception) error {
	var kept []exception
	for _, old := range r.exceptions {
		switch {
		case e.covers(old):
			if old.access &^= e.access; old.access == 0 {
				continue
			}
		case e.meets(old) && e.access&old.access != 0:
			return fmt.Errorf("device rule %q contradicts a part of the earlier rule %q, which cgroups cannot express", e, old)
		}
		kept = append(kept, old)
	}
	r.exceptions = kept
	return nil
}

func parseAccess(s string) (access, error) {
	var a access
	for _, c := range s {
		switch c {
		case 'r':
			a |= read
		case 'w':
			a |= write
		case 'm':
			a |= mknod
		default:
			return 0, fmt.Errorf("invalid device access %q: it must consist of r, w and m", s)
		}
	}
	return a, nil
}

// v1 returns what to write into a new group's device files. Such a group has
// its parent's rules; allowing all adds nothing to them.
func (r rules) v1() []setting {
	var list []setting
	file := "devices.deny"
	if !r.allow {
		list = append(list, setting{file: file, value: "a"})
		file = "devices.allow"
	}
	return appendDevices(list, file, r.exceptions)
}

func appendDevices(list []setting, file string, devices []exception) []setting {
	if len(devices) == 0 {
		return list
	}
	all := setting{file: file, value: devices[0].String()}
	for _, e := range devices[1:] {
		all.more = append(all.more, e.String())
	}
	return append(list, all)
}

// deviceChange returns what to write into the device files of a v1 group that
// lives. Between two lists of allowed devices only the difference is written,
// so that no device is lost for a moment.
func (p *planner) deviceChange(i int, want rules) []setting {
	text, err := p.group.fs.read(p.group.dirs[i].path + "/devices.list")
	have, ok := parseDevices(text)
	switch {
	case want.allow:
		return append([]setting{{file: "devices.allow", value: "a"}}, want.v1()...)
	case err != nil || !ok || have.allow:
		return want.v1()
	}
	var list []setting
	list = appendDevices(list, "devices.allow", want.without(have))
	return appendDevices(list, "devices.deny", have.without(want))
}

// without returns what r has that other has not, entry by entry, as the kernel
// keeps them: an entry covered by a wider one is one of its own.
func (r rules) without(other rules) (rest []exception) {
	for _, e := range r.exceptions {
		for _, o := range other.exceptions {
			if o.kind == e.kind && o.major == e.major && o.minor == e.minor {
				e.access &^= o.access
			}
		}
		if e.access != 0 {
			rest = append(rest, e)
		}
	}
	return rest
}

// parseDevices reads devices.list. A group that allows all but some devices
// does not tell which.
func parseDevices(text string) (r rules, ok bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return rules{}, false
		}
		if f[0] == "a" {
			return rules{allow: true}, true
		}
		acc, err := parseAccess(f[2])
		major, minor, ok := strings.Cut(f[1], ":")
		e := exception{kind: f[0][0], major: wildcard, minor: wildcard, access: acc}
		if err != nil || !ok || (f[0] != "b" && f[0] != "c") {
			return rules{}, false
		}
		for _, number := range []struct {
			text string
			n    *int64
		}{{major, &e.major}, {minor, &e.minor}} {
			if number.text == "*" {
				continue
			}
			if *number.n, err = strconv.ParseInt(number.text, 10, 64); err != nil {
				return rules{}, false
			}
		}
		r.add(e)
	}
	return r, true
}
