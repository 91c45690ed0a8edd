package image

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pins counts which containers use which manifest. It is memory only: the lease
// that keeps layers is made when an image is removed under a container.
type pins struct {
	mu   sync.Mutex
	by   map[digest.Digest]map[string]bool // containers by manifest; guarded by mu
	kept map[digest.Digest]bool            // manifests that a keep lease holds; guarded by mu
}

// all lists the containers that are pinned to anything.
func (p *pins) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for _, users := range p.by {
		list = slices.AppendSeq(list, maps.Keys(users))
	}
	return list
}

// any reports whether a container is pinned to one of the manifests, apart from
// those that are leaving.
func (p *pins) any(manifests []digest.Digest, leaving map[string]bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.anyLocked(manifests, leaving)
}

func (p *pins) anyLocked(manifests []digest.Digest, leaving map[string]bool) bool {
	for _, d := range manifests {
		for container := range p.by[d] {
			if !leaving[container] {
				return true
			}
		}
	}
	return false
}

// load reads which manifests are kept by a lease.
func (p *pins) load(ctx context.Context, st *stores) error {
	all, err := st.leases.List(ctx)
	if err != nil {
		return fmt.Errorf("reading leases: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by = map[digest.Digest]map[string]bool{}
	p.kept = map[digest.Digest]bool{}
	for _, l := range all {
		if d, ok := strings.CutPrefix(l.ID, keepLease); ok {
			p.kept[digest.Digest(d)] = true
		}
	}
	return nil
}

// Pin says that a container uses img: its layers stay, even when the image is
// removed by force, until Unpin. It writes nothing. Call it when a container is
// created and at start-up for each that exists, then [Store.ReleaseUnpinned].
// It fails with kind NotFound when the image has gone since it was looked up.
func (s *Store) Pin(ctx context.Context, containerID string, img Image) error {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	d := img.Manifest.Digest
	if s.pins.by[d] == nil && !s.pins.kept[d] && !s.cache.current(img.asOf) {
		same, err := s.names.withTarget(s.st.context(ctx), img.ID)
		if err != nil {
			return classify(err)
		}
		if len(same) == 0 {
			return notFound(img.ID.String())
		}
	}
	if s.pins.by[d] == nil {
		s.pins.by[d] = map[string]bool{}
	}
	s.pins.by[d][containerID] = true
	return nil
}

// Unpin takes back Pin, when the container is removed. What was kept for it
// alone goes in the background.
func (s *Store) Unpin(ctx context.Context, containerID string, manifest digest.Digest) error {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	users := s.pins.by[manifest]
	delete(users, containerID)
	if len(users) > 0 {
		return nil
	}
	delete(s.pins.by, manifest)
	return s.releaseLocked(s.st.context(ctx), manifest)
}

// ReleaseUnpinned lets go of what is kept for containers that nobody pinned
// since Open: the engine was killed between removing the container and Unpin.
func (s *Store) ReleaseUnpinned(ctx context.Context) error {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	for d := range s.pins.kept {
		if len(s.pins.by[d]) > 0 {
			continue
		}
		if err := s.releaseLocked(s.st.context(ctx), d); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) releaseLocked(ctx context.Context, manifest digest.Digest) error {
	if !s.pins.kept[manifest] {
		return nil
	}
	err := s.st.leases.Delete(ctx, leases.Lease{ID: keepLease + manifest.String()})
	if err != nil && !errdefs.IsNotFound(err) {
		return classify(fmt.Errorf("letting go of image %s: %w", manifest, err))
	}
	delete(s.pins.kept, manifest)
	s.cache.clear()
	s.collector.soon()
	return nil
}

// keeping runs drop, which removes the image target or a part of it, so that
// what containers are pinned to is held by a lease before, and nobody is pinned
// to it in between.
func (s *Store) keeping(ctx context.Context, target ocispec.Descriptor, drop func() error) error {
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	if err := s.keepLocked(ctx, target); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return drop()
}

// keepLocked makes leases for those manifests below target that containers are
// pinned to.
func (s *Store) keepLocked(ctx context.Context, target ocispec.Descriptor) error {
	if len(s.pins.by) == 0 {
		return nil
	}
	return s.st.walkManifests(ctx, target, func(desc ocispec.Descriptor) error {
		if len(s.pins.by[desc.Digest]) == 0 || s.pins.kept[desc.Digest] {
			return nil
		}
		l, err := s.st.leases.Create(ctx, leases.WithID(keepLease+desc.Digest.String()))
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("keeping image %s for its containers: %w", desc.Digest, err)
		}
		l.ID = keepLease + desc.Digest.String()
		// Config and layers follow by the manifest's references.
		if err := s.st.leases.AddResource(ctx, l, leases.Resource{ID: desc.Digest.String(), Type: "content"}); err != nil {
			return fmt.Errorf("keeping image %s for its containers: %w", desc.Digest, err)
		}
		s.pins.kept[desc.Digest] = true
		return nil
	})
}
