package shim

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/wire"
)

// BenchmarkRun runs a container that says one line in a warm shim: medians to
// the answer of the start, to the last byte at the attached client, to the exit
// event.
func BenchmarkRun(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("containers need root")
	}
	root := rootfs(b)
	var started, output, exited []time.Duration
	for range b.N {
		b.StopTimer()
		s := warmShim(b, kind{root: root})
		s.start.Spec.Process.Args = []string{"/bin/busybox", "echo", "hello"}
		c, end := s.attachBefore(wire.Attach{ID: 1, Stdout: true, Stderr: true})
		if _, err := s.Hello(context.Background()); err != nil { // it is warm then
			b.Fatal(err)
		}
		b.StartTimer()
		began := time.Now()
		s.run(end)
		started = append(started, time.Since(began))
		if _, err := io.Copy(io.Discard, c); err != nil {
			b.Fatal(err)
		}
		output = append(output, time.Since(began))
		e := <-s.Events()
		exited = append(exited, time.Since(began))
		b.StopTimer()
		if e.Exited == nil {
			b.Fatalf("event %+v", e)
		}
		end.Close()
		if err := <-s.exited; err != nil {
			b.Fatal(err)
		}
		s.exited <- nil
	}
	for name, times := range map[string][]time.Duration{"started": started, "output": output, "exited": exited} {
		slices.Sort(times)
		b.ReportMetric(float64(times[0].Microseconds()), name+"-min-µs")
		b.ReportMetric(float64(times[len(times)/2].Microseconds()), name+"-µs")
	}
}

// BenchmarkIdle runs 50 containers that sleep, each under davit-shim, and
// reports what a shim keeps in memory.
func BenchmarkIdle(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("containers need root")
	}
	program := filepath.Join(b.TempDir(), "davit-shim")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "github.com/davit-engine/davit/cmd/davit-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	k := kind{root: rootfs(b), program: program}
	const count = 50
	shims := make([]*shimProcess, count)
	for i := range shims {
		s := warmShim(b, k).sh("echo hello; exec busybox sleep 1000")
		s.start.Spec.Annotations = map[string]string{"size": strings.Repeat("x", 30<<10)} // as a whole spec has
		shims[i] = s.run()
	}
	time.Sleep(2 * trimDelay)
	for b.Loop() {
		for _, field := range []string{"Pss", "Pss_Anon", "Rss"} {
			sum := 0
			for _, s := range shims {
				sum += s.memory(field)
			}
			b.ReportMetric(float64(sum)/count, field+"-KiB")
		}
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", shims[0].state.ShimPid))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(tasks)), "threads")
	for _, s := range shims {
		s.Signal(context.Background(), wire.Signal{Signal: 9})
	}
	for _, s := range shims {
		s.waitExit()
	}
}
