package image

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/transfer"
)

// NewPullCmd returns "pull".
func NewPullCmd(e *env.Env) *cobra.Command {
	o := &transferOptions{}
	cmd := &cobra.Command{
		Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Short: "Download an image from a registry",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.FirstImage(e),
		RunE: func(cmd *cobra.Command, args []string) error { return runPull(cmd, e, o, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all-tags", "a", false, "Download all tagged images in the repository")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress verbose output")
	f.StringVar(&o.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Set platform if server is multi-platform capable")
	f.Bool("disable-content-trust", true, "Skip image verification")
	_ = f.MarkHidden("disable-content-trust") // content trust is gone from Docker 29; the flag stays accepted
	return cmd
}

func runPull(cmd *cobra.Command, e *env.Env, o *transferOptions, name string) error {
	options, err := o.options(e, name)
	if err != nil {
		return err
	}
	if err := transfer.Pull(cmd.Context(), e, options); err != nil {
		return err
	}
	fmt.Fprintln(e.Out, options.Ref.String())
	return nil
}
