package image

import (
	"errors"
	"fmt"

	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/name"
	"github.com/davit-engine/davit/cli/transfer"
)

// transferOptions are what pull and push have in common.
type transferOptions struct {
	all, quiet bool
	platform   string
}

// options reads the image's name, and says which tag is meant if it has none.
func (o *transferOptions) options(e *env.Env, text string) (transfer.Options, error) {
	ref, err := name.Parse(text)
	switch {
	case err != nil:
		return transfer.Options{}, err
	case o.all && !ref.NameOnly():
		return transfer.Options{}, errors.New("tag can't be used with --all-tags/-a")
	case !o.all && ref.NameOnly():
		ref = ref.Tagged()
		if !o.quiet {
			fmt.Fprintln(e.Out, "Using default tag:", ref.Tag)
		}
	}
	platform, err := flags.Platform(o.platform)
	return transfer.Options{Ref: ref, All: o.all, Platform: platform, Out: e.Out, Quiet: o.quiet}, err
}
