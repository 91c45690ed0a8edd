package image

import (
	"context"
	"fmt"
	"slices"
	"time"

	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// Inspect answers all that is known of the image that ref names, in Docker's
// form. Size counts the blobs of the chosen platform; with Platform set, ID and
// Descriptor are that platform's manifest's.
func (s *Store) Inspect(ctx context.Context, ref string, o InspectOptions) (imagetypes.InspectResponse, error) {
	resp, err := s.inspect(s.st.context(ctx), ref, o)
	return resp, classify(err)
}

func (s *Store) inspect(ctx context.Context, ref string, o InspectOptions) (imagetypes.InspectResponse, error) {
	var resp imagetypes.InspectResponse
	rec, err := s.names.resolve(ctx, ref)
	if err != nil {
		return resp, err
	}
	same, err := s.names.withTarget(ctx, rec.Target.Digest)
	if err != nil {
		return resp, err
	}
	v, err := s.st.survey(ctx, rec.Target, o.Containers)
	if err != nil {
		return resp, err
	}
	best, found := choose(v.candidates, o.Platform)
	if !found && o.Platform != nil {
		return resp, platformNotFound(ref, o.Platform)
	}
	target := rec.Target
	if o.Platform != nil {
		target = best.desc
	}
	resp = imagetypes.InspectResponse{
		ID:          target.Digest.String(),
		RepoTags:    repoTags(same),
		RepoDigests: repoDigests(same),
		Descriptor:  &target,
		GraphDriver: &storage.DriverData{Name: snapshotter},
		Size:        target.Size,
	}
	for _, r := range same {
		if r.UpdatedAt.After(resp.Metadata.LastTagTime) {
			resp.Metadata.LastTagTime = r.UpdatedAt
		}
	}
	if o.Manifests && o.Platform == nil {
		resp.Manifests = v.manifests
	}
	if found {
		describeConfig(&resp, best)
		if best.desc.Digest != target.Digest {
			resp.Size += best.desc.Size
		}
		resp.Size += best.manifest.Config.Size
		for _, l := range best.manifest.Layers {
			resp.Size += l.Size
		}
	}
	return resp, nil
}

// describeConfig fills in what an image's configuration says.
func describeConfig(resp *imagetypes.InspectResponse, c candidate) {
	config := c.config
	resp.Config = &config.Config
	resp.Author = config.Author
	resp.Architecture, resp.Variant = config.Architecture, config.Variant
	resp.Os, resp.OsVersion = config.OS, config.OSVersion
	if n := len(config.History); n > 0 {
		resp.Comment = config.History[n-1].Comment
	}
	if config.Created != nil {
		resp.Created = config.Created.Format(time.RFC3339Nano)
	}
	resp.RootFS.Type = config.RootFS.Type
	for _, d := range config.RootFS.DiffIDs {
		resp.RootFS.Layers = append(resp.RootFS.Layers, d.String())
	}
}

// History lists the steps that made an image, newest first. Only the first item
// has an ID and tags: the steps of a pulled image have none.
func (s *Store) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]imagetypes.HistoryResponseItem, error) {
	items, err := s.history(s.st.context(ctx), ref, platform)
	return items, classify(err)
}

func (s *Store) history(ctx context.Context, ref string, platform *ocispec.Platform) ([]imagetypes.HistoryResponseItem, error) {
	rec, err := s.names.resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	best, err := s.best(ctx, rec, platform)
	if err != nil {
		return nil, err
	}
	chain := identity.ChainIDs(slices.Clone(best.config.RootFS.DiffIDs))
	items := []imagetypes.HistoryResponseItem{}
	for _, h := range best.config.History {
		item := imagetypes.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			if len(chain) == 0 {
				return nil, errs.New(errs.InvalidParameter, "image config's history names more layers than the image has")
			}
			if item.Size, err = s.st.layerSize(ctx, chain[0]); err != nil {
				return nil, err
			}
			chain = chain[1:]
		}
		items = append(items, item)
	}
	slices.Reverse(items)
	if len(items) == 0 {
		return items, nil
	}
	same, err := s.names.withTarget(ctx, rec.Target.Digest)
	if err != nil {
		return nil, fmt.Errorf("listing tags: %w", err)
	}
	items[0].ID = rec.Target.Digest.String()
	if tags := repoTags(same); len(tags) > 0 {
		items[0].Tags = tags
	}
	return items, nil
}
