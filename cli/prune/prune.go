// Package prune removes what nobody needs, kind by kind, on behalf of commands:
// the question before, the requests, and the report after.
//
// It knows no command. A call runs in its caller's goroutine.
package prune

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/docker/go-units"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/config"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
)

// Confirm shows a warning and asks whether to go on; anything but yes is no.
func Confirm(e *env.Env, warning string) (bool, error) {
	if _, err := fmt.Fprintf(e.Out, "%s [y/N] ", warning); err != nil {
		return false, err
	}
	answer, _ := bufio.NewReader(e.In).ReadString('\n') // the end of the input is no too
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// Kind removes things of one kind. It returns the report's lines and the bytes
// that are free now.
type Kind func(ctx context.Context, api *client.Client, filters client.Filters) (report string, freed uint64, err error)

// Run asks unless force is set, removes, and reports.
func Run(ctx context.Context, e *env.Env, force bool, warning string, filters client.Filters, kinds ...Kind) error {
	if !force {
		if ok, err := Confirm(e, warning+"\nAre you sure you want to continue?"); err != nil || !ok {
			return err
		}
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	var freed uint64
	for _, kind := range kinds {
		report, n, err := kind(ctx, api, filters)
		if err != nil {
			return err
		}
		freed += n
		if report != "" {
			fmt.Fprintln(e.Out, report)
		}
	}
	fmt.Fprintln(e.Out, "Total reclaimed space:", units.HumanSize(float64(freed)))
	return nil
}

// Filters joins those of the command line with the labels that the user's
// configuration keeps from every prune.
func Filters(given flags.Filter, file *config.File) client.Filters {
	filters := client.Filters{}
	for name, values := range given.Values {
		filters[name] = maps.Clone(values)
	}
	for _, f := range file.PruneFilters {
		name, value, ok := strings.Cut(f, "=")
		// What the command line says of a label counts more.
		if !ok || name == "label" && filters["label!"][value] || name == "label!" && filters["label"][value] {
			continue
		}
		filters.Add(name, value)
	}
	return filters
}

// Containers removes those that do not run.
func Containers(ctx context.Context, api *client.Client, filters client.Filters) (string, uint64, error) {
	r, err := api.PruneContainers(ctx, filters)
	return list("Deleted Containers:", r.ContainersDeleted), r.SpaceReclaimed, err
}

// Networks removes those that no container is on.
func Networks(ctx context.Context, api *client.Client, filters client.Filters) (string, uint64, error) {
	r, err := api.PruneNetworks(ctx, filters)
	return list("Deleted Networks:", r.NetworksDeleted), 0, err
}

// Volumes removes those without a name that no container uses.
func Volumes(ctx context.Context, api *client.Client, filters client.Filters) (string, uint64, error) {
	r, err := api.PruneVolumes(ctx, filters)
	return list("Deleted Volumes:", r.VolumesDeleted), r.SpaceReclaimed, err
}

// BuildCache returns what removes the build cache, all of it or what is not in
// use.
func BuildCache(all bool) Kind {
	return func(ctx context.Context, api *client.Client, filters client.Filters) (string, uint64, error) {
		r, err := api.PruneBuildCache(ctx, all, filters)
		return list("Deleted build cache objects:", r.CachesDeleted), r.SpaceReclaimed, err
	}
}

// Images returns what removes images that no container uses: all of them, or
// those without a name.
func Images(all bool) Kind {
	return func(ctx context.Context, api *client.Client, filters client.Filters) (string, uint64, error) {
		with := maps.Clone(filters)
		if with == nil {
			with = client.Filters{}
		}
		with["dangling"] = map[string]bool{fmt.Sprint(!all): true}
		r, err := api.PruneImages(ctx, with)
		var lines []string
		for _, d := range r.ImagesDeleted {
			if d.Untagged != "" {
				lines = append(lines, "untagged: "+d.Untagged)
			} else {
				lines = append(lines, "deleted: "+d.Deleted)
			}
		}
		return list("Deleted Images:", lines), r.SpaceReclaimed, err
	}
}

// list is a heading with lines below, or nothing.
func list(heading string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return heading + "\n" + strings.Join(lines, "\n") + "\n"
}
