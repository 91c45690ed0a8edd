package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cgroupRoot is where hierarchies are mounted, v1 and v2 alike.
const cgroupRoot = "/sys/fs/cgroup"

// programs are the names of ours in the list of processes.
var programs = []string{"davit", "davitd", "davit-shim", "davit-init", "davit-registry"}

// Snapshot is what a host holds of the kinds of thing that an engine makes.
type Snapshot struct {
	Mounts     []string `json:"mounts"`     // mount points in our mount namespace
	Links      []string `json:"links"`      // network interfaces
	Tables     []string `json:"tables"`     // nftables tables: "inet davit"
	Cgroups    []string `json:"cgroups"`    // directories below /sys/fs/cgroup
	Processes  []string `json:"processes"`  // ours by name, and all that live in namespaces other than init's
	Namespaces []string `json:"namespaces"` // network namespaces that have a process or a name
	Files      []string `json:"files"`      // davit's in /tmp, /run, /var/lib
}

// Take makes a snapshot of the host.
func Take() (Snapshot, error) {
	var s Snapshot
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return s, err
	}
	for _, m := range mounts {
		s.Mounts = append(s.Mounts, m.Mountpoint)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return s, fmt.Errorf("listing network interfaces: %w", err)
	}
	for _, l := range links {
		s.Links = append(s.Links, l.Type()+" "+l.Attrs().Name)
	}
	if s.Tables, err = tables(); err != nil {
		return s, fmt.Errorf("listing nftables tables: %w", err)
	}
	s.Cgroups = cgroups("")
	s.Processes, s.Namespaces = processes()
	for _, pattern := range []string{"/tmp/dv*", "/tmp/davit*", "/run/davit*", "/run/netns/*", "/var/lib/davit*", "/var/run/docker.sock"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return s, err
		}
		s.Files = append(s.Files, files...)
	}
	return s, nil
}

// Since lists what s has and an earlier snapshot has not.
func (s Snapshot) Since(earlier Snapshot) []string {
	var left []string
	for _, kind := range []struct {
		name       string
		now, early []string
	}{
		{"mount", s.Mounts, earlier.Mounts}, {"link", s.Links, earlier.Links}, {"nft table", s.Tables, earlier.Tables},
		{"cgroup", s.Cgroups, earlier.Cgroups}, {"process", s.Processes, earlier.Processes},
		{"network namespace", s.Namespaces, earlier.Namespaces}, {"file", s.Files, earlier.Files},
	} {
		rest := slices.Clone(kind.early)
		for _, x := range kind.now {
			if i := slices.Index(rest, x); i >= 0 {
				rest = slices.Delete(rest, i, i+1) // one mount point may stand there twice
				continue
			}
			left = append(left, kind.name+" "+x)
		}
	}
	return left
}

// leftovers waits for what goes by itself, removes the bridge and the table,
// which outlive an engine by design, and lists the rest.
func (e *Engine) leftovers(pids []int) []string {
	var left []string
	note := func(what string, err error) {
		if err != nil {
			left = append(left, what+": "+err.Error())
		}
	}
	const patience = 10 * time.Second // removing a veth takes the kernel some 20 ms; a hundred, 2 s
	for _, pid := range pids {
		note("process", poll(patience, func() error {
			if c := comm(pid); c != "" && state(pid) != 'Z' {
				return fmt.Errorf("%d (%s) still runs", pid, c)
			}
			return nil
		}))
	}
	note("veth", poll(patience, e.portsGone))
	note("bridge", e.removeBridge())
	note("mount", poll(patience, func() error {
		mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return !strings.HasPrefix(m.Mountpoint, e.Root+"/"), false })
		if err == nil && len(mounts) > 0 {
			err = fmt.Errorf("%d below %s, the first at %s", len(mounts), e.Root, mounts[0].Mountpoint)
		}
		return err
	}))
	note("cgroup", poll(patience, func() error {
		for _, g := range cgroups(strings.TrimPrefix(e.Cgroup, "/")) {
			// The parent itself stays until nobody needs it; a container's group does not.
			if filepath.Base(g) == filepath.Base(e.Cgroup) {
				if err := unix.Rmdir(g); err == nil {
					continue
				}
			}
			if _, err := os.Stat(g); err == nil {
				return errors.New(g)
			}
		}
		return nil
	}))
	return left
}

