package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	clabels "github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// danglingPrefix begins the record name of an image that lost its last name.
// Docker keeps such images too, and tools that look into the store know the form.
const danglingPrefix = "moby-dangling@"

func danglingName(d digest.Digest) string { return danglingPrefix + d.String() }

func isDangling(rec images.Image) bool { return strings.HasPrefix(rec.Name, danglingPrefix) }

// parentLabel is how Docker's classic builder notes the image a step began with.
const parentLabel = "org.mobyproject.image.parent"

// familiarName is how people see a record: the short name, or the digest.
func familiarName(rec images.Image) string {
	if isDangling(rec) {
		return rec.Target.Digest.String()
	}
	if ref, err := reference.ParseNamed(rec.Name); err == nil {
		return reference.FamiliarString(ref)
	}
	return rec.Name
}

// names keeps which name points to which image.
//
// Every change goes through change, which serialises them, tells changed and
// writes the second record.
type names struct {
	st      *stores
	mu      sync.Mutex // held during a change; taken before the database's locks
	changed func()     // called after each change
	failed  func(err error)
}

// change runs fn in one transaction.
func (n *names) change(ctx context.Context, fn func(ctx context.Context) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.st.update(ctx, fn)
	n.changed()
	if err != nil {
		return err
	}
	if err := n.writeCopy(ctx); err != nil {
		n.failed(err)
	}
	return nil
}

// point makes name refer to target, in the transaction in ctx. An image that
// loses its last name by that stays as a dangling one; one that gains a name
// stops being dangling.
func (n *names) point(ctx context.Context, name string, target ocispec.Descriptor, labels map[string]string) error {
	old, err := n.st.images.Get(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		if _, err := n.st.images.Create(ctx, images.Image{Name: name, Target: target, Labels: labels}); err != nil {
			return fmt.Errorf("recording name %s: %w", name, err)
		}
	case err != nil:
		return fmt.Errorf("looking up name %s: %w", name, err)
	case old.Target.Digest == target.Digest:
		return nil
	default:
		if err := n.letGo(ctx, old); err != nil {
			return err
		}
		if _, err := n.st.images.Update(ctx, images.Image{Name: name, Target: target, Labels: labels}); err != nil {
			return fmt.Errorf("moving name %s: %w", name, err)
		}
	}
	if name == danglingName(target.Digest) {
		return nil
	}
	if err := n.st.images.Delete(ctx, danglingName(target.Digest)); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("recording name %s: %w", name, err)
	}
	return nil
}

// letGo keeps rec's image as a dangling one if rec is its last name.
func (n *names) letGo(ctx context.Context, rec images.Image) error {
	same, err := n.withTarget(ctx, rec.Target.Digest)
	if err != nil {
		return err
	}
	if len(same) > 1 || isDangling(rec) {
		return nil
	}
	labels := maps.Clone(rec.Labels)
	delete(labels, images.AnnotationImageName)
	delete(labels, ocispec.AnnotationRefName)
	_, err = n.st.images.Create(ctx, images.Image{Name: danglingName(rec.Target.Digest), Target: rec.Target, Labels: labels})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("keeping the image that had the name %s: %w", rec.Name, err)
	}
	return nil
}

// withTarget lists the records that point to the given digest.
func (n *names) withTarget(ctx context.Context, d digest.Digest) ([]images.Image, error) {
	all, err := n.st.images.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var same []images.Image
	for _, rec := range all {
		if rec.Target.Digest == d {
			same = append(same, rec)
		}
	}
	return same, nil
}

// resolve finds what ref means: a name, name@digest, a digest, or the beginning
// of one. The record is the one whose name ref is, or else any with that target.
func (n *names) resolve(ctx context.Context, ref string) (images.Image, error) {
	parsed, err := reference.ParseAnyReference(ref)
	if err != nil {
		return images.Image{}, errs.Wrap(errs.InvalidParameter, err)
	}
	if digested, ok := parsed.(reference.Digested); ok {
		return n.resolveDigest(ctx, ref, parsed, digested.Digest())
	}
	named, ok := parsed.(reference.Named)
	if !ok {
		return images.Image{}, notFound(ref)
	}
	rec, err := n.st.images.Get(ctx, reference.TagNameOnly(named).String())
	if err == nil {
		return rec, nil
	}
	if !errdefs.IsNotFound(err) {
		return images.Image{}, fmt.Errorf("looking up %s: %w", ref, err)
	}
	prefix := idPrefix(ref)
	if prefix == "" {
		return images.Image{}, notFound(ref)
	}
	all, err := n.st.images.List(ctx)
	if err != nil {
		return images.Image{}, fmt.Errorf("listing images: %w", err)
	}
	for _, r := range all {
		if !strings.HasPrefix(r.Target.Digest.Encoded(), prefix) {
			continue
		}
		if rec.Name != "" && rec.Target.Digest != r.Target.Digest {
			return images.Image{}, errs.New(errs.NotFound, "ambiguous reference")
		}
		rec = r
	}
	if rec.Name == "" {
		return images.Image{}, notFound(ref)
	}
	return rec, nil
}

