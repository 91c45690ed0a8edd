package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// watchFor is how long stats runs while the engine's processor time is counted.
const watchFor = 10 * time.Second

// watch tells what it costs an engine that somebody looks at all containers:
// `stats` for a while, and `system df`.
func watch(engines []engine, count int) error {
	fmt.Printf("\n## %d containers, looked at\n\n| engine | CPU of the engine with nobody looking, %% | with `stats` | `system df`, ms |\n|---|---|---|---|\n", count)
	for _, x := range engines {
		if x.daemons == nil {
			continue
		}
		if _, err := startMany(x, count, 8); err != nil {
			x.removeContainers()
			return err
		}
		err := watchOne(x)
		x.removeContainers()
		if err != nil {
			return err
		}
	}
	return nil
}

func watchOne(x engine) error {
	idle := processorShare(x, watchFor)
	client := x.command("stats")
	if err := client.Start(); err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // until the first table is there
	busy := processorShare(x, watchFor)
	_ = client.Process.Kill() // it does not end by itself
	_ = client.Wait()
	took, err := timed(x.command("system", "df"))
	if err != nil {
		return errors.Join(errors.New("system df"), err)
	}
	fmt.Printf("| %s | %.1f | %.1f | %.0f |\n", x.name, idle, busy, float64(took.Microseconds())/1000)
	return nil
}

// processorShare is how much of one processor the engine's processes use.
func processorShare(x engine, during time.Duration) float64 {
	before := processorTime(x.pids())
	time.Sleep(during)
	return 100 * (processorTime(x.pids()) - before).Seconds() / during.Seconds()
}

// processorTime adds up what processes have used; one that is gone used none.
func processorTime(pids []int) (sum time.Duration) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range f[11:13] { // utime and stime, in ticks of 10 ms
			n, err := strconv.Atoi(field)
			if err == nil {
				sum += time.Duration(n) * 10 * time.Millisecond
			}
		}
	}
	return sum
}
