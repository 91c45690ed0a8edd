package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// engine is a command line with something that answers it.
type engine struct {
	name    string
	argv    []string // the client, with what selects the engine
	env     []string
	daemons []string     // names of the processes that serve it, as in /proc/PID/comm
	own     func() []int // the processes themselves, where they are known better
}

const (
	helloImage = "davit-bench-hello"
	sleepImage = "davit-bench-busybox"
	label      = "davit-bench" // on each container, so that only ours are removed
)

// findEngines returns Davit through its own client and through docker's, and
// each engine of the machine that answers; notes tell of the others.
func findEngines(e *enginetest.Engine) (engines []engine, notes []string) {
	engines = append(engines, engine{"davit", []string{filepath.Join(e.Bin, "davit")}, e.Davit().Env, []string{"davitd", "davit-shim"}, e.Processes})
	if docker, err := exec.LookPath("docker"); err == nil {
		engines = append(engines, engine{"docker client, davit", []string{docker}, e.Davit().Env, nil, nil})
	}
	others := []engine{
		{"docker", []string{"docker"}, os.Environ(), []string{"dockerd", "containerd", "containerd-shim", "docker-proxy"}, nil},
		{"podman", []string{"podman"}, os.Environ(), []string{"conmon"}, nil},
		{"nerdctl", []string{"nerdctl"}, os.Environ(), []string{"containerd", "containerd-shim"}, nil},
	}
	for _, o := range others {
		if _, err := exec.LookPath(o.name); err != nil {
			notes = append(notes, o.name+": not on this machine")
		} else if out, err := o.command("info").CombinedOutput(); err != nil || bytes.Contains(out, []byte("Cannot connect")) {
			notes = append(notes, o.name+": its engine does not answer")
		} else {
			engines = append(engines, o)
		}
	}
	return engines, notes
}

func (e engine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(e.argv[0], append(e.argv[1:len(e.argv):len(e.argv)], args...)...)
	cmd.Env = e.env
	return cmd
}

// load imports the two images, and runs one: an engine that cannot is not
// measured.
func (e engine) load(rootfs string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("needs busybox (make setup installs it): %w", err)
	}
	script := `set -euo pipefail
tar -C "$1" -c hello | "${@:4}" import -c 'CMD ["/hello"]' - "$2" >/dev/null
tar -C "$(dirname "$0")" --transform 's|^|bin/|' -c busybox | "${@:4}" import -c 'CMD ["/bin/busybox", "sleep", "100000"]' - "$3" >/dev/null`
	cmd := exec.Command("bash", append([]string{"-c", script, busybox, rootfs, helloImage, sleepImage}, e.argv...)...)
	cmd.Env = e.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("importing images: %w: %s", err, bytes.TrimSpace(out))
	}
	if out, err := e.command("run", "--rm", "--label", label, helloImage).CombinedOutput(); err != nil {
		return fmt.Errorf("a first run: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// forget removes what load and the measurements made.
func forget(engines []engine) {
	for _, e := range engines {
		e.removeContainers()
		_ = e.command("rmi", "-f", helloImage, sleepImage).Run() // best effort on engines that are not ours
	}
}

func (e engine) removeContainers() {
	out, err := e.command("ps", "-aq", "--filter", "label="+label).Output()
	ids := strings.Fields(string(out))
	if err != nil || len(ids) == 0 {
		return
	}
	_ = e.command(append([]string{"rm", "-f"}, ids...)...).Run() // what stays shows in the next ps
}

// pids lists the processes that serve the engine, by the names of their
// programs: measure while no second engine of the kind runs.
func (e engine) pids() []int {
	if e.own != nil {
		return e.own()
	}
	var pids []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, d := range entries {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", d.Name(), "comm"))
		if err != nil {
			continue
		}
		for _, want := range e.daemons {
			if name := strings.TrimSpace(string(comm)); name == want || len(name) == 15 && strings.HasPrefix(want, name) || want == "containerd-shim" && strings.HasPrefix(name, want) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
