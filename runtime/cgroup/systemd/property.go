package systemd

import (
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/cgroup/dbus"
)

// property is a property of a unit.
type property struct {
	name, signature string
	value           func(*dbus.Encoder)
}

func text(name, v string) property {
	return property{name, "s", func(e *dbus.Encoder) { e.String(v) }}
}

func boolean(name string, v bool) property {
	return property{name, "b", func(e *dbus.Encoder) { e.Bool(v) }}
}

func number(name string, v uint64) property {
	return property{name, "t", func(e *dbus.Encoder) { e.Uint64(v) }}
}

func pids(v int) property {
	return property{"PIDs", "au", func(e *dbus.Encoder) { e.Array(4, func() { e.Uint32(uint32(v)) }) }}
}

func bits(name string, v []byte) property {
	return property{name, "ay", func(e *dbus.Encoder) { e.Bytes(v) }}
}

func encodeProperties(e *dbus.Encoder, list []property) {
	e.Array(8, func() {
		for _, p := range list {
			e.Struct()
			e.String(p.name)
			e.Signature(p.signature)
			p.value(e)
		}
	})
}

// infinity is systemd's word for no limit.
const infinity = math.MaxUint64

// Versions of systemd that brought properties.
const (
	sinceQuotaPeriod = 242
	sinceCpusets     = 244
	sinceIdle        = 252
)

// numbers are the files of a group whose value, a number or max, is a
// property's as it is.
var numbers = map[string]string{
	"memory.max": "MemoryMax", "memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin",
	"memory.swap.max": "MemorySwapMax", "memory.limit_in_bytes": "MemoryLimit",
	"cpu.shares": "CPUShares", "blkio.weight": "BlockIOWeight", "pids.max": "TasksMax",
}

