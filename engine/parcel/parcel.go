// Package parcel is the form in which a checkpoint leaves an engine together
// with its container: one tar archive.
//
//	container.json   what to ask for to get such a container, and its image (Header)
//	layer/...        what the container changed of the image's files, as the
//	                 layer of an image has it, whiteouts included
//	checkpoint/...   criu's files, flat
//
// in this order, so that an archive can be read as it comes. The package reads
// and writes the archive; it does not know containers, and keeps no state. An
// archive comes from anybody: nothing in it is taken as a path of the host.
package parcel

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/errs"
)

// Format is the version of the archive's form.
const Format = 1

// Names in the archive.
const (
	headerName      = "container.json"
	layerPrefix     = "layer/"
	checkpointParts = "checkpoint/"
)

// maxHeader bounds container.json, in bytes.
const maxHeader = 4 << 20

// Header says what the archive is of.
type Header struct {
	Format     int
	Checkpoint string // its name
	Image      Image
	Request    dialect.Request
}

// Image is what the container was made of. Layers of it are not in the archive.
type Image struct {
	ID   string // digest of the index or manifest
	Name string // as the user wrote it
}

// Write writes an archive. layer writes a layer's tar; dir holds criu's files.
func Write(w io.Writer, h Header, layer func(io.Writer) error, dir string) error {
	h.Format = Format
	tw := tar.NewWriter(w)
	text, err := json.MarshalIndent(h, "", "\t")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", headerName, err)
	}
	if err := tw.WriteHeader(&tar.Header{Name: headerName, Mode: 0o600, Size: int64(len(text)), ModTime: time.Now()}); err != nil {
		return err
	}
	if _, err := tw.Write(text); err != nil {
		return err
	}
	if err := writeLayer(tw, layer); err != nil {
		return fmt.Errorf("writing the container's files: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the checkpoint: %w", err)
	}
	for _, d := range entries {
		if d.Type().IsRegular() {
			if err := writeFile(tw, checkpointParts+d.Name(), filepath.Join(dir, d.Name())); err != nil {
				return fmt.Errorf("writing the checkpoint: %w", err)
			}
		}
	}
	return tw.Close()
}

func writeLayer(tw *tar.Writer, layer func(io.Writer) error) error {
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(layer(w)) }()
	return each(tar.NewReader(r), func(h *tar.Header, content io.Reader) error {
		h.Name = layerPrefix + h.Name
		if h.Typeflag == tar.TypeLink {
			h.Linkname = layerPrefix + h.Linkname
		}
		return copyEntry(tw, h, content)
	})
}

// each calls do for every entry up to the archive's end.
func each(tr *tar.Reader, do func(*tar.Header, io.Reader) error) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(h, tr); err != nil {
			return err
		}
	}
}

func copyEntry(tw *tar.Writer, h *tar.Header, content io.Reader) error {
	h.Format = tar.FormatPAX // long names, and times as they are
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(tw, content)
	return err
}

func writeFile(tw *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return copyEntry(tw, &tar.Header{Name: name, Mode: 0o600, Size: st.Size(), ModTime: st.ModTime()}, f)
}

// Receiver is who an archive is read for. Its methods are called in this order,
// each once.
type Receiver interface {
	// Begin makes room for the container.
	Begin(h Header) error
	// Layer reads a layer's tar to its end.
	Layer(r io.Reader) error
	// Files returns the directory that criu's files go to; it is there, and
	// empty.
	Files() (dir string, err error)
}

// Read reads an archive. What is wrong with it is an errs.InvalidParameter.
func Read(r io.Reader, to Receiver) error {
	tr := tar.NewReader(r)
	if err := begin(tr, to); err != nil {
		return err
	}
	next, err := readLayer(tr, to)
	if err != nil {
		return err
	}
	dir, err := to.Files()
	if err != nil {
		return err
	}
	for ; next != nil; next, err = tr.Next() {
		if err := readFile(next, tr, dir); err != nil {
			return err
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return malformed(err)
	}
	return nil
}

func malformed(err error) error {
	return errs.New(errs.InvalidParameter, "this is no archive of a checkpoint: %w", err)
}

func begin(tr *tar.Reader, to Receiver) error {
	h, err := tr.Next()
	if err != nil {
		return malformed(err)
	}
	if h.Name != headerName || h.Typeflag != tar.TypeReg || h.Size > maxHeader {
		return malformed(fmt.Errorf("it begins with %q, not with %s of at most %d bytes", h.Name, headerName, maxHeader))
	}
	text, err := io.ReadAll(tr)
	if err != nil {
		return malformed(err)
	}
	var header Header
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&header); err != nil {
		return malformed(fmt.Errorf("%s: %w", headerName, err))
	}
	switch {
	case header.Format > Format:
		return errs.New(errs.InvalidParameter, "the archive has format %d, of a newer engine; this one reads up to %d", header.Format, Format)
	case header.Checkpoint == "" || header.Image.ID == "" || header.Request.Config == nil:
		return malformed(fmt.Errorf("%s lacks the checkpoint's name, the image or the container", headerName))
	}
	return to.Begin(header)
}

// readLayer passes the layer's entries on. It returns the first entry behind
// them, nil at the archive's end.
func readLayer(tr *tar.Reader, to Receiver) (next *tar.Header, err error) {
	r, w := io.Pipe()
	applied := make(chan error, 1)
	go func() {
		err := to.Layer(r)
		_ = r.CloseWithError(err) // who writes on learns why nobody reads
		applied <- err
	}()
	next, err = passLayer(tr, w)
	_ = w.CloseWithError(err)
	if e := <-applied; e != nil {
		return nil, e
	}
	return next, err
}

func passLayer(tr *tar.Reader, w io.Writer) (*tar.Header, error) {
	tw := tar.NewWriter(w)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, tw.Close()
		}
		if err != nil {
			return nil, malformed(err)
		}
		name, ok := strings.CutPrefix(h.Name, layerPrefix)
		if !ok {
			return h, tw.Close()
		}
		h.Name = name
		if h.Typeflag == tar.TypeLink {
			if h.Linkname, ok = strings.CutPrefix(h.Linkname, layerPrefix); !ok {
				return nil, malformed(fmt.Errorf("%s is a link to a file that is not in the layer", h.Name))
			}
		}
		if err := copyEntry(tw, h, tr); err != nil {
			return nil, err
		}
	}
}

func readFile(h *tar.Header, content io.Reader, dir string) error {
	name, ok := strings.CutPrefix(h.Name, checkpointParts)
	if !ok || h.Typeflag != tar.TypeReg || name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return malformed(fmt.Errorf("%q is no file of criu's", h.Name))
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errs.New(errs.InvalidParameter, "writing the checkpoint: %w", err)
	}
	_, err = io.Copy(f, content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	return nil
}
