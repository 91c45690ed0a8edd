package image

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// Committer makes images of containers.
type Committer struct{ *Store }

// CommitOptions describe the image that Commit makes.
type CommitOptions struct {
	Ref             reference.Named // name and tag; nil leaves the image untagged
	Author, Comment string
	CreatedBy       string // what history shows as the command
	Config          dockerspec.DockerOCIImageConfig
	// Layer opens the archive of the new layer. It is called once nothing is
	// wrong with the other options.
	Layer func(ctx context.Context) (io.ReadCloser, error)
}

// Commit makes an image of a container: the layers of the image that it is made
// of, which are shared, and one more, unless that is empty. target and manifest
// are the container's image, as Get answered with; it may have no name any more.
func (s Committer) Commit(ctx context.Context, target, manifest ocispec.Descriptor, o CommitOptions) (digest.Digest, error) {
	ctx = s.st.context(ctx)
	id, err := s.commit(ctx, target, manifest, o)
	if outOfSpace(err) {
		s.collector.now(ctx)
	} else if err != nil {
		s.collector.soon()
	}
	return id, classify(err)
}

// emptyArchive is the digest of a tar archive without entries.
const emptyArchive digest.Digest = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

func (s Committer) commit(ctx context.Context, target, manifest ocispec.Descriptor, o CommitOptions) (digest.Digest, error) {
	if _, ok := o.Ref.(reference.Digested); ok {
		return "", errs.New(errs.InvalidParameter, "cannot commit to digest reference")
	}
	id := temporaryRef("commit")
	s.collector.begin(id)
	defer s.collector.end(id)
	ctx, release, err := s.st.lease(ctx, id)
	if err != nil {
		return "", err
	}
	defer release()
	parent, err := s.st.candidate(ctx, manifest)
	if err != nil {
		return "", fmt.Errorf("reading the container's image: %w", err)
	}
	archive, err := o.Layer(ctx)
	if err != nil {
		return "", err
	}
	layer, diff, err := s.st.importLayer(ctx, id, archive)
	_ = archive.Close()
	if err != nil {
		return "", fmt.Errorf("writing the container's layer: %w", err)
	}
	c, err := s.st.descend(ctx, parent, layer, diff, o)
	if err != nil {
		return "", err
	}
	return complete(ctx, s.Store, c, o.Ref, map[string]string{parentLabel: target.Digest.String()})
}

// descend writes the config and the manifest of an image that has one layer
// more than its parent, or none more if that is empty.
func (st *stores) descend(ctx context.Context, parent candidate, layer ocispec.Descriptor, diff digest.Digest, o CommitOptions) (candidate, error) {
	now, empty := time.Now().UTC(), diff == emptyArchive
	doc := parent.config
	doc.Created, doc.Author, doc.Config = &now, o.Author, o.Config
	doc.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: slices.Clone(parent.config.RootFS.DiffIDs)}
	doc.History = append(slices.Clone(parent.config.History), ocispec.History{
		Created: &now, CreatedBy: o.CreatedBy, Author: o.Author, Comment: o.Comment, EmptyLayer: empty,
	})
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Layers:    slices.Clone(parent.manifest.Layers),
	}
	if !empty {
		doc.RootFS.DiffIDs = append(doc.RootFS.DiffIDs, diff)
		m.Layers = append(m.Layers, layer)
	}
	if len(m.Layers) > maxLayers {
		return candidate{}, errs.New(errs.InvalidParameter, "the image would have %d layers, more than %d", len(m.Layers), maxLayers)
	}
	var err error
	if m.Config, err = st.writeJSON(ctx, ocispec.MediaTypeImageConfig, doc, nil); err != nil {
		return candidate{}, err
	}
	desc, err := st.writeJSON(ctx, ocispec.MediaTypeImageManifest, m, manifestLabels(m))
	return candidate{desc: desc, manifest: m, config: doc}, err
}
