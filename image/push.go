package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	clabels "github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/auxprogress"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/davit-engine/davit/errs"
)

// Push uploads the image that ref names, or all tags of the repository when ref
// has neither tag nor digest. Blobs that the registry has are not sent; those
// that another of its repositories has are mounted from there. Of an index whose
// manifests are not all here, the one for the platform is pushed alone, which an
// aux message tells.
func (s *Store) Push(ctx context.Context, ref reference.Named, o PushOptions) error {
	ctx = s.st.context(ctx)
	out := &serial{say: o.Progress}
	out.send(jsonstream.Message{Status: fmt.Sprintf("The push refers to repository [%s]", ref.Name())})
	refs := []reference.Named{ref}
	if reference.IsNameOnly(ref) {
		var err error
		if refs, err = s.names.localTags(ctx, ref); err != nil {
			return classify(err)
		}
	}
	for _, r := range refs {
		p := &pusher{Store: s, ref: r, o: o, out: out}
		if err := p.push(ctx); err != nil {
			return registryError("push", r, err)
		}
	}
	return nil
}

// localTags lists the tags of a repository that are here.
func (n *names) localTags(ctx context.Context, ref reference.Named) ([]reference.Named, error) {
	all, err := n.st.images.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	var refs []reference.Named
	for _, rec := range all {
		named, err := reference.ParseNamed(rec.Name)
		if err != nil || named.Name() != ref.Name() {
			continue
		}
		if tagged, ok := named.(reference.NamedTagged); ok {
			refs = append(refs, tagged)
		}
	}
	if len(refs) == 0 {
		return nil, errs.New(errs.NotFound, "An image does not exist locally with the tag: %s", reference.FamiliarName(ref))
	}
	return refs, nil
}

// serial hands messages on one at a time; nil say discards them.
type serial struct {
	mu  sync.Mutex
	say func(jsonstream.Message)
}

func (s *serial) send(m jsonstream.Message) {
	if s.say == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(m)
}

func (s *serial) aux(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		return // of our own types: cannot happen
	}
	raw := json.RawMessage(data)
	s.send(jsonstream.Message{Progress: &jsonstream.Progress{}, Aux: &raw})
}

// pusher is one push of one name.
type pusher struct {
	*Store
	ref     reference.Named
	o       PushOptions
	out     *serial
	to      remotes.Pusher
	tracker docker.StatusTracker
}

