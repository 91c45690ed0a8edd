// Package checkpoint owns the commands that write containers' processes to
// files: create, ls and rm, with the flags of docker, and export and import.
//
// They talk to the engine through package client, know nothing of criu, and
// keep nothing. Each command runs once, on the main goroutine.
package checkpoint

import (
	"context"
	"fmt"

	"github.com/moby/moby/api/types/checkpoint"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
)

// NewCreateCmd returns "checkpoint create".
func NewCreateCmd(e *env.Env) *cobra.Command {
	var dir string
	var leaveRunning bool
	cmd := &cobra.Command{
		Use: "create [OPTIONS] CONTAINER CHECKPOINT", Short: "Create a checkpoint from a running container",
		Args: env.Arguments(2, 2), ValidArgsFunction: complete.OneContainer(e, false, container.StateRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			r := checkpoint.CreateRequest{CheckpointID: args[1], CheckpointDir: dir, Exit: !leaveRunning}
			if err := api.Checkpoints.Create(cmd.Context(), args[0], r); err != nil {
				return err
			}
			fmt.Fprintln(e.Out, args[1])
			return nil
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&leaveRunning, "leave-running", false, "Leave the container running after checkpoint")
	return cmd
}

// NewLsCmd returns "checkpoint ls".
func NewLsCmd(e *env.Env) *cobra.Command {
	var dir, how string
	cmd := &cobra.Command{
		Use: "ls [OPTIONS] CONTAINER", Aliases: []string{"list"}, Short: "List checkpoints for a container",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.OneContainer(e, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			list, err := api.Checkpoints.List(cmd.Context(), args[0], dir)
			if err != nil {
				return err
			}
			rows := make([]row, len(list))
			for i, c := range list {
				rows[i] = row(c)
			}
			return format.List[row]{
				Fields: format.Fields[row]{{Name: "Name", Header: "CHECKPOINT NAME", Value: func(r row) string { return r.Name }}},
				Table:  []string{"Name"}, Format: how,
			}.Write(e.Out, rows)
		},
	}
	dirFlag(cmd, &dir)
	format.Flags(cmd.Flags(), &how)
	return cmd
}

// row is a checkpoint as "checkpoint ls" shows it.
type row checkpoint.Summary

// NewRmCmd returns "checkpoint rm".
func NewRmCmd(e *env.Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "rm [OPTIONS] CONTAINER CHECKPOINT", Aliases: []string{"remove"}, Short: "Remove a checkpoint",
		Args: env.Arguments(2, 2), ValidArgsFunction: existing(e, &dir),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return api.Checkpoints.Remove(cmd.Context(), args[0], dir, args[1])
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

// existing offers a container and one of its checkpoints.
func existing(e *env.Env, dir *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return names(cmd.Context(), e, args[0], *dir), cobra.ShellCompDirectiveNoFileComp
		}
		return complete.OneContainer(e, true)(cmd, args, word)
	}
}

func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "checkpoint-dir", "", "Use a custom checkpoint storage directory")
}

// names are a container's checkpoints for completion, which never fails aloud.
func names(ctx context.Context, e *env.Env, name, dir string) (list []string) {
	api, err := e.Client()
	if err != nil {
		return nil
	}
	found, err := api.Checkpoints.List(ctx, name, dir)
	if err != nil {
		return nil
	}
	for _, c := range found {
		list = append(list, c.Name)
	}
	return list
}
