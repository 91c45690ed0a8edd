package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// SaveOptions hold what a save needs beside the names.
type SaveOptions struct {
	Platforms []ocispec.Platform // only these; nil: all that is here
}

// Save writes images as an archive that is an OCI layout and, for older tools,
// what `docker save` wrote. A ref is a name, of which all tags are saved where it
// has none, or an ID, which is saved without names. All is found before the
// first byte is written. Nothing that is removed meanwhile is missing.
func (s *Store) Save(ctx context.Context, w io.Writer, refs []string, o SaveOptions) error {
	ctx = s.st.context(ctx)
	ctx, release, err := s.st.lease(ctx, temporaryRef("save"))
	if err != nil {
		return classify(err)
	}
	defer release()
	a := &saving{Store: s, o: o, seen: map[digest.Digest]bool{}}
	for _, ref := range refs {
		if err := a.find(ctx, ref); err != nil {
			return classify(err)
		}
	}
	if err := a.write(ctx, w); err != nil {
		return classify(fmt.Errorf("saving images: %w", err))
	}
	return nil
}

// saving is one call of Save.
type saving struct {
	*Store
	o     SaveOptions
	found []*saved
	blobs []ocispec.Descriptor // in the order in which they are written
	seen  map[digest.Digest]bool
}

// saved is one image of the archive.
type saved struct {
	target ocispec.Descriptor
	tags   []images.Image // records
	runs   candidate      // what older tools take for the image
}

// find notes what ref means.
func (a *saving) find(ctx context.Context, ref string) error {
	recs, named, err := a.resolve(ctx, ref)
	if err != nil {
		return err
	}
	for _, rec := range recs {
		targets, err := a.targets(ctx, rec)
		if err != nil {
			return err
		}
		for _, target := range targets {
			if err := a.note(ctx, rec, target, named); err != nil {
				return err
			}
		}
	}
	return nil
}

// resolve finds records, and whether ref is a name of theirs.
func (a *saving) resolve(ctx context.Context, ref string) (recs []images.Image, named bool, err error) {
	rec, err := a.names.resolve(ctx, ref)
	parsed, perr := reference.ParseNormalizedNamed(ref)
	if perr == nil && reference.IsNameOnly(parsed) && (err != nil || !strings.HasPrefix(rec.Target.Digest.Encoded(), ref)) {
		tags, terr := a.names.localTags(ctx, parsed)
		if terr == nil {
			for _, t := range tags {
				one, err := a.names.resolve(ctx, t.String())
				if err != nil {
					return nil, false, err
				}
				recs = append(recs, one)
			}
			return recs, true, nil
		}
	}
	if err != nil {
		return nil, false, err
	}
	r := &removal{rec: rec}
	return []images.Image{rec}, r.named(ref) && !isDangling(rec), nil
}

// targets are what is saved of an image: the whole of it, or the manifests of
// the platforms that were asked for.
func (a *saving) targets(ctx context.Context, rec images.Image) ([]ocispec.Descriptor, error) {
	if len(a.o.Platforms) == 0 {
		return []ocispec.Descriptor{rec.Target}, nil
	}
	all, err := a.st.candidates(ctx, rec.Target)
	if err != nil {
		return nil, err
	}
	var targets []ocispec.Descriptor
	for _, p := range a.o.Platforms {
		c, ok := choose(all, &p)
		if !ok {
			return nil, platformNotFound(familiarName(rec), &p)
		}
		targets = append(targets, c.desc)
	}
	return targets, nil
}

// note adds an image with all that is here of it, and holds it.
func (a *saving) note(ctx context.Context, rec images.Image, target ocispec.Descriptor, named bool) error {
	i := slices.IndexFunc(a.found, func(s *saved) bool { return s.target.Digest == target.Digest })
	if i < 0 {
		all, err := a.st.candidates(ctx, target)
		if err != nil {
			return err
		}
		best, ok := choose(all, nil)
		if !ok {
			return errs.New(errs.NotFound, "image %s is not here as a whole: pull it again", familiarName(rec))
		}
		if err := a.collect(ctx, target); err != nil {
			return err
		}
		i, a.found = len(a.found), append(a.found, &saved{target: target, runs: best})
	}
	s := a.found[i]
	if named && !slices.ContainsFunc(s.tags, func(t images.Image) bool { return t.Name == rec.Name }) {
		s.tags = append(s.tags, rec)
	}
	return nil
}

