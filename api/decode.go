package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parseForm makes r.Form ready. Parameters may stand in the query and in a
// body that is a form, unless the body belongs to the handler.
func parseForm(r *http.Request, body bool) error {
	if body {
		form, err := parseQuery(r)
		r.Form = form
		return err
	}
	if err := r.ParseForm(); err != nil && !strings.HasPrefix(err.Error(), "mime:") {
		return errs.Wrap(errs.InvalidParameter, err)
	}
	return nil
}

// requireJSON refuses a body that does not claim to be JSON. No body at all is
// fine.
func requireJSON(r *http.Request) error {
	ct := r.Header.Get("Content-Type")
	if ct == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	media, _, err := mime.ParseMediaType(ct)
	if err != nil {
		return errs.New(errs.InvalidParameter, "malformed Content-Type header (%s): %w", ct, err)
	}
	if media != "application/json" {
		return errs.New(errs.InvalidParameter, "unsupported Content-Type header (%s): must be 'application/json'", ct)
	}
	return nil
}

// truth reads a flag as Docker does: everything but a few words is true.
func (c *call) truth(name string) bool {
	switch strings.ToLower(strings.TrimSpace(c.r.Form.Get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// number reads an integer; nil where there is none.
func (c *call) number(name string) (*int, error) {
	text := c.r.Form.Get(name)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, errs.New(errs.InvalidParameter, "invalid value for %q: %w", name, err)
	}
	return &n, nil
}

// size reads one side of a terminal.
func (c *call) size(name, what string) (uint32, error) {
	text := c.r.Form.Get(name)
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "-"), 10, 32)
	switch {
	case err != nil:
		err = errors.Unwrap(err) // without the words of strconv around it
	case strings.HasPrefix(text, "-"):
		err = strconv.ErrRange
	default:
		return uint32(n), nil
	}
	return 0, errs.New(errs.InvalidParameter, "invalid resize %s %q: %w", what, text, err)
}

// ParseFilters decodes the parameter "filters". Docker has two forms, both are
// read: {"name":{"a":true}} and the older {"name":["a"]}. A value that is set
// to false still counts, as in Docker.
func ParseFilters(text string) (map[string]map[string]bool, error) {
	filters := map[string]map[string]bool{}
	if text == "" {
		return filters, nil
	}
	if err := json.Unmarshal([]byte(text), &filters); err == nil {
		if filters == nil {
			filters = map[string]map[string]bool{}
		}
		return filters, nil
	}
	var old map[string][]string
	if err := json.Unmarshal([]byte(text), &old); err != nil {
		return nil, errs.New(errs.InvalidParameter, "invalid filter")
	}
	filters = make(map[string]map[string]bool, len(old))
	for name, values := range old {
		filters[name] = make(map[string]bool, len(values))
		for _, v := range values {
			filters[name][v] = true
		}
	}
	return filters, nil
}

func (c *call) filters() (map[string]map[string]bool, error) {
	return ParseFilters(c.r.Form.Get("filters"))
}

// credentials reads X-Registry-Auth. What cannot be decoded counts as none, as
// in Docker: old clients send all sorts of things for "nobody".
func (c *call) credentials() *registry.AuthConfig {
	auth, err := authconfig.Decode(c.r.Header.Get(registry.AuthHeader))
	if err != nil {
		c.log.Debug("ignoring credentials that cannot be read", "error", err)
	}
	if *auth == (registry.AuthConfig{}) {
		return nil
	}
	return auth
}

// decodePlatform reads a platform that is encoded as JSON.
func decodePlatform(text string) (*ocispec.Platform, error) {
	var p ocispec.Platform
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, errs.New(errs.InvalidParameter, "failed to parse platform: %w", err)
	}
	more := p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0
	switch {
	case p.OS == "" && p.Architecture == "" && more:
		return nil, errs.New(errs.InvalidParameter, "optional platform fields provided, but OS and Architecture are missing")
	case p.OS == "" || p.Architecture == "":
		return nil, errs.New(errs.InvalidParameter, "both OS and Architecture must be provided")
	}
	return &p, nil
}

// platformSince reads the parameter "platform" as JSON if the call's version
// is 1.minor or newer; older ones did not have it.
func (c *call) platformSince(minor int) (*ocispec.Platform, error) {
	text := c.r.Form.Get("platform")
	if text == "" || c.version.Before(minor) {
		return nil, nil
	}
	return decodePlatform(text)
}

// taggedReference reads a repository and a tag, which is "latest" where it is
// empty. It is nil for an empty repository.
func taggedReference(repo, tag string) (reference.NamedTagged, error) {
	if repo == "" {
		return nil, nil
	}
	ref, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, errs.Wrap(errs.InvalidParameter, err)
	}
	if _, ok := ref.(reference.Digested); ok {
		return nil, errs.New(errs.InvalidParameter, "cannot import digest reference")
	}
	if tag != "" {
		tagged, err := reference.WithTag(ref, tag)
		return tagged, errs.Wrap(errs.InvalidParameter, err)
	}
	tagged, ok := reference.TagNameOnly(ref).(reference.NamedTagged)
	if !ok {
		return nil, errs.Wrap(errs.InvalidParameter, fmt.Errorf("unexpected reference: %q", ref.String()))
	}
	return tagged, nil
}
