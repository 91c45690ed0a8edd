package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

func testExecution(t *testing.T, id string, c *ctr) *execution {
	t.Helper()
	x, err := newExecution(id, c, container.ExecCreateRequest{Cmd: []string{"sh", "-c", "x"}, AttachStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestExecutionStates(t *testing.T) {
	c := newCtr(&record.Container{ID: "c"})
	x := testExecution(t, "x", c)
	if got := x.inspect(); got.Running || got.ExitCode != nil || got.CanRemove || got.ProcessConfig.Entrypoint != "sh" || len(got.ProcessConfig.Arguments) != 2 || got.ContainerID != "c" || !got.OpenStdout || got.OpenStdin {
		t.Errorf("created: %+v", got)
	}
	if err := x.begin(); err != nil {
		t.Fatal(err)
	}
	if err := x.begin(); !errs.Is(err, errs.Conflict) {
		t.Errorf("second start: %v", err)
	}
	x.runs(42)
	if got := x.inspect(); !got.Running || got.Pid != 42 || got.ExitCode != nil {
		t.Errorf("running: %+v", got)
	}
	if !x.end(7, time.Now()) || x.end(8, time.Now()) {
		t.Error("an end is news once")
	}
	x.runs(43)
	if got := x.inspect(); got.Running || got.Pid != 0 || got.ExitCode == nil || *got.ExitCode != 7 || !got.CanRemove {
		t.Errorf("ended: %+v", got)
	}
	if err := x.begin(); !errs.Is(err, errs.Conflict) {
		t.Errorf("start of an ended one: %v", err)
	}
	// The end may be told before the start is.
	fast := testExecution(t, "fast", c)
	_ = fast.begin()
	fast.end(0, time.Now())
	fast.runs(44)
	<-fast.settled
	if got := fast.inspect(); got.Running {
		t.Errorf("fast: %+v", got)
	}
}

func TestExecTableForgets(t *testing.T) {
	forgotten := map[string]bool{}
	table := newExecTable(func(x *execution) { forgotten[x.id] = true })
	c := newCtr(&record.Container{ID: "c"})
	end := func(id string, ago time.Duration) {
		x := testExecution(t, id, c)
		table.add(x)
		x.end(0, time.Now().Add(-ago))
		table.forgetLater(x)
	}
	end("old", execsKept)
	if _, err := table.find("old"); !errs.Is(err, errs.NotFound) || !forgotten["old"] {
		t.Errorf("an old exec: %v, forgotten %v", err, forgotten)
	}
	for i := range maxEnded + 1 {
		end(fmt.Sprintf("n%04d", i), 0)
	}
	if _, err := table.find("n0000"); err == nil || !forgotten["n0000"] || len(table.of(c)) != maxEnded {
		t.Errorf("%d are kept, the oldest: %v", len(table.of(c)), err)
	}
	if _, err := table.find("n00"); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("an ambiguous ID: %v", err)
	}
	if x, err := table.find("n100"); err != nil || x.id != "n1000" {
		t.Errorf("the beginning of an ID: %v, %v", x, err)
	}
	table.dropOf(c)
	if len(table.of(c)) != 0 {
		t.Error("execs of a removed container are left")
	}
}
