// Package complete owns what the shell offers after TAB: names of containers,
// images, volumes and networks as the engine knows them now, and fixed words.
//
// Completion never fails aloud and never waits long: an engine that does not
// answer within two seconds offers nothing.
package complete

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
)

const patience = 2 * time.Second

// Words offers fixed words.
func Words(words ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// Keys offers the names of NAME=VALUE, after which the value is typed.
func Keys(names ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// Signals offers the signals that are sent to containers.
func Signals(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGWINCH"},
		cobra.ShellCompDirectiveNoFileComp
}

// ask calls list with a client that answers in time, and offers what it finds.
// typed holds the arguments that are there already.
func ask(e *env.Env, args []string, list func(ctx context.Context, api *client.Client, typed map[string]bool) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	api, err := e.Client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	typed := map[string]bool{}
	for _, a := range args {
		typed[a] = true
	}
	names, err := list(ctx, api, typed)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// Containers offers containers' names, those that do not run as well if all is
// set, in one of states if any are given; names typed already are left out.
func Containers(e *env.Env, all bool, states ...container.ContainerState) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return ask(e, args, func(ctx context.Context, api *client.Client, typed map[string]bool) ([]string, error) {
			options := client.ListOptions{All: all}
			for _, s := range states {
				if options.Filters == nil {
					options.Filters = client.Filters{}
				}
				options.Filters.Add("status", string(s))
			}
			list, err := api.Containers.List(ctx, options)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, c := range list {
				for _, n := range c.Names {
					n = strings.TrimPrefix(n, "/")
					// A name with a slash in it is a link's.
					if !strings.Contains(n, "/") && !typed[n] {
						names = append(names, n+"\t"+c.Image+", "+c.Status)
					}
				}
			}
			return names, nil
		})
	}
}

// OneContainer is Containers for a command that takes a single one.
func OneContainer(e *env.Env, all bool, states ...container.ContainerState) cobra.CompletionFunc {
	return atMost(1, Containers(e, all, states...))
}

// Images offers images' names with tags.
func Images(e *env.Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return ask(e, args, func(ctx context.Context, api *client.Client, typed map[string]bool) ([]string, error) {
			list, err := api.Images.List(ctx, false, nil)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, image := range list {
				for _, n := range image.RepoTags {
					if n != "<none>:<none>" && !typed[n] {
						names = append(names, n)
					}
				}
			}
			return names, nil
		})
	}
}

// FirstImage offers images for the first argument and leaves the others, a
// command in the container, alone.
func FirstImage(e *env.Env) cobra.CompletionFunc { return atMost(1, Images(e)) }

// Volumes offers volumes' names; those typed already are left out.
func Volumes(e *env.Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return ask(e, args, func(ctx context.Context, api *client.Client, typed map[string]bool) ([]string, error) {
			list, err := api.Volumes.List(ctx, nil)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, v := range list {
				if !typed[v.Name] {
					names = append(names, v.Name)
				}
			}
			return names, nil
		})
	}
}

// Sources offers what stands before the colon of -v: volumes, or files where a
// path is begun.
func Sources(e *env.Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		if strings.HasPrefix(word, "/") || strings.HasPrefix(word, ".") {
			return nil, cobra.ShellCompDirectiveDefault | cobra.ShellCompDirectiveNoSpace
		}
		names, directive := Volumes(e)(cmd, nil, word)
		for i := range names {
			names[i] += ":"
		}
		return names, directive | cobra.ShellCompDirectiveNoSpace
	}
}

// Networks offers networks' names, of those that match a filter NAME=VALUE if
// there is one; those typed already are left out.
func Networks(e *env.Env, filter ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return ask(e, args, func(ctx context.Context, api *client.Client, typed map[string]bool) ([]string, error) {
			filters := client.Filters{}
			for _, f := range filter {
				name, value, _ := strings.Cut(f, "=")
				filters.Add(name, value)
			}
			list, err := api.Networks.List(ctx, filters)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, n := range list {
				if !typed[n.Name] {
					names = append(names, n.Name+"\t"+n.Driver)
				}
			}
			return names, nil
		})
	}
}

// NetworkThen offers networks for the first argument, and for the second what
// next does.
func NetworkThen(e *env.Env, next cobra.CompletionFunc) cobra.CompletionFunc {
	return atMost(2, func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return Networks(e)(cmd, args, word)
		}
		return next(cmd, args, word)
	})
}

// Members offers the containers on the network that is the first argument.
func Members(e *env.Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return ask(e, args, func(ctx context.Context, api *client.Client, _ map[string]bool) ([]string, error) {
			n, _, err := api.Networks.Inspect(ctx, args[0], false)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, c := range n.Containers {
				names = append(names, c.Name)
			}
			slices.Sort(names)
			return names, nil
		})
	}
}

// Modes offers what --network takes: networks, and other containers' after
// "container:".
func Modes(e *env.Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		if !strings.HasPrefix(word, "container:") {
			names, directive := Networks(e)(cmd, nil, word)
			return append(names, "container:"), directive
		}
		names, directive := Containers(e, false)(cmd, nil, word)
		for i := range names {
			names[i] = "container:" + names[i]
		}
		return names, directive
	}
}

// Any offers containers, images, networks and volumes.
func Any(e *env.Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		names, _ := Containers(e, true)(cmd, args, word)
		images, _ := Images(e)(cmd, args, word)
		networks, _ := Networks(e)(cmd, args, word)
		volumes, _ := Volumes(e)(cmd, args, word)
		return slices.Concat(names, images, networks, volumes), cobra.ShellCompDirectiveNoFileComp
	}
}

func atMost(n int, f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, word)
	}
}
