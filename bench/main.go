// Command bench measures Davit beside the least that the kernel has to do
// (bound/) and beside the other engines of the machine, all in one sitting.
//
//	bench [-runs 30] [-containers 100] [-only starts,calls,exec,userns,memory,parallel,network,watch,stopped,logs,runtimes]
//
// It prints Markdown tables. What is compared is interleaved, one run of each
// in turn, so that load from elsewhere falls on all alike; figures are medians
// with the fastest and the slowest beside them. It owns a private engine with
// its registry and ends it; other engines are used only if they answer, and
// containers and images made there are removed. It runs one measurement at a
// time and imports nothing of the engine.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

func main() {
	runs := flag.Int("runs", 30, "runs of each start, of which the median counts")
	containers := flag.Int("containers", 100, "containers for memory and for parallel starts")
	only := flag.String("only", "starts,calls,exec,userns,memory,parallel,network,watch,stopped,logs,runtimes", "parts to measure")
	flag.Parse()
	if err := run(*runs, *containers, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(runs, containers int, only []string) (err error) {
	if os.Getuid() != 0 {
		return fmt.Errorf("needs root: engines make namespaces, mounts and bridges")
	}
	work, err := os.MkdirTemp("", "davit-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(bin, "davitd")); err != nil {
		return fmt.Errorf("no binaries in bin/: run make first: %w", err)
	}
	rootfs := filepath.Join(work, "rootfs")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(rootfs, "hello"), "./demo/hello-world")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building hello-world: %w\n%s", err, out)
	}

	// An interrupt ends the measurement by ending what it waits for; the
	// engine still has to be closed.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)

	e, err := enginetest.New(bin, enginetest.Config{Quiet: true})
	if err != nil {
		return err
	}
	defer func() {
		for _, left := range e.Close() {
			fmt.Fprintln(os.Stderr, "left behind:", left)
		}
	}()
	idle := daemonMemory(e) // before anything has run

	engines, notes := findEngines(e)
	defer func() { forget(engines) }()
	for i := 0; i < len(engines); {
		if err := engines[i].load(rootfs); err != nil {
			if engines[i].name == "davit" {
				return err
			}
			notes = append(notes, fmt.Sprintf("%s: not measured: %v", engines[i].name, err))
			engines = slices.Delete(engines, i, i+1)
			continue
		}
		i++
	}

	load, _ := os.ReadFile("/proc/loadavg") // empty on a host without /proc
	var kernel syscall.Utsname
	_ = syscall.Uname(&kernel) // an empty name in the heading
	fmt.Printf("Linux %s, %d cores, load %s, %s. Milliseconds unless said otherwise: median (fastest-slowest) of %d.\n",
		cstring(kernel.Release[:]), runtime.NumCPU(), strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " "),
		time.Now().Format("2006-01-02"), runs)
	for _, n := range notes {
		fmt.Printf("- %s\n", n)
	}

	parts := []struct {
		name    string
		measure func() error
	}{
		{"starts", func() error { return starts(engines, work, rootfs, runs) }},
		{"calls", func() error { return calls(e, runs) }},
		{"exec", func() error { return execs(e, engines, runs) }},
		{"userns", func() error { return userns(bin, rootfs, e, runs) }},
		{"memory", func() error { return memory(e, engines, idle, containers) }},
		{"parallel", func() error { return parallel(engines, containers) }},
		{"network", func() error { return networks(bin, work, runs) }},
		{"watch", func() error { return watch(engines, containers) }},
		{"stopped", func() error { return stopped(bin, rootfs, min(runs, 10)) }},
		{"logs", func() error { return logs(e, work, runs) }},
		{"runtimes", func() error { return runtimes(bin, work, rootfs, runs) }},
	}
	for _, p := range parts {
		if !slices.Contains(only, p.name) {
			continue
		}
		select {
		case <-interrupted:
			return fmt.Errorf("interrupted")
		default:
		}
		if err := p.measure(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func cstring(b []int8) string {
	var s []byte
	for _, c := range b {
		if c == 0 {
			break
		}
		s = append(s, byte(c))
	}
	return string(s)
}
