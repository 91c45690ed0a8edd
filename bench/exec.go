package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/client"
)

// execs compares commands in a container that runs: whole invocations of the
// clients, and for Davit the API's calls, many at once, and what one that waits
// costs in memory.
func execs(e *enginetest.Engine, engines []engine, runs int) error {
	const name = "davit-bench-exec"
	results := make([]sample, len(engines))
	for _, x := range engines {
		if out, err := x.command("run", "-d", "--name", containerOf(name, x), "--label", label, sleepImage).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", x.name, err, out)
		}
		defer x.removeContainers()
	}
	for round := -2; round < runs; round++ {
		for i, x := range engines {
			took, err := timed(x.command("exec", containerOf(name, x), "/bin/busybox", "true"))
			if err != nil {
				return err
			}
			if round >= 0 {
				results[i].add(took)
			}
		}
	}
	fmt.Printf("\n## exec\n\n| | exec CONTAINER true |\n|---|---|\n")
	for i, x := range engines {
		fmt.Printf("| %s | %v |\n", x.name, results[i])
	}
	api, err := client.New(client.WithHost(e.Host()))
	if err != nil {
		return err
	}
	defer api.Close()
	return execCalls(e, api, containerOf(name, engines[0]), runs)
}

func containerOf(name string, e engine) string {
	return name + "-" + strings.NewReplacer(" ", "-", ",", "").Replace(e.name)
}

func execCalls(e *enginetest.Engine, api *client.Client, container string, runs int) error {
	laps := make([]sample, 4)
	for round := -2; round < runs; round++ {
		times, err := oneExec(api, container)
		if err != nil {
			return err
		}
		for i, t := range times {
			if round >= 0 {
				laps[i].add(t)
			}
		}
	}
	fmt.Printf("\n| davit by API calls | create | start, its stream to the end | inspect | whole |\n|---|---|---|---|---|\n| | %v | %v | %v | %v |\n", laps[0], laps[1], laps[2], laps[3])

	const many = 500
	begin := time.Now()
	var all sync.WaitGroup
	failed := make(chan error, many)
	for range many {
		all.Go(func() {
			if _, err := oneExec(api, container); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	if len(failed) > 0 {
		return <-failed
	}
	fmt.Printf("\n%d at once in one container: %.1f ms each.\n", many, time.Since(begin).Seconds()*1000/many)
	return idleExecs(e, api, container)
}

// oneExec runs a command with its output and returns how long create, the
// stream, inspect and the whole took.
func oneExec(api *client.Client, container string) ([]time.Duration, error) {
	ctx := context.Background()
	times := []time.Time{time.Now()}
	lap := func() { times = append(times, time.Now()) }
	x, err := api.ExecCreate(ctx, container, client.ExecCreateOptions{Cmd: []string{"/bin/busybox", "true"}, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return nil, err
	}
	lap()
	stream, err := api.ExecAttach(ctx, x.ID, client.ExecAttachOptions{})
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, stream.Reader)
	stream.Close()
	if err != nil {
		return nil, err
	}
	lap()
	got, err := api.ExecInspect(ctx, x.ID, client.ExecInspectOptions{})
	if err != nil || got.Running || got.ExitCode != 0 {
		return nil, fmt.Errorf("exec: %+v: %w", got, err)
	}
	lap()
	return []time.Duration{times[1].Sub(times[0]), times[2].Sub(times[1]), times[3].Sub(times[2]), times[3].Sub(times[0])}, nil
}

// idleExecs measures what execs cost that wait, with a client each.
func idleExecs(e *enginetest.Engine, api *client.Client, container string) error {
	const many = 200
	ctx := context.Background()
	pids := []int{e.Pid()}
	for _, s := range e.Shims() {
		pids = append(pids, s.ShimPid)
	}
	private := func() (kib []int) {
		time.Sleep(time.Second) // for what is given back late
		for _, pid := range pids {
			kib = append(kib, privateMemory(pid))
		}
		return kib
	}
	before := private()
	for range many {
		x, err := api.ExecCreate(ctx, container, client.ExecCreateOptions{Cmd: []string{"/bin/busybox", "cat"}, AttachStdin: true, AttachStdout: true, AttachStderr: true})
		if err != nil {
			return err
		}
		stream, err := api.ExecAttach(ctx, x.ID, client.ExecAttachOptions{})
		if err != nil {
			return err
		}
		defer stream.Close()
	}
	after := private()
	shims := 0
	for i := range pids[1:] {
		shims += after[i+1] - before[i+1]
	}
	fmt.Printf("\n%d that wait, with a client each: %.1f KiB each in the shim, %.1f in the engine.\n", many, float64(shims)/many, float64(after[0]-before[0])/many)
	return nil
}

// privateMemory is what of a process's memory nobody shares, in KiB.
func privateMemory(pid int) (sum int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 3 && slices.Contains([]string{"Private_Clean:", "Private_Dirty:"}, f[0]) {
			var n int
			_, _ = fmt.Sscan(f[1], &n) // 0 if the kernel writes something else
			sum += n
		}
	}
	return sum
}
