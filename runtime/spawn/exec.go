package spawn

import (
	"os"
	"slices"
	"strconv"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/pidfd"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecRequest says what to run in a running container. The files stay the
// caller's, who may close them when Exec has returned.
type ExecRequest struct {
	PidFD *os.File // of the container's first process
	Pid   int      // the same, for /proc

	Process      *specs.Process
	File         string         // what to execute; empty: as Process.Args[0] says
	Facts        *program.Facts // nil: DetectFacts
	Seccomp      []byte         // as in Request
	SeccompFlags uint32
	Listener     func(pid int, fd *os.File) error // as in Request

	Stdin, Stdout, Stderr *os.File   // as in Request
	PreserveFDs           []*os.File // become descriptors 3, 4, ... of the process

	CgroupTasks []*os.File // as in Request: the container's
	CgroupDir   *os.File

	HostRoot bool // the process's root is that of the container's first process as it is now, also before that has entered its own
	Detached bool // the process outlives the caller: no parent-death signal
}

// Exec runs one more process in a running container, and returns once execve
// has succeeded. The process leads a session and a process group of its own,
// so that whatever it starts can be signalled with it. Errors are those of
// Start; of kind errs.Conflict if the container has ended meanwhile.
func Exec(r *ExecRequest) (*Process, error) {
	p, err := r.exec()
	if err != nil && r.ended() {
		return nil, errs.New(errs.Conflict, "the container is not running: %w", err)
	}
	return p, err
}

func (r *ExecRequest) exec() (*Process, error) {
	facts := r.Facts
	if facts == nil {
		f := DetectFacts()
		facts = &f
	}
	tasks, dir, closeTasks, err := r.cgroup()
	if err != nil {
		return nil, failed("joining the cgroup", "", err)
	}
	defer closeTasks()
	join, err := r.namespaces()
	if err != nil {
		return nil, failed("looking at the container's namespaces", "", err)
	}
	if r.ended() { // what was seen may be another process's
		return nil, failed("looking at the container's namespaces", "", unix.ESRCH)
	}
	p, err := program.CompileExec(program.ExecInput{Process: r.Process, File: r.File, Join: join, Seccomp: r.Seccomp, SeccompFlags: r.SeccompFlags, Listener: r.Listener != nil, Facts: *facts,
		CgroupTasks: len(tasks), PreserveFDs: len(r.PreserveFDs), HostRoot: r.HostRoot, Detached: r.Detached})
	if err != nil {
		return nil, err
	}
	as := &Request{Spec: &specs.Spec{Process: r.Process}, Listener: r.Listener, Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, PreserveFDs: r.PreserveFDs,
		CgroupTasks: tasks, CgroupDir: dir}
	if join&unix.CLONE_NEWUSER != 0 {
		as.Spec.Linux = usersOf(r.Pid)
	}
	in := inputs{target: r}
	defer in.close()
	if err := in.open(p, as); err != nil {
		return nil, err
	}
	// Until the second child nobody inside can see the process. One that joins a
	// user namespace must not make our memory its own.
	return launch(&forking{program: p, detached: r.Detached, borrow: p.Twice && join&unix.CLONE_NEWUSER == 0}, &in, as)
}

// cgroup says how the process gets into its cgroups. One that is to have certain
// CPUs before that cannot be born in one.
func (r *ExecRequest) cgroup() (tasks []*os.File, dir *os.File, done func(), err error) {
	if r.CgroupDir == nil || r.Process == nil || r.Process.ExecCPUAffinity == nil || r.Process.ExecCPUAffinity.Initial == "" {
		return r.CgroupTasks, r.CgroupDir, func() {}, nil
	}
	at, err := descriptor(r.CgroupDir)
	if err != nil {
		return nil, nil, nil, err
	}
	fd, err := unix.Openat(at, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	procs := os.NewFile(uintptr(fd), "cgroup.procs")
	return append(slices.Clip(r.CgroupTasks), procs), nil, func() { procs.Close() }, nil
}

// ended reports whether the container's first process has ended.
func (r *ExecRequest) ended() bool {
	fd, err := descriptor(r.PidFD)
	if err != nil {
		return false
	}
	ended, err := pidfd.Ended(fd, 0)
	return err == nil && ended
}

var namespaceFiles = [...]struct {
	name string
	flag int
}{
	{"user", unix.CLONE_NEWUSER}, {"mnt", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"net", unix.CLONE_NEWNET},
	{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP}, {"time", unix.CLONE_NEWTIME},
}

// namespaces returns in which namespaces the container is and we are not.
func (r *ExecRequest) namespaces() (join int, err error) {
	for _, n := range namespaceFiles {
		var ours, theirs unix.Stat_t
		if unix.Stat("/proc/thread-self/ns/"+n.name, &ours) != nil {
			continue // the kernel lacks it
		}
		if err := unix.Stat("/proc/"+strconv.Itoa(r.Pid)+"/ns/"+n.name, &theirs); err != nil {
			return 0, err
		}
		if ours.Ino != theirs.Ino || ours.Dev != theirs.Dev {
			join |= n.flag
		}
	}
	return join, nil
}
