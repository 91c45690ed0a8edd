package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// notFound says that no image answers to ref, in Docker's words.
func notFound(ref string) error {
	if parsed, err := reference.ParseAnyReference(ref); err == nil {
		if named, ok := parsed.(reference.Named); ok {
			ref = reference.FamiliarString(reference.TagNameOnly(named))
		} else {
			ref = parsed.String()
		}
	}
	return errs.New(errs.NotFound, "No such image: %s", ref)
}

// platformNotFound says that the image is here, but not for the platform wanted.
func platformNotFound(ref string, wanted *ocispec.Platform) error {
	if wanted == nil {
		return errs.New(errs.NotFound, "image with reference %s was found but does not provide any platform", ref)
	}
	return errs.New(errs.NotFound, "image with reference %s was found but does not provide the specified platform (%s)", ref, platforms.FormatAll(*wanted))
}

// outOfSpace reports whether err means that a disk or a quota is full.
func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// classify gives err a kind where it has none yet, from what containerd's
// libraries and the system say of it. The text stays.
func classify(err error) error {
	if err == nil || errs.KindOf(err) != errs.Unknown {
		return err
	}
	switch {
	case outOfSpace(err):
		return errs.Wrap(errs.Exhausted, err)
	case errdefs.IsNotFound(err):
		return errs.Wrap(errs.NotFound, err)
	case errdefs.IsInvalidArgument(err):
		return errs.Wrap(errs.InvalidParameter, err)
	case errdefs.IsNotImplemented(err):
		return errs.Wrap(errs.NotImplemented, err)
	case unreachable(err):
		return errs.Wrap(errs.Unavailable, err)
	}
	return errs.Wrap(errs.System, err)
}

// unreachable reports whether err is of the network: a name not found, a
// connection refused, reset or cut short, a time-out.
func unreachable(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var u *url.Error
	return errors.As(err, &op) || errors.As(err, &dns) || errors.As(err, &u) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, errStalled) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED)
}

// registryError words a failure of verb ("pull" or "push") on ref as Docker does
// and gives it a kind.
func registryError(verb string, ref reference.Named, err error) error {
	if err == nil || errs.KindOf(err) != errs.Unknown {
		return err
	}
	name := reference.FamiliarName(ref)
	if errors.Is(err, docker.ErrInvalidAuthorization) {
		if strings.Contains(err.Error(), "no basic auth credentials") {
			return errs.Wrap(errs.Unauthorized, fmt.Errorf("%s access to %s denied: %w", verb, name, err))
		}
		return accessDenied(verb, name)
	}
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) {
		return statusError(verb, name, status)
	}
	return classify(err)
}

func accessDenied(verb, name string) error {
	if verb == "push" {
		return errs.New(errs.Forbidden, "push access denied, repository does not exist or may require authorization: %s", name)
	}
	return errs.New(errs.NotFound, "pull access denied for %s, repository does not exist or may require 'docker login'", name)
}

// statusError turns a registry's refusal into an error with what its body says.
func statusError(verb, name string, status remoteerrors.ErrUnexpectedStatus) error {
	text := registryMessage(status.Body)
	full := fmt.Errorf("error from registry: %s: %w", text, status)
	if text == "" {
		full = status
	}
	switch status.StatusCode {
	case http.StatusUnauthorized:
		// A token server refuses wrong credentials with 401 and says so; a registry
		// that says nothing more means that the repository is not for everybody.
		if text == "" || strings.HasPrefix(text, "authentication required") {
			return accessDenied(verb, name)
		}
		return errs.Wrap(errs.Unauthorized, full)
	case http.StatusForbidden:
		if text == "" || strings.HasPrefix(text, "requested access to the resource is denied") {
			return accessDenied(verb, name)
		}
		return errs.Wrap(errs.Forbidden, full)
	case http.StatusNotFound:
		return errs.Wrap(errs.NotFound, full)
	}
	if status.StatusCode == http.StatusTooManyRequests || status.StatusCode >= 500 {
		return errs.Wrap(errs.Unavailable, full)
	}
	return errs.Wrap(errs.System, full)
}

// registryMessage picks the text out of an error body: the distribution
// specification's {"errors":[...]}, or a token server's {"details":...}.
func registryMessage(body []byte) string {
	var doc struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
		Details string `json:"details"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return ""
	}
	if len(doc.Errors) == 0 {
		if doc.Details != "" {
			return doc.Details
		}
		return doc.Message
	}
	var texts []string
	for _, e := range doc.Errors {
		text := e.Message
		if text == "" {
			text = strings.ToLower(strings.ReplaceAll(e.Code, "_", " "))
		}
		var detail string
		if json.Unmarshal(e.Detail, &detail) == nil && detail != "" {
			text += " - " + detail
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// causeOf prefers the reason that a context was ended for over the bare fact.
func causeOf(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
