package image

import (
	"errors"
	"fmt"
	"os"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/transfer"
)

type pullOptions struct {
	all, quiet bool
	platform   string
}

// NewPullCmd returns "pull".
func NewPullCmd(e *env.Env) *cobra.Command {
	o := &pullOptions{}
	cmd := &cobra.Command{
		Use: "pull [OPTIONS] NAME[:TAG|@DIGEST]", Short: "Download an image from a registry",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.FirstImage(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all-tags", "a", false, "Download all tagged images in the repository")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress verbose output")
	f.StringVar(&o.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Set platform if server is multi-platform capable")
	f.Bool("disable-content-trust", true, "Skip image verification")
	_ = f.MarkHidden("disable-content-trust") // content trust is gone from Docker 29; the flag stays accepted
	return cmd
}

func (o *pullOptions) run(cmd *cobra.Command, e *env.Env, name string) error {
	ref, err := reference.ParseNormalizedNamed(name)
	switch {
	case err != nil:
		return err
	case o.all && !reference.IsNameOnly(ref):
		return errors.New("tag can't be used with --all-tags/-a")
	case !o.all && reference.IsNameOnly(ref):
		ref = reference.TagNameOnly(ref)
		if tagged, ok := ref.(reference.Tagged); ok && !o.quiet {
			fmt.Fprintln(e.Out, "Using default tag:", tagged.Tag())
		}
	}
	options := transfer.Options{Ref: ref, All: o.all, Out: e.Out, Quiet: o.quiet}
	if o.platform != "" {
		if options.Platform, err = flags.Platform(o.platform); err != nil {
			return err
		}
	}
	if err := transfer.Pull(cmd.Context(), e, options); err != nil {
		return err
	}
	fmt.Fprintln(e.Out, ref.String())
	return nil
}
