package api

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/platforms"
	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
	"github.com/distribution/reference"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Transfer brings images in and out.
type Transfer interface {
	Pull(ctx context.Context, ref reference.Named, o image.PullOptions) (digest.Digest, error)
	Push(ctx context.Context, ref reference.Named, o image.PushOptions) error
	Import(ctx context.Context, r io.Reader, o image.ImportOptions) (digest.Digest, error)
}

// Images lists, shows, names and removes images. A ref is a name, a digest, an
// ID or the beginning of an ID.
type Images interface {
	List(ctx context.Context, o image.ListOptions) ([]imagetypes.Summary, error)
	Inspect(ctx context.Context, ref string, o image.InspectOptions) (imagetypes.InspectResponse, error)
	History(ctx context.Context, ref string, platform *ocispec.Platform) ([]imagetypes.HistoryResponseItem, error)
	Tag(ctx context.Context, src string, dst reference.Named) (digest.Digest, error)
	Remove(ctx context.Context, ref string, o image.RemoveOptions) ([]imagetypes.DeleteResponse, error)
}

type transferRoutes struct{ part Transfer }

func (t *table) transfer(part Transfer) {
	if part == nil {
		return
	}
	h := transferRoutes{part}
	t.add("POST", "/images/create", h.create).body = true
	t.add("POST", "/images/{name}/push", h.push)
}

// create pulls an image or imports one from an archive of files.
func (h transferRoutes) create(c *call) error {
	var platform *ocispec.Platform
	if text := c.r.Form.Get("platform"); text != "" && !c.version.Before(32) {
		p, err := platforms.Parse(text)
		if err != nil {
			return errs.Wrap(errs.InvalidParameter, err)
		}
		platform = &p
	}
	if name := c.r.Form.Get("fromImage"); name != "" {
		return h.pull(c, name, platform)
	}
	return h.importArchive(c, platform)
}

func (h transferRoutes) pull(c *call, name string, platform *ocispec.Platform) error {
	ref, err := pullReference(name, c.r.Form.Get("tag"))
	if err != nil {
		return err
	}
	out := progress{c: c}
	_, err = h.part.Pull(c.ctx, ref, image.PullOptions{Platform: platform, Auth: c.credentials(), Progress: out.message})
	return out.end(err)
}

// pullReference reads a name and a tag, which may be a digest. Without a tag
// the name is left as it is: all tags are meant.
func pullReference(name, tag string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(strings.TrimSuffix(name, ":")) // pull -a sends a colon
	if err == nil && tag != "" {
		if dgst, bad := digest.Parse(tag); bad == nil {
			ref, err = reference.WithDigest(reference.TrimNamed(ref), dgst)
		} else {
			ref, err = reference.WithTag(ref, tag)
		}
	}
	if err != nil {
		return nil, errs.Wrap(errs.InvalidParameter, err)
	}
	if reference.FamiliarName(ref) == "scratch" { // what FROM calls no image at all
		return nil, errs.New(errs.Forbidden, "'scratch' is a reserved name")
	}
	return ref, nil
}

func (h transferRoutes) importArchive(c *call, platform *ocispec.Platform) error {
	src := c.r.Form.Get("fromSrc")
	switch src {
	case "-":
	case "":
		return errs.New(errs.InvalidParameter, "fromImage or fromSrc must be given")
	default:
		return errs.New(errs.NotImplemented, "importing from an address is not implemented by this engine: fetch %s and send it with fromSrc=-", src)
	}
	ref, err := taggedReference(c.r.Form.Get("repo"), c.r.Form.Get("tag"))
	if err != nil {
		return err
	}
	o := image.ImportOptions{Message: c.r.Form.Get("message"), Changes: c.r.Form["changes"], Platform: platform}
	if ref != nil {
		o.Ref = ref
	}
	if o.Message == "" {
		o.Message = "Imported from " + src
	}
	out := progress{c: c}
	id, err := h.part.Import(c.ctx, c.r.Body, o)
	if err == nil {
		out.message(jsonstream.Message{Status: id.String()})
	}
	return out.end(err)
}

