package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// read puts the archive's files into the content store.
func (l *loading) read(ctx context.Context, r io.Reader) error {
	plain, err := Decompress(&contextReader{ctx, r})
	if err != nil {
		return err
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = l.take(ctx, h, tr)
		}
		if err != nil {
			return blame(ctx, err)
		}
	}
	// What follows is read too: whoever sends waits until it is taken.
	_, err = io.Copy(io.Discard, plain)
	return err
}

// blame gives an error without a kind to the archive, unless it is the host's or
// the caller's.
func blame(ctx context.Context, err error) error {
	var errno syscall.Errno
	if err == nil || errs.KindOf(err) != errs.Unknown || ctx.Err() != nil || outOfSpace(err) || errors.As(err, &errno) {
		return err
	}
	return notAnImage("the archive is damaged: %w", err)
}

// take takes in one entry. Names are keys only: nothing is written by them.
func (l *loading) take(ctx context.Context, h *tar.Header, r io.Reader) error {
	name := path.Clean(h.Name)
	if l.files++; l.files > maxFiles {
		return notAnImage("the archive has more than %d files", maxFiles)
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		l.links[name] = path.Join(path.Dir(name), h.Linkname)
	case tar.TypeLink:
		l.links[name] = path.Clean(h.Linkname)
	case tar.TypeReg:
		if h.Size == 0 {
			return nil // no descriptor names it
		}
		desc, err := l.write(ctx, name, h.Size, r)
		if err != nil {
			return fmt.Errorf("loading %s: %w", name, err)
		}
		l.blobs[name] = desc
	}
	return nil
}

// progressFrom is the size from which on a file's way into the store is shown,
// and progressEvery how often.
const (
	progressFrom  = 512 << 10
	progressEvery = 100 * time.Millisecond
)

// write puts a file into the content store. One that is named by its digest must
// have it.
func (l *loading) write(ctx context.Context, name string, size int64, r io.Reader) (desc ocispec.Descriptor, err error) {
	ref := l.id + "-" + strconv.Itoa(l.files)
	w, err := content.OpenWriter(ctx, l.st.content, content.WithRef(ref))
	if err != nil {
		return desc, err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if err != nil {
			if aerr := l.st.content.Abort(context.WithoutCancel(ctx), ref); aerr != nil && !errdefs.IsNotFound(aerr) {
				err = errors.Join(err, aerr)
			}
		}
	}()
	var last time.Time
	short := shortName(name)
	in := &countReader{r: r, tell: func(read int64) {
		if size >= progressFrom && (time.Since(last) >= progressEvery || read == size) {
			last = time.Now()
			l.o.Progress(jsonstream.Message{Status: "Loading layer", ID: short, Progress: &jsonstream.Progress{Current: read, Total: size}})
		}
	}}
	if _, err := io.Copy(w, in); err != nil {
		return desc, err
	}
	got := w.Digest()
	if want, named := blobDigest(name); named && want.Algorithm() == got.Algorithm() && want != got {
		return desc, notAnImage("%s has the content of %s", name, got)
	}
	err = w.Commit(ctx, size, got)
	if errdefs.IsAlreadyExists(err) {
		err = nil
	}
	return ocispec.Descriptor{Digest: got, Size: size}, err
}

// shortName is how progress names a file: by the first twelve digits of what
// names the layer.
func shortName(name string) string {
	if d, ok := blobDigest(name); ok {
		return shortID(d)
	}
	if dir := path.Base(path.Dir(name)); dir != "." && dir != "/" { // <id>/layer.tar
		name = dir
	}
	return name[:min(12, len(name))]
}

// blobDigest reads blobs/sha256/0123...
func blobDigest(name string) (digest.Digest, bool) {
	rest, ok := strings.CutPrefix(name, ocispec.ImageBlobsDir+"/")
	algorithm, hex, both := strings.Cut(rest, "/")
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	return d, ok && both && d.Validate() == nil
}

// file finds a file by its name, through one link.
func (l *loading) file(name string) (ocispec.Descriptor, bool) {
	name = path.Clean(name)
	if to, ok := l.links[name]; ok {
		name = to
	}
	desc, ok := l.blobs[name]
	return desc, ok
}

// document reads a small file.
func (l *loading) document(ctx context.Context, name string) ([]byte, error) {
	desc, ok := l.file(name)
	if !ok {
		return nil, notAnImage("%s is missing", name)
	}
	if desc.Size > maxManifestSize {
		return nil, notAnImage("%s has %d bytes, more than %d", name, desc.Size, maxManifestSize)
	}
	return content.ReadBlob(ctx, l.st.content, desc)
}

