package oci

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/cgroup"
	"github.com/davit-engine/davit/runtime/seccomp"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// execFailed is the status of an exec that did not come to its program, as
// runc's.
const execFailed = 255

// execution is what exec is asked for.
type execution struct {
	process       string // file with the process; the fields below are without meaning then
	cwd           string
	env           []string
	user          string
	gids          []string
	caps          []string
	apparmor      string
	label         string
	tty           bool
	noNewPrivs    bool
	consoleSocket string
	pidFile       string
	detach        bool
	preserve      int
	cgroups       []string
	ignorePaused  bool
}

func newExec() *command {
	var o execution
	c := &command{name: "exec", args: "<container-id> <command> [arguments] | --process <file> <container-id>",
		about: "run one more process in a container", min: 1, max: -1, ends: true, forks: true}
	f := &c.flags
	f.text(&o.consoleSocket, "console-socket", "socket", "where to send the master of the process's terminal")
	f.text(&o.cwd, "cwd", "directory", "working directory in the container")
	f.list(&o.env, "env e", "name=value", "set a variable of the environment")
	f.toggle(&o.tty, "tty t", "give it a terminal")
	f.text(&o.user, "user u", "uid[:gid]", "who runs it")
	f.list(&o.gids, "additional-gids g", "gid", "further groups")
	f.text(&o.process, "process p", "file", "the process as in a bundle's process, instead of a command")
	f.toggle(&o.detach, "detach d", "return once it runs")
	f.text(&o.pidFile, "pid-file", "file", "where to write its number")
	f.text(&o.label, "process-label", "label", "SELinux label")
	f.text(&o.apparmor, "apparmor", "profile", "AppArmor profile")
	f.toggle(&o.noNewPrivs, "no-new-privs", "it gains no privileges by execve")
	f.list(&o.caps, "cap c", "capability", "add a capability")
	preserveFlag(f, &o.preserve)
	f.list(&o.cgroups, "cgroup", "[controllers:]path", "run it in a control group below the container's")
	f.toggle(&o.ignorePaused, "ignore-paused", "also if the container is paused: it waits until resume")
	c.run = func(i *invocation, args []string) (int, error) {
		status, err := i.exec(args[0], args[1:], &o)
		if err != nil {
			return execFailed, fmt.Errorf("exec failed: %w", err)
		}
		return status, nil
	}
	return c
}

func (i *invocation) exec(id string, args []string, o *execution) (int, error) {
	c, err := i.store.open(id)
	if err != nil {
		return 0, err
	}
	switch s := c.status(); {
	case s == specs.StateStopped:
		return 0, errs.New(errs.Conflict, "cannot exec in a stopped container")
	case s == statePaused && !o.ignorePaused:
		return 0, errs.New(errs.Conflict, "cannot exec in a paused container (use --ignore-paused to override)")
	}
	b, err := c.config()
	if err != nil {
		return 0, err
	}
	r := &spawn.ExecRequest{Pid: c.Pid, Detached: true}
	if r.Process, err = o.read(b.spec.Process, args); err != nil {
		return 0, err
	}
	if err := o.check(r.Process); err != nil {
		return 0, err
	}
	var open files
	defer open.close()
	if err := c.fill(r, b, o, &open); err != nil {
		return 0, err
	}
	var w *watch
	if !o.detach {
		w = newWatch()
	}
	p, err := spawn.Exec(r)
	if err != nil {
		return 0, err
	}
	defer p.PidFD.Close()
	if p.Console != nil {
		defer p.Console.Close()
	}
	if o.consoleSocket != "" {
		if err := sendConsole(o.consoleSocket, p.Console); err != nil {
			return 0, err
		}
	}
	if err := writePid(o.pidFile, p.Pid); err != nil {
		return 0, err
	}
	if o.detach {
		return 0, nil
	}
	return w.wait(p, os.Stdin, os.Stdout)
}

