package spawn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// NewUserNS makes a user namespace with these maps, which are as in the OCI
// runtime spec, and returns a descriptor of it. No process stays in it. Who may
// not write such maps needs newuidmap and newgidmap, but for a map of one id to
// their own.
func NewUserNS(uids, gids []specs.LinuxIDMapping) (*os.File, error) {
	fd, doing, err := newUserNS(uids, gids)
	if err != nil {
		return nil, failed("creating the user namespace", doing, err)
	}
	return os.NewFile(uintptr(fd), "user namespace"), nil
}

// newUserNS returns in words what has failed, beside the error.
func newUserNS(uids, gids []specs.LinuxIDMapping) (fd int, doing string, err error) {
	p := program.Pause()
	var in inputs
	defer in.close()
	if err := in.open(p, &Request{}); err != nil {
		return -1, "", err
	}
	f := &forking{program: p}
	child, err := begin(f, &in, &Request{})
	if err != nil {
		return -1, "clone", cause(err)
	}
	defer func() {
		in.close() // which it takes for a word to end
		<-child.reaped
		unix.Close(int(f.pidfd))
	}()
	dir := "/proc/" + strconv.Itoa(child.Pid)
	if doing, err := writeMaps(dir, uids, gids); err != nil {
		return -1, doing, err
	}
	fd, err = unix.Open(dir+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return fd, "opening it", err
}

// writeMaps gives the user namespace of the process at dir its maps.
func writeMaps(dir string, uids, gids []specs.LinuxIDMapping) (doing string, err error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&h, &caps[0]); err != nil {
		return "looking at our capabilities", err
	}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	privileged := caps[0].Effective&need == need
	own := func(maps []specs.LinuxIDMapping, id int) bool {
		return len(maps) == 1 && maps[0].Size == 1 && int64(maps[0].HostID) == int64(id)
	}
	if !privileged && own(gids, os.Getegid()) {
		if err := os.WriteFile(dir+"/setgroups", []byte("deny"), 0); err != nil {
			return "writing setgroups", cause(err)
		}
	}
	for _, m := range []struct {
		file, helper string
		maps         []specs.LinuxIDMapping
		id           int
	}{{"gid_map", "newgidmap", gids, os.Getegid()}, {"uid_map", "newuidmap", uids, os.Geteuid()}} {
		if !privileged && !own(m.maps, m.id) {
			if err := runMapper(m.helper, filepath.Base(dir), m.maps); err != nil {
				return m.helper, err
			}
			continue
		}
		var text strings.Builder
		for _, e := range m.maps {
			fmt.Fprintf(&text, "%d %d %d\n", e.ContainerID, e.HostID, e.Size)
		}
		if err := os.WriteFile(dir+"/"+m.file, []byte(text.String()), 0); err != nil {
			return "writing " + m.file, cause(err)
		}
	}
	return "", nil
}

// cause is the errno of an error of package os.
func cause(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// runMapper has a set-user-id program of shadow write a map that its
// configuration (/etc/subuid, /etc/subgid) grants to us.
func runMapper(name, pid string, maps []specs.LinuxIDMapping) error {
	program := ""
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, name)
		if filepath.IsAbs(file) && unix.Access(file, unix.X_OK) == nil {
			program = file
			break
		}
	}
	if program == "" {
		return errs.New(errs.Unavailable, "these maps take the program %s, which is not in PATH", name)
	}
	args := []string{name, pid}
	for _, m := range maps {
		for _, n := range []uint32{m.ContainerID, m.HostID, m.Size} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return cause(err)
	}
	defer r.Close()
	p, err := os.StartProcess(program, args, &os.ProcAttr{Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		return cause(err)
	}
	said := make([]byte, 1024)
	n, _ := r.Read(said) // nothing: it has nothing to say
	state, err := p.Wait()
	if err != nil {
		return cause(err)
	}
	if !state.Success() {
		return errs.New(errs.Forbidden, "%s", strings.TrimSpace(string(said[:n])))
	}
	return nil
}

// usersOf describes the user namespace of a process by what a spec would say:
// with no maps if it cannot be looked at.
func usersOf(pid int) *specs.Linux {
	l := &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.UserNamespace}}}
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/uid_map")
	for line := range strings.Lines(string(b)) {
		var m specs.LinuxIDMapping
		if _, err := fmt.Sscan(line, &m.ContainerID, &m.HostID, &m.Size); err == nil {
			l.UIDMappings = append(l.UIDMappings, m)
		}
	}
	return l
}
