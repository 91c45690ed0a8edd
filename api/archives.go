package api

import (
	"context"
	"io"
	"net/http"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Archives writes images as archives and reads them back.
type Archives interface {
	// Save writes nothing before it knows that all refs are there.
	Save(ctx context.Context, w io.Writer, refs []string, o image.SaveOptions) error
	Load(ctx context.Context, r io.Reader, o image.LoadOptions) ([]image.Loaded, error)
}

type archiveRoutes struct{ part Archives }

func (t *table) archives(part Archives) {
	if part == nil {
		return
	}
	h := archiveRoutes{part}
	t.add("GET", "/images/get", func(c *call) error { return h.save(c, c.r.Form["names"]) })
	t.add("GET", "/images/{name}/get", func(c *call) error { return h.save(c, c.vars[:1]) })
	t.add("POST", "/images/load", h.load).body = true
}

func (h archiveRoutes) save(c *call, refs []string) error {
	if len(refs) == 0 {
		return errs.New(errs.InvalidParameter, "names: name at least one image to be saved")
	}
	var o image.SaveOptions
	var err error
	if o.Platforms, err = c.platforms(); err != nil {
		return err
	}
	out := &firstWrite{w: c.w, begin: func() { c.w.Header().Set("Content-Type", "application/x-tar") }}
	err = h.part.Save(c.ctx, out, refs, o)
	if err != nil && out.begun && c.ctx.Err() == nil {
		// An end like any other would leave half an archive that looks whole.
		c.log.Error("saving images", "error", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

func (h archiveRoutes) load(c *call) error {
	var o image.LoadOptions
	var err error
	if o.Platforms, err = c.platforms(); err != nil {
		return err
	}
	out := progress{c: c}
	// Who does not say is not shown any. The answer begins while the archive is
	// still coming; the HTTP server has to be told, or it reads no more of it then.
	if c.r.Form.Has("quiet") && !c.truth("quiet") && http.NewResponseController(c.w).EnableFullDuplex() == nil {
		o.Progress = out.message
	}
	loaded, err := h.part.Load(c.ctx, c.r.Body, o)
	for _, l := range loaded {
		text := "Loaded image ID: " + string(l.ID) + "\n"
		if l.Name != "" {
			text = "Loaded image: " + l.Name + "\n"
		}
		out.message(jsonstream.Message{Stream: text})
	}
	return out.end(err)
}

// platforms reads the parameter "platform", which 1.48 brought, and which may be
// repeated since 1.52.
func (c *call) platforms() ([]ocispec.Platform, error) {
	given := c.r.Form["platform"]
	if c.version.Before(48) {
		return nil, nil
	}
	if len(given) > 1 && c.version.Before(52) {
		return nil, errs.New(errs.InvalidParameter, "platform: several need API v1.52 or newer")
	}
	var list []ocispec.Platform
	for _, text := range given {
		if text == "" {
			continue
		}
		p, err := decodePlatform(text)
		if err != nil {
			return nil, err
		}
		list = append(list, *p)
	}
	return list, nil
}

// firstWrite calls begin before the first byte.
type firstWrite struct {
	w     io.Writer
	begin func()
	begun bool
}

func (f *firstWrite) Write(b []byte) (int, error) {
	if !f.begun {
		f.begun = true
		f.begin()
	}
	return f.w.Write(b)
}
