package image

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/transfer"
)

type loadOptions struct {
	input, platform string
	quiet           bool
}

// NewLoadCmd returns "load".
func NewLoadCmd(e *env.Env) *cobra.Command {
	o := &loadOptions{}
	cmd := &cobra.Command{
		Use: "load [OPTIONS]", Short: "Load an image from a tar archive or STDIN",
		Args: env.Arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, e) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.input, "input", "i", "", "Read from tar archive file, instead of STDIN")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress the load output")
	f.StringVar(&o.platform, "platform", "", `Load only the given platform(s). Formatted as a comma-separated list of "os[/arch[/variant]]" (e.g., "linux/amd64,linux/arm64/v8")`)
	return cmd
}

func (o *loadOptions) run(cmd *cobra.Command, e *env.Env) error {
	var archive io.Reader = e.In
	switch {
	case o.input != "":
		f, err := os.Open(o.input)
		if err != nil {
			return err
		}
		defer f.Close()
		archive = f
	case e.In.IsTerminal():
		return errors.New("requested load from stdin, but stdin is empty")
	}
	platforms, err := platformList(o.platform)
	if err != nil {
		return err
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	// Progress is for people.
	answer, err := api.Images.Load(cmd.Context(), archive, o.quiet || !e.Out.IsTerminal(), platforms)
	if err != nil {
		return err
	}
	defer answer.Close()
	return transfer.Messages(answer, e.Out, false)
}
