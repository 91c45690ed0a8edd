package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// apiVersion is the second number of an API version; the first is 1.
type apiVersion int

const (
	newest apiVersion = 56 // that this client knows
	oldest apiVersion = 40 // that an engine may know at most, to be spoken to
)

// MaxAPIVersion is the newest version of the API that this client speaks.
const MaxAPIVersion = "1.56"

func (v apiVersion) String() string { return "1." + strconv.Itoa(int(v)) }

func parseVersion(text string) (apiVersion, error) {
	major, minor, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(text), "v"), ".")
	n, err := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil || major != "1" {
		return 0, errors.New("must be formatted <major>.<minor>")
	}
	return apiVersion(n), nil
}

// APIVersion returns the version that is spoken: from the first answer on the
// newest that both sides know.
func (c *Client) APIVersion() string {
	v, _ := c.current()
	return v.String()
}

func (c *Client) current() (v apiVersion, settled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version, c.settled
}

// settle learns from any answer which version the engine speaks: engines name
// their newest in each, also where they refuse one that is newer. That saves
// asking for it first.
func (c *Client) settle(h http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled {
		return
	}
	if v, err := parseVersion(h.Get("Api-Version")); err == nil && v >= oldest && v < c.version {
		c.version = v
	}
	c.settled = true
}

// negotiate asks for the engine's version, where a request cannot be repeated
// or depends on it.
func (c *Client) negotiate(ctx context.Context) error {
	if _, settled := c.current(); settled {
		return nil
	}
	// An answer of any status names the version.
	answer, err := c.round(ctx, request{method: http.MethodHead, path: "/_ping"}, "")
	if err != nil {
		return err
	}
	c.settle(answer.Header)
	return answer.Body.Close()
}

// require refuses what an older engine would ignore.
func (c *Client) require(ctx context.Context, least apiVersion, feature string) error {
	if err := c.negotiate(ctx); err != nil {
		return err
	}
	if v, _ := c.current(); v < least {
		return errs.Wrap(errs.NotImplemented, fmt.Errorf("%q requires API version %v, but the Docker daemon API version is %v", feature, least, v))
	}
	return nil
}
