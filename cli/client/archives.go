package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Save returns images as an archive, of some platforms only if any are given.
func (i Images) Save(ctx context.Context, names []string, platforms []ocispec.Platform) (io.ReadCloser, error) {
	query, err := i.platformsQuery(ctx, platforms)
	if err != nil {
		return nil, err
	}
	query["names"] = names
	return i.api.stream(ctx, request{method: http.MethodGet, path: "/images/get", query: query})
}

// Load makes images of an archive; see Pull for the stream. With quiet only
// the images' names come.
func (i Images) Load(ctx context.Context, archive io.Reader, quiet bool, platforms []ocispec.Platform) (io.ReadCloser, error) {
	query, err := i.platformsQuery(ctx, platforms)
	if err != nil {
		return nil, err
	}
	query.Set("quiet", "0")
	flag(query, "quiet", quiet)
	return i.api.stream(ctx, request{
		method: http.MethodPost, path: "/images/load", query: query, upload: archive, header: http.Header{"Content-Type": {"application/x-tar"}},
	})
}

// platformsQuery names platforms to an engine that knows of them.
func (i Images) platformsQuery(ctx context.Context, platforms []ocispec.Platform) (url.Values, error) {
	query := url.Values{}
	if len(platforms) == 0 {
		return query, nil
	}
	least := apiVersion(48)
	if len(platforms) > 1 {
		least = 52
	}
	if err := i.api.require(ctx, least, "platform"); err != nil {
		return nil, err
	}
	for n := range platforms {
		if err := addPlatform(query, "platform", &platforms[n]); err != nil {
			return nil, err
		}
	}
	return query, nil
}
