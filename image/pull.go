package image

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// tickEvery is the least time between two messages that only move a bar.
const tickEvery = 100 * time.Millisecond

// Pull brings the image that ref names here, unpacks it for the platform asked
// for, and returns its ID. A ref without tag or digest brings all tags of the
// repository and returns the last one's ID. Calls for the same image with the
// same credentials share one download. When ctx ends, what was downloaded stays
// for a day and the next pull goes on from there; a full disk leaves nothing.
func (s *Store) Pull(ctx context.Context, ref reference.Named, o PullOptions) (digest.Digest, error) {
	if !reference.IsNameOnly(ref) {
		return s.pullOne(ctx, ref, o)
	}
	tags, err := s.registries.tags(s.st.context(ctx), ref, o.Auth)
	if err != nil {
		return "", registryError("pull", ref, err)
	}
	var id digest.Digest
	for _, tag := range tags {
		tagged, err := reference.WithTag(ref, tag)
		if err != nil {
			s.cfg.Log.Warn("registry lists an invalid tag", "repository", ref.Name(), "tag", tag)
			continue
		}
		if id, err = s.pullOne(ctx, tagged, o); err != nil {
			return id, fmt.Errorf("error pulling %s: %w", tagged, err)
		}
	}
	return id, nil
}

func (s *Store) pullOne(ctx context.Context, ref reference.Named, o PullOptions) (digest.Digest, error) {
	platform := ""
	if o.Platform != nil {
		platform = platforms.FormatAll(*o.Platform)
	}
	auth, err := json.Marshal(o.Auth)
	if err != nil {
		return "", errs.Wrap(errs.InvalidParameter, err)
	}
	key := strings.Join([]string{ref.String(), platform, digest.FromBytes(auth).String()}, " ")
	return s.flights.fly(ctx, key, o.Progress, func(ctx context.Context, say func(jsonstream.Message)) (digest.Digest, error) {
		p := &puller{Store: s, ref: ref, o: o, say: say, lease: pullLease + digest.FromString(key).Encoded()[:32]}
		id, err := p.pull(s.st.context(ctx))
		return id, registryError("pull", ref, err)
	})
}

// puller is one pull of one name.
type puller struct {
	*Store
	ref  reference.Named
	o    PullOptions
	say  func(jsonstream.Message)
	from remotes.Fetcher
	// lease is the same for the same request: what an interrupted pull brought is
	// found and held by the next one.
	lease string
}

func (p *puller) pull(ctx context.Context) (_ digest.Digest, err error) {
	target, err := p.resolve(ctx)
	if err != nil {
		return "", err
	}
	p.collector.begin(p.lease)
	defer p.collector.end(p.lease)
	ctx, release, err := p.st.lease(ctx, p.lease)
	if err != nil {
		return "", err
	}
	var layers []ocispec.Descriptor
	defer func() {
		if err == nil {
			return
		}
		switch errs.KindOf(registryError("pull", p.ref, err)) {
		case errs.Cancelled, errs.Deadline, errs.Unavailable:
			return // resumed by the next pull
		case errs.Exhausted:
			p.discard(ctx, layers)
			release()
			p.collector.now(ctx)
		default:
			release()
			p.collector.soon()
		}
	}()

	best, err := p.documents(ctx, target)
	if err != nil {
		return "", err
	}
	layers = best.manifest.Layers
	old, err := p.st.images.Get(ctx, p.ref.String())
	known := err == nil && old.Target.Digest == target.Digest
	if err := p.layers(ctx, best, known); err != nil {
		return "", err
	}
	if err := p.st.setLabels(ctx, best.manifest.Config.Digest, snapshotLabel(best.config.RootFS.DiffIDs)); err != nil {
		return "", err
	}
	newer, err := p.record(ctx, target)
	if err != nil {
		return "", err
	}
	p.say(jsonstream.Message{Status: "Digest: " + target.Digest.String()})
	p.collector.soon() // what a killed pull left is held by nothing now
	status := "Status: Image is up to date for "
	if newer {
		status = "Status: Downloaded newer image for "
	}
	p.say(jsonstream.Message{Status: status + reference.FamiliarString(p.ref)})
	return target.Digest, nil
}

// resolve asks the registry what the name points to.
func (p *puller) resolve(ctx context.Context) (ocispec.Descriptor, error) {
	resolver, _ := p.registries.resolver(p.ref, p.o.Auth)
	name, desc, err := resolver.Resolve(ctx, p.ref.String())
	familiar := reference.FamiliarString(p.ref)
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "rejecting"): // a manifest over containerd's limit comes as "not found"
		return desc, errs.Wrap(errs.InvalidParameter, err)
	case errdefs.IsNotFound(err):
		return desc, errs.New(errs.NotFound, "manifest for %s not found: manifest unknown: %w", familiar, err)
	case errdefs.IsNotImplemented(err):
		return desc, errSchema1
	default:
		return desc, fmt.Errorf("failed to resolve reference %q: %w", p.ref.String(), err)
	}
	if desc.MediaType == images.MediaTypeDockerSchema1Manifest || desc.MediaType == "application/vnd.docker.distribution.manifest.v1+json" {
		return desc, errSchema1
	}
	if !images.IsIndexType(desc.MediaType) && !images.IsManifestType(desc.MediaType) {
		return desc, errs.New(errs.InvalidParameter, "unsupported media type %s: %s is not a container image", desc.MediaType, familiar)
	}
	p.from, err = resolver.Fetcher(ctx, name)
	return desc, err
}

