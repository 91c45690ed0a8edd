package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/spec"
)

func (e *explainer) limits() {
	e.group = "limits"
	h := e.host
	none := len(e.facts)
	size := func(n int64) string {
		if n < 0 {
			return "unlimited"
		}
		return units.BytesSize(float64(n))
	}
	number := func(name string, n int64) {
		if n != 0 {
			e.add(name, strconv.FormatInt(n, 10), dialect.FromUser)
		}
	}
	if h.Memory != 0 {
		e.add("memory", size(h.Memory), dialect.FromUser)
	}
	if h.MemorySwap != 0 {
		e.add("memory with swap", size(h.MemorySwap), e.from("MemorySwap", true))
	}
	if h.MemoryReservation != 0 {
		e.add("memory reservation", size(h.MemoryReservation), dialect.FromUser)
	}
	if h.NanoCPUs != 0 {
		e.add("CPUs", strconv.FormatFloat(float64(h.NanoCPUs)/1e9, 'g', -1, 64), dialect.FromUser)
	}
	number("CPU shares", h.CPUShares)
	number("CPU period", h.CPUPeriod)
	number("CPU quota", h.CPUQuota)
	if h.CpusetCpus != "" {
		e.add("CPU set", h.CpusetCpus, dialect.FromUser)
	}
	if h.PidsLimit != nil {
		number("processes", *h.PidsLimit)
	}
	number("block I/O weight", int64(h.BlkioWeight))
	number("OOM score", int64(h.OomScoreAdj))
	if len(e.facts) == none {
		e.add("memory, CPUs, processes", "unlimited", dialect.FromDefault)
	}
	for _, r := range e.Spec.Process.Rlimits {
		name := strings.ToLower(strings.TrimPrefix(r.Type, "RLIMIT_"))
		from := e.unlessGiven("default-ulimits")
		if slices.ContainsFunc(h.Ulimits, func(u *container.Ulimit) bool { return u.Name == name }) {
			from = dialect.FromUser
		}
		e.add("ulimit "+name, fmt.Sprintf("%d:%d", r.Soft, r.Hard), from)
	}
}

func (e *explainer) security() {
	e.group = "security"
	h := e.host
	if h.Privileged {
		e.add("privileged", "yes: nothing of the host is kept from it", dialect.FromUser)
	}
	caps, from := "none", dialect.FromDefault
	if c := e.Spec.Process.Capabilities; c != nil && len(c.Bounding) > 0 {
		caps = strings.ReplaceAll(strings.Join(c.Bounding, " "), "CAP_", "")
	}
	if h.Privileged || len(h.CapAdd)+len(h.CapDrop) > 0 {
		from = dialect.FromUser
	}
	e.add("capabilities", caps, from)
	from = dialect.FromDefault
	option := func(prefix string) bool {
		return slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, prefix) })
	}
	if h.Privileged || option("seccomp") {
		from = dialect.FromUser
	} else {
		from = e.unlessGiven("seccomp-profile")
	}
	e.add("system calls", e.Seccomp, from)
	if e.Spec.Process.NoNewPrivileges {
		from = e.unlessGiven("no-new-privileges")
		if option("no-new-privileges") {
			from = dialect.FromUser
		}
		e.add("new privileges", "no: set-uid programs give none", from)
	}
	if n := len(e.Spec.Linux.MaskedPaths) + len(e.Spec.Linux.ReadonlyPaths); n > 0 {
		from = dialect.FromDefault
		if h.MaskedPaths != nil || h.ReadonlyPaths != nil {
			from = dialect.FromUser
		}
		e.add("kernel files", fmt.Sprintf("%d hidden, %d read-only", len(e.Spec.Linux.MaskedPaths), len(e.Spec.Linux.ReadonlyPaths)), from)
	}
	e.namespaces()
	for _, k := range slices.Sorted(maps.Keys(h.Sysctls)) {
		e.add("sysctl "+k, h.Sysctls[k], dialect.FromUser)
	}
}

func (e *explainer) namespaces() {
	h := e.host
	mode := func(name, value, private, key string) {
		from := dialect.FromUser
		if value == "" {
			value, from = private, dialect.FromDefault
			if key != "" {
				from = e.unlessGiven(key)
			}
		}
		e.add(name+" namespace", value, from)
	}
	mode("pid", string(h.PidMode), "private", "")
	mode("ipc", string(h.IpcMode), string(cmp.Or(e.Defaults.IPC, "private")), "default-ipc-mode")
	mode("uts", string(h.UTSMode), "private", "")
	mode("cgroup", string(h.CgroupnsMode), string(spec.CgroupNS(e.Record, e.Defaults)), "default-cgroupns-mode")
	users := "host"
	if u := e.Record.UserNS; u != nil {
		users = "private"
		if uid, _ := u.Root(); u.Private() {
			users = fmt.Sprintf("private: root is uid %d of the host", uid)
		}
		if u.Of != "" {
			users = "of container " + u.Of
		}
	}
	from := e.unlessGiven("default-userns")
	if h.UsernsMode != "" {
		from = dialect.FromUser
	}
	e.add("user namespace", users, from)
}
