package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/klauspost/compress/gzip"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// Import makes an image of one layer from a tar archive, plain or compressed
// with gzip, zstd or bzip2, and returns its ID. Archives in gzip and zstd are
// kept as they are, others are compressed with gzip. What is no tar archive is
// an error of kind InvalidParameter, and leaves nothing.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error) {
	id, err := s.doImport(s.st.context(ctx), r, o)
	if outOfSpace(err) {
		s.collector.now(s.st.context(ctx))
	} else if err != nil {
		s.collector.soon()
	}
	return id, classify(err)
}

func (s *Store) doImport(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error) {
	var config dockerspec.DockerOCIImageConfig
	if err := ApplyChanges(&config, o.Changes); err != nil {
		return "", err
	}
	if _, ok := o.Ref.(reference.Digested); ok {
		return "", errs.New(errs.InvalidParameter, "cannot import digest reference")
	}
	id := temporaryRef("import")
	s.collector.begin(id)
	defer s.collector.end(id)
	ctx, release, err := s.st.lease(ctx, id)
	if err != nil {
		return "", err
	}
	defer release()
	layer, diff, err := s.st.importLayer(ctx, id, r)
	if err != nil {
		return "", fmt.Errorf("importing archive: %w", err)
	}
	platform := platforms.DefaultSpec()
	if o.Platform != nil {
		platform = platforms.Normalize(*o.Platform)
	}
	c, err := s.st.compose(ctx, layer, diff, dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Platform: ocispec.Platform{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant, OSVersion: platform.OSVersion},
			History:  []ocispec.History{{Comment: o.Message}},
		},
		Config: config,
	})
	if err != nil {
		return "", err
	}
	return complete(ctx, s, c, o.Ref, nil)
}

// complete unpacks an image that was made here and gives it its name, or none.
func complete(ctx context.Context, s *Store, c candidate, ref reference.Named, labels map[string]string) (digest.Digest, error) {
	if err := s.unpacker.unpack(ctx, c.manifest.Layers, c.config.RootFS.DiffIDs, layerEvents{}); err != nil {
		return "", err
	}
	if err := s.st.setLabels(ctx, c.manifest.Config.Digest, snapshotLabel(c.config.RootFS.DiffIDs)); err != nil {
		return "", err
	}
	name := danglingName(c.desc.Digest)
	if ref != nil {
		name = reference.TagNameOnly(ref).String()
	}
	err := s.names.change(context.WithoutCancel(ctx), func(ctx context.Context) error { return s.names.point(ctx, name, c.desc, labels) })
	return c.desc.Digest, err
}

// compose writes the config and the manifest of a one-layer image.
func (st *stores) compose(ctx context.Context, layer ocispec.Descriptor, diff digest.Digest, config dockerspec.DockerOCIImage) (candidate, error) {
	now := time.Now().UTC()
	config.Created = &now
	config.History[0].Created = &now
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diff}}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Layers:    []ocispec.Descriptor{layer},
	}
	var err error
	if m.Config, err = st.writeJSON(ctx, ocispec.MediaTypeImageConfig, config, nil); err != nil {
		return candidate{}, err
	}
	desc, err := st.writeJSON(ctx, ocispec.MediaTypeImageManifest, m, manifestLabels(m))
	return candidate{desc: desc, manifest: m, config: config}, err
}

func (st *stores) writeJSON(ctx context.Context, mediaType string, doc any, labels map[string]string) (ocispec.Descriptor, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("writing %s: %w", mediaType, err)
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	err = content.WriteBlob(ctx, st.content, ingestRef(desc.Digest), bytes.NewReader(data), desc, content.WithLabels(labels))
	if err != nil {
		return desc, fmt.Errorf("writing %s: %w", mediaType, err)
	}
	return desc, nil
}

