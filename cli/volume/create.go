package volume

import (
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
)

type createOptions struct {
	driver  string
	options flags.Map
	labels  flags.Map
}

// NewCreateCmd returns "volume create".
func NewCreateCmd(e *env.Env) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use: "create [OPTIONS] [VOLUME]", Short: "Create a volume",
		Args: env.Arguments(0, 1), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.driver, "driver", "d", "local", "Specify volume driver name")
	f.VarP(&o.options, "opt", "o", "Set driver specific options")
	f.Var(&o.labels, "label", "Set metadata for a volume")
	_ = cmd.RegisterFlagCompletionFunc("driver", complete.Words("local"))
	_ = cmd.RegisterFlagCompletionFunc("opt", complete.Keys("device=", "o=", "size=", "type="))
	return cmd
}

func (o *createOptions) run(cmd *cobra.Command, e *env.Env, args []string) error {
	request := volume.CreateRequest{Driver: o.driver, DriverOpts: o.options.Values, Labels: o.labels.Values}
	if len(args) == 1 {
		if args[0] == "" {
			return errors.New("invalid volume name: value is empty")
		}
		request.Name = args[0]
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	made, err := api.Volumes.Create(cmd.Context(), request)
	if err != nil {
		return err
	}
	fmt.Fprintln(e.Out, made.Name)
	return nil
}
