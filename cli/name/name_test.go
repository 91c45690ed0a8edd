package name

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

var samples = []string{
	"", "x", "x:1", "x:latest", "a/b", "a/b/c:t", "localhost/x", "localhost:5000/x", "h.example/x", "h.example:5000/a/b:t", "docker.io/x",
	"index.docker.io/x", "docker.io/library/x", "docker.io/library/a/b", "docker.io/a/b", "[::1]:5000/x", "[::1]/x:t", "[fe80/x", "[]/x", "[::1]x/y",
	"x@sha256:" + strings.Repeat("a", 64), "x:t@sha256:" + strings.Repeat("A", 64), "x@sha256:" + strings.Repeat("a", 40), "x@md5:" + strings.Repeat("a", 32),
	"x@sha256:", "x@", "x:", ":x", "/x", "x/", "a//b", "a/b:", "x:t:u", "x@y@z", "x@a+b.c-d_e:" + strings.Repeat("0", 32), "x@1:" + strings.Repeat("0", 32),
	strings.Repeat("a", 64), strings.Repeat("g", 64), "sha256:" + strings.Repeat("a", 64), strings.Repeat("a/", 130) + "b", strings.Repeat("a", 250),
	"X", "a/X", "X/a", "A.b/c", "Foo_bar/x", "Foo_bar.x/y", "foo_bar.x/y", "foo__bar.x/y", "foo___bar.x/y", "a---b", "a-", "-a", "a..b", "a._b", "a_b", "a__b", "a___b",
	"-h.example/x", "h-.example/x", "h..example/x", "h.example:/x", "h.example:p/x", "h:1:2/x", "x:.t", "x:-t", "x:_t", "x:" + strings.Repeat("t", 128), "x:" + strings.Repeat("t", 129),
	"ä", "x:ä", "ä.example/x", "Ä/x", "x y", "x\n", "h.example/x\n", "UPPER/Case:x:y", "x@SHA256:" + strings.Repeat("a", 64),
}

// same compares with the library that the engine uses.
func same(t *testing.T, text string) {
	t.Helper()
	want, wantErr := reference.ParseNormalizedNamed(text)
	got, err := Parse(text)
	if err != nil || wantErr != nil {
		if err == nil || wantErr == nil || err.Error() != wantErr.Error() {
			t.Errorf("%q: error %v, want %v", text, err, wantErr)
		}
		return
	}
	_, named := want.(reference.NamedTagged)
	_, pinned := want.(reference.Digested)
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"text", got.String(), want.String()}, {"short", got.Short(), reference.FamiliarString(want)},
		{"name", got.Name(), want.Name()}, {"familiar", got.Familiar(), reference.FamiliarName(want)},
		{"domain", got.Domain, reference.Domain(want)}, {"path", got.Path, reference.Path(want)},
		{"tagged", got.Tagged().String(), reference.TagNameOnly(want).String()}, {"name only", got.NameOnly(), reference.IsNameOnly(want)},
		{"has tag", got.Tag != "", named}, {"has digest", got.Digest != "", pinned},
	} {
		if c.got != c.want {
			t.Errorf("%q: %s is %v, want %v", text, c.what, c.got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, s := range samples {
		same(t, s)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples {
		f.Add(s)
	}
	f.Fuzz(same)
}
