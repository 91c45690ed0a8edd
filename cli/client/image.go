package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/cli/name"
	"github.com/davit-engine/davit/errs"
)

// Images are those of the engine.
type Images struct{ api *Client }

// TransferOptions say what of a name to pull or push.
type TransferOptions struct {
	All      bool              // every tag
	Platform *ocispec.Platform // nil for all that there are
	Auth     string            // the value of registry.AuthHeader, "" for none
}

func (o TransferOptions) header() http.Header {
	h := http.Header{}
	if o.Auth != "" {
		h.Set(registry.AuthHeader, o.Auth)
	}
	return h
}

// Pull has the engine fetch an image. The stream holds the messages of
// its progress, and its end.
func (i Images) Pull(ctx context.Context, ref name.Image, o TransferOptions) (io.ReadCloser, error) {
	query := url.Values{"fromImage": {ref.Name()}}
	switch {
	case o.All:
	case ref.Digest != "":
		query.Set("tag", ref.Digest)
	default:
		query.Set("tag", ref.Tagged().Tag)
	}
	if o.Platform != nil {
		query.Set("platform", formatPlatform(o.Platform))
	}
	return i.api.stream(ctx, request{method: http.MethodPost, path: "/images/create", query: query, header: o.header()})
}

// Push has the engine send an image; see Pull.
func (i Images) Push(ctx context.Context, ref name.Image, o TransferOptions) (io.ReadCloser, error) {
	if ref.Digest != "" {
		return nil, errs.New(errs.InvalidParameter, "cannot push a digest reference")
	}
	query := url.Values{}
	if !o.All {
		query.Set("tag", ref.Tagged().Tag)
	}
	if o.Platform != nil {
		if err := i.api.require(ctx, 46, "platform"); err != nil {
			return nil, err
		}
		if err := addPlatform(query, "platform", o.Platform); err != nil {
			return nil, err
		}
	}
	return i.api.stream(ctx, request{method: http.MethodPost, path: "/images/" + ref.Name() + "/push", query: query, header: o.header()})
}

// ImportOptions describe an image to be made of a file system.
type ImportOptions struct {
	Source   string    // an address for the engine to read, "-" for Upload
	Upload   io.Reader // an archive
	Name     string    // "" for none
	Message  string
	Changes  []string // instructions of a Dockerfile
	Platform *ocispec.Platform
}

// Import makes an image of a file system; see Pull for the stream.
func (i Images) Import(ctx context.Context, o ImportOptions) (io.ReadCloser, error) {
	if o.Name != "" {
		if _, err := name.Parse(o.Name); err != nil {
			return nil, err
		}
	}
	query := url.Values{"fromSrc": {o.Source}}
	set(query, "repo", o.Name)
	set(query, "message", o.Message)
	if o.Platform != nil {
		query.Set("platform", formatPlatform(o.Platform))
	}
	if len(o.Changes) > 0 {
		query["changes"] = o.Changes
	}
	return i.api.stream(ctx, request{method: http.MethodPost, path: "/images/create", query: query, upload: o.Upload})
}

// Tag gives an image one more name.
func (i Images) Tag(ctx context.Context, source string, target name.Image) error {
	query := url.Values{"repo": {target.Name()}, "tag": {target.Tagged().Tag}}
	return i.api.do(ctx, request{method: http.MethodPost, path: "/images/" + source + "/tag", query: query})
}

// List lists images, the newest first.
func (i Images) List(ctx context.Context, all bool, filters Filters) ([]image.Summary, error) {
	query := url.Values{}
	flag(query, "all", all)
	filters.addTo(query)
	list, _, err := fetch[[]image.Summary](ctx, i.api, request{method: http.MethodGet, path: "/images/json", query: query})
	return list, err
}

// History lists the steps that an image was made in, the last first.
// platform chooses among those of the image; nil for what the engine prefers.
func (i Images) History(ctx context.Context, id string, platform *ocispec.Platform) ([]image.HistoryResponseItem, error) {
	query, err := i.platformQuery(ctx, 48, platform)
	if err != nil {
		return nil, err
	}
	list, _, err := fetch[[]image.HistoryResponseItem](ctx, i.api, request{method: http.MethodGet, path: "/images/" + id + "/history", query: query})
	return list, err
}

// Inspect describes an image, or one platform of it; raw is the answer as
// it came.
func (i Images) Inspect(ctx context.Context, id string, platform *ocispec.Platform) (_ image.InspectResponse, raw []byte, err error) {
	if id == "" {
		return image.InspectResponse{}, nil, errs.New(errs.NotFound, "Error: No such image: ")
	}
	query, err := i.platformQuery(ctx, 49, platform)
	if err != nil {
		return image.InspectResponse{}, nil, err
	}
	return fetch[image.InspectResponse](ctx, i.api, request{method: http.MethodGet, path: "/images/" + id + "/json", query: query})
}

// ImageRemoveOptions say what goes with an image's name.
type ImageRemoveOptions struct {
	Force, KeepParents bool
	Platforms          []ocispec.Platform // none: all
}

// Remove removes a name, and the image with its last one.
func (i Images) Remove(ctx context.Context, id string, o ImageRemoveOptions) ([]image.DeleteResponse, error) {
	query := url.Values{}
	flag(query, "force", o.Force)
	flag(query, "noprune", o.KeepParents)
	for n := range o.Platforms {
		if err := addPlatform(query, "platforms", &o.Platforms[n]); err != nil {
			return nil, err
		}
	}
	list, _, err := fetch[[]image.DeleteResponse](ctx, i.api, request{method: http.MethodDelete, path: "/images/" + id, query: query})
	return list, err
}

// platformQuery names a platform to an engine that knows of them.
func (i Images) platformQuery(ctx context.Context, least apiVersion, platform *ocispec.Platform) (url.Values, error) {
	query := url.Values{}
	if platform == nil {
		return query, nil
	}
	if err := i.api.require(ctx, least, "platform"); err != nil {
		return nil, err
	}
	return query, addPlatform(query, "platform", platform)
}

// addPlatform adds a platform in JSON, once.
func addPlatform(query url.Values, key string, p *ocispec.Platform) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	for _, have := range query[key] {
		if have == string(text) {
			return nil
		}
	}
	query.Add(key, string(text))
	return nil
}
