package image

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// cache remembers what Get answered. It is emptied whole by each change of a
// name: changes are rare, and being wrong is worse than being slow once.
type cache struct {
	mu         sync.RWMutex
	generation uint64             // guarded by mu; counts the changes, from 1
	entries    map[question]Image // guarded by mu
}

type question struct{ ref, platform string }

// maxCached bounds the entries: what asks for more is not the hot path.
const maxCached = 1024

func (c *cache) get(q question) (img Image, generation uint64, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	img, ok = c.entries[q]
	return img, c.generation, ok
}

// current reports whether nothing changed since generation was read.
func (c *cache) current(generation uint64) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.generation == generation
}

// put keeps img unless something changed since generation was read.
func (c *cache) put(q question, generation uint64, img Image) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation {
		return
	}
	if c.entries == nil || len(c.entries) >= maxCached {
		c.entries = map[question]Image{}
	}
	c.entries[q] = img
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.entries = nil
}

// Get finds the image that ref names (a name, an ID or the beginning of one)
// and unpacks it if that has not happened yet. With a platform it finds that
// platform's manifest, without one the host's if there is one, else any. It
// fails with kind NotFound and Docker's text. A repeated question is answered
// from memory.
func (s *Store) Get(ctx context.Context, ref string, platform *ocispec.Platform) (Image, error) {
	q := question{ref: ref}
	if platform != nil {
		q.platform = platforms.FormatAll(*platform)
	}
	img, generation, ok := s.cache.get(q)
	if ok {
		return img, nil
	}
	ctx = s.st.context(ctx)
	rec, err := s.names.resolve(ctx, ref)
	if err != nil {
		return Image{}, classify(err)
	}
	best, err := s.best(ctx, rec, platform)
	if err != nil {
		return Image{}, classify(err)
	}
	img, err = s.load(ctx, rec.Target, best)
	if err != nil {
		return Image{}, classify(err)
	}
	if !isDangling(rec) && idPrefix(ref) == "" {
		img.Name = familiarName(rec)
	}
	img.asOf = generation
	s.cache.put(q, generation, img)
	return img, nil
}

// GetManifest is Get for a container that exists: it finds the image by the
// descriptors that Get answered with, also when the image was removed by force
// while the container was pinned to it.
func (s *Store) GetManifest(ctx context.Context, target, manifest ocispec.Descriptor) (Image, error) {
	q := question{ref: "manifest:" + manifest.Digest.String()}
	img, generation, ok := s.cache.get(q)
	if ok {
		return img, nil
	}
	ctx = s.st.context(ctx)
	c, err := s.st.candidate(ctx, manifest)
	if errdefs.IsNotFound(err) {
		return Image{}, notFound(target.Digest.String())
	}
	if err != nil {
		return Image{}, classify(err)
	}
	img, err = s.load(ctx, target, c)
	if err != nil {
		return Image{}, classify(err)
	}
	img.asOf = generation
	s.cache.put(q, generation, img)
	return img, nil
}

// load makes the answer from a manifest, unpacking its layers where they are not.
func (s *Store) load(ctx context.Context, target ocispec.Descriptor, c candidate) (Image, error) {
	chain := identity.ChainIDs(slices.Clone(c.config.RootFS.DiffIDs))
	lower, err := s.st.lower(ctx, chain)
	if errdefs.IsNotFound(err) {
		if err = s.unpack(ctx, c); err == nil {
			lower, err = s.st.lower(ctx, chain)
		}
	}
	if err != nil {
		return Image{}, err
	}
	return Image{
		ID:       target.Digest,
		Target:   target,
		Manifest: c.desc,
		Platform: c.platform,
		Config:   c.config,
		Lower:    lower,
	}, nil
}

// lower finds the directories of the layers with the given chain IDs, topmost
// first. It reads only: no view is made.
func (st *stores) lower(ctx context.Context, chain []digest.Digest) ([]string, error) {
	var dirs []string
	for _, id := range slices.Backward(chain) {
		info, err := st.snaps.Stat(ctx, id.String())
		if err != nil {
			return nil, fmt.Errorf("finding layer %s: %w", id, err)
		}
		dirs = append(dirs, info.Labels[upperLabel])
	}
	return dirs, nil
}

// candidate is an image manifest that is here with its configuration.
type candidate struct {
	desc     ocispec.Descriptor
	manifest ocispec.Manifest
	config   dockerspec.DockerOCIImage
	platform ocispec.Platform
}

func (st *stores) candidate(ctx context.Context, desc ocispec.Descriptor) (candidate, error) {
	m, err := st.readManifest(ctx, desc)
	if err != nil {
		return candidate{}, err
	}
	if err := checkImage(m); err != nil {
		return candidate{}, err
	}
	config, err := st.readConfig(ctx, m)
	if err != nil {
		return candidate{}, err
	}
	c := candidate{desc: desc, manifest: m, config: config, platform: config.Platform}
	if desc.Platform != nil {
		c.platform = *desc.Platform
	}
	c.platform = platforms.Normalize(c.platform)
	return c, nil
}

// walkManifests calls fn for each manifest below target, present or not, in the
// index's order.
func (st *stores) walkManifests(ctx context.Context, target ocispec.Descriptor, fn func(desc ocispec.Descriptor) error) error {
	return st.walkIndex(ctx, target, 0, fn)
}

func (st *stores) walkIndex(ctx context.Context, target ocispec.Descriptor, depth int, fn func(desc ocispec.Descriptor) error) error {
	const maxDepth = 4 // an index within an index is legal, a tower of them is an attack
	if !images.IsIndexType(target.MediaType) || depth == maxDepth {
		return fn(target)
	}
	index, err := st.readIndex(ctx, target)
	if err != nil {
		return err
	}
	for _, m := range index.Manifests {
		err := st.walkIndex(ctx, m, depth+1, fn)
		if depth > 0 || !images.IsIndexType(m.MediaType) || !errdefs.IsNotFound(err) {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// candidates lists the images that are here below target.
func (st *stores) candidates(ctx context.Context, target ocispec.Descriptor) ([]candidate, error) {
	var found []candidate
	err := st.walkManifests(ctx, target, func(desc ocispec.Descriptor) error {
		if isAttestation(desc) {
			return nil
		}
		c, err := st.candidate(ctx, desc)
		switch {
		case err == nil:
			found = append(found, c)
		case errdefs.IsNotFound(err):
		case images.IsIndexType(target.MediaType):
			// Something else than an image in an index is no reason to refuse the rest.
		default:
			return err
		}
		return nil
	})
	return found, err
}

// best picks the manifest of rec that suits platform best among those here.
func (s *Store) best(ctx context.Context, rec images.Image, platform *ocispec.Platform) (candidate, error) {
	all, err := s.st.candidates(ctx, rec.Target)
	if err != nil {
		return candidate{}, err
	}
	c, ok := choose(all, platform)
	if !ok {
		return candidate{}, platformNotFound(familiarName(rec), platform)
	}
	return c, nil
}

// choose picks the candidate that matches platform best; without a platform all
// match and the host's comes first.
func choose(all []candidate, platform *ocispec.Platform) (best candidate, found bool) {
	var order platforms.MatchComparer = platforms.Default()
	if platform != nil {
		order = platforms.OnlyStrict(*platform)
	}
	for _, c := range all {
		if platform != nil && !order.Match(c.platform) {
			continue
		}
		if !found || order.Less(c.platform, best.platform) {
			best, found = c, true
		}
	}
	return best, found
}