// documents fetches the index, if it is one, the manifest and the config.
func (p *puller) documents(ctx context.Context, target ocispec.Descriptor) (candidate, error) {
	data, err := p.document(ctx, target, nil)
	if err != nil {
		return candidate{}, err
	}
	tag := reference.FamiliarString(p.ref)
	if tagged, ok := p.ref.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	p.say(jsonstream.Message{Status: "Pulling from " + reference.Path(p.ref), ID: tag})
	if !images.IsIndexType(target.MediaType) {
		return p.image(ctx, target, data)
	}
	index, err := parseIndex(data)
	if err != nil {
		return candidate{}, err
	}
	if err := p.st.setLabels(ctx, target.Digest, indexLabels(index)); err != nil {
		return candidate{}, err
	}
	for _, desc := range p.matching(index) {
		data, err := p.document(ctx, desc, nil)
		if err != nil {
			return candidate{}, err
		}
		c, err := p.image(ctx, desc, data)
		if desc.Platform == nil && errs.Is(err, errs.NotFound) {
			continue // its config says that it is for another platform
		}
		return c, err
	}
	wanted := platforms.DefaultSpec()
	if p.o.Platform != nil {
		wanted = *p.o.Platform
	}
	return candidate{}, errs.New(errs.NotFound, "no matching manifest for %s in the manifest list entries: no match for platform in manifest: not found",
		platforms.FormatAll(wanted))
}

// matching lists the entries of an index that suit the platform, best first;
// those that name no platform come last, they may.
func (p *puller) matching(index ocispec.Index) []ocispec.Descriptor {
	var order platforms.MatchComparer = platforms.Default()
	if p.o.Platform != nil {
		order = platforms.Only(*p.o.Platform)
	}
	var known, unknown []ocispec.Descriptor
	for _, m := range index.Manifests {
		switch {
		case !images.IsManifestType(m.MediaType) || isAttestation(m):
		case m.Platform == nil:
			unknown = append(unknown, m)
		case order.Match(platforms.Normalize(*m.Platform)):
			known = append(known, m)
		}
	}
	slices.SortStableFunc(known, func(a, b ocispec.Descriptor) int {
		switch {
		case order.Less(platforms.Normalize(*a.Platform), platforms.Normalize(*b.Platform)):
			return -1
		case order.Less(platforms.Normalize(*b.Platform), platforms.Normalize(*a.Platform)):
			return 1
		}
		return 0
	})
	return append(known, unknown...)
}

func (p *puller) document(ctx context.Context, desc ocispec.Descriptor, labels map[string]string) ([]byte, error) {
	limit := int64(maxManifestSize)
	if images.IsConfigType(desc.MediaType) {
		limit = maxConfigSize
	}
	merged := sourceLabels(p.ref)
	for k, v := range labels {
		merged[k] = v
	}
	return p.fetcher.document(ctx, p.from, desc, limit, merged)
}

// image reads a manifest and fetches its config. With a platform asked for, an
// image for another one is an error of kind NotFound.
func (p *puller) image(ctx context.Context, desc ocispec.Descriptor, data []byte) (candidate, error) {
	m, err := parseManifest(data)
	if err != nil {
		return candidate{}, err
	}
	if err := checkImage(m); err != nil {
		return candidate{}, err
	}
	if err := p.st.setLabels(ctx, desc.Digest, manifestLabels(m)); err != nil {
		return candidate{}, err
	}
	raw, err := p.document(ctx, m.Config, nil)
	if err != nil {
		return candidate{}, err
	}
	var config dockerspec.DockerOCIImage
	if config, err = parseConfig(raw, len(m.Layers)); err != nil {
		return candidate{}, err
	}
	c := candidate{desc: desc, manifest: m, config: config, platform: platforms.Normalize(config.Platform)}
	if desc.Platform == nil && p.o.Platform != nil && !platforms.Only(*p.o.Platform).Match(c.platform) {
		return candidate{}, platformNotFound(reference.FamiliarString(p.ref), p.o.Platform)
	}
	return c, nil
}

