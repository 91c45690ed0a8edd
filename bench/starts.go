package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// sample is a series of measurements, in milliseconds.
type sample []float64

func (s *sample) add(d time.Duration) { *s = append(*s, float64(d.Microseconds())/1000) }

func (s sample) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func (s sample) String() string {
	if len(s) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f (%.1f-%.1f)", s.median(), slices.Min(s), slices.Max(s))
}

// timed runs a command to its end.
func timed(cmd *exec.Cmd) (time.Duration, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return took, nil
}

// starts compares whole runs, from the client's fork to its exit.
func starts(engines []engine, work, rootfs string, runs int) error {
	binary := filepath.Join(work, "bound")
	if out, err := exec.Command("gcc", "-O2", "-static", "-o", binary, filepath.Join("bench", "bound", "bound.c")).CombinedOutput(); err != nil {
		return fmt.Errorf("building the bound: %w\n%s", err, out)
	}
	kinds := []struct {
		title string
		args  []string
	}{
		{"run --rm hello-world", []string{"run", "--rm", "--label", label, helloImage}},
		{"run --rm --network none", []string{"run", "--rm", "--label", label, "--network", "none", helloImage}},
		{"client alone: --version", []string{"--version"}},
	}
	results := make([][]sample, len(engines))
	for i := range results {
		results[i] = make([]sample, len(kinds))
	}
	bounds := map[string]*bound{"cgroup": {}, "net cgroup": {}}
	for round := -2; round < runs; round++ { // two rounds to warm up
		for _, options := range []string{"cgroup", "net cgroup"} {
			b, err := runBound(binary, rootfs, options)
			if err != nil {
				return err
			}
			if round >= 0 {
				bounds[options].join(b)
			}
		}
		for i, e := range engines {
			for k, kind := range kinds {
				took, err := timed(e.command(kind.args...))
				if err != nil {
					return err
				}
				if round >= 0 {
					results[i][k].add(took)
				}
			}
		}
	}

	fmt.Printf("\n## Starts\n\n| | %s | %s | %s |\n|---|---|---|---|\n", kinds[0].title, kinds[1].title, kinds[2].title)
	fmt.Printf("| the bound: clone, mounts, cgroups, exec, wait | %v | %v | |\n", bounds["net cgroup"].whole, bounds["cgroup"].whole)
	for i, e := range engines {
		fmt.Printf("| %s | %v | %v | %v |\n", e.name, results[i][0], results[i][1], results[i][2])
	}
	base := bounds["net cgroup"].whole.median()
	fmt.Printf("\nOn the default bridge davit takes %.1f times the bound", results[0][0].median()/base)
	for i, e := range engines[1:] {
		if e.daemons != nil {
			fmt.Printf(", %s %.1f times what davit takes", e.name, results[i+1][0].median()/results[0][0].median())
		}
	}
	fmt.Printf(".\n\nThe bound's parts, with a network namespace:\n\n| part | ms |\n|---|---|\n")
	for i, name := range bounds["net cgroup"].names {
		fmt.Printf("| %s | %v |\n", name, bounds["net cgroup"].parts[i])
	}
	return nil
}

// bound is what bound/bound.c prints.
type bound struct {
	names []string
	whole sample
	parts []sample
}

func (b *bound) join(other bound) {
	b.names = other.names
	b.whole = append(b.whole, other.whole...)
	if b.parts == nil {
		b.parts = make([]sample, len(other.parts))
	}
	for i := range other.parts {
		b.parts[i] = append(b.parts[i], other.parts[i]...)
	}
}

func runBound(binary, rootfs, options string) (bound, error) {
	cmd := exec.Command(binary, append([]string{rootfs, "1"}, strings.Fields(options)...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return bound{}, fmt.Errorf("running the bound: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	b := bound{names: strings.Fields(lines[0])[1:]}
	b.parts = make([]sample, len(b.names))
	for _, line := range lines[1:] {
		for i, field := range strings.Fields(line) {
			us, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return bound{}, fmt.Errorf("reading the bound's figures: %w", err)
			}
			if i == 0 {
				b.whole = append(b.whole, us/1000)
			} else {
				b.parts[i-1] = append(b.parts[i-1], us/1000)
			}
		}
	}
	return b, nil
}

// calls takes one run of hello-world apart into the API's calls, over a
// connection that stands: what is left of a run beyond these is the client.
func calls(e *enginetest.Engine, runs int) error {
	api, err := client.New(client.WithHost(e.Host()))
	if err != nil {
		return err
	}
	defer api.Close()
	names := []string{"create", "attach", "wait registered", "start", "start to exit known", "whole"}
	results := make([]sample, len(names))
	for round := -3; round < runs; round++ {
		laps, err := oneByCalls(api, "")
		if err != nil {
			return err
		}
		if round < 0 {
			continue
		}
		for i, d := range laps {
			results[i].add(d)
		}
	}
	fmt.Printf("\n## One run by API calls (hello-world, default bridge, --rm)\n\n| call | ms |\n|---|---|\n")
	for i, n := range names {
		fmt.Printf("| %s | %v |\n", n, results[i])
	}
	return nil
}

// oneByCalls runs hello-world and returns how long each call took, and all.
func oneByCalls(api *client.Client, userns container.UsernsMode) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	begin := time.Now()
	last := begin
	var laps []time.Duration
	lap := func() {
		now := time.Now()
		laps = append(laps, now.Sub(last))
		last = now
	}
	created, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: helloImage, AttachStdout: true, AttachStderr: true, Labels: map[string]string{label: ""}},
		HostConfig: &container.HostConfig{AutoRemove: true, UsernsMode: userns},
	})
	if err != nil {
		return nil, fmt.Errorf("creating: %w", err)
	}
	lap()
	attached, err := api.ContainerAttach(ctx, created.ID, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return nil, fmt.Errorf("attaching: %w", err)
	}
	defer attached.Close()
	lap()
	wait := api.ContainerWait(ctx, created.ID, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	lap()
	if _, err := api.ContainerStart(ctx, created.ID, client.ContainerStartOptions{}); err != nil {
		return nil, fmt.Errorf("starting: %w", err)
	}
	lap()
	if _, err := io.Copy(io.Discard, attached.Reader); err != nil {
		return nil, fmt.Errorf("reading output: %w", err)
	}
	select {
	case r := <-wait.Result:
		if r.StatusCode != 0 {
			return nil, fmt.Errorf("hello-world ended with %d", r.StatusCode)
		}
	case err := <-wait.Error:
		return nil, fmt.Errorf("waiting: %w", err)
	}
	lap()
	return append(laps, time.Since(begin)), nil
}
