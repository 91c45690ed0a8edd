package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// get asks the engine itself; the answer's body is closed after the test.
func get(t *testing.T, e *enginetest.Engine, path string) (int, io.Reader) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", e.Socket)
	}}}
	resp, err := client.Get("http://davit" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp.StatusCode, resp.Body
}

// TestStats compares what both clients show of a container that works.
func TestStats(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "--memory", "64m", "--pids-limit", "50", "busybox", "sh", "-c", "while :; do :; done")
		var got struct{ Name, CPUPerc, MemUsage, PIDs string }
		if err := json.Unmarshal([]byte(cli.OK(t, "stats", "--no-stream", "--format", "{{json .}}", n)), &got); err != nil {
			t.Fatal(err)
		}
		var cpu float64
		if _, err := fmt.Sscanf(got.CPUPerc, "%f%%", &cpu); err != nil || cpu < 5 || cpu > 150 {
			t.Errorf("a loop uses %s", got.CPUPerc)
		}
		if got.Name != n || !strings.HasSuffix(got.MemUsage, " / 64MiB") || strings.HasPrefix(got.MemUsage, "0B") || got.PIDs != "1" {
			t.Errorf("got %+v", got)
		}
		if all := cli.OK(t, "stats", "--no-stream", "--format", "{{.Name}}"); !strings.Contains(all, n) {
			t.Errorf("without names: %s", all)
		}
		cli.OK(t, "stop", "-t", "0", n)
		if got := cli.OK(t, "stats", "--no-stream", "--format", "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}}", n); got != "0.00% 0B / 0B 0" {
			t.Errorf("stopped: %s", got)
		}
		if all := cli.OK(t, "stats", "--no-stream", "--format", "{{.Name}}"); strings.Contains(all, n) {
			t.Errorf("what does not run is shown: %s", all)
		}
		if all := cli.OK(t, "stats", "--no-stream", "-a", "--format", "{{.Name}}"); !strings.Contains(all, n) {
			t.Errorf("with -a: %s", all)
		}
		cli.Fails(t, 1, "No such container: "+n+"x", "stats", "--no-stream", n+"x")
	})
}

// TestStatsStream follows a container until it is removed, over its end and a
// new start.
func TestStatsStream(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "busybox", "sleep", "1000")
	status, body := get(t, e, "/containers/"+n+"/stats")
	if status != 200 {
		t.Fatal(status)
	}
	decoder := json.NewDecoder(bufio.NewReader(body))
	next := func() (s container.StatsResponse) {
		t.Helper()
		if err := decoder.Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	first, second := next(), next()
	if !first.PreRead.IsZero() || first.PreCPUStats.SystemUsage != 0 || !second.PreRead.Equal(first.Read) || second.PreCPUStats.SystemUsage != first.CPUStats.SystemUsage {
		t.Errorf("the sample before: %v then %v", first.PreCPUStats, second.PreCPUStats)
	}
	if gap := second.Read.Sub(first.Read); gap < 400*time.Millisecond || gap > 3*time.Second {
		t.Errorf("from one sample to the next: %v", gap)
	}
	if second.CPUStats.OnlineCPUs == 0 || second.MemoryStats.Usage == 0 || second.MemoryStats.Stats["active_file"]+second.MemoryStats.Usage == 0 || second.PidsStats.Current != 1 || second.Name != "/"+n {
		t.Errorf("got %+v", second)
	}
	if _, ok := second.Networks["eth0"]; !ok || len(second.Networks) != 1 {
		t.Errorf("networks: %v", second.Networks)
	}
	until := func(what string, good func(container.StatsResponse) bool) {
		t.Helper()
		for range 10 {
			if good(next()) {
				return
			}
		}
		t.Fatalf("no sample of a container that %s", what)
	}
	cli.OK(t, "stop", "-t", "0", n)
	until("has ended", func(s container.StatsResponse) bool { return s.Read.IsZero() && s.Name == "/"+n })
	cli.OK(t, "start", n)
	until("runs again", func(s container.StatsResponse) bool { return s.PidsStats.Current == 1 })
	cli.OK(t, "rm", "-f", n)
	for {
		var s container.StatsResponse
		if err := decoder.Decode(&s); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTop compares what both clients show with what runs.
func TestTop(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "busybox", "sh", "-c", "sleep 1234 & exec sleep 4321")
		lines := strings.Split(cli.OK(t, "top", n), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], "UID                 PID                 PPID") || !strings.HasSuffix(lines[1], "sleep 4321") || !strings.HasSuffix(lines[2], "sleep 1234") {
			t.Errorf("top: %q", lines)
		}
		// An option that ps does not take beside -q.
		if got := cli.OK(t, "top", n, "axf", "-o", "pid,args"); strings.Count(got, "sleep") != 2 || strings.Contains(got, "davitd") {
			t.Errorf("top axf: %s", got)
		}
		cli.Fails(t, 1, `specifying "pid,comm=PID" is not allowed`, "top", n, "-o", "pid,comm=PID")
		cli.Fails(t, 1, "ps: ", "top", n, "--no-such-option")
		cli.OK(t, "stop", "-t", "0", n)
		cli.Fails(t, 1, "is not running", "top", n)
	})
}

