package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// Remove takes a name away, or all names of an image and the image, by Docker's
// rules: an image whose other names remain only loses the one named; an image
// that a running container uses is never removed, one that a stopped container
// uses or that has several names only by force. It answers what it did, in
// order. Layers of images removed under a pinned container stay until Unpin.
func (s *Store) Remove(ctx context.Context, ref string, o RemoveOptions) ([]imagetypes.DeleteResponse, error) {
	if len(o.Platforms) > 0 && !o.Force {
		return nil, errs.New(errs.InvalidParameter, "Content will be removed from all images referencing this variant. Use --force to force delete.")
	}
	if o.InUse == nil {
		o.InUse = func(digest.Digest) (string, bool) { return "", false }
	}
	ctx = s.st.context(ctx)
	r := &removal{Store: s, o: o}
	if err := r.find(ctx, ref); err != nil {
		return nil, classify(err)
	}
	var err error
	if len(o.Platforms) > 0 {
		err = r.platforms(ctx)
	} else {
		err = r.remove(ctx, ref)
	}
	if len(r.did) > 0 {
		s.collector.soon()
	}
	if err != nil {
		return r.did, classify(err)
	}
	return r.did, nil
}

// removal is one call of Remove.
type removal struct {
	*Store
	o   RemoveOptions
	rec images.Image   // what ref was resolved to
	all []images.Image // every record of the same image
	did []imagetypes.DeleteResponse
}

func (r *removal) id() digest.Digest { return r.rec.Target.Digest }

func (r *removal) find(ctx context.Context, ref string) (err error) {
	if r.rec, err = r.names.resolve(ctx, ref); err != nil {
		return err
	}
	r.all, err = r.names.withTarget(ctx, r.id())
	return err
}

// named reports whether ref is a name and not an ID of the image.
func (r *removal) named(ref string) bool {
	return !strings.HasPrefix(r.id().String(), ref) && !strings.HasPrefix(r.id().Encoded(), ref) && !strings.HasPrefix(ref, danglingPrefix)
}

func (r *removal) remove(ctx context.Context, ref string) error {
	several := !r.o.Force && len(r.all) > 1
	if r.named(ref) {
		same := r.sameReference(ref)
		if len(same) != len(r.all) {
			return r.untag(ctx, same)
		}
		several = false // all records go by the name of one
		if container, _ := r.o.InUse(r.id()); container != "" {
			if !r.o.Force {
				return r.conflictByName(container)
			}
			return r.keepUntagged(ctx)
		}
	}
	if err := r.conflict(several); err != nil {
		return err
	}
	return r.removeAll(ctx)
}

// conflictByName is Docker's answer to removing an image's last name under a
// container: the image would be left without one.
func (r *removal) conflictByName(container string) error {
	return errs.New(errs.Conflict, "conflict: unable to delete %s (must be forced) - container %s is using its referenced image %s",
		familiarName(r.rec), short(container), shortID(r.id()))
}

// keepUntagged takes all names and leaves the image dangling.
func (r *removal) keepUntagged(ctx context.Context) error {
	err := r.names.change(ctx, func(ctx context.Context) error {
		if err := r.names.point(ctx, danglingName(r.id()), r.rec.Target, r.rec.Labels); err != nil {
			return err
		}
		return r.deleteRecords(ctx, slices.DeleteFunc(slices.Clone(r.all), isDangling))
	})
	if err != nil {
		return err
	}
	r.noteUntagged(r.all)
	return nil
}

