package image

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/transfer"
)

// NewPushCmd returns "push".
func NewPushCmd(e *env.Env) *cobra.Command {
	o := &transferOptions{}
	cmd := &cobra.Command{
		Use: "push [OPTIONS] NAME[:TAG]", Short: "Upload an image to a registry",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.FirstImage(e),
		RunE: func(cmd *cobra.Command, args []string) error { return runPush(cmd, e, o, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all-tags", "a", false, "Push all tags of an image to the repository")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress verbose output")
	f.StringVar(&o.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), `Push a platform-specific manifest as a single-platform image to the registry.
Image index won't be pushed, meaning that other manifests, including attestations won't be preserved.
'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)`)
	f.Bool("disable-content-trust", true, "Skip image signing")
	_ = f.MarkHidden("disable-content-trust") // content trust is gone from Docker 29; the flag stays accepted
	return cmd
}

func runPush(cmd *cobra.Command, e *env.Env, o *transferOptions, name string) error {
	options, err := o.options(e, name)
	if err != nil {
		return err
	}
	if err := transfer.Push(cmd.Context(), e, options); err != nil {
		return err
	}
	if o.quiet {
		fmt.Fprintln(e.Out, options.Ref.String())
	}
	return nil
}
