package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// count is what an engine holds.
type count struct{ descriptors, goroutines, records, runs int }

func holds(t *testing.T, e *enginetest.Engine, api *client.Client) count {
	t.Helper()
	info, err := api.Info(context.Background(), client.InfoOptions{})
	if err != nil {
		t.Fatal(err)
	}
	entries := func(dir string) int {
		list, err := os.ReadDir(dir)
		if err != nil {
			return 0 // not made yet
		}
		return len(list)
	}
	return count{
		entries(fmt.Sprintf("/proc/%d/fd", e.Pid())), info.Info.NGoroutines,
		entries(filepath.Join(e.Data, "containers")), entries(filepath.Join(e.Exec, "containers")),
	}
}

// atRest waits until the engine's pools are full, so that nothing changes by
// itself any more: half a second without a change.
func atRest(t *testing.T, e *enginetest.Engine, api *client.Client) count {
	t.Helper()
	last, since := holds(t, e, api), time.Now()
	enginetest.Eventually(t, 15*time.Second, func() error {
		if now := holds(t, e, api); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 500*time.Millisecond {
			return fmt.Errorf("the engine does not come to rest: %+v", last)
		}
		return nil
	})
	return last
}

// TestCyclesLeakNothing creates and removes a thousand containers, and runs a
// hundred: descriptors, goroutines and files are as many as before.
func TestCyclesLeakNothing(t *testing.T) {
	e, cli := start(t)
	api := e.Client(t)
	ctx := context.Background()
	cycle := func(run bool) {
		made, err := api.ContainerCreate(ctx, client.ContainerCreateOptions{Config: &container.Config{Image: "busybox", Cmd: []string{"true"}}})
		if err != nil {
			t.Fatal(err)
		}
		if run {
			if _, err := api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := api.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 { // fills pools and caches
		cycle(true)
	}
	cli.OK(t, "run", "--rm", "busybox", "true")
	var before count
	settle := func(what string, same func(now count) bool) {
		t.Helper()
		enginetest.Eventually(t, 15*time.Second, func() error {
			if now := holds(t, e, api); !same(now) {
				return fmt.Errorf("%s: %+v, before: %+v", what, now, before)
			}
			return nil
		})
	}
	before = atRest(t, e, api)
	cycles := 1000
	if testing.Short() {
		cycles = 100
	}
	for range cycles {
		cycle(false)
	}
	for range cycles / 10 {
		cycle(true)
	}
	// A few more or less are pools at work; a leak is one for each cycle.
	settle("after the cycles", func(now count) bool {
		return now.descriptors <= before.descriptors+8 && now.goroutines <= before.goroutines+8 && now.records == before.records && now.runs == before.runs
	})
}

// TestClientsHangUp ends clients in the middle of attach, logs, wait and
// events; the engine does not keep what it held for them.
func TestClientsHangUp(t *testing.T) {
	e, cli := start(t)
	api := e.Client(t)
	cli.OK(t, "run", "-d", "--name", "box", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
	before := atRest(t, e, api)
	for range 10 {
		clients := []*enginetest.Background{
			cli.Start(t, "attach", "--sig-proxy=false", "box"), cli.Start(t, "logs", "-f", "box"), cli.Start(t, "wait", "box"), cli.Start(t, "events"),
		}
		clients[0].WaitFor(t, "tick")
		clients[1].WaitFor(t, "tick")
		for _, c := range clients {
			c.Kill()
		}
	}
	enginetest.Eventually(t, 15*time.Second, func() error {
		if now := holds(t, e, api); now.descriptors > before.descriptors+4 || now.goroutines > before.goroutines+4 {
			return fmt.Errorf("%+v, before the clients came: %+v", now, before)
		}
		return nil
	})
	if out := cli.OK(t, "ps", "-q"); out == "" {
		t.Error("the container has ended")
	}
}
