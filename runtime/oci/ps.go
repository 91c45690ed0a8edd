package oci

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
)

func newPs() *command {
	format := "table"
	c := &command{name: "ps", args: "<container-id> [ps options]", about: "list the processes of a container", min: 1, max: -1, ends: true}
	c.flags.text(&format, "format f", "table|json", "a table by the program ps, or numbers")
	c.run = func(i *invocation, args []string) (int, error) {
		if format != "table" && format != "json" {
			return 1, fmt.Errorf("ps: --format is table or json, not %q", format)
		}
		container, err := i.store.open(args[0])
		if err != nil {
			return 1, err
		}
		pids, err := container.pids()
		if err != nil {
			return 1, err
		}
		if format == "json" {
			return 0, printJSON(os.Stdout, pids, "")
		}
		return 0, psTable(pids, args[1:])
	}
	return c
}

// pids are the container's processes, of which at least the first is known
// without a control group as well.
func (r *record) pids() ([]int, error) {
	if g := r.group(); g != nil {
		return g.Pids()
	}
	if r.alive() {
		return []int{r.Pid}, nil
	}
	return []int{}, nil
}

// psTable runs ps on the host and keeps the lines of pids.
func psTable(pids []int, args []string) error {
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	out, err := exec.Command("ps", args...).Output()
	if err != nil {
		return errs.New(errs.System, "running ps: %w", err)
	}
	head, body, _ := strings.Cut(string(out), "\n")
	column := slices.Index(strings.Fields(head), "PID")
	if column < 0 {
		return errs.New(errs.InvalidParameter, "ps %s prints no column PID", strings.Join(args, " "))
	}
	fmt.Println(head)
	for line := range strings.Lines(body) {
		fields := strings.Fields(line)
		if column >= len(fields) {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			fmt.Print(line)
		}
	}
	return nil
}
