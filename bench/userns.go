package main

import (
	"fmt"
	"path/filepath"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// userns compares hello-world in the host's user namespace with hello-world in
// one of its own: where that is the engine's default, and where it is asked
// for. One run of each in turn, over connections that stand.
func userns(bin, rootfs string, host *enginetest.Engine, runs int) error {
	auto, err := enginetest.New(bin, enginetest.Config{Quiet: true, Args: []string{"--default-userns", "auto"}})
	if err != nil {
		return err
	}
	defer auto.Close()
	if err := (engine{"davit", []string{filepath.Join(auto.Bin, "davit")}, auto.Davit().Env, nil, nil}).load(rootfs); err != nil {
		return err
	}
	kinds := []struct {
		name string
		of   *enginetest.Engine
		mode container.UsernsMode
	}{
		{"host", host, ""}, {"auto, the engine's default", auto, ""}, {"auto, asked for", host, "auto"}, {"host, where auto is the default", auto, "host"},
	}
	calls := []string{"create", "start", "start to exit known", "whole"}
	at := []int{0, 3, 4, 5} // of what oneByCalls returns
	results := make([][]sample, len(kinds))
	clients := make([]*client.Client, len(kinds))
	for i, k := range kinds {
		results[i] = make([]sample, len(calls))
		if clients[i], err = client.New(client.WithHost(k.of.Host())); err != nil {
			return err
		}
		defer clients[i].Close()
	}
	for round := -3; round < runs; round++ {
		for i, k := range kinds {
			laps, err := oneByCalls(clients[i], k.mode)
			if err != nil {
				return fmt.Errorf("userns %s: %w", k.name, err)
			}
			for j, lap := range at {
				if round >= 0 {
					results[i][j].add(laps[lap])
				}
			}
		}
	}
	fmt.Printf("\n## User namespaces (hello-world by API calls, default bridge, --rm)\n\n| userns | %s | %s | %s | %s |\n|---|---|---|---|---|\n", calls[0], calls[1], calls[2], calls[3])
	for i, k := range kinds {
		fmt.Printf("| %s | %v | %v | %v | %v |\n", k.name, results[i][0], results[i][1], results[i][2], results[i][3])
	}
	base := results[0][3].median()
	cost := func(i int) string {
		more := results[i][3].median() - base
		return fmt.Sprintf("%.1f ms (%.0f %%)", more, 100*more/base)
	}
	fmt.Printf("\nA user namespace of its own costs %s where it is the default, %s where it is asked for.\n", cost(1), cost(2))
	return nil
}