// properties translates a group's settings for a systemd of this version. now
// reads a file of the group, and gives nothing where there is none yet. Files
// that have no property are left out.
func properties(settings []cgroup.Setting, version int, now func(file string) string) (list []property, err error) {
	values := make(map[string]string, len(settings))
	for _, s := range settings {
		values[s.File] = s.Value
	}
	for _, s := range settings {
		if values[s.File] != s.Value {
			continue // a later one for the same file follows
		}
		v := strings.TrimSpace(s.Value)
		if name := numbers[s.File]; name != "" {
			n, err := limit(v)
			if err != nil {
				return nil, errs.New(errs.InvalidParameter, "invalid value %q of %s: %w", v, s.File, err)
			}
			list = append(list, number(name, n))
			continue
		}
		switch s.File {
		case "cpu.idle":
			if v == "1" && version >= sinceIdle {
				list = append(list, number("CPUWeight", 0))
			}
		case "cpu.weight":
			if values["cpu.idle"] == "1" && version >= sinceIdle {
				continue // an idle group has none
			}
			n, err := limit(v)
			if err != nil {
				return nil, errs.New(errs.InvalidParameter, "invalid value %q of %s: %w", v, s.File, err)
			}
			list = append(list, number("CPUWeight", n))
		case "cpu.max":
			quota, period, _ := strings.Cut(v, " ")
			list, err = appendQuota(list, version, quota, period)
		case "cpu.cfs_quota_us":
			period := values["cpu.cfs_period_us"]
			if period == "" {
				period = now("cpu.cfs_period_us")
			}
			list, err = appendQuota(list, version, v, period)
		case "cpu.cfs_period_us":
			if values["cpu.cfs_quota_us"] == "" {
				list, err = appendQuota(list, version, now("cpu.cfs_quota_us"), v)
			}
		case "cpuset.cpus", "cpuset.mems":
			if version < sinceCpusets {
				continue
			}
			set, err := parseSet(v)
			if err != nil {
				return nil, errs.New(errs.InvalidParameter, "invalid value %q of %s: %w", v, s.File, err)
			}
			list = append(list, bits(map[string]string{"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}[s.File], set))
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// limit reads a number of which max, and -1 on v1, means no limit.
func limit(v string) (uint64, error) {
	if v == "max" || v == "-1" {
		return infinity, nil
	}
	return strconv.ParseUint(v, 10, 64)
}

// defaultPeriod is the kernel's scheduling period, in microseconds.
const defaultPeriod = 100000

// appendQuota adds the properties for a quota in a period, in microseconds.
// systemd counts in whole percents of a CPU. It is told to allow rather more
// than less: the group's own file has the quota to the microsecond.
func appendQuota(list []property, version int, quota, period string) ([]property, error) {
	every := uint64(defaultPeriod)
	if period != "" {
		n, err := strconv.ParseUint(period, 10, 64)
		if err != nil || n == 0 {
			return nil, errs.New(errs.InvalidParameter, "invalid CPU period %q", period)
		}
		every = n
		if version >= sinceQuotaPeriod {
			list = append(list, number("CPUQuotaPeriodUSec", n))
		}
	}
	if quota == "" {
		return list, nil
	}
	n, err := limit(quota)
	if err != nil || n != infinity && n > math.MaxUint64/1000000 {
		return nil, errs.New(errs.InvalidParameter, "invalid CPU quota %q", quota)
	}
	if n != infinity {
		const percent = 10000 // of a second, in microseconds
		n = (n*1000000/every + percent - 1) / percent * percent
	}
	return append(list, number("CPUQuotaPerSecUSec", n)), nil
}

// maxMember bounds the sets of CPUs and memory nodes (the kernel's CONFIG_NR_CPUS).
const maxMember = 8191

// parseSet reads a list such as "0-3,7" as a bit mask, lowest byte first.
func parseSet(list string) ([]byte, error) {
	var mask []byte
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, err
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil {
			return nil, err
		}
		if from > to || to > maxMember {
			return nil, errs.New(errs.InvalidParameter, "invalid range %q", part)
		}
		for n := from; n <= to; n++ {
			for uint64(len(mask)) <= n/8 {
				mask = append(mask, 0)
			}
			mask[n/8] |= 1 << (n % 8)
		}
	}
	if len(mask) == 0 {
		return nil, errs.New(errs.InvalidParameter, "the set is empty")
	}
	return mask, nil
}

// deviceProperties translates device rules in the words of devices.allow.
// known has the lines of /proc/devices. What systemd cannot say is left out;
// the group's own rules have it.
func deviceProperties(rules []string, every bool, known string) []property {
	type allowed struct{ path, access string }
	var list []allowed
	policy := "strict"
	if every {
		policy, rules = "auto", nil
	}
	for _, r := range rules {
		f := strings.Fields(r)
		if len(f) != 3 {
			continue
		}
		kind := map[string]string{"c": "char", "b": "block"}[f[0]]
		major, minor, _ := strings.Cut(f[1], ":")
		switch {
		case major == "*" && minor == "*":
			list = append(list, allowed{kind + "-*", f[2]})
		case major == "*":
		case minor == "*":
			if name := driver(known, kind, major); name != "" {
				list = append(list, allowed{kind + "-" + name, f[2]})
			}
		default:
			list = append(list, allowed{"/dev/" + kind + "/" + f[1], f[2]})
		}
	}
	allow := func(list []allowed) property {
		return property{"DeviceAllow", "a(ss)", func(e *dbus.Encoder) {
			e.Array(8, func() {
				for _, a := range list {
					e.Struct()
					e.String(a.path)
					e.String(a.access)
				}
			})
		}}
	}
	// An empty list clears what was allowed before.
	all := []property{text("DevicePolicy", policy), allow(nil)}
	if len(list) > 0 {
		all = append(all, allow(list))
	}
	return all
}

// driver returns the name that /proc/devices has for a major number.
func driver(known, kind, major string) string {
	section := ""
	for line := range strings.Lines(known) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[1] == "devices:":
			section = f[0]
		case len(f) == 2 && f[0] == major && strings.EqualFold(section, map[string]string{"char": "Character", "block": "Block"}[kind]):
			return f[1]
		}
	}
	return ""
}

// readFile returns what a file holds, or nothing.
func readFile(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