// layers downloads and unpacks what is missing. known says that the name stands
// for this image already, so that there may be nothing to tell.
func (p *puller) layers(ctx context.Context, c candidate, known bool) error {
	layers, diffs := c.manifest.Layers, c.config.RootFS.DiffIDs
	have, missing, err := p.inventory(ctx, c)
	if err != nil {
		return err
	}
	if free := freeSpace(p.st.root); missing > free {
		return errs.New(errs.Exhausted, "image %s has layers of %d bytes to download, the disk has %d left: %w",
			reference.FamiliarString(p.ref), missing, free, unix.ENOSPC)
	}
	show := newLayerProgress(layers, p.say)
	switch {
	case slices.Contains(have, false):
		for i := range layers {
			show.status(i, "Pulling fs layer")
		}
	case known:
		show.say = func(jsonstream.Message) {}
	}
	return p.unpacker.unpack(ctx, layers, diffs, layerEvents{
		fetch: func(ctx context.Context, i int) error {
			existed, err := p.fetcher.fetch(ctx, p.from, layers[i], sourceLabels(p.ref), fetchEvents{
				progress: func(n int64) { show.tick(i, "Downloading", n) },
				retry: func(in time.Duration) {
					show.status(i, fmt.Sprintf("Retrying in %d seconds", max(1, int(in.Seconds()))))
				},
			})
			if err == nil && !existed {
				show.status(i, "Download complete")
			}
			return err
		},
		extract: func(i int, n int64) { show.tick(i, "Extracting", n) },
		done: func(i int, existed bool) {
			if existed && have[i] {
				show.status(i, "Already exists")
			} else {
				show.status(i, "Pull complete")
			}
		},
	})
}

// inventory tells which layers are here, blob and directory, and how many bytes
// the others have still to bring.
func (p *puller) inventory(ctx context.Context, c candidate) (have []bool, missing int64, err error) {
	chain := identity.ChainIDs(slices.Clone(c.config.RootFS.DiffIDs))
	counted := map[digest.Digest]bool{}
	for i, l := range c.manifest.Layers {
		_, err := p.st.content.Info(ctx, l.Digest)
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, 0, fmt.Errorf("looking for layer %s: %w", l.Digest, err)
		}
		if err != nil && !counted[l.Digest] {
			counted[l.Digest] = true
			missing += l.Size
			if st, err := p.st.content.Status(ctx, ingestRef(l.Digest)); err == nil {
				missing -= min(st.Offset, l.Size)
			}
			if missing < 0 {
				return nil, 0, errs.New(errs.InvalidParameter, "manifest names layers of more bytes than can be")
			}
		}
		_, serr := p.st.snaps.Stat(ctx, chain[i].String())
		have = append(have, err == nil && serr == nil)
	}
	return have, missing, nil
}

// record makes the name point to target and lets go of the lease, at once.
func (p *puller) record(ctx context.Context, target ocispec.Descriptor) (newer bool, err error) {
	// The caller may go away now, the work is done.
	ctx = context.WithoutCancel(ctx)
	err = p.names.change(ctx, func(ctx context.Context) error {
		old, err := p.st.images.Get(ctx, p.ref.String())
		newer = err != nil || old.Target.Digest != target.Digest
		if err := p.names.point(ctx, p.ref.String(), target, nil); err != nil {
			return err
		}
		err = p.st.leases.Delete(ctx, leases.Lease{ID: p.lease})
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("releasing the pull's lease: %w", err)
		}
		return nil
	})
	return newer, err
}

// discard removes what was downloaded of layers and is not complete.
func (p *puller) discard(ctx context.Context, layers []ocispec.Descriptor) {
	ctx = context.WithoutCancel(ctx)
	for _, l := range layers {
		if err := p.st.content.Abort(ctx, ingestRef(l.Digest)); err != nil && !errdefs.IsNotFound(err) {
			p.cfg.Log.Warn("removing an unfinished layer", "digest", l.Digest, "error", err)
		}
	}
}

// layerProgress words what happens to layers as messages.
type layerProgress struct {
	layers []ocispec.Descriptor
	say    func(jsonstream.Message)
	mu     sync.Mutex
	last   []time.Time // of a layer's newest tick; guarded by mu
}

func newLayerProgress(layers []ocispec.Descriptor, say func(jsonstream.Message)) *layerProgress {
	return &layerProgress{layers: layers, say: say, last: make([]time.Time, len(layers))}
}

func (l *layerProgress) status(i int, text string) {
	l.say(jsonstream.Message{Status: text, ID: shortID(l.layers[i].Digest), Progress: &jsonstream.Progress{}})
}

// tick moves layer i's bar to n bytes of its blob.
func (l *layerProgress) tick(i int, text string, n int64) {
	l.mu.Lock()
	now := time.Now()
	due := now.Sub(l.last[i]) >= tickEvery
	if due {
		l.last[i] = now
	}
	l.mu.Unlock()
	if due {
		total := cmp.Or(l.layers[i].Size, n)
		l.say(jsonstream.Message{Status: text, ID: shortID(l.layers[i].Digest), Progress: &jsonstream.Progress{Current: min(n, total), Total: total}})
	}
}
