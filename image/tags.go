package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	creference "github.com/containerd/containerd/v2/pkg/reference"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
)

// maxTagPages bounds how long a list of tags may go on.
const maxTagPages = 1000

// tags lists the tags of a repository (distribution specification, "Listing
// Tags"), following the pages.
func (r *registries) tags(ctx context.Context, ref reference.Named, auth *registry.AuthConfig) ([]string, error) {
	hosts, err := r.hosts(reference.Domain(ref), auth)
	if err != nil {
		return nil, err
	}
	spec, err := creference.Parse(ref.Name())
	if err != nil {
		return nil, err
	}
	ctx, err = docker.ContextWithRepositoryScope(ctx, spec, false)
	if err != nil {
		return nil, err
	}
	var first error
	for _, h := range hosts {
		tags, err := tagsFrom(ctx, h, reference.Path(ref))
		if err == nil {
			return tags, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("listing tags of %s: %w", reference.FamiliarName(ref), first)
}

func tagsFrom(ctx context.Context, h docker.RegistryHost, repository string) ([]string, error) {
	base := &url.URL{Scheme: h.Scheme, Host: h.Host, Path: h.Path + "/" + repository + "/tags/list", RawQuery: "n=1000"}
	var tags []string
	for range maxTagPages {
		resp, err := getAuthorized(ctx, h, base.String())
		if err != nil {
			return nil, err
		}
		var page struct {
			Tags []string `json:"tags"`
		}
		err = json.NewDecoder(io.LimitReader(resp.Body, maxManifestSize)).Decode(&page)
		resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading tags: %w", err)
		}
		tags = append(tags, page.Tags...)
		next := nextPage(resp.Header.Get("Link"))
		if next == "" {
			return tags, nil
		}
		to, err := base.Parse(next)
		if err != nil || to.Host != base.Host {
			return tags, nil
		}
		base = to
	}
	return tags, nil
}

// nextPage reads `</v2/x/tags/list?n=1&last=a>; rel="next"` (RFC 8288).
func nextPage(link string) string {
	target, params, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(params, `rel="next"`) {
		return ""
	}
	return target
}

// getAuthorized does a GET, answering one challenge.
func getAuthorized(ctx context.Context, h docker.RegistryHost, address string) (*http.Response, error) {
	var responses []*http.Response
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		if err := h.Authorizer.Authorize(ctx, req); err != nil {
			return nil, err
		}
		resp, err := h.Client.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return resp, nil
		}
		responses = append(responses, resp)
		if resp.StatusCode != http.StatusUnauthorized || len(responses) > 2 {
			defer resp.Body.Close()
			return nil, remoteerrors.NewUnexpectedStatusErr(resp)
		}
		resp.Body.Close()
		if err := h.Authorizer.AddResponses(ctx, responses); err != nil {
			return nil, err
		}
	}
}
