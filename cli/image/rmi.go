package image

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/errs"
)

type removeOptions struct {
	force, noPrune bool
	platforms      flags.List
}

// NewRmiCmd returns "rmi".
func NewRmiCmd(e *env.Env) *cobra.Command {
	o := &removeOptions{}
	cmd := &cobra.Command{
		Use: "rmi [OPTIONS] IMAGE [IMAGE...]", Short: "Remove one or more images",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Images(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.force, "force", "f", false, "Force removal of the image")
	f.BoolVar(&o.noPrune, "no-prune", false, "Do not delete untagged parents")
	f.Var(&o.platforms, "platform", `Remove only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	return cmd
}

// NewRmCmd returns "image rm", which is rmi.
func NewRmCmd(e *env.Env) *cobra.Command {
	cmd := NewRmiCmd(e)
	cmd.Use, cmd.Aliases = "rm [OPTIONS] IMAGE [IMAGE...]", []string{"rmi", "remove"}
	return cmd
}

func (o *removeOptions) run(cmd *cobra.Command, e *env.Env, names []string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	request := client.ImageRemoveOptions{Force: o.force, KeepParents: o.noPrune}
	for _, text := range o.platforms.Values {
		p, err := flags.Platform(text)
		if err != nil {
			return err
		}
		if p != nil {
			request.Platforms = append(request.Platforms, *p)
		}
	}
	var failures []error
	serious := false
	for _, name := range names {
		answer, err := api.Images.Remove(cmd.Context(), name, request)
		if err != nil {
			serious = serious || !errs.Is(err, errs.NotFound)
			failures = append(failures, err)
			continue
		}
		for _, item := range answer {
			if item.Deleted != "" {
				fmt.Fprintln(e.Out, "Deleted:", item.Deleted)
			} else {
				fmt.Fprintln(e.Out, "Untagged:", item.Untagged)
			}
		}
	}
	err = errors.Join(failures...)
	if err != nil && o.force && !serious {
		// Asked to be gone, and it is: worth a line, not a failure.
		fmt.Fprintln(e.Err, err)
		return nil
	}
	return err
}
