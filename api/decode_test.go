package api

import (
	"log/slog"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/authconfig"
)

func TestParseFilters(t *testing.T) {
	for text, want := range map[string]map[string]map[string]bool{
		"":                          {},
		"{}":                        {},
		"null":                      {},
		`{"a":{"x":true,"y":true}}`: {"a": {"x": true, "y": true}},
		`{"a":{"x":false}}`:         {"a": {"x": false}},
		`{"a":["x","y"],"b":[]}`:    {"a": {"x": true, "y": true}, "b": {}},
	} {
		if got, err := ParseFilters(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "[]", `{"a":5}`, `{"a":{"x":"y"}}`, `{"a":["x"],"b":{"y":true}}`, `"a"`} {
		if got, err := ParseFilters(text); err == nil {
			t.Errorf("%s is read as %v", text, got)
		}
	}
}

func FuzzFilters(f *testing.F) {
	f.Add(`{"a":{"x":true}}`)
	f.Add(`{"a":["x"]}`)
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ParseFilters(text); err == nil && got == nil {
			t.Error("neither filters nor an error")
		}
	})
}

func FuzzCredentials(f *testing.F) {
	f.Add("eyJ1c2VybmFtZSI6InUifQ==")
	f.Add("bnVsbA==")
	f.Fuzz(func(t *testing.T, header string) {
		c := &call{r: &http.Request{Header: http.Header{"X-Registry-Auth": {header}}}, log: discard()}
		auth := c.credentials()
		if decoded, err := authconfig.Decode(header); err != nil && auth != nil {
			t.Errorf("credentials %+v from what is none (%v, %v)", auth, decoded, err)
		}
	})
}

func FuzzRoutes(f *testing.F) {
	f.Add("GET", "/v1.44/images/a/b/json")
	f.Add("DELETE", "/containers//")
	s := New(Parts{}, Config{Log: discard()})
	f.Fuzz(func(t *testing.T, method, path string) {
		if _, rest, ok := cutVersion(path); ok {
			path = rest
		}
		r, vars := match(s.routes, method, path)
		if r != nil && len(vars) != len(r.pieces)-1 {
			t.Errorf("%s %s: %s filled with %q", method, path, r.pattern, vars)
		}
	})
}

func TestParseTime(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, zone)
	for text, want := range map[string]time.Time{
		"":                          {},
		"0":                         time.Unix(0, 0),
		"1700000000":                time.Unix(1700000000, 0),
		"1700000000.5":              time.Unix(1700000000, 500000000),
		"1700000000.123456789":      time.Unix(1700000000, 123456789),
		"1700000000.1234567899":     time.Unix(1700000000, 123456789),
		"1700000000.000000005":      time.Unix(1700000000, 5),
		"10m":                       now.Add(-10 * time.Minute),
		"1h30m":                     now.Add(-90 * time.Minute),
		"2026-01-02T03:04:05Z":      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.5Z":    time.Date(2026, 1, 2, 3, 4, 5, 500000000, time.UTC),
		"2026-01-02T03:04:05+01:00": time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC),
		"2026-01-02T03:04Z":         time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"2026-01-02T03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, zone),
		"2026-01-02T03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, zone),
		"2026-01-02T03":             time.Date(2026, 1, 2, 3, 0, 0, 0, zone),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, zone),
		"2026-01-02Z":               time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "1.x", ".", "2026-13-01", "2026-01-02T25:00:00Z", "1e9", "--"} {
		if got, err := parseTime(text, now); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestMatch(t *testing.T) {
	s := New(Parts{Checkpoints: struct{ Checkpoints }{}}, Config{Log: discard()})
	for _, tc := range []struct{ method, path, pattern string }{
		{"GET", "/containers/a/checkpoints", "/containers/{id}/checkpoints"},
		{"DELETE", "/containers/a/checkpoints/b", "/containers/{id}/checkpoints/{checkpoint}"},
		{"GET", "/images/a/b/attestations", "/images/{name}/attestations"},
		{"GET", "/images/search", "/images/search"},
		{"POST", "/plugins/create", "/plugins/create"},
		{"GET", "/images/a/b/c/attestations/attestations", "/images/{name}/attestations"},
	} {
		r, _ := match(s.routes, tc.method, tc.path)
		if r == nil || r.pattern != tc.pattern {
			t.Errorf("%s %s: %+v", tc.method, tc.path, r)
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