// supervised lists the shims of this engine and what they supervise.
func (e *Engine) supervised() []int {
	var pids []int
	for _, s := range e.Shims() {
		pids = append(pids, s.ShimPid, s.Pid)
	}
	return pids
}

// Processes lists the engine's own processes: davitd, the shims that wait, and
// those that have a container. What runs in containers is not among them.
func (e *Engine) Processes() []int {
	pids := []int{e.Pid()}
	for _, s := range e.Shims() {
		pids = append(pids, s.ShimPid)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return pids
	}
	for _, d := range entries {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || slices.Contains(pids, pid) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", d.Name(), "stat"))
		if err != nil {
			continue // it ended just now
		}
		// After the name, which may hold anything: state, parent.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(e.Pid()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// portsGone is an error while a veth is left on the engine's bridge.
func (e *Engine) portsGone() error {
	bridge, err := netlink.LinkByName(e.Bridge)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	} else if err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			return fmt.Errorf("%s is still on %s", l.Attrs().Name, e.Bridge)
		}
	}
	return nil
}

func (e *Engine) removeBridge() error {
	bridge, err := netlink.LinkByName(e.Bridge)
	if err == nil {
		err = netlink.LinkDel(bridge)
	}
	if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	list, err := conn.ListTables()
	if err != nil {
		return err
	}
	for _, table := range list {
		if strings.HasSuffix(table.Name, e.Bridge) { // the table bears the bridge's name
			conn.DelTable(table)
		}
	}
	return conn.Flush()
}

func tables() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := conn.ListTables()
	if err != nil {
		return nil, err
	}
	family := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
		nftables.TableFamilyBridge: "bridge", nftables.TableFamilyARP: "arp", nftables.TableFamilyNetdev: "netdev"}
	var names []string
	for _, t := range list {
		names = append(names, family[t.Family]+" "+t.Name)
	}
	slices.Sort(names)
	return names, nil
}

// cgroups lists the directories below the hierarchies whose path contains part.
func cgroups(part string) []string {
	var dirs []string
	walk := func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // groups come and go while we look
		}
		if d.IsDir() && strings.Contains(path, part) {
			dirs = append(dirs, path)
		}
		return nil
	}
	_ = filepath.WalkDir(cgroupRoot, walk) // walk returns no error
	slices.Reverse(dirs)                   // deepest first, so that they can be removed in this order
	return dirs
}

// processes lists our programs and the processes in foreign namespaces, and
// the network namespaces that have a process.
func processes() (procs, namespaces []string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, nil
	}
	own := map[string]string{}
	for _, ns := range []string{"mnt", "pid", "net"} {
		own[ns], _ = os.Readlink("/proc/self/ns/" + ns) // a namespace that the kernel lacks is "" on both sides
	}
	seen := map[string]bool{}
	for _, d := range entries {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || state(pid) == 'Z' {
			continue
		}
		foreign := false
		for ns, mine := range own {
			link, err := os.Readlink(filepath.Join("/proc", d.Name(), "ns", ns))
			if err != nil {
				continue // it ended, or is a kernel thread
			}
			foreign = foreign || link != mine
			if ns == "net" && link != mine && !seen[link] {
				seen[link] = true
				namespaces = append(namespaces, link)
			}
		}
		if name := comm(pid); foreign || slices.Contains(programs, name) {
			cmdline, _ := os.ReadFile(filepath.Join("/proc", d.Name(), "cmdline")) // it may end just now
			procs = append(procs, fmt.Sprintf("%d %s: %s", pid, name, bytes.ReplaceAll(bytes.TrimRight(cmdline, "\x00"), []byte{0}, []byte{' '})))
		}
	}
	return procs, namespaces
}

// state is a process's state letter, 0 if there is none.
func state(pid int) byte {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}