// TestEventsOutliveTheEngine kills the engine and asks for what happened
// before.
func TestEventsOutliveTheEngine(t *testing.T) {
	enginetest.NeedRoot(t)
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, "run", "--name", "past", "busybox", "true")
	now := func() string { return time.Now().Format(time.RFC3339Nano) }
	history := func() string {
		return cli.OK(t, "events", "--since", "1", "--until", now(), "--filter", "type=container", "--format", "{{.Action}} {{.Actor.Attributes.name}}")
	}
	want := history()
	for _, action := range []string{"create", "attach", "start", "die"} {
		if !strings.Contains(want, action+" past") {
			t.Fatalf("no %s among %s", action, want)
		}
	}
	time.Sleep(100 * time.Millisecond) // the last moment, which may be lost
	e.Kill(t)
	e.Restart(t)
	if got := history(); got != want {
		t.Errorf("before the engine was killed:\n%s\nafter:\n%s", want, got)
	}
	for _, client := range e.CLIs(t) {
		if got := client.OK(t, "events", "--since", "1", "--until", now(), "--filter", "event=die", "--format", "{{json .Actor.Attributes.name}}"); got != `"past"` {
			t.Errorf("%s: filtered: %s", client.Name, got)
		}
	}
}

// TestDiskUsageAndPrune works on an engine of its own: what is pruned is not
// another test's.
func TestDiskUsageAndPrune(t *testing.T) {
	enginetest.NeedRoot(t)
	e := enginetest.Start(t, enginetest.Config{})
	for _, cli := range e.CLIs(t) {
		t.Run(cli.Name, func(t *testing.T) {
			e.Busybox(t)
			cli.OK(t, "tag", "busybox", "other:1")
			cli.OK(t, "run", "--name", "done", "--label", "keep", "busybox", "sh", "-c", "head -c 1000 /dev/zero > /x")
			cli.OK(t, "run", "-d", "--name", "runs", "busybox", "sleep", "1000")
			cli.OK(t, "create", "--name", "new", "busybox")
			cli.OK(t, "pause", "runs")
			if got := cli.OK(t, "info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}} {{.Images}}"); got != "3 0 1 2 1" {
				t.Errorf("info counts %s", got)
			}
			cli.OK(t, "unpause", "runs")
			cli.OK(t, "rm", "new")
			df := func() map[string]string {
				t.Helper()
				all := map[string]string{}
				for _, line := range strings.Split(cli.OK(t, "system", "df", "--format", "{{.Type}}|{{.TotalCount}} {{.Active}} {{.Reclaimable}}"), "\n") {
					kind, figures, _ := strings.Cut(line, "|")
					all[kind] = figures
				}
				return all
			}
			if got := df(); got["Images"] != "1 1 0B (0%)" || got["Containers"] != "2 1 1kB (100%)" || got["Build Cache"] != "0 0 0B" {
				t.Errorf("disk usage: %v", got)
			}
			if got := cli.OK(t, "system", "df", "-v"); !strings.Contains(got, "1kB ") || !strings.Contains(got, "busybox") && !strings.Contains(got, "other") {
				t.Errorf("in detail: %s", got)
			}
			cli.Fails(t, 1, "invalid filter 'colour'", "container", "prune", "-f", "--filter", "colour=red")
			if got := cli.OK(t, "container", "prune", "-f", "--filter", "label!=keep"); got != "Total reclaimed space: 0B" {
				t.Errorf("pruned: %s", got)
			}
			if got := cli.OK(t, "container", "prune", "-f", "--filter", "until=1h"); got != "Total reclaimed space: 0B" {
				t.Errorf("pruned: %s", got)
			}
			if got := cli.OK(t, "container", "prune", "-f"); !strings.HasPrefix(got, "Deleted Containers:\n") || !strings.HasSuffix(got, "\n\nTotal reclaimed space: 1kB") {
				t.Errorf("pruned: %s", got)
			}
			if got := cli.OK(t, "image", "prune", "-a", "-f"); got != "Total reclaimed space: 0B" {
				t.Errorf("pruned an image that is in use: %s", got)
			}
			cli.OK(t, "rm", "-f", "runs")
			got := cli.OK(t, "system", "prune", "-a", "-f")
			if !strings.Contains(got, "untagged: busybox:latest\nuntagged: other:1\ndeleted: sha256:") || strings.HasSuffix(got, ": 0B") {
				t.Errorf("pruned: %s", got)
			}
			if got := df(); got["Images"] != "0 0 0B" || got["Containers"] != "0 0 0B" {
				t.Errorf("afterwards: %v", got)
			}
		})
	}
	past := e.Davit().OK(t, "events", "--since", "1", "--until", time.Now().Format(time.RFC3339Nano), "--filter", "event=prune", "--format", "{{.Type}} {{.Actor.Attributes.reclaimed}}")
	if !strings.Contains(past, "container 1000\n") || !strings.Contains(past, "image 0\n") {
		t.Errorf("events: %s", past)
	}
}

