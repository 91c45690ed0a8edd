package image

import (
	"context"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DiskUsage tells what the images take on the disk, what each of them shares
// with others, and how much goes when those are removed that no container uses.
// containers lists the containers made of a manifest.
func (s *Store) DiskUsage(ctx context.Context, containers func(manifest digest.Digest) []string) (imagetypes.DiskUsage, error) {
	ctx = s.st.context(ctx)
	items, err := s.list(ctx, ListOptions{SharedSize: true, Containers: containers})
	if err != nil {
		return imagetypes.DiskUsage{}, classify(err)
	}
	inv, err := s.st.takeInventory(ctx)
	if err != nil {
		return imagetypes.DiskUsage{}, classify(err)
	}
	used := map[digest.Digest]bool{}
	for id, img := range inv.images {
		used[id] = slices.ContainsFunc(img.manifests, func(d digest.Digest) bool { return len(containers(d)) > 0 })
	}
	u := imagetypes.DiskUsage{Items: items, TotalCount: int64(len(items)), TotalSize: inv.total()}
	for _, item := range items {
		if used[digest.Digest(item.ID)] {
			u.ActiveCount++
		}
	}
	u.Reclaimable = inv.freedBy(func(id digest.Digest) bool { return !used[id] })
	return u, nil
}

// part is a blob or an unpacked layer. A layer's chain ID may be the digest of a
// blob, so the two are told apart.
type part struct {
	layer  bool
	digest digest.Digest
}

// inventory is what is on the disk, and for which images.
type inventory struct {
	images map[digest.Digest]*stock // by ID
	sizes  map[part]int64
}

// stock is what one image is made of.
type stock struct {
	records   []images.Image
	manifests []digest.Digest
	parts     map[part]bool
}

// takeInventory looks at all images. What is damaged or not here counts nothing.
func (st *stores) takeInventory(ctx context.Context) (*inventory, error) {
	all, err := st.images.List(ctx)
	if err != nil {
		return nil, err
	}
	inv := &inventory{images: map[digest.Digest]*stock{}, sizes: map[part]int64{}}
	for _, rec := range all {
		id := rec.Target.Digest
		if img := inv.images[id]; img != nil {
			img.records = append(img.records, rec)
			continue
		}
		img := &stock{records: []images.Image{rec}, parts: map[part]bool{}}
		inv.images[id] = img
		if err := inv.addBlob(ctx, st, img, id); err != nil {
			return nil, err
		}
		err := st.walkManifests(ctx, rec.Target, func(desc ocispec.Descriptor) error {
			return inv.addManifest(ctx, st, img, desc)
		})
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	return inv, nil
}

func (inv *inventory) addManifest(ctx context.Context, st *stores, img *stock, desc ocispec.Descriptor) error {
	m, err := st.readManifest(ctx, desc)
	if err != nil {
		return nil // it is not here, or is no manifest
	}
	img.manifests = append(img.manifests, desc.Digest)
	for _, d := range append([]ocispec.Descriptor{desc, m.Config}, m.Layers...) {
		if err := inv.addBlob(ctx, st, img, d.Digest); err != nil {
			return err
		}
	}
	c, err := st.candidate(ctx, desc)
	if err != nil {
		return nil // no image, or not here in full
	}
	for _, chain := range identity.ChainIDs(slices.Clone(c.config.RootFS.DiffIDs)) {
		p := part{layer: true, digest: chain}
		img.parts[p] = true
		if _, known := inv.sizes[p]; known {
			continue
		}
		if inv.sizes[p], err = st.layerSize(ctx, chain); err != nil {
			return err
		}
	}
	return nil
}

func (inv *inventory) addBlob(ctx context.Context, st *stores, img *stock, d digest.Digest) error {
	p := part{digest: d}
	if _, known := inv.sizes[p]; !known {
		info, err := st.content.Info(ctx, d)
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		inv.sizes[p] = info.Size
	}
	img.parts[p] = true
	return nil
}

// total is what everything takes.
func (inv *inventory) total() (sum int64) {
	for _, n := range inv.sizes {
		sum += n
	}
	return sum
}

// freedBy is what only those images have that go.
func (inv *inventory) freedBy(goes func(id digest.Digest) bool) int64 {
	kept := map[part]bool{}
	for id, img := range inv.images {
		if !goes(id) {
			for p := range img.parts {
				kept[p] = true
			}
		}
	}
	var sum int64
	for p, n := range inv.sizes {
		if !kept[p] {
			sum += n
		}
	}
	return sum
}
