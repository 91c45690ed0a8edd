package namespace

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// idMap is one of the two maps of a user namespace.
type idMap struct {
	file   string // below /proc/PID
	helper string // the program that writes it for who may not
	maps   []specs.LinuxIDMapping
	own    int // the caller's id
}

// writeMaps gives the user namespace of a process its maps.
func writeMaps(pid int, uids, gids []specs.LinuxIDMapping) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&h, &caps[0]); err != nil {
		return fmt.Errorf("looking at our capabilities: %w", err)
	}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	privileged := caps[0].Effective&need == need
	users, groups := idMap{"uid_map", "newuidmap", uids, os.Geteuid()}, idMap{"gid_map", "newgidmap", gids, os.Getegid()}
	if !privileged && groups.isOwn() {
		if err := write(pid, "setgroups", "deny"); err != nil {
			return err
		}
	}
	for _, m := range []idMap{groups, users} {
		var err error
		if privileged || m.isOwn() {
			err = write(pid, m.file, m.text())
		} else {
			err = m.delegate(pid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isOwn reports whether the map is the one that everybody may write: of one id,
// to the caller's.
func (m idMap) isOwn() bool {
	return len(m.maps) == 1 && m.maps[0].Size == 1 && int64(m.maps[0].HostID) == int64(m.own)
}

func (m idMap) text() string {
	var b strings.Builder
	for _, e := range m.maps {
		fmt.Fprintf(&b, "%d %d %d\n", e.ContainerID, e.HostID, e.Size)
	}
	return b.String()
}

// delegate has a set-user-id program of shadow write the map, which the
// program's configuration (/etc/subuid, /etc/subgid) grants to us.
func (m idMap) delegate(pid int) error {
	program := ""
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, m.helper)
		if filepath.IsAbs(file) && unix.Access(file, unix.X_OK) == nil {
			program = file
			break
		}
	}
	if program == "" {
		return errs.New(errs.Unavailable, "%s: these maps take the program %[1]s, which is not in PATH", m.helper)
	}
	args := []string{m.helper, strconv.Itoa(pid)}
	for _, e := range m.maps {
		for _, n := range []uint32{e.ContainerID, e.HostID, e.Size} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("running %s: %w", m.helper, err)
	}
	defer r.Close()
	p, err := os.StartProcess(program, args, &os.ProcAttr{Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		return fmt.Errorf("running %s: %w", m.helper, err)
	}
	said := make([]byte, 1024)
	n, _ := r.Read(said) // nothing: it has nothing to say
	state, err := p.Wait()
	if err != nil {
		return fmt.Errorf("running %s: %w", m.helper, err)
	}
	if !state.Success() {
		return errs.New(errs.Forbidden, "%s: %s", m.helper, strings.TrimSpace(string(said[:n])))
	}
	return nil
}

func write(pid int, name, data string) error {
	path := "/proc/" + strconv.Itoa(pid) + "/" + name
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(data)); err != nil {
		return fmt.Errorf("writing %s (%s): %w", name, strings.ReplaceAll(strings.TrimSpace(data), "\n", ", "), err)
	}
	return nil
}
