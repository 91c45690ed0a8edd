package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/logfile"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// undo is what a failed start calls, last first.
type undo []func()

func (u *undo) add(f func()) { *u = append(*u, f) }

func (u undo) run() {
	for i := len(u) - 1; i >= 0; i-- {
		u[i]()
	}
}

// start does what the request says. On error nothing of it is left.
func (s *supervisor) start(m *wire.Message) (err error) {
	defer m.Close()
	var r wire.Start
	if err := m.Decode(&r); err != nil {
		return errs.Wrap(errs.InvalidParameter, err)
	}
	given, err := check(&r, m.Files)
	if err != nil {
		return err
	}
	var u undo
	defer func() {
		if err != nil {
			u.run()
		}
	}()
	setTitle(r.ID)
	s.tty, s.once = r.Spec.Process.Terminal, r.Stdio.StdinOnce
	s.hostPIDs = !hasPIDNamespace(r.Spec)

	if s.runDir, err = os.Open(r.RunDir); err != nil {
		return fmt.Errorf("opening run directory: %w", err)
	}
	u.add(func() { s.runDir.Close() })
	if err := unix.Flock(int(s.runDir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("locking run directory: %w", err)
	}
	for _, name := range []string{wire.StateName, wire.ExitName} { // of an earlier run
		_ = unix.Unlinkat(int(s.runDir.Fd()), name, 0)
	}

	log, err := openLog(r.Log)
	if err != nil {
		return err
	}
	s.out = newOutput(log, new(buffer))
	u.add(func() { s.out.abandon() })

	m.Files = m.Files[:len(m.Files)-len(given.clients)-len(given.services)]
	if err := s.services.begin(r.Services, given.services); err != nil {
		closeFiles(given.clients)
		return err
	}
	u.add(s.services.close)
	// The clients are there before the first byte of output.
	for i, sock := range given.clients {
		if err := s.attach(&r.Attachments[i], sock); err != nil {
			closeFiles(given.clients[i+1:])
			return err
		}
	}

	request := &spawn.Request{Spec: r.Spec, Root: r.Root, Seccomp: r.Seccomp, SeccompFlags: r.SeccompFlags, MakeCwd: r.MakeCwd,
		NetNS: given.netns, UserNS: given.userns, Trees: given.trees}
	if r.Runtime != nil {
		if s.foreign, err = newForeign(&r); err != nil {
			return err
		}
		s.spawn, s.execs.spawn = s.foreign.start, s.foreign.exec
	} else {
		if s.hooks, err = newHooks(r.Spec, r.ID, r.RunDir); err != nil {
			return err
		}
		s.hooks.prepare(request)
	}
	streams, err := openStreams(r.Spec.Process.Terminal, r.Stdio.Stdin, true, true)
	if err != nil {
		return err
	}
	u.add(streams.close)
	request.Stdin, request.Stdout, request.Stderr = streams.child[0], streams.child[1], streams.child[2]

	defer func() { closeFiles(append(request.CgroupTasks, request.CgroupDir)) }()
	if s.foreign == nil {
		if err := s.makeGroup(r.Spec, request, &u); err != nil {
			return err
		}
	}
	if s.listener, err = listen(s.runDir); err != nil {
		return err
	}
	u.add(func() {
		s.listener.Close()
		_ = unix.Unlinkat(int(s.runDir.Fd()), wire.SocketName, 0)
	})

	if r.Checkpoint != nil {
		s.process, err = s.restore(&r, request, streams)
	} else {
		s.process, err = s.spawn(request)
	}
	if err != nil {
		return err
	}
	if s.foreign != nil {
		if err := s.adoptGroup(r.Spec.Linux.CgroupsPath, &u); err != nil {
			return err
		}
	}
	u.add(func() {
		s.killProcess()
		_ = unix.Unlinkat(int(s.runDir.Fd()), wire.StateName, 0)
	})
	streams.closeChild()
	if s.process.console != nil {
		if s.process.console, err = pollable(s.process.console); err != nil {
			return err
		}
	}
	s.take(streams, s.process.console)
	if err := s.hooks.started(s.process.pid); err != nil {
		return err
	}
	return s.record(r.ID)
}

// given are the descriptors of a start request; those that it has none of are
// nil.
type given struct {
	netns, userns *os.File
	trees         []spawn.Tree
	services      []*os.File
	clients       []*os.File
}

// check looks at what the engine must get right, and tells its descriptors
// apart.
func check(r *wire.Start, files []*os.File) (g given, err error) {
	var namespaces []**os.File
	if r.NetNS {
		namespaces = append(namespaces, &g.netns)
	}
	if r.UserNS {
		namespaces = append(namespaces, &g.userns)
	}
	sockets, err := countSockets(r.Services)
	if err != nil {
		return given{}, err
	}
	want := len(namespaces) + len(r.Trees) + sockets + len(r.Attachments)
	switch {
	case r.ID == "" || r.RunDir == "":
		return given{}, errs.New(errs.InvalidParameter, "start request without ID or run directory")
	case r.Spec == nil || r.Spec.Process == nil || r.Spec.Linux == nil:
		return given{}, errs.New(errs.InvalidParameter, "start request without a Linux process")
	case len(files) != want:
		return given{}, errs.New(errs.InvalidParameter, "start request with %d descriptors, %d expected", len(files), want)
	}
	for i, n := range namespaces {
		*n = files[i]
	}
	files = files[len(namespaces):]
	for i, target := range r.Trees {
		g.trees = append(g.trees, spawn.Tree{Target: target, File: files[i]})
	}
	files = files[len(r.Trees):]
	g.services, g.clients = files[:sockets], files[sockets:]
	return g, nil
}

func hasPIDNamespace(spec *specs.Spec) bool {
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace && ns.Path == "" {
			return true
		}
	}
	return false
}

