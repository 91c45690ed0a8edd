package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
)

func parseQuery(r *http.Request) (url.Values, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	return form, errs.Wrap(errs.InvalidParameter, err)
}

// dates are the forms of a point in time that Docker's clients accept, beside
// seconds since 1970 and durations. Without a zone they are local time.
var dates = []string{
	time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15Z07:00", "2006-01-02Z07:00",
	"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02",
}

// parseTime reads a point in time: seconds since 1970 with up to nine decimals
// ("1700000000.5"), a duration before now ("10m"), or a date in RFC 3339, whole
// or shortened. Empty gives the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, ok := parseSeconds(text); ok {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range dates {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errs.New(errs.InvalidParameter,
		"failed to parse value as time or duration: %q is neither seconds since 1970 nor a duration nor an RFC 3339 date", text)
}

func parseSeconds(text string) (time.Time, bool) {
	whole, part, _ := strings.Cut(text, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.Trim(part, "0123456789") != "" {
		return time.Time{}, false
	}
	part = (part + "000000000")[:9]
	nsec, err := strconv.ParseInt(part, 10, 64)
	return time.Unix(sec, nsec), err == nil
}

// timeParameter reads a parameter with parseTime and names it in the error.
func (c *call) timeParameter(name string) (time.Time, error) {
	t, err := parseTime(c.r.Form.Get(name), time.Now())
	if err != nil {
		return t, errs.New(errs.InvalidParameter, "invalid value for %q: %w", name, err)
	}
	return t, nil
}