// find finds the images of the archive. Where both forms are there, the OCI
// layout knows more.
func (l *loading) find(ctx context.Context) (err error) {
	if _, ok := l.file(ocispec.ImageLayoutFile); ok {
		err = l.fromLayout(ctx)
	} else if _, ok := l.file("manifest.json"); ok {
		err = l.fromDocker(ctx)
	} else {
		return notAnImage("neither index.json nor manifest.json is in the archive: is it what `save` or an OCI tool wrote?")
	}
	if err == nil && len(l.found) == 0 {
		err = notAnImage("the archive names no image")
	}
	return err
}

func (l *loading) fromLayout(ctx context.Context) error {
	data, err := l.document(ctx, ocispec.ImageLayoutFile)
	if err != nil {
		return err
	}
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(data, &layout); err != nil || layout.Version != ocispec.ImageLayoutVersion {
		return notAnImage("%s is of version %q, not %s", ocispec.ImageLayoutFile, layout.Version, ocispec.ImageLayoutVersion)
	}
	if data, err = l.document(ctx, ocispec.ImageIndexFile); err != nil {
		return err
	}
	index, err := parseIndex(data)
	if err != nil {
		return err
	}
	for _, m := range index.Manifests {
		if err := l.add(m, nameIn(m.Annotations)); err != nil {
			return err
		}
	}
	return nil
}

// nameIn is the name that an index's entry gives its image: containerd's, or
// the one that the OCI specification knows, which may be any text.
func nameIn(annotations map[string]string) string {
	if name := annotations[images.AnnotationImageName]; name != "" {
		return name
	}
	return annotations[ocispec.AnnotationRefName]
}

// add notes an image under a name; one that is no image's name counts as none.
func (l *loading) add(target ocispec.Descriptor, name string) error {
	if l.named++; l.named > maxNames {
		return notAnImage("the archive names more than %d images", maxNames)
	}
	target.Annotations = nil
	i := slices.IndexFunc(l.found, func(e *loadEntry) bool { return e.target.Digest == target.Digest })
	if i < 0 {
		i, l.found = len(l.found), append(l.found, &loadEntry{target: target})
	}
	e := l.found[i]
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil
	}
	if _, digested := ref.(reference.Digested); digested {
		return nil
	}
	if full := reference.TagNameOnly(ref).String(); !slices.Contains(e.names, full) {
		e.names = append(e.names, full)
	}
	return nil
}

// fromDocker reads manifest.json, which has the names of files in place of
// digests, and writes the manifests that are missing there.
func (l *loading) fromDocker(ctx context.Context) error {
	data, err := l.document(ctx, "manifest.json")
	if err != nil {
		return err
	}
	var listed []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(data, &listed); err != nil {
		return notAnImage("reading manifest.json: %w", err)
	}
	for _, one := range listed {
		if len(one.Layers) > maxLayers {
			return notAnImage("an image has %d layers, more than %d", len(one.Layers), maxLayers)
		}
		config, ok := l.file(one.Config)
		if !ok {
			return notAnImage("the configuration %q is missing", one.Config)
		}
		config.MediaType = images.MediaTypeDockerSchema2Config
		m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: images.MediaTypeDockerSchema2Manifest, Config: config, Layers: []ocispec.Descriptor{}}
		for _, name := range one.Layers {
			layer, ok := l.file(name)
			if !ok {
				return notAnImage("the layer %q is missing", name)
			}
			if layer.MediaType, err = l.layerType(ctx, layer); err != nil {
				return err
			}
			m.Layers = append(m.Layers, layer)
		}
		target, err := l.st.writeJSON(ctx, m.MediaType, m, manifestLabels(m))
		if err != nil {
			return err
		}
		for _, tag := range append([]string{""}, one.RepoTags...) {
			if err := l.add(target, tag); err != nil {
				return err
			}
		}
	}
	return nil
}

// layerType looks at how a layer is compressed.
func (l *loading) layerType(ctx context.Context, desc ocispec.Descriptor) (kind string, err error) {
	if kind, ok := l.types[desc.Digest]; ok {
		return kind, nil
	}
	defer func() { l.types[desc.Digest] = kind }()
	ra, err := l.st.content.ReaderAt(ctx, desc)
	if err != nil {
		return "", err
	}
	defer ra.Close()
	head := make([]byte, len(magicZstd))
	if _, err := ra.ReadAt(head, 0); err != nil && err != io.EOF {
		return "", err
	}
	switch {
	case bytes.HasPrefix(head, magicGzip):
		return images.MediaTypeDockerSchema2LayerGzip, nil
	case bytes.HasPrefix(head, magicZstd):
		return images.MediaTypeDockerSchema2LayerZstd, nil
	}
	return images.MediaTypeDockerSchema2Layer, nil
}
