package compat

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// Version is a version of Docker's API, such as 1.44.
type Version struct{ Major, Minor int }

// The versions that are served. Max is the newest that moby/moby/api
// describes; a test compares it with that module's swagger.yaml.
var (
	Min = Version{1, 24}
	Max = Version{1, 56}
)

// String returns the version as it stands in a path, without the v.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// IsZero reports whether v was never set.
func (v Version) IsZero() bool { return v == Version{} }

// Before reports whether v is older than major.minor 1.minor.
func (v Version) Before(minor int) bool { return v.less(Version{1, minor}) }

func (v Version) less(o Version) bool {
	return v.Major < o.Major || v.Major == o.Major && v.Minor < o.Minor
}

// Parse reads a version such as "1.44". A third number is ignored, as Docker
// does.
func Parse(s string) (Version, error) {
	parts := strings.Split(s, ".")
	if len(parts) == 1 {
		parts = append(parts, "0")
	}
	major, err := strconv.Atoi(parts[0])
	if err == nil {
		var minor int
		if minor, err = strconv.Atoi(parts[1]); err == nil && major >= 0 && minor >= 0 {
			return Version{major, minor}, nil
		}
	}
	return Version{}, errs.New(errs.InvalidParameter, "invalid API version %q", s)
}

// Range is the span of versions that a server offers.
type Range struct{ Min, Max Version }

// Check returns an error with Docker's words when requested lies outside.
// text is the version as the client wrote it.
func (r Range) Check(requested Version, text string) error {
	switch {
	case requested.less(r.Min):
		return errs.New(errs.InvalidParameter, "client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", text, r.Min)
	case r.Max.less(requested):
		return errs.New(errs.InvalidParameter, "client version %s is too new. Maximum supported API version is %s", text, r.Max)
	}
	return nil
}