// conflict says why the image cannot be removed as a whole, if so.
func (r *removal) conflict(several bool) error {
	container, running := r.o.InUse(r.id())
	switch {
	case container != "" && running:
		return errs.New(errs.Conflict, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", shortID(r.id()), short(container))
	case container != "" && !r.o.Force:
		return errs.New(errs.Conflict, "conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", shortID(r.id()), short(container))
	case several:
		return errs.New(errs.Conflict, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", shortID(r.id()))
	}
	return nil
}

// removeAll removes the image with all its names, and then, if asked, untagged
// images that it was built upon.
func (r *removal) removeAll(ctx context.Context) error {
	if err := r.keeping(ctx, r.rec.Target, func() error { return r.drop(ctx, r.all) }); err != nil {
		return err
	}
	r.noteUntagged(r.all)
	r.did = append(r.did, imagetypes.DeleteResponse{Deleted: r.id().String()})
	if !r.o.Prune {
		return nil
	}
	return r.pruneParents(ctx, r.rec.Labels[parentLabel])
}

func (r *removal) pruneParents(ctx context.Context, parent string) error {
	for parent != "" {
		recs, err := r.names.withTarget(ctx, digest.Digest(parent))
		if err != nil {
			return err
		}
		if len(recs) != 1 || !isDangling(recs[0]) {
			return nil
		}
		if container, _ := r.o.InUse(recs[0].Target.Digest); container != "" {
			return nil
		}
		if err := r.keeping(ctx, recs[0].Target, func() error { return r.drop(ctx, recs) }); err != nil {
			return err
		}
		r.did = append(r.did, imagetypes.DeleteResponse{Deleted: parent})
		parent = recs[0].Labels[parentLabel]
	}
	return nil
}

// drop removes records, all or none.
func (r *removal) drop(ctx context.Context, recs []images.Image) error {
	return r.names.change(ctx, func(ctx context.Context) error { return r.deleteRecords(ctx, recs) })
}

func (r *removal) deleteRecords(ctx context.Context, recs []images.Image) error {
	for _, rec := range recs {
		if err := r.st.images.Delete(ctx, rec.Name); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing name %s: %w", rec.Name, err)
		}
	}
	return nil
}

func (r *removal) untag(ctx context.Context, recs []images.Image) error {
	if err := r.drop(ctx, recs); err != nil {
		return err
	}
	r.noteUntagged(recs)
	return nil
}

func (r *removal) noteUntagged(recs []images.Image) {
	for _, rec := range recs {
		if !isDangling(rec) {
			r.did = append(r.did, imagetypes.DeleteResponse{Untagged: familiarName(rec)})
		}
	}
}

// sameReference lists the records that go when ref is removed: the one with its
// name and tag; those that name the repository by digest too when no other tag
// of the repository remains; with a digest in ref, every tag of the repository.
func (r *removal) sameReference(ref string) []images.Image {
	parsed, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil
	}
	_, byDigest := parsed.(reference.Digested)
	tag := "latest"
	if tagged, ok := parsed.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	var same, digested []images.Image
	otherTag := false
	for _, rec := range r.all {
		have, err := reference.ParseNamed(rec.Name)
		switch {
		case isDangling(rec):
			same = append(same, rec)
			continue
		case err != nil, have.Name() != parsed.Name():
			continue
		}
		tagged, isTagged := have.(reference.Tagged)
		switch {
		case byDigest:
			same = append(same, rec)
		case !isTagged:
			digested = append(digested, rec)
		case tagged.Tag() == tag:
			same = append(same, rec)
		default:
			otherTag = true
		}
	}
	if !otherTag {
		same = append(same, digested...)
	}
	return same
}

// platforms removes the manifests, configs and layers of some platforms; the
// image's names stay.
func (r *removal) platforms(ctx context.Context) error {
	all, err := r.st.candidates(ctx, r.rec.Target)
	if err != nil {
		return err
	}
	for _, p := range r.o.Platforms {
		c, ok := choose(all, &p)
		if !ok {
			return platformNotFound(familiarName(r.rec), &p)
		}
		if err := r.keeping(ctx, c.desc, func() error { return r.removePlatformLocked(ctx, c) }); err != nil {
			return fmt.Errorf("failed to delete platform %s for image %s: %w", platforms.FormatAll(p), r.id(), err)
		}
	}
	r.cache.clear()
	return nil
}

// removePlatformLocked is called with pins.mu held.
func (r *removal) removePlatformLocked(ctx context.Context, c candidate) error {
	if !r.pins.kept[c.desc.Digest] {
		for _, desc := range append([]ocispec.Descriptor{c.desc, c.manifest.Config}, c.manifest.Layers...) {
			if err := r.st.content.Delete(ctx, desc.Digest); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	r.did = append(r.did, imagetypes.DeleteResponse{Deleted: c.desc.Digest.String()})
	return nil
}

// short is how messages name a container.
func short(id string) string { return id[:min(len(id), 12)] }