// fill gives the request what it needs of the container.
func (c *container) fill(r *spawn.ExecRequest, b *bundle, o *execution, open *files) (err error) {
	if r.PidFD, err = c.process(); err != nil {
		return err
	}
	open.add(r.PidFD)
	if r.Seccomp, r.SeccompFlags, err = seccomp.Compile(b.spec.Linux.Seccomp); err != nil {
		return fmt.Errorf("linux.seccomp: %w", err)
	}
	r.Listener = c.listener(b.spec.Linux.Seccomp, specs.StateRunning)
	if r.Process.Terminal {
		sizeTerminal(r.Process, o.detach)
	} else {
		r.Stdin, r.Stdout, r.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	if r.PreserveFDs, err = preserved(o.preserve, r.Process); err != nil {
		return err
	}
	paths, err := below(c.Cgroup, o.cgroups)
	if err != nil {
		return err
	}
	if len(paths) > 0 {
		if err := open.join(cgroup.Open(paths), &r.CgroupTasks, &r.CgroupDir); err != nil {
			return err
		}
	}
	return joinResctrl(&c.record, r, open)
}

// below moves the directories of a control group to groups inside it: places
// are "path" for all controllers, or "cpu,memory:path" for some.
func below(paths map[string]string, places []string) (map[string]string, error) {
	if len(places) == 0 {
		return paths, nil
	}
	moved := maps.Clone(paths)
	for _, place := range places {
		names, dir, some := strings.Cut(place, ":")
		if !some {
			dir = names
		}
		dir = path.Clean("/" + dir) // no way out of the container's group
		controllers := slices.Collect(maps.Keys(paths))
		if some {
			controllers = strings.Split(names, ",")
		}
		for _, controller := range controllers {
			at, ok := paths[controller]
			if !ok {
				return nil, errs.New(errs.InvalidParameter, "--cgroup: the container has no group of controller %q", controller)
			}
			to := filepath.Join(at, dir)
			if _, err := os.Stat(to); err != nil {
				return nil, errs.New(errs.InvalidParameter, "--cgroup: %w", err)
			}
			for other := range paths {
				if paths[other] == at { // mounted together
					moved[other] = to
				}
			}
		}
	}
	return moved, nil
}

// read makes the process: from a file, or from the container's own with what
// the options change.
func (o *execution) read(own *specs.Process, args []string) (*specs.Process, error) {
	p := new(specs.Process)
	if o.process != "" {
		b, err := os.ReadFile(o.process)
		if err != nil {
			return nil, errs.New(errs.InvalidParameter, "--process: %w", err)
		}
		if err := json.Unmarshal(b, p); err != nil {
			return nil, errs.New(errs.InvalidParameter, "--process: %s: %w", o.process, err)
		}
		return p, nil
	}
	if len(args) == 0 {
		return nil, errs.New(errs.InvalidParameter, "there is no command: give one, or --process")
	}
	*p = *own
	p.Args, p.Terminal, p.ConsoleSize = args, o.tty, nil
	p.Env = append(slices.Clone(own.Env), o.env...)
	if o.cwd != "" {
		p.Cwd = o.cwd
	}
	if o.apparmor != "" {
		p.ApparmorProfile = o.apparmor
	}
	if o.label != "" {
		p.SelinuxLabel = o.label
	}
	p.NoNewPrivileges = p.NoNewPrivileges || o.noNewPrivs
	p.Capabilities = o.capabilities(own.Capabilities)
	return p, o.setUser(p)
}

// capabilities are those of the container with the added ones, which the
// program keeps whoever runs it.
func (o *execution) capabilities(own *specs.LinuxCapabilities) *specs.LinuxCapabilities {
	if len(o.caps) == 0 {
		return own
	}
	var c specs.LinuxCapabilities
	if own != nil {
		c = *own
	}
	for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted, &c.Ambient} {
		*set = append(slices.Clone(*set), o.caps...)
	}
	return &c
}

func (o *execution) setUser(p *specs.Process) error {
	bad := func(option, v string) error {
		return errs.New(errs.InvalidParameter, "%s: %q is not a number", option, v)
	}
	if o.user != "" {
		uid, gid, both := strings.Cut(o.user, ":")
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return bad("--user", uid)
		}
		p.User.UID = uint32(n)
		if both {
			if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
				return bad("--user", gid)
			}
			p.User.GID = uint32(n)
		}
	}
	p.User.AdditionalGids = slices.Clone(p.User.AdditionalGids)
	for _, g := range o.gids {
		n, err := strconv.ParseUint(g, 10, 32)
		if err != nil {
			return bad("--additional-gids", g)
		}
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(n))
	}
	return nil
}

// check refuses what does not go together.
func (o *execution) check(p *specs.Process) error {
	switch {
	case p.Terminal && o.detach && o.consoleSocket == "":
		return errs.New(errs.InvalidParameter, "a terminal needs --console-socket when the process is detached")
	case o.consoleSocket != "" && !(p.Terminal && o.detach):
		return errs.New(errs.InvalidParameter, "--console-socket is for a detached process with a terminal")
	case len(p.Args) == 0:
		return errs.New(errs.InvalidParameter, "process.args must not be empty")
	}
	return nil
}
