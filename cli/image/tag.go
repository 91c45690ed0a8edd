package image

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/name"
)

// NewTagCmd returns "tag".
func NewTagCmd(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use: "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Short: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		Args: env.Arguments(2, 2), ValidArgsFunction: complete.Images(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := name.Parse(args[0]); err != nil && !name.IsID(args[0]) {
				return fmt.Errorf("error parsing reference: %q is not a valid repository/tag: %w", args[0], err)
			}
			target, err := name.Parse(args[1])
			if err != nil {
				return fmt.Errorf("error parsing reference: %q is not a valid repository/tag: %w", args[1], err)
			}
			if target.Digest != "" {
				return errors.New("refusing to create a tag with a digest reference")
			}
			api, err := e.Client()
			if err != nil {
				return err
			}
			return api.Images.Tag(cmd.Context(), args[0], target)
		},
	}
}
