package image

import (
	"errors"
	"fmt"

	"github.com/distribution/reference"

	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/transfer"
)

// transferOptions are what pull and push have in common.
type transferOptions struct {
	all, quiet bool
	platform   string
}

// options reads the image's name, and says which tag is meant if it has none.
func (o *transferOptions) options(e *env.Env, name string) (transfer.Options, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	switch {
	case err != nil:
		return transfer.Options{}, err
	case o.all && !reference.IsNameOnly(ref):
		return transfer.Options{}, errors.New("tag can't be used with --all-tags/-a")
	case !o.all && reference.IsNameOnly(ref):
		ref = reference.TagNameOnly(ref)
		if tagged, ok := ref.(reference.Tagged); ok && !o.quiet {
			fmt.Fprintln(e.Out, "Using default tag:", tagged.Tag())
		}
	}
	options := transfer.Options{Ref: ref, All: o.all, Out: e.Out, Quiet: o.quiet}
	if o.platform != "" {
		if options.Platform, err = flags.Platform(o.platform); err != nil {
			return transfer.Options{}, err
		}
	}
	return options, nil
}
