package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// usage is memory in KiB.
type usage struct {
	pss     int // shared pages divided by the number of their users
	private int // pages that nobody shares
}

func (u *usage) add(o usage) { u.pss += o.pss; u.private += o.private }

// memoryOf reads what a process takes; a process that is gone takes nothing.
func memoryOf(pid int) usage {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return usage{}
	}
	var u usage
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.Atoi(fields[1])
		if err != nil {
			continue // the line that names the address range
		}
		switch fields[0] {
		case "Pss:":
			u.pss += kib
		case "Private_Clean:", "Private_Dirty:":
			u.private += kib
		}
	}
	return u
}

func sum(pids []int) usage {
	var u usage
	for _, pid := range pids {
		u.add(memoryOf(pid))
	}
	return u
}

// daemonMemory is what the engine's own process takes.
func daemonMemory(e *enginetest.Engine) usage { return memoryOf(e.Pid()) }

// memory starts containers that sleep, and shares out what the engine's
// processes take more than before. The containers' own processes do not count.
func memory(e *enginetest.Engine, engines []engine, idle usage, count int) error {
	fmt.Printf("\n## Memory\n\nIdle davitd, before its first container: %.1f MiB PSS, %.1f MiB private.\n", mib(idle.pss), mib(idle.private))
	fmt.Printf("\n| engine | PSS before, MiB | PSS with %d, MiB | per container, MiB PSS | private, MiB |\n|---|---|---|---|---|\n", count)
	for _, x := range engines {
		if x.daemons == nil {
			continue
		}
		before := sum(x.pids())
		if _, err := startMany(x, count, 8); err != nil {
			x.removeContainers()
			return err
		}
		after := sum(x.pids())
		fmt.Printf("| %s | %.1f | %.1f | %.2f | %.2f |\n", x.name, mib(before.pss), mib(after.pss),
			mib(after.pss-before.pss)/float64(count), mib(after.private-before.private)/float64(count))
		if x.name == "davit" {
			var shims usage
			list := e.Shims()
			for _, s := range list {
				shims.add(memoryOf(s.ShimPid))
			}
			fmt.Printf("| davit, its %d shims alone | | | %.2f | %.2f |\n", len(list), mib(shims.pss)/float64(max(1, len(list))), mib(shims.private)/float64(max(1, len(list))))
		}
		x.removeContainers()
	}
	return nil
}

func mib(kib int) float64 { return float64(kib) / 1024 }

// startMany runs count containers that sleep, width at a time, and returns the
// time from the first client's fork to the last one's exit.
func startMany(x engine, count, width int) (time.Duration, error) {
	var wg sync.WaitGroup
	turn := make(chan struct{}, count)
	for range count {
		turn <- struct{}{}
	}
	close(turn)
	failures := make(chan error, count)
	begin := time.Now()
	for range width {
		wg.Go(func() {
			for range turn {
				if _, err := timed(x.command("run", "-d", "--label", label, sleepImage)); err != nil {
					failures <- err
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	close(failures)
	var all []string
	for err := range failures {
		all = append(all, err.Error())
	}
	if len(all) > 0 {
		slices.Sort(all)
		return 0, fmt.Errorf("%d of %d starts failed, the first: %s", len(all), count, all[0])
	}
	return took, nil
}

// parallel times many starts side by side.
func parallel(engines []engine, count int) error {
	fmt.Printf("\n## %d starts, 8 at a time (run -d)\n\n| engine | seconds, the best of 3 | ms a container |\n|---|---|---|\n", count)
	for _, x := range engines {
		if x.daemons == nil {
			continue
		}
		best := time.Duration(0)
		for range 3 {
			took, err := startMany(x, count, 8)
			x.removeContainers()
			if err != nil {
				return err
			}
			if best == 0 || took < best {
				best = took
			}
		}
		fmt.Printf("| %s | %.2f | %.1f |\n", x.name, best.Seconds(), float64(best.Milliseconds())/float64(count))
	}
	return nil
}