func openLog(l wire.Log) (logWriter, error) {
	o := logfile.Options{MaxSize: l.MaxSize, MaxFile: l.MaxFile, Compress: l.Compress, Attrs: l.Attrs, Trim: release}
	switch l.Driver {
	case "none", "":
		return nil, nil
	case "json-file":
	case "local":
		o.Format = logfile.Local
	default:
		return nil, errs.New(errs.NotImplemented, "log driver %q", l.Driver)
	}
	w, err := logfile.Open(l.Path, o)
	if err != nil {
		return nil, err
	}
	if l.Buffer > 0 {
		return logfile.NewRing(w, int(l.Buffer)), nil
	}
	return w, nil
}

// makeGroup makes the cgroup and opens what the process needs to join it.
func (s *supervisor) makeGroup(spec *specs.Spec, request *spawn.Request, u *undo) (err error) {
	if spec.Linux.CgroupsPath == "" {
		return nil
	}
	if s.cgroup, err = s.create(spec.Linux.CgroupsPath, spec.Linux.Resources); err != nil {
		return fmt.Errorf("creating cgroup: %w", err)
	}
	u.add(func() { _ = s.cgroup.Remove() })
	if request.CgroupTasks, err = s.cgroup.Tasks(); err != nil {
		return fmt.Errorf("opening cgroup: %w", err)
	}
	if request.CgroupDir, err = s.cgroup.Dir(); err != nil {
		return fmt.Errorf("opening cgroup: %w", err)
	}
	return nil
}

// adoptGroup takes over the cgroup that another runtime has made.
func (s *supervisor) adoptGroup(path string, u *undo) error {
	g, err := s.adopt(path)
	if err != nil {
		_ = s.foreign.remove()
		return fmt.Errorf("looking for the cgroup that runtime %s has made: %w", s.foreign.Name, err)
	}
	s.cgroup = foreignGroup{g, s.foreign}
	u.add(func() { _ = s.cgroup.Remove() })
	return nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// killProcess ends a process whose start could not be completed.
func (s *supervisor) killProcess() {
	_ = unix.Kill(s.process.pid, unix.SIGKILL)
	_, _ = s.process.wait()
}

// startTime is a process's wire.StartTime, 0 if it has ended and was reaped.
func startTime(pid int) (uint64, error) {
	start, err := wire.StartTime(pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, nil
	}
	return start, err
}

// record makes the state known.
func (s *supervisor) record(id string) error {
	start, err := startTime(s.process.pid)
	if err != nil {
		return err
	}
	s.state = wire.State{
		Version: wire.Version, ID: id, ShimPid: os.Getpid(),
		Pid: s.process.pid, PidStart: start, StartedAt: time.Now().UTC(),
	}
	if s.cgroup != nil {
		s.state.Cgroup = s.cgroup.Paths()
	}
	return s.writeFile(wire.StateName, &s.state)
}

// writeFile puts v as JSON into the run directory, whole or not at all. The
// directory is in memory, so nothing is synced.
func (s *supervisor) writeFile(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	dir := int(s.runDir.Fd())
	temporary := name + ".tmp"
	fd, err := unix.Openat(dir, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = unix.Renameat(dir, temporary, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temporary, 0)
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