// collect notes the blobs of an image: its index, each manifest that is here,
// and what belongs to those that are here in full.
func (a *saving) collect(ctx context.Context, target ocispec.Descriptor) error {
	if err := a.blob(ctx, target); err != nil {
		return err
	}
	if images.IsIndexType(target.MediaType) {
		index, err := a.st.readIndex(ctx, target)
		if err != nil {
			return err
		}
		for _, m := range index.Manifests {
			if _, err := a.st.content.Info(ctx, m.Digest); errdefs.IsNotFound(err) {
				continue
			}
			if err := a.collect(ctx, m); err != nil {
				return err
			}
		}
		return nil
	}
	m, err := a.st.readManifest(ctx, target)
	if err != nil {
		return err
	}
	parts := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	for _, p := range parts {
		if _, err := a.st.content.Info(ctx, p.Digest); errdefs.IsNotFound(err) {
			return nil
		}
	}
	for _, p := range parts {
		if err := a.blob(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// blob adds a blob and holds it by the lease in ctx.
func (a *saving) blob(ctx context.Context, desc ocispec.Descriptor) error {
	if a.seen[desc.Digest] {
		return nil
	}
	a.seen[desc.Digest] = true
	info, err := a.st.content.Info(ctx, desc.Digest)
	if err != nil {
		return err
	}
	desc.Size = info.Size
	a.blobs = append(a.blobs, desc)
	id, _ := leases.FromContext(ctx)
	return a.st.leases.AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: desc.Digest.String(), Type: "content"})
}

// write writes the archive. Times are zero, so that the same images give the
// same bytes.
func (a *saving) write(ctx context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	file := func(name string, v any) error {
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		_, err = tw.Write(data)
		return err
	}
	if err := file(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	dirs := []string{ocispec.ImageBlobsDir + "/"}
	for _, b := range a.blobs {
		if dir := ocispec.ImageBlobsDir + "/" + b.Digest.Algorithm().String() + "/"; !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		if err := tw.WriteHeader(&tar.Header{Name: dir, Mode: 0o755, Typeflag: tar.TypeDir, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	for _, b := range a.blobs {
		if err := a.copyBlob(ctx, tw, b); err != nil {
			return err
		}
	}
	index, listed, repositories := a.documents()
	if err := file(ocispec.ImageIndexFile, index); err != nil {
		return err
	}
	if err := file("manifest.json", listed); err != nil {
		return err
	}
	if len(repositories) > 0 {
		if err := file("repositories", repositories); err != nil {
			return err
		}
	}
	return tw.Close()
}

func (a *saving) copyBlob(ctx context.Context, tw *tar.Writer, b ocispec.Descriptor) error {
	ra, err := a.st.content.ReaderAt(ctx, b)
	if err != nil {
		return err
	}
	defer ra.Close()
	if err := tw.WriteHeader(&tar.Header{Name: blobName(b.Digest), Mode: 0o644, Size: b.Size, Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(tw, &contextReader{ctx, io.NewSectionReader(ra, 0, b.Size)})
	return err
}

func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// dockerManifest is an image in manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// documents say which images the archive has: index.json, manifest.json, and
// repositories (repository, tag, topmost layer), which tools before Docker 1.10
// read.
func (a *saving) documents() (index ocispec.Index, listed []dockerManifest, repositories map[string]map[string]string) {
	index = ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	repositories = map[string]map[string]string{}
	for _, s := range a.found {
		one := dockerManifest{Config: blobName(s.runs.manifest.Config.Digest), RepoTags: []string{}, Layers: []string{}}
		for _, l := range s.runs.manifest.Layers {
			one.Layers = append(one.Layers, blobName(l.Digest))
		}
		target := s.target
		target.Annotations = nil
		if len(s.tags) == 0 {
			index.Manifests = append(index.Manifests, target)
		}
		for _, rec := range s.tags {
			named := target
			named.Annotations = map[string]string{images.AnnotationImageName: rec.Name}
			if ref, err := reference.ParseNamed(rec.Name); err == nil {
				if tagged, ok := ref.(reference.Tagged); ok {
					named.Annotations[ocispec.AnnotationRefName] = tagged.Tag()
					one.RepoTags = append(one.RepoTags, familiarName(rec))
					addRepository(repositories, reference.FamiliarName(ref), tagged.Tag(), one.Layers)
				}
			}
			index.Manifests = append(index.Manifests, named)
		}
		listed = append(listed, one)
	}
	return index, listed, repositories
}

func addRepository(all map[string]map[string]string, name, tag string, layers []string) {
	if len(layers) == 0 {
		return
	}
	if all[name] == nil {
		all[name] = map[string]string{}
	}
	all[name][tag] = path.Base(layers[len(layers)-1])
}