func (p *pusher) push(ctx context.Context) error {
	rec, err := p.st.images.Get(ctx, p.ref.String())
	if errdefs.IsNotFound(err) {
		return errs.New(errs.NotFound, "tag does not exist: %s", reference.FamiliarString(p.ref))
	}
	if err != nil {
		return fmt.Errorf("looking up %s: %w", p.ref, err)
	}
	// Held by a lease, nothing of it can be collected meanwhile.
	id := temporaryRef("push")
	p.collector.begin(id)
	defer p.collector.end(id)
	ctx, release, err := p.st.lease(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	target, cut, err := p.choose(ctx, rec)
	if err != nil {
		return err
	}
	if err := p.connect(ctx, target); err != nil {
		return err
	}
	plan, err := p.plan(ctx, target)
	if err != nil {
		return err
	}
	if err := p.blobs(ctx, plan.blobs); err != nil {
		return err
	}
	for _, m := range plan.manifests { // children first, the target last
		if err := p.manifest(ctx, m); err != nil {
			return err
		}
	}
	for _, desc := range append(plan.blobs, plan.manifests...) {
		if err := p.st.setLabels(ctx, desc.Digest, sourceLabels(p.ref)); err != nil {
			p.cfg.Log.Warn("noting where a blob was pushed to", "digest", desc.Digest, "error", err)
		}
	}
	p.report(rec, target, cut)
	return nil
}

func (p *pusher) report(rec images.Image, target ocispec.Descriptor, cut bool) {
	if cut {
		p.out.aux(auxprogress.ManifestPushedInsteadOfIndex{ManifestPushedInsteadOfIndex: true, OriginalIndex: rec.Target, SelectedManifest: target})
	}
	tagged, ok := p.ref.(reference.Tagged)
	if !ok {
		return
	}
	p.out.send(jsonstream.Message{Status: fmt.Sprintf("%s: digest: %s size: %d", tagged.Tag(), target.Digest, target.Size)})
	p.out.aux(struct {
		Tag    string
		Digest string
		Size   int64
	}{tagged.Tag(), target.Digest.String(), target.Size})
}

// choose decides what to push: the image as it is, the manifest of the platform
// asked for, or, of an index that is here in part, what there is of it; cut then
// tells that it is less than the name means.
func (p *pusher) choose(ctx context.Context, rec images.Image) (target ocispec.Descriptor, cut bool, err error) {
	target = rec.Target
	if p.o.Platform != nil {
		best, err := p.best(ctx, rec, p.o.Platform)
		return best.desc, false, err
	}
	if !images.IsIndexType(target.MediaType) {
		return target, false, nil
	}
	v, err := p.st.survey(ctx, target, nil)
	if err != nil {
		return target, false, err
	}
	for _, m := range v.manifests {
		cut = cut || !m.Available
	}
	if !cut {
		return target, false, nil
	}
	best, found := choose(v.candidates, nil)
	if !found {
		p.out.aux(auxprogress.ContentMissing{ContentMissing: true, Desc: target})
		return target, false, platformNotFound(reference.FamiliarString(p.ref), nil)
	}
	return best.desc, true, nil
}

// connect opens the way to the repository. The tag goes to target alone: the
// manifests of an index are pushed by digest.
func (p *pusher) connect(ctx context.Context, target ocispec.Descriptor) (err error) {
	ref := p.ref
	if _, ok := ref.(reference.Digested); !ok {
		if ref, err = reference.WithDigest(ref, target.Digest); err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
	}
	var resolver remotes.Resolver
	resolver, p.tracker = p.registries.resolver(ref, p.o.Auth)
	p.to, err = resolver.Pusher(ctx, ref.String())
	return err
}

// pushPlan is what a push consists of.
type pushPlan struct{ blobs, manifests []ocispec.Descriptor }

func (p *pusher) plan(ctx context.Context, target ocispec.Descriptor) (pushPlan, error) {
	var plan pushPlan
	seen := map[digest.Digest]bool{}
	var visit func(desc ocispec.Descriptor) error
	visit = func(desc ocispec.Descriptor) error {
		if seen[desc.Digest] {
			return nil
		}
		seen[desc.Digest] = true
		if images.IsIndexType(desc.MediaType) {
			index, err := p.st.readIndex(ctx, desc)
			if err != nil {
				return err
			}
			for _, m := range index.Manifests {
				if err := visit(m); err != nil {
					return err
				}
			}
		} else {
			m, err := p.st.readManifest(ctx, desc)
			if err != nil {
				return err
			}
			for _, part := range append(append([]ocispec.Descriptor{}, m.Layers...), m.Config) {
				if !seen[part.Digest] && !images.IsNonDistributable(part.MediaType) {
					seen[part.Digest] = true
					plan.blobs = append(plan.blobs, part)
				}
			}
		}
		plan.manifests = append(plan.manifests, desc)
		return nil
	}
	return plan, visit(target)
}

// blobs uploads layers and configs side by side.
func (p *pusher) blobs(ctx context.Context, blobs []ocispec.Descriptor) error {
	eg, ctx := errgroup.WithContext(ctx)
	for _, desc := range blobs {
		p.status(desc, "Preparing")
	}
	for _, desc := range blobs {
		eg.Go(func() error {
			if err := p.uploads.Acquire(ctx, 1); err != nil {
				return err
			}
			defer p.uploads.Release(1)
			text, err := p.blob(ctx, desc)
			if err != nil {
				return err
			}
			p.status(desc, text)
			return nil
		})
	}
	return eg.Wait()
}

// status tells of a layer; configs and manifests are too small to be told of.
func (p *pusher) status(desc ocispec.Descriptor, text string) {
	if images.IsLayerType(desc.MediaType) {
		p.out.send(jsonstream.Message{Status: text, ID: shortID(desc.Digest), Progress: &jsonstream.Progress{}})
	}
}

// blob uploads one blob, unless the registry has it, and says what happened.
func (p *pusher) blob(ctx context.Context, desc ocispec.Descriptor) (status string, err error) {
	info, err := p.st.content.Info(ctx, desc.Digest)
	if err != nil {
		return "", fmt.Errorf("reading blob %s: %w", desc.Digest, err)
	}
	// The pusher picks from the annotations a repository to mount from.
	source := desc
	source.Annotations = map[string]string{}
	for k, v := range info.Labels {
		if strings.HasPrefix(k, clabels.LabelDistributionSource+".") {
			source.Annotations[k] = v
		}
	}
	if err := p.send(ctx, source); err != nil {
		return "", fmt.Errorf("uploading blob %s: %w", desc.Digest, err)
	}
	done, err := p.tracker.GetStatus(remotes.MakeRefKey(ctx, source))
	switch {
	case err != nil:
		return "Pushed", nil
	case done.MountedFrom != "":
		from := done.MountedFrom
		if named, err := reference.ParseNormalizedNamed(from); err == nil {
			from = reference.Path(named)
		}
		return "Mounted from " + from, nil
	case done.Exists:
		return "Layer already exists", nil
	}
	return "Pushed", nil
}

func (p *pusher) manifest(ctx context.Context, desc ocispec.Descriptor) error {
	if err := p.send(ctx, desc); err != nil {
		return fmt.Errorf("uploading manifest %s: %w", desc.Digest, err)
	}
	return nil
}

// send uploads with retries.
func (p *pusher) send(ctx context.Context, desc ocispec.Descriptor) error {
	for try := 1; ; try++ {
		err := p.sendOnce(ctx, desc)
		if err == nil || ctx.Err() != nil || try >= p.cfg.DownloadAttempts || !passing(err) {
			return err
		}
		if err := sleep(ctx, retryDelay(err, p.cfg.backoff, try)); err != nil {
			return err
		}
	}
}

func (p *pusher) sendOnce(ctx context.Context, desc ocispec.Descriptor) error {
	w, err := p.to.Push(ctx, desc)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	ra, err := p.st.content.ReaderAt(ctx, desc)
	if err != nil {
		return err
	}
	defer ra.Close()
	r := &tellingReader{SectionReader: io.NewSectionReader(ra, 0, ra.Size())}
	if images.IsLayerType(desc.MediaType) {
		last := time.Time{}
		r.tell = func(at int64) {
			if now := time.Now(); now.Sub(last) >= tickEvery {
				last = now
				p.out.send(jsonstream.Message{Status: "Pushing", ID: shortID(desc.Digest), Progress: &jsonstream.Progress{Current: at, Total: desc.Size}})
			}
		}
	}
	err = content.Copy(ctx, w, r, desc.Size, desc.Digest)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// tellingReader tells how far it was read.
type tellingReader struct {
	*io.SectionReader
	tell func(at int64)
}

func (t *tellingReader) Read(p []byte) (int, error) {
	n, err := t.SectionReader.Read(p)
	if t.tell != nil && n > 0 {
		at, serr := t.Seek(0, io.SeekCurrent)
		if serr == nil {
			t.tell(at)
		}
	}
	return n, err
}