// importLayer writes the archive in r to the content store as a layer blob and
// returns it with the digest of the tar inside. The blob is checked to be a tar
// archive from its first header to its last.
func (st *stores) importLayer(ctx context.Context, ref string, r io.Reader) (layer ocispec.Descriptor, diff digest.Digest, err error) {
	ctx, stop := guardSpace(ctx, st.root)
	defer stop()
	defer func() { err = causeOf(ctx, err) }()
	in := bufio.NewReaderSize(&contextReader{ctx, r}, 128<<10)
	head, err := in.Peek(len(magicXz))
	if err != nil && err != io.EOF {
		return layer, "", err
	}
	w, err := content.OpenWriter(ctx, st.content, content.WithRef(ref))
	if err != nil {
		return layer, "", err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if err != nil {
			if aerr := st.content.Abort(context.WithoutCancel(ctx), ref); aerr != nil && !errdefs.IsNotFound(aerr) {
				err = errors.Join(err, aerr)
			}
		}
	}()
	switch {
	case bytes.HasPrefix(head, magicGzip):
		layer.MediaType = ocispec.MediaTypeImageLayerGzip
		diff, err = keepArchive(w, in)
	case bytes.HasPrefix(head, magicZstd):
		layer.MediaType = ocispec.MediaTypeImageLayerZstd
		diff, err = keepArchive(w, in)
	case bytes.HasPrefix(head, magicXz):
		err = errXz
	case bytes.HasPrefix(head, magicBzip2):
		layer.MediaType = ocispec.MediaTypeImageLayerGzip
		diff, err = packArchive(w, bzip2.NewReader(in))
	default:
		layer.MediaType = ocispec.MediaTypeImageLayerGzip
		diff, err = packArchive(w, in)
	}
	if err != nil {
		return layer, "", err
	}
	status, err := w.Status()
	if err != nil {
		return layer, "", err
	}
	layer.Size, layer.Digest = status.Offset, w.Digest()
	err = w.Commit(ctx, layer.Size, layer.Digest, content.WithLabels(map[string]string{"containerd.io/uncompressed": diff.String()}))
	if errdefs.IsAlreadyExists(err) {
		err = nil
	}
	return layer, diff, err
}

// keepArchive copies a compressed archive to w as it is and reads through it.
func keepArchive(w io.Writer, in io.Reader) (digest.Digest, error) {
	tee := &writeThrough{r: in, w: w}
	plain, err := decompress(tee)
	if err != nil {
		return "", errs.Wrap(errs.InvalidParameter, err)
	}
	defer plain.Close()
	diff, err := checkTar(plain, io.Discard)
	if tee.err != nil {
		return "", tee.err
	}
	if err != nil {
		return "", err
	}
	// What follows the compressed stream belongs to the blob too.
	_, err = io.Copy(io.Discard, tee)
	return diff, err
}

// packArchive compresses a plain archive into w.
func packArchive(w io.Writer, plain io.Reader) (digest.Digest, error) {
	out := &errorKeeper{w: w}
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return "", err
	}
	diff, err := checkTar(plain, z)
	if out.err != nil {
		return "", out.err
	}
	if err != nil {
		return "", err
	}
	return diff, z.Close()
}

// checkTar reads a tar archive to the end, copying it to w, and returns its digest.
func checkTar(r io.Reader, w io.Writer) (digest.Digest, error) {
	digester := digest.Canonical.Digester()
	tee := io.TeeReader(r, io.MultiWriter(digester.Hash(), w))
	tr := tar.NewReader(tee)
	for {
		_, err := tr.Next()
		if err == io.EOF {
			break
		}
		if errs.KindOf(err) == errs.Cancelled || outOfSpace(err) {
			return "", err
		}
		if err != nil {
			return "", errs.New(errs.InvalidParameter, "not a tar archive: %w", err)
		}
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return "", err
	}
	return digester.Digest(), nil
}

// writeThrough writes to w what is read from r, and remembers w's failure.
type writeThrough struct {
	r   io.Reader
	w   io.Writer
	err error
}

func (t *writeThrough) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		if _, werr := t.w.Write(p[:n]); werr != nil {
			t.err = werr
			return 0, werr
		}
	}
	return n, err
}

// errorKeeper remembers w's failure, which a compressor may report in its own words.
type errorKeeper struct {
	w   io.Writer
	err error
}

func (k *errorKeeper) Write(p []byte) (int, error) {
	n, err := k.w.Write(p)
	if err != nil {
		k.err = err
	}
	return n, err
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
