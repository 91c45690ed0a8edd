package image

import (
	"context"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/errs"
)

// Tag gives the image that src names the further name dst and returns its ID.
// An image that had the name before stays, without it.
func (s *Store) Tag(ctx context.Context, src string, dst reference.Named) (digest.Digest, error) {
	if _, ok := dst.(reference.Digested); ok {
		return "", errs.New(errs.InvalidParameter, "refusing to create a tag with a digest reference")
	}
	ctx = s.st.context(ctx)
	rec, err := s.names.resolve(ctx, src)
	if err != nil {
		return "", classify(err)
	}
	name := reference.TagNameOnly(dst).String()
	err = s.names.change(ctx, func(ctx context.Context) error { return s.names.point(ctx, name, rec.Target, rec.Labels) })
	return rec.Target.Digest, classify(err)
}