func (h transferRoutes) push(c *call) error {
	name, tag := c.vars[0], c.r.Form.Get("tag")
	var ref reference.Named
	var err error
	if tag != "" {
		ref, err = taggedReference(name, tag)
	} else if ref, err = reference.ParseNormalizedNamed(name); err != nil { // all tags
		err = errs.Wrap(errs.InvalidParameter, err)
	}
	if err != nil {
		return err
	}
	platform, err := c.platformSince(46)
	if err != nil {
		return err
	}
	out := progress{c: c}
	err = h.part.Push(c.ctx, ref, image.PushOptions{Platform: platform, Auth: c.credentials(), Progress: out.message})
	return out.end(err)
}

type imageRoutes struct{ part Images }

func (t *table) images(part Images) {
	if part == nil {
		return
	}
	h := imageRoutes{part}
	t.add("GET", "/images/json", h.list)
	t.add("GET", "/images/{name}/json", h.inspect)
	t.add("GET", "/images/{name}/history", h.history)
	t.add("POST", "/images/{name}/tag", h.tag)
	t.add("DELETE", "/images/{name}", h.remove)
}

func (h imageRoutes) list(c *call) error {
	filters, err := c.filters()
	if err != nil {
		return err
	}
	// The parameter "filter" was a pattern of names up to 1.40.
	if pattern := c.r.Form.Get("filter"); pattern != "" && c.version.Before(41) && filters["reference"] == nil {
		filters["reference"] = map[string]bool{pattern: true}
	}
	o := image.ListOptions{All: c.truth("all"), Filters: filters}
	o.SharedSize = c.truth("shared-size") && !c.version.Before(42)
	o.Manifests = c.truth("manifests") && !c.version.Before(47)
	if c.truth("identity") && !c.version.Before(54) && !o.Manifests {
		return errs.New(errs.InvalidParameter, "conflicting options: identity requires manifests=1")
	}
	list, err := h.part.List(c.ctx, o)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, compat.Images(c.version, list))
}

func (h imageRoutes) inspect(c *call) error {
	o := image.InspectOptions{Manifests: c.truth("manifests") && !c.version.Before(48)}
	var err error
	if o.Platform, err = c.platformSince(49); err != nil {
		return err
	}
	if o.Manifests && o.Platform != nil {
		return errs.New(errs.InvalidParameter, "conflicting options: manifests and platform options cannot both be set")
	}
	resp, err := h.part.Inspect(c.ctx, c.vars[0], o)
	if err != nil {
		return err
	}
	answer := compat.Image(c.version, resp)
	if strings.HasPrefix(c.r.UserAgent(), "docker-compose/1.") {
		// It negotiates any version and cannot recreate a container without this
		// field, which went with 1.45.
		answer = compat.Extended{Base: answer, Add: map[string]any{"ContainerConfig": map[string]any{"Volumes": nil}}}
	}
	return c.json(http.StatusOK, answer)
}

func (h imageRoutes) history(c *call) error {
	platform, err := c.platformSince(48)
	if err != nil {
		return err
	}
	items, err := h.part.History(c.ctx, c.vars[0], platform)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, append([]imagetypes.HistoryResponseItem{}, items...))
}

func (h imageRoutes) tag(c *call) error {
	ref, err := taggedReference(c.r.Form.Get("repo"), c.r.Form.Get("tag"))
	switch {
	case err != nil:
		return err
	case ref == nil:
		return errs.New(errs.InvalidParameter, "repository name must have at least one component")
	case reference.FamiliarName(ref) == string(digest.Canonical):
		return errs.New(errs.InvalidParameter, "refusing to create an ambiguous tag using digest algorithm as name")
	}
	if _, err := h.part.Tag(c.ctx, c.vars[0], ref); err != nil {
		return err
	}
	return c.empty(http.StatusCreated)
}

func (h imageRoutes) remove(c *call) error {
	name := c.vars[0]
	if strings.TrimSpace(name) == "" {
		return errs.New(errs.InvalidParameter, "image name cannot be blank")
	}
	o := image.RemoveOptions{Force: c.truth("force"), Prune: !c.truth("noprune")}
	if !c.version.Before(50) {
		for _, text := range c.r.Form["platforms"] {
			p, err := decodePlatform(text)
			if err != nil {
				return err
			}
			o.Platforms = append(o.Platforms, *p)
		}
	}
	list, err := h.part.Remove(c.ctx, name, o)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, append([]imagetypes.DeleteResponse{}, list...))
}
