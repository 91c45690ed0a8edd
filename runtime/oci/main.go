// Package oci is davit-runtime: the command line of an OCI runtime, in the
// words of runc's, so that containerd, Podman, Docker and Kubernetes can use
// Davit's way of starting containers in place of theirs.
//
//	create --> "creating" --> "created" --start--> "running" --ends--> "stopped" --delete-->
//	                                               |      ^
//	                                             pause  resume
//	                                               v      |
//	                                               "paused"
//
// A command is a process of its own and none of them stays, but for a run or
// an exec in the foreground. What one leaves to the next lies below --root:
//
//	<root>/<id>/state.json   what the container is (type record); renamed into place, so it is read without a lock
//	            config.json  the spec as it was at create: later changes to the bundle mean nothing
//	            start        a FIFO: while it is there, the container waits in front of its program (spawn.Request.Hold)
//	            notify/      /run/notify of a container whose readiness somebody waits for
//
// No status is written down: it follows from the process, the FIFO and the
// freezer each time that somebody asks. A process is believed only together
// with the time of its start, so a number that the kernel gave to somebody
// else is never signalled.
//
// The package owns that directory. It must not know engines, images or
// networks; what a container's parts are made of is for packages program,
// spawn, cgroup and seccomp to know.
//
// Concurrency: commands of one container exclude each other by flock on its
// directory where they change what is recorded (create, start, delete, pause,
// resume, update, checkpoint, restore); those that only look, and kill and exec, take no lock.
package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/davit-engine/davit/version"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Name is what the program is called.
const Name = "davit-runtime"

// command is one word of the command line.
type command struct {
	name  string
	args  string // the arguments, for the help
	about string
	min   int // number of arguments
	max   int // -1: any
	flags flags
	// ends says that the first argument ends the options, since what follows
	// belongs to somebody else.
	ends bool
	// forks says that a container's process is born from this one.
	forks bool
	// run returns the status to exit with; with an error, 0 stands for 1.
	run func(i *invocation, args []string) (int, error)
}

// commands are all there are, in the order of the help.
func commands() []*command {
	return []*command{
		newCheckpoint(), newCreate(), newDelete(), newEvents(), newExec(), newFeatures(), newKill(), newList(), newPause(), newPlan(),
		newPs(), newRestore(), newResume(), newRun(), newSpec(), newStart(), newState(), newUpdate(),
	}
}

// invocation is one call of the program: its global options.
type invocation struct {
	store    store
	log      logger
	systemd  bool   // cgroup paths are slice:prefix:name
	rootless string // true, false or auto
	criu     string
}

// Main runs the command line args, without the program's name, and returns
// the status to exit with.
func Main(args []string) int {
	debug.SetGCPercent(-1) // over before it would have paid; what stays turns it on again
	i := &invocation{log: logger{file: os.Stderr}}
	status, err := i.main(args)
	if err != nil {
		i.log.error(err.Error())
		if status == 0 {
			status = 1
		}
	}
	return status
}

func (i *invocation) main(args []string) (int, error) {
	var help, wantVersion bool
	var log, format string
	var f flags
	f.toggle(&i.log.debugging, "debug", "log more")
	f.text(&log, "log", "file", "append messages to this file instead of standard error")
	f.text(&format, "log-format", "text|json", "form of the messages")
	f.text(&i.store.root, "root", "directory", "where containers are recorded, in memory (default "+defaultRoot()+")")
	f.text(&i.criu, "criu", "program", "criu, for checkpoint and restore")
	f.toggle(&i.systemd, "systemd-cgroup", "linux.cgroupsPath has the form slice:prefix:name")
	f.optional(&i.rootless, "rootless", "true|false|auto", "do without control groups where there are no rights on them")
	f.toggle(&help, "help h", "print this help")
	f.toggle(&wantVersion, "version v", "print the version")
	i.criu, i.rootless, format = "criu", "auto", "text"

	rest, err := f.parse(args, true)
	switch {
	case err != nil:
		return 1, err
	case wantVersion:
		fmt.Printf("%s version %s\nspec: %s\n", Name, version.Version, specs.Version)
		return 0, nil
	case help || len(rest) == 0 || len(rest) == 1 && (rest[0] == "help" || rest[0] == "h"):
		printHelp(os.Stdout, &f)
		return 0, nil
	}
	if err := i.log.open(log, format); err != nil {
		return 1, err
	}
	if i.rootless != "true" && i.rootless != "false" && i.rootless != "auto" {
		return 1, fmt.Errorf("--rootless is true, false or auto, not %q", i.rootless)
	}
	if i.store.root == "" {
		i.store.root = defaultRoot()
	}
	if i.store.root, err = filepath.Abs(i.store.root); err != nil {
		return 1, err
	}
	return i.dispatch(rest)
}

// dispatch runs the command that words begin with.
func (i *invocation) dispatch(words []string) (int, error) {
	if (words[0] == "help" || words[0] == "h") && len(words) == 2 {
		words = []string{words[1], "--help"}
	}
	for _, c := range commands() {
		if c.name != words[0] {
			continue
		}
		var help bool
		c.flags.toggle(&help, "help h", "print this help")
		args, err := c.flags.parse(words[1:], c.ends)
		switch {
		case help:
			c.printHelp(os.Stdout)
			return 0, nil
		case err != nil:
			return 1, fmt.Errorf("%s: %w", c.name, err)
		case len(args) < c.min || c.max >= 0 && len(args) > c.max:
			return 1, fmt.Errorf("%q takes %s, not %s: usage: %s %s", c.name, count(c.min, c.max), plural(len(args)), Name, strings.TrimSpace(c.name+" "+c.args))
		}
		if c.forks {
			if err := sealed(); err != nil {
				return 1, err
			}
		}
		if err := keepInside(); err != nil {
			return 1, err
		}
		return c.run(i, args)
	}
	return 3, fmt.Errorf("there is no command %q: see `%s --help`", words[0], Name) // 3 is runc's
}

func count(min, max int) string {
	switch {
	case min == max:
		return plural(min)
	case max < 0:
		return "at least " + plural(min)
	}
	return fmt.Sprintf("%d to %s", min, plural(max))
}

func plural(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// defaultRoot is where containers are recorded if nobody says. Root in a user
// namespace cannot write to the host's /run.
func defaultRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && unprivileged() {
		return filepath.Join(dir, Name)
	}
	return "/run/" + Name
}
