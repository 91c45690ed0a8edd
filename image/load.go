package image

import (
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// LoadOptions hold what a load needs beside the archive.
type LoadOptions struct {
	Platforms []ocispec.Platform       // that must be there; nil: any
	Progress  func(jsonstream.Message) // as in PullOptions
}

// Loaded is an image that came with an archive, under one of its names.
type Loaded struct {
	ID   digest.Digest
	Name string // familiar; "" for one without
}

// Limits on an archive: what has more is no image.
const (
	maxFiles     = 1 << 17
	maxNames     = 1 << 12  // of all images, and those without one
	maxDocuments = 64 << 20 // bytes of indexes and manifests, as often as they are named
	maxDepth     = 4        // of indexes in one another
)

// Load takes in the images of an archive: an OCI layout, or what `docker save`
// writes and wrote, plain or compressed with gzip, zstd or bzip2. All of it is
// checked before the first image gets its name. An archive that is no image, or
// lies, is an error of kind InvalidParameter and leaves nothing.
func (s *Store) Load(ctx context.Context, r io.Reader, o LoadOptions) ([]Loaded, error) {
	if o.Progress == nil {
		o.Progress = func(jsonstream.Message) {}
	}
	l := &loading{Store: s, o: o, id: temporaryRef("load"), blobs: map[string]ocispec.Descriptor{}, links: map[string]string{}, types: map[digest.Digest]string{}}
	loaded, err := l.run(s.st.context(ctx), r)
	if outOfSpace(err) {
		s.collector.now(s.st.context(ctx))
	} else {
		s.collector.soon() // what the archive had beside its images
	}
	return loaded, classify(err)
}

// loading is one call of Load.
type loading struct {
	*Store
	o     LoadOptions
	id    string                        // of the lease, and the beginning of what is written meanwhile
	blobs map[string]ocispec.Descriptor // by name in the archive; without a media type
	links map[string]string             // to another name
	types map[digest.Digest]string      // media types of layers

	files, named, documents int // so far; the last in bytes
	found                   []*loadEntry
}

// loadEntry is one image of the archive.
type loadEntry struct {
	target   ocispec.Descriptor
	names    []string // of records; none for an image without a name
	runs     candidate
	runnable bool // runs is to be unpacked
}

func (l *loading) run(ctx context.Context, r io.Reader) ([]Loaded, error) {
	l.collector.begin(l.id)
	defer l.collector.end(l.id)
	ctx, release, err := l.st.lease(ctx, l.id)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, stop := guardSpace(ctx, l.st.root)
	defer stop()
	if err := l.read(ctx, r); err != nil {
		return nil, causeOf(ctx, err)
	}
	if err := l.find(ctx); err != nil {
		return nil, err
	}
	for _, e := range l.found {
		if err := l.check(ctx, e); err != nil {
			return nil, err
		}
	}
	var loaded []Loaded
	for _, e := range l.found {
		more, err := l.keep(ctx, e)
		loaded = append(loaded, more...)
		if err != nil {
			return loaded, err
		}
	}
	return loaded, nil
}

// notAnImage says what is wrong with an archive.
func notAnImage(format string, args ...any) error {
	return errs.New(errs.InvalidParameter, "loading images: "+format, args...)
}

// check makes sure that an image is whole, for the platforms that are here and
// asked for, and that no file is larger than its document may be.
func (l *loading) check(ctx context.Context, e *loadEntry) error {
	if err := l.sizes(ctx, e.target, 0); err != nil {
		return err
	}
	if err := l.st.adopt(ctx, e.target); err != nil {
		if errdefs.IsNotFound(err) || errs.Is(err, errs.NotFound) {
			err = notAnImage("the archive is not complete: %w", err)
		}
		return err
	}
	all, err := l.st.candidates(ctx, e.target)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return notAnImage("%s is no image, or not complete", e.target.Digest)
	}
	for _, p := range l.o.Platforms {
		if _, ok := choose(all, &p); !ok {
			return platformNotFound(e.target.Digest.String(), &p)
		}
	}
	want := platforms.DefaultSpec()
	if len(l.o.Platforms) > 0 {
		want = l.o.Platforms[0]
	}
	e.runs, e.runnable = choose(all, &want)
	return nil
}

// sizes compares what descriptors say with what is there, before any document
// is read whole.
func (l *loading) sizes(ctx context.Context, desc ocispec.Descriptor, depth int) error {
	if err := checkDescriptor(desc); err != nil {
		return err
	}
	info, err := l.st.content.Info(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return nil // adopt knows whether the image can be without it
	}
	if err != nil {
		return err
	}
	if info.Size != desc.Size {
		return notAnImage("%s has %d bytes, and is said to have %d", desc.Digest, info.Size, desc.Size)
	}
	var below []ocispec.Descriptor
	switch {
	case images.IsIndexType(desc.MediaType) && depth == maxDepth:
		return notAnImage("index %s lies %d indexes deep", desc.Digest, maxDepth)
	case images.IsIndexType(desc.MediaType):
		if err := l.spend(desc); err != nil {
			return err
		}
		index, err := l.st.readIndex(ctx, desc)
		if err != nil {
			return err
		}
		below = index.Manifests
	case images.IsManifestType(desc.MediaType):
		if err := l.spend(desc); err != nil {
			return err
		}
		m, err := l.st.readManifest(ctx, desc)
		if err != nil {
			return err
		}
		below = append([]ocispec.Descriptor{m.Config}, m.Layers...)
	case images.IsConfigType(desc.MediaType) && desc.Size > maxConfigSize:
		return notAnImage("configuration %s has %d bytes, more than %d", desc.Digest, desc.Size, maxConfigSize)
	}
	for _, d := range below {
		if err := l.sizes(ctx, d, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// spend counts a document that is going to be read.
func (l *loading) spend(desc ocispec.Descriptor) error {
	if desc.Size > maxManifestSize {
		return notAnImage("%s has %d bytes, more than %d", desc.Digest, desc.Size, maxManifestSize)
	}
	if l.documents += int(desc.Size); l.documents > maxDocuments {
		return notAnImage("the archive has more than %d bytes of indexes and manifests", maxDocuments)
	}
	return nil
}

// keep unpacks an image and gives it its names.
func (l *loading) keep(ctx context.Context, e *loadEntry) ([]Loaded, error) {
	if e.runnable {
		c := e.runs
		if err := l.unpacker.unpack(ctx, c.manifest.Layers, c.config.RootFS.DiffIDs, layerEvents{}); err != nil {
			return nil, blame(ctx, err)
		}
		if err := l.st.setLabels(ctx, c.manifest.Config.Digest, snapshotLabel(c.config.RootFS.DiffIDs)); err != nil {
			return nil, err
		}
	}
	names := e.names
	if len(names) == 0 {
		names = []string{danglingName(e.target.Digest)}
	}
	var loaded []Loaded
	err := l.names.change(context.WithoutCancel(ctx), func(ctx context.Context) error {
		loaded = nil
		if len(e.names) == 0 {
			// One that has a name already keeps it.
			same, err := l.names.withTarget(ctx, e.target.Digest)
			if err != nil || len(same) > 0 {
				loaded = []Loaded{{ID: e.target.Digest}}
				return err
			}
		}
		for _, name := range names {
			if err := l.names.point(ctx, name, e.target, nil); err != nil {
				return err
			}
			one := Loaded{ID: e.target.Digest}
			if len(e.names) > 0 {
				one.Name = familiarName(images.Image{Name: name})
			}
			loaded = append(loaded, one)
		}
		return nil
	})
	return loaded, err
}
