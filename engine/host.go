package engine

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// hostFacts is what does not change while the engine runs.
type hostFacts struct {
	cgroupV2     bool
	capabilities []string // known to the kernel and held by the engine
	controllers  map[string]bool
	swap         bool   // limits of swap can be set
	nofile       uint64 // hard limit of open files
	oomScoreAdj  int    // the engine's own
	thermal      []string
	memory       int64    // bytes
	overlay      []string // options of each overlay
	kernel       string
	osName       string
	osVersion    string
}

func detectHost() (*hostFacts, error) {
	h := &hostFacts{}
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return nil, errs.New(errs.System, "looking for cgroups in /sys/fs/cgroup: %w: mount them, or start the engine where they are mounted", err)
	}
	h.cgroupV2 = fs.Type == unix.CGROUP2_SUPER_MAGIC
	h.controllers = controllers(h.cgroupV2)
	h.swap = h.has("memory") && countsSwap(h.cgroupV2)
	known, err := capability.ListSupported()
	if err != nil {
		return nil, fmt.Errorf("listing the kernel's capabilities: %w", err)
	}
	own, err := capability.NewPid2(0)
	if err == nil {
		err = own.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the engine's capabilities: %w", err)
	}
	for _, c := range known {
		if own.Get(capability.BOUNDING, c) && own.Get(capability.PERMITTED, c) {
			h.capabilities = append(h.capabilities, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return nil, fmt.Errorf("reading the limit of open files: %w", err)
	}
	h.nofile = lim.Max
	adj, err := os.ReadFile("/proc/self/oom_score_adj")
	if err == nil {
		h.oomScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(adj)))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the engine's oom_score_adj: %w", err)
	}
	h.thermal, _ = filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	h.overlay = overlayOptions("/sys/module/overlay/parameters")
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		h.memory = int64(info.Totalram) * int64(info.Unit)
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err == nil {
		h.kernel = unix.ByteSliceToString(uts.Release[:])
	}
	h.osName, h.osVersion = osRelease()
	return h, nil
}

// name returns the host's name as it is now.
func (*hostFacts) name() string {
	n, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return n
}

// has reports whether limits of a cgroup controller can be set.
func (h *hostFacts) has(controller string) bool { return h.controllers[controller] }

// controllers lists the cgroup controllers that can be used: on v1 those of
// the hierarchies that are mounted.
func controllers(v2 bool) map[string]bool {
	found := map[string]bool{}
	if v2 {
		data, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
		for _, c := range strings.Fields(string(data)) {
			found[c] = true
		}
		return found
	}
	data, _ := os.ReadFile("/proc/self/cgroup")
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.SplitN(line, ":", 3); len(f) == 3 {
			for _, c := range strings.Split(f[1], ",") {
				found[c] = true
			}
		}
	}
	return found
}

// countsSwap reports whether the kernel limits swap by group. The root group of
// v2 has no files of limits, but shows the controller's statistics.
func countsSwap(v2 bool) bool {
	if v2 {
		stat, err := os.ReadFile("/sys/fs/cgroup/memory.stat")
		return err != nil || strings.Contains(string(stat), "pswpin") || strings.Contains(string(stat), "swapcached")
	}
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

func numCPU() int { return runtime.NumCPU() }

// osRelease returns PRETTY_NAME and VERSION_ID of os-release(5).
func osRelease() (name, version string) {
	name = "Linux"
	for _, p := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			k, v, _ := strings.Cut(line, "=")
			switch v = strings.Trim(v, `"'`); k {
			case "PRETTY_NAME":
				name = v
			case "VERSION_ID":
				version = v
			}
		}
		break
	}
	return name, version
}

// engineIDFile is the file of the data root that keeps the engine's identity.
const engineIDFile = "engine-id"

