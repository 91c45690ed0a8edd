package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// survey is what is known of one image and all its platforms.
type survey struct {
	manifests  []imagetypes.ManifestSummary
	candidates []candidate     // the images that are here
	chains     []digest.Digest // chain IDs of all layers of all candidates
	size       int64           // blobs and directories, in bytes
	containers int
}

// survey walks an image. containers may be nil.
func (st *stores) survey(ctx context.Context, target ocispec.Descriptor, containers func(digest.Digest) []string) (survey, error) {
	var v survey
	err := st.walkManifests(ctx, target, func(desc ocispec.Descriptor) error {
		sum, c, err := st.describe(ctx, desc)
		if err != nil {
			return err
		}
		if c != nil {
			v.candidates = append(v.candidates, *c)
			v.chains = append(v.chains, identity.ChainIDs(slices.Clone(c.config.RootFS.DiffIDs))...)
			if containers != nil {
				sum.ImageData.Containers = containers(desc.Digest)
				v.containers += len(sum.ImageData.Containers)
			}
		}
		if sum.ImageData != nil && sum.ImageData.Containers == nil {
			sum.ImageData.Containers = []string{}
		}
		v.size += sum.Size.Total
		v.manifests = append(v.manifests, sum)
		return nil
	})
	return v, err
}

// describe summarises one manifest; the candidate is nil where there is no
// complete image.
func (st *stores) describe(ctx context.Context, desc ocispec.Descriptor) (imagetypes.ManifestSummary, *candidate, error) {
	sum := imagetypes.ManifestSummary{ID: desc.Digest.String(), Descriptor: desc, Kind: imagetypes.ManifestKindUnknown}
	m, err := st.readManifest(ctx, desc)
	if errdefs.IsNotFound(err) {
		if !isAttestation(desc) && desc.Platform != nil {
			sum.Kind = imagetypes.ManifestKindImage
			sum.ImageData = &imagetypes.ImageProperties{Platform: *desc.Platform}
		}
		return sum, nil, nil
	}
	if err != nil {
		return sum, nil, err
	}
	sum.Available = true
	sum.Size.Content = desc.Size
	for _, part := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		switch _, err := st.content.Info(ctx, part.Digest); {
		case err == nil:
			sum.Size.Content += part.Size
		case errdefs.IsNotFound(err):
			sum.Available = false
		default:
			return sum, nil, fmt.Errorf("looking for blob %s: %w", part.Digest, err)
		}
	}
	sum.Size.Total = sum.Size.Content
	if isAttestation(desc) {
		sum.Kind = imagetypes.ManifestKindAttestation
		sum.AttestationData = &imagetypes.AttestationProperties{For: digest.Digest(desc.Annotations["vnd.docker.reference.digest"])}
		return sum, nil, nil
	}
	c, err := st.candidate(ctx, desc)
	if err != nil {
		// Another thing than an image, or one that is not here in full.
		return sum, nil, nil
	}
	sum.Kind = imagetypes.ManifestKindImage
	sum.ImageData = &imagetypes.ImageProperties{Platform: c.platform}
	unpacked, err := st.unpackedSize(ctx, c)
	if err != nil {
		return sum, nil, err
	}
	sum.ImageData.Size.Unpacked = unpacked
	sum.Size.Total += unpacked
	return sum, &c, nil
}

// layerSize returns what the layer with this chain ID takes on the disk, 0 when
// it is not unpacked.
func (st *stores) layerSize(ctx context.Context, chain digest.Digest) (int64, error) {
	usage, err := st.snaps.Usage(ctx, chain.String())
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("measuring layer %s: %w", chain, err)
	}
	return usage.Size, nil
}

func (st *stores) unpackedSize(ctx context.Context, c candidate) (int64, error) {
	var total int64
	for _, chain := range identity.ChainIDs(slices.Clone(c.config.RootFS.DiffIDs)) {
		n, err := st.layerSize(ctx, chain)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// repoTags and repoDigests list the names of an image as people see them, each
// once and sorted.
func repoTags(recs []images.Image) []string {
	list := []string{}
	for _, rec := range recs {
		if !isDangling(rec) {
			list = append(list, familiarName(rec))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func repoDigests(recs []images.Image) []string {
	list := []string{}
	for _, rec := range recs {
		name, err := reference.ParseNamed(rec.Name)
		if err != nil {
			continue
		}
		digested, err := reference.WithDigest(reference.TrimNamed(name), rec.Target.Digest)
		if err == nil {
			list = append(list, reference.FamiliarString(digested))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