func (n *names) resolveDigest(ctx context.Context, ref string, parsed reference.Reference, d digest.Digest) (images.Image, error) {
	same, err := n.withTarget(ctx, d)
	if err != nil {
		return images.Image{}, err
	}
	named, isNamed := parsed.(reference.Named)
	for _, rec := range same {
		if !isNamed {
			return rec, nil
		}
		// busybox@sha256:... must not find another repository's image.
		if have, err := reference.ParseNormalizedNamed(rec.Name); err == nil && have.Name() == named.Name() {
			return rec, nil
		}
	}
	return images.Image{}, notFound(ref)
}

// idPrefix returns the digits when ref looks like a shortened image ID (4 to 64
// hexadecimal digits, maybe after "sha256:"), else "".
func idPrefix(ref string) string {
	ref = strings.TrimPrefix(ref, "sha256:")
	if len(ref) < 4 || len(ref) > 64 || strings.Trim(ref, "0123456789abcdef") != "" {
		return ""
	}
	return ref
}

// record is one entry of names.json.
type record struct {
	Name   string             `json:"name"`
	Target ocispec.Descriptor `json:"target"`
	Labels map[string]string  `json:"labels,omitempty"`
}

func (n *names) copyPath() string { return filepath.Join(n.st.root, "names.json") }

// writeCopy writes names.json: a temporary file, synced and renamed over.
func (n *names) writeCopy(ctx context.Context) (err error) {
	all, err := n.st.images.List(ctx)
	if err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	records := make([]record, 0, len(all))
	for _, rec := range all {
		records = append(records, record{rec.Name, rec.Target, rec.Labels})
	}
	data, err := json.Marshal(records)
	if err != nil {
		return fmt.Errorf("writing image names: %w", err)
	}
	f, err := os.CreateTemp(n.st.root, ".names-*")
	if err != nil {
		return fmt.Errorf("writing image names: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), n.copyPath())
	}
	if err != nil {
		return fmt.Errorf("writing image names: %w", err)
	}
	return nil
}

// restore fills an empty database from names.json and the blobs on disk: each
// name whose documents are all there comes back. Layers are unpacked again when
// they are asked for. It returns the names found and lost.
func (n *names) restore(ctx context.Context) (found, lost []string, err error) {
	data, err := os.ReadFile(n.copyPath())
	if os.IsNotExist(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading image names: %w", err)
	}
	var records []record
	if err := json.Unmarshal(data, &records); err != nil {
		return nil, nil, fmt.Errorf("reading image names: %w", err)
	}
	for _, r := range records {
		if err := n.st.adopt(ctx, r.Target); err != nil {
			lost = append(lost, r.Name)
			continue
		}
		err := n.change(ctx, func(ctx context.Context) error { return n.point(ctx, r.Name, r.Target, r.Labels) })
		if err != nil {
			return found, lost, err
		}
		found = append(found, r.Name)
	}
	return found, lost, nil
}

// adopt registers the blob desc and all it refers to with the metadata database
// where they are on disk. It fails when a document is missing that the image
// cannot be without.
func (st *stores) adopt(ctx context.Context, desc ocispec.Descriptor) error {
	if err := st.adoptBlob(ctx, desc, nil); err != nil {
		return err
	}
	switch {
	case images.IsIndexType(desc.MediaType):
		index, err := st.readIndex(ctx, desc)
		if err != nil {
			return err
		}
		present := 0
		for _, m := range index.Manifests {
			if st.adopt(ctx, m) == nil {
				present++
			}
		}
		if present == 0 {
			return fmt.Errorf("adopting index %s: %w", desc.Digest, errdefs.ErrNotFound)
		}
		return st.setLabels(ctx, desc.Digest, indexLabels(index))
	case images.IsManifestType(desc.MediaType):
		m, err := st.readManifest(ctx, desc)
		if err != nil {
			return err
		}
		for _, part := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
			if err := st.adoptBlob(ctx, part, nil); err != nil {
				return err
			}
		}
		return st.setLabels(ctx, desc.Digest, manifestLabels(m))
	}
	return nil
}

// adoptBlob registers a blob that is on disk but not in the database.
func (st *stores) adoptBlob(ctx context.Context, desc ocispec.Descriptor, labels map[string]string) error {
	ref := ingestRef(desc.Digest)
	w, err := content.OpenWriter(ctx, st.content, content.WithRef(ref), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adopting %s: %w", desc.Digest, err)
	}
	defer w.Close()
	status, err := w.Status()
	if err == nil && status.Offset != desc.Size {
		err = errdefs.ErrNotFound
	}
	if err == nil {
		err = w.Commit(ctx, desc.Size, desc.Digest, content.WithLabels(labels))
	}
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("adopting %s: %w", desc.Digest, err)
	}
	return nil
}

// setLabels adds labels to a blob, and writes nothing if they are there. The
// repositories that a source label names join those noted before.
func (st *stores) setLabels(ctx context.Context, d digest.Digest, labels map[string]string) error {
	info, err := st.content.Info(ctx, d)
	if err != nil {
		return fmt.Errorf("labelling %s: %w", d, err)
	}
	var paths []string
	labels = maps.Clone(labels)
	for k, v := range labels {
		if strings.HasPrefix(k, clabels.LabelDistributionSource) {
			v = joinRepositories(v, info.Labels[k])
			labels[k] = v
		}
		if info.Labels[k] != v {
			paths = append(paths, "labels."+k)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	if _, err := st.content.Update(ctx, content.Info{Digest: d, Labels: labels}, paths...); err != nil {
		return fmt.Errorf("labelling %s: %w", d, err)
	}
	return nil
}
