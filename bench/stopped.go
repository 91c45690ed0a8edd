package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/client"
)

// stopped measures how an engine starts that has many containers which do not
// run, and how it lists them.
func stopped(bin, rootfs string, runs int) (err error) {
	const count = 2000
	e, err := enginetest.New(bin, enginetest.Config{Quiet: true, NoRegistry: true})
	if err != nil {
		return err
	}
	defer func() {
		for _, left := range e.Close() {
			fmt.Println("left behind:", left)
		}
	}()
	davit := func(args ...string) *exec.Cmd {
		return exec.Command(filepath.Join(bin, "davit"), append([]string{"-H", e.Host()}, args...)...)
	}
	load := exec.Command("sh", "-c", `tar -C "$0" -c hello | "$1" -H "$2" import - stopped`, rootfs, filepath.Join(bin, "davit"), e.Host())
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if out, err := davit("run", "--name", "seed", "stopped", "/hello").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	api, err := client.New(client.WithHost(e.Host()))
	if err != nil {
		return err
	}
	defer api.Close()
	seed, err := api.ContainerInspect(context.Background(), "seed", client.ContainerInspectOptions{})
	if err != nil {
		return err
	}

	nothing := func() error { return nil }
	fmt.Printf("\n## Containers that do not run\n\n| containers | start to first answer | list, API | ps -aq, whole client | ps -a, whole client | davitd, MiB PSS |\n|---|---|---|---|---|---|\n")
	for _, n := range []int{1, count} {
		if n > 1 {
			if _, err := enginetest.Bounce(e, func() error { return enginetest.Multiply(e, seed.Container.ID, n-1) }); err != nil {
				return err
			}
		}
		var ready, list, quiet, full sample
		for range runs {
			took, err := enginetest.Bounce(e, nothing)
			if err != nil {
				return err
			}
			ready.add(took)
		}
		for range runs {
			begin := time.Now()
			answer, err := api.ContainerList(context.Background(), client.ContainerListOptions{All: true})
			if err != nil || len(answer.Items) != n {
				return fmt.Errorf("%d containers listed, want %d: %w", len(answer.Items), n, err)
			}
			list.add(time.Since(begin))
			for args, s := range map[string]*sample{"-aq": &quiet, "-a": &full} {
				cmd := davit("ps", args)
				cmd.Stdout = io.Discard
				took, err := timed(cmd)
				if err != nil {
					return err
				}
				s.add(took)
			}
		}
		fmt.Printf("| %d | %v | %v | %v | %v | %.1f |\n", n, ready, list, quiet, full, mib(daemonMemory(e).pss))
	}
	return nil
}
