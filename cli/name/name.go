// Package name owns how images are named: what people type, what it stands
// for, and the short form that they are shown.
//
// It knows nothing of engines or registries. The rules are those of
// github.com/distribution/reference, which the engine uses and which the tests
// compare with; that package compiles its regular expressions whenever a
// program starts that links it, which takes longer than all else that the
// client does at its start. Everything here is a pure function.
package name

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	hub        = "docker.io"
	legacyHub  = "index.docker.io"
	official   = "library/" // where Docker Hub keeps images without a namespace
	defaultTag = "latest"
	maxPath    = 255
	maxTag     = 128
)

var (
	errFormat    = errors.New("invalid reference format")
	errUppercase = errors.New("repository name must be lowercase")
	errTooLong   = fmt.Errorf("repository name must not be more than %d characters", maxPath)
)

// Image is the name of an image in its full form.
type Image struct {
	Domain string // of the registry, with its port
	Path   string // the repository within it
	Tag    string // "" for none
	Digest string // "" for none
}

// Parse reads NAME[:TAG][@DIGEST] as people write it: without a registry it
// means Docker Hub's.
func Parse(text string) (Image, error) {
	if IsID(text) {
		return Image{}, fmt.Errorf("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", text)
	}
	domain, rest := split(text)
	repository, _, _ := strings.Cut(rest, ":")
	if strings.ToLower(repository) != repository {
		return Image{}, fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", repository)
	}
	i, ok := parse(domain, rest)
	if !ok {
		if _, ok := parse(strings.ToLower(domain), strings.ToLower(rest)); ok {
			return Image{}, errUppercase
		}
		return Image{}, errFormat
	}
	if len(i.Path) > maxPath {
		return Image{}, errTooLong
	}
	if i.Digest != "" {
		if err := digest.Digest(i.Digest).Validate(); err != nil {
			return Image{}, err
		}
	}
	return i, nil
}

// IsID tells whether text is the whole ID of an image, which no name may be.
func IsID(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// split tells the registry from what is named in it.
func split(text string) (domain, rest string) {
	domain, rest, ok := strings.Cut(text, "/")
	switch {
	case !ok:
		return hub, official + text
	case domain == legacyHub:
		domain = hub
	case domain != "localhost" && !strings.ContainsAny(domain, ".:") && strings.ToLower(domain) == domain:
		domain, rest = hub, text // a namespace
	}
	if domain == hub && !strings.Contains(rest, "/") {
		rest = official + rest
	}
	return domain, rest
}

func parse(domain, rest string) (i Image, ok bool) {
	rest, sum, pinned := strings.Cut(rest, "@")
	path, tag, tagged := strings.Cut(rest, ":")
	if pinned && !validDigest(sum) || tagged && !validTag(tag) {
		return Image{}, false
	}
	for component := range strings.SplitSeq(path, "/") {
		if !validComponent(component) {
			return Image{}, false
		}
	}
	if !validDomain(domain) {
		// What cannot be a host may still be the first part of a path.
		if !validComponent(domain) {
			return Image{}, false
		}
		domain, path = "", domain+"/"+path
	}
	return Image{Domain: domain, Path: path, Tag: tag, Digest: sum}, true
}

// NameOnly reports whether there is neither tag nor digest.
func (i Image) NameOnly() bool { return i.Tag == "" && i.Digest == "" }

// Tagged is the name with the usual tag where it says neither tag nor digest.
func (i Image) Tagged() Image {
	if i.NameOnly() {
		i.Tag = defaultTag
	}
	return i
}

// Name is the repository with its registry.
func (i Image) Name() string {
	if i.Domain == "" {
		return i.Path
	}
	return i.Domain + "/" + i.Path
}

// Familiar is Name as people write it: without Docker Hub.
func (i Image) Familiar() string {
	if i.Domain != hub {
		return i.Name()
	}
	if short, ok := strings.CutPrefix(i.Path, official); ok && !strings.Contains(short, "/") {
		return short
	}
	return i.Path
}

// String is the whole name in full.
func (i Image) String() string { return i.Name() + i.suffix() }

// Short is the whole name as people write it.
func (i Image) Short() string { return i.Familiar() + i.suffix() }

func (i Image) suffix() string {
	text := ""
	if i.Tag != "" {
		text += ":" + i.Tag
	}
	if i.Digest != "" {
		text += "@" + i.Digest
	}
	return text
}