// TestSaveAndLoad takes an image through files and pipes of both clients.
func TestSaveAndLoad(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		dir, tag := t.TempDir(), "saved:"+cli.Name
		cli.OK(t, "tag", "busybox", tag)
		t.Cleanup(func() { cli.Run(t, "rmi", "-f", tag) })
		file := dir + "/image.tar"
		cli.OK(t, "save", "-o", file, tag)
		id := cli.OK(t, "inspect", "-f", "{{.Id}}", tag)
		cli.OK(t, "rmi", tag)
		if got := cli.OK(t, "load", "-i", file); got != "Loaded image: "+tag {
			t.Errorf("load: %q", got)
		}
		if got := cli.OK(t, "inspect", "-f", "{{.Id}}", tag); got != id {
			t.Errorf("the image was %s and is %s", id, got)
		}
		if got := cli.OK(t, "run", "--rm", tag, "echo", "loaded"); got != "loaded" {
			t.Errorf("run: %q", got)
		}
		packed, err := exec.Command("gzip", "-k", file).CombinedOutput()
		if err != nil {
			t.Fatalf("gzip: %v: %s", err, packed)
		}
		archive, err := os.Open(file + ".gz")
		if err != nil {
			t.Fatal(err)
		}
		defer archive.Close()
		if got := cli.Feed(t, archive, "load", "-q"); got.Code != 0 || strings.TrimSpace(got.Stdout) != "Loaded image: "+tag {
			t.Errorf("load of a compressed archive: %+v", got)
		}
		cli.Fails(t, 1, "No such image: nope:latest", "save", "-o", dir+"/nope", "nope")
		if _, err := os.Stat(dir + "/nope"); err == nil {
			t.Error("a file is left of what could not be saved")
		}
		if got := cli.Feed(t, strings.NewReader("no archive"), "load"); got.Code != 1 || !strings.Contains(got.Stderr, "loading images: ") {
			t.Errorf("load of something else: %+v", got)
		}
	})
}
