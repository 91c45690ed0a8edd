package image

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// Limits on the documents of an image: what is larger is refused before it is
// read. Registries refuse manifests over 4 MiB (distribution's payload limit).
const (
	maxManifestSize = 4 << 20
	maxConfigSize   = 8 << 20
	maxLayers       = 4096
)

// checkDescriptor refuses a descriptor that cannot be meant.
func checkDescriptor(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return errs.New(errs.InvalidParameter, "descriptor has digest %q: %w", desc.Digest, err)
	}
	if !desc.Digest.Algorithm().Available() {
		return errs.New(errs.InvalidParameter, "descriptor %s uses an unknown digest algorithm", desc.Digest)
	}
	if desc.Size <= 0 {
		return errs.New(errs.InvalidParameter, "descriptor %s names a size of %d bytes", desc.Digest, desc.Size)
	}
	return nil
}

// parseManifest reads an image manifest and checks what the engine relies on.
func parseManifest(data []byte) (ocispec.Manifest, error) {
	var doc struct {
		ocispec.Manifest
		FSLayers  json.RawMessage `json:"fsLayers"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if len(data) > maxManifestSize {
		return ocispec.Manifest{}, errs.New(errs.InvalidParameter, "manifest has %d bytes, more than %d", len(data), maxManifestSize)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return ocispec.Manifest{}, errs.New(errs.InvalidParameter, "reading manifest: %w", err)
	}
	if len(doc.FSLayers) > 0 {
		return ocispec.Manifest{}, errSchema1
	}
	// One document must not pass as a manifest here and as an index there
	// (CVE-2021-41190).
	if len(doc.Manifests) > 0 {
		return ocispec.Manifest{}, errs.New(errs.InvalidParameter, "manifest names manifests as an index does")
	}
	m := doc.Manifest
	if m.SchemaVersion != 2 {
		return ocispec.Manifest{}, errs.New(errs.InvalidParameter, "manifest has schema version %d, not 2", m.SchemaVersion)
	}
	if err := checkDescriptor(m.Config); err != nil {
		return ocispec.Manifest{}, fmt.Errorf("reading manifest's config: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return ocispec.Manifest{}, errs.New(errs.InvalidParameter, "manifest names %d layers, more than %d", len(m.Layers), maxLayers)
	}
	for i, l := range m.Layers {
		if err := checkDescriptor(l); err != nil {
			return ocispec.Manifest{}, fmt.Errorf("reading manifest's layer %d: %w", i, err)
		}
	}
	return m, nil
}

// checkImage says whether m is an image that can be run, as against another
// thing that registries hold: an attestation, a chart, a model.
func checkImage(m ocispec.Manifest) error {
	if !images.IsConfigType(m.Config.MediaType) {
		return errs.New(errs.InvalidParameter, "unsupported media type %s: not a container image", m.Config.MediaType)
	}
	if m.Config.Size > maxConfigSize {
		return errs.New(errs.InvalidParameter, "image config has %d bytes, more than %d", m.Config.Size, maxConfigSize)
	}
	for _, l := range m.Layers {
		if !images.IsLayerType(l.MediaType) || strings.Contains(l.MediaType, "encrypted") {
			return errs.New(errs.InvalidParameter, "unsupported media type %s of layer %s", l.MediaType, l.Digest)
		}
	}
	return nil
}

var errSchema1 = errs.New(errs.NotImplemented, "image manifest of schema 1 is not supported: it was replaced in 2016; push the image again with a current tool")

// parseIndex reads an OCI index or a manifest list.
func parseIndex(data []byte) (ocispec.Index, error) {
	var doc struct {
		ocispec.Index
		Layers json.RawMessage `json:"layers"`
		Config json.RawMessage `json:"config"`
	}
	if len(data) > maxManifestSize {
		return ocispec.Index{}, errs.New(errs.InvalidParameter, "index has %d bytes, more than %d", len(data), maxManifestSize)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return ocispec.Index{}, errs.New(errs.InvalidParameter, "reading index: %w", err)
	}
	if len(doc.Layers) > 0 || len(doc.Config) > 0 {
		return ocispec.Index{}, errs.New(errs.InvalidParameter, "index names a config or layers as a manifest does")
	}
	for i, m := range doc.Index.Manifests {
		if err := checkDescriptor(m); err != nil {
			return ocispec.Index{}, fmt.Errorf("reading index's manifest %d: %w", i, err)
		}
	}
	return doc.Index, nil
}

// parseConfig reads an image configuration that belongs to a manifest with the
// given number of layers.
func parseConfig(data []byte, layers int) (dockerspec.DockerOCIImage, error) {
	var c dockerspec.DockerOCIImage
	if len(data) > maxConfigSize {
		return c, errs.New(errs.InvalidParameter, "image config has %d bytes, more than %d", len(data), maxConfigSize)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, errs.New(errs.InvalidParameter, "reading image config: %w", err)
	}
	if c.RootFS.Type != "" && c.RootFS.Type != "layers" {
		return c, errs.New(errs.InvalidParameter, "image config has a root filesystem of type %q", c.RootFS.Type)
	}
	if len(c.RootFS.DiffIDs) != layers {
		return c, errs.New(errs.InvalidParameter, "image config names %d layers, its manifest %d", len(c.RootFS.DiffIDs), layers)
	}
	for i, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return c, errs.New(errs.InvalidParameter, "image config's layer %d has digest %q: %w", i, d, err)
		}
	}
	if c.OS == "" {
		c.OS = platforms.DefaultSpec().OS
	}
	return c, nil
}

// manifestLabels are the garbage collector's references from a manifest to its
// parts (containerd, docs/garbage-collection.md).
func manifestLabels(m ocispec.Manifest) map[string]string {
	labels := map[string]string{"containerd.io/gc.ref.content.config": m.Config.Digest.String()}
	for i, l := range m.Layers {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.Digest.String()
	}
	return labels
}

func indexLabels(x ocispec.Index) map[string]string {
	labels := map[string]string{}
	for i, m := range x.Manifests {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.m.%d", i)] = m.Digest.String()
	}
	return labels
}

// readManifest, readIndex and readConfig read from the content store.
func (st *stores) readManifest(ctx context.Context, desc ocispec.Descriptor) (ocispec.Manifest, error) {
	data, err := content.ReadBlob(ctx, st.content, desc)
	if err != nil {
		return ocispec.Manifest{}, fmt.Errorf("reading manifest %s: %w", desc.Digest, err)
	}
	return parseManifest(data)
}

func (st *stores) readIndex(ctx context.Context, desc ocispec.Descriptor) (ocispec.Index, error) {
	data, err := content.ReadBlob(ctx, st.content, desc)
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("reading index %s: %w", desc.Digest, err)
	}
	return parseIndex(data)
}

func (st *stores) readConfig(ctx context.Context, m ocispec.Manifest) (dockerspec.DockerOCIImage, error) {
	data, err := content.ReadBlob(ctx, st.content, m.Config)
	if err != nil {
		return dockerspec.DockerOCIImage{}, fmt.Errorf("reading image config %s: %w", m.Config.Digest, err)
	}
	return parseConfig(data, len(m.Layers))
}

// isAttestation reports whether an index's entry describes another entry
// instead of being an image (BuildKit's attestation storage).
func isAttestation(desc ocispec.Descriptor) bool {
	return desc.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

// shortID is how progress lines name a blob: the first 12 digits.
func shortID(d digest.Digest) string {
	if s := d.Encoded(); len(s) > 12 {
		return s[:12]
	}
	return d.String()
}
