package image

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/transfer"
)

type importOptions struct {
	changes           flags.List
	message, platform string
}

// NewImportCmd returns "import".
func NewImportCmd(e *env.Env) *cobra.Command {
	o := &importOptions{}
	cmd := &cobra.Command{
		Use: "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]", Short: "Import the contents from a tarball to create a filesystem image",
		Args: env.Arguments(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	f := cmd.Flags()
	f.VarP(&o.changes, "change", "c", "Apply Dockerfile instruction to the created image")
	f.StringVarP(&o.message, "message", "m", "", "Set commit message for imported image")
	f.StringVar(&o.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Set platform if server is multi-platform capable")
	return cmd
}

func (o *importOptions) run(cmd *cobra.Command, e *env.Env, args []string) error {
	options := client.ImportOptions{Source: "-", Message: o.message, Changes: o.changes.Values}
	switch name := args[0]; {
	case name == "-":
		options.Upload = e.In
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		options.Source = name // the engine fetches it
	default:
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		options.Upload = f
	}
	if len(args) == 2 {
		options.Name = args[1]
	}
	var err error
	if options.Platform, err = flags.Platform(o.platform); err != nil {
		return err
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	answer, err := api.Images.Import(cmd.Context(), options)
	if err != nil {
		return err
	}
	defer answer.Close()
	return transfer.Messages(answer, e.Out, false)
}
