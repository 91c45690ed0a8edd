package spawn

import (
	"os"
	"slices"
	"strings"

	"github.com/davit-engine/davit/runtime/program"
	"golang.org/x/sys/unix"
)

// softFiles is the soft limit of open files for a container whose spec names
// none: the kernel's own default. Go raises it for itself, and nobody should
// inherit that (a million descriptors to close has slowed many programs down).
const softFiles = 1024

// DetectFacts looks at the machine. It takes some 30 microseconds, and what it
// finds holds while the process lives.
func DetectFacts() program.Facts {
	var f program.Facts
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		major, minor := release(unix.ByteSliceToString(u.Release[:]))
		since := func(wantMajor, wantMinor int) bool {
			return major > wantMajor || major == wantMajor && minor >= wantMinor
		}
		f.OverlayFD, f.MappedLayers, f.DetachedLayers = since(6, 13), since(5, 19), since(6, 15)
	}
	var st unix.Statfs_t
	f.CgroupV2 = unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
	f.InUserNS = inUserNS()
	if !f.CgroupV2 {
		list, _ := os.ReadFile("/proc/self/cgroup") // none: there are no cgroups to mount
		f.CgroupV1 = controllers(string(list))
	}
	f.Caps, f.LastCap = capabilities()
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil {
		f.NoFile = program.Limit{Soft: min(l.Max, softFiles), Hard: l.Max}
	}
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled") // none: no AppArmor
	f.AppArmor = strings.HasPrefix(string(enabled), "Y")
	f.SELinux = unix.Statfs("/sys/fs/selinux", &st) == nil && st.Type == unix.SELINUX_MAGIC
	return f
}

// inUserNS reports whether this process is in a user namespace other than the
// first one, which alone maps all ids to themselves.
func inUserNS() bool {
	b, err := os.ReadFile("/proc/self/uid_map") // none: the kernel has no user namespaces
	return err == nil && !slices.Equal(strings.Fields(string(b)), []string{"0", "0", "4294967295"})
}

// release reads "6.18.44-generic".
func release(s string) (major, minor int) {
	for i, n := 0, &major; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			*n = *n*10 + int(c-'0')
		case c == '.' && n == &major:
			n = &minor
		default:
			return major, minor
		}
	}
	return major, minor
}

// controllers reads /proc/self/cgroup: lines of "4:cpu,cpuacct:/path"; v1
// hierarchies have a name there, the unified one has none.
func controllers(list string) (out []program.Controller) {
	for line := range strings.Lines(list) {
		_, rest, _ := strings.Cut(line, ":")
		names, _, ok := strings.Cut(rest, ":")
		if !ok || names == "" {
			continue
		}
		c := program.Controller{Dir: names, Options: names}
		if dir, named := strings.CutPrefix(names, "name="); named {
			c = program.Controller{Dir: dir, Options: "none," + names}
		}
		out = append(out, c)
	}
	return out
}

// capabilities returns those that this process has and may pass on, and the
// highest that the kernel knows.
func capabilities() (grantable uint64, last int) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if unix.Capget(&h, &d[0]) == nil {
		grantable = uint64(d[0].Permitted) | uint64(d[1].Permitted)<<32
	}
	for last = -1; last < 63; last++ {
		n := last + 1
		r, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break
		}
		if r != 1 {
			grantable &^= 1 << n
		}
	}
	return grantable, max(last, 0)
}