// engineID returns the engine's own identity, which is made once per data
// root.
func engineID(root string) (string, error) {
	path := filepath.Join(root, engineIDFile)
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return strings.TrimSpace(string(data)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the engine's ID: %w", err)
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("making the engine's ID: %w", err)
	}
	h := hex.EncodeToString(raw[:])
	id := strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
	if err := record.WriteFile(path, []byte(id+"\n"), 0o600, true); err != nil {
		return "", fmt.Errorf("writing the engine's ID: %w", err)
	}
	return id, nil
}

// mapDevice reads what a --device asks for: a device node, at its path in the
// container, with its rule for the device cgroup. A directory gives every
// device node in it. src and target are the same place on the host and in the
// container.
func mapDevice(m container.DeviceMapping) (found []specs.LinuxDevice, src, target string, err error) {
	if m.PathOnHost == "" {
		return nil, "", "", errs.New(errs.InvalidParameter, "--device: the path on the host is empty")
	}
	for _, c := range m.CgroupPermissions {
		if c != 'r' && c != 'w' && c != 'm' {
			return nil, "", "", errs.New(errs.InvalidParameter, "invalid device mode %q for %s", m.CgroupPermissions, m.PathOnHost)
		}
	}
	target = filepath.Clean(m.PathInContainer)
	if m.PathInContainer == "" {
		target = filepath.Clean(m.PathOnHost)
	}
	src, err = filepath.EvalSymlinks(m.PathOnHost)
	if err != nil {
		return nil, "", "", errs.New(errs.InvalidParameter, "error gathering device information while adding custom device %q: no such file or directory", m.PathOnHost)
	}
	info, err := os.Stat(src)
	if err != nil {
		return nil, "", "", errs.Wrap(errs.InvalidParameter, err)
	}
	if !info.IsDir() {
		d, err := deviceAt(src, target)
		if err != nil {
			return nil, "", "", err
		}
		return []specs.LinuxDevice{*d}, src, target, nil
	}
	if found = devicesBelow(src, target); len(found) == 0 {
		return nil, "", "", errs.New(errs.InvalidParameter, "error gathering device information while adding custom device %q: no device nodes in it", m.PathOnHost)
	}
	return found, src, target, nil
}

func deviceAt(path, target string) (*specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, errs.New(errs.InvalidParameter, "error gathering device information while adding custom device %q: %w", path, err)
	}
	d := &specs.LinuxDevice{Path: target, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), UID: &st.Uid, GID: &st.Gid}
	mode := os.FileMode(st.Mode & 0o777)
	d.FileMode = &mode
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = "c"
	case unix.S_IFBLK:
		d.Type = "b"
	default:
		return nil, errs.New(errs.InvalidParameter, "error gathering device information while adding custom device %q: not a device node", path)
	}
	return d, nil
}

// devicesBelow lists the device nodes below a directory of the host, without
// those that each container has its own of.
func devicesBelow(root, target string) []specs.LinuxDevice {
	var out []specs.LinuxDevice
	_ = filepath.WalkDir(root, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // a node that went away while we looked
		}
		rel, _ := filepath.Rel(root, p)
		if entry.IsDir() {
			switch entry.Name() {
			case "pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev":
				return fs.SkipDir
			}
			return nil
		}
		if rel == "console" || entry.Type()&fs.ModeDevice == 0 {
			return nil
		}
		if d, err := deviceAt(p, filepath.Join(target, rel)); err == nil {
			out = append(out, *d)
		}
		return nil
	})
	return out
}

// overlayOptions returns what turns off in each overlay what some kernels turn
// on by default: to keep a renamed directory, or a file whose owner has
// changed, in the container's layer as a reference to the image's. Then the
// layer alone would not say what is in it, and nothing that is made of it, such
// as an image, would be whole.
func overlayOptions(parameters string) (options []string) {
	for _, name := range []string{"redirect_dir", "metacopy"} {
		value, err := os.ReadFile(filepath.Join(parameters, name))
		if err == nil && strings.TrimSpace(string(value)) == "Y" {
			options = append(options, name+"=off")
		}
	}
	return options
}
