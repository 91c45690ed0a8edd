package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSplitAndKeep(t *testing.T) {
	for path, want := range map[string][2]string{
		"/a/b": {"/a", "b"}, "/a/b/": {"/a", "b"}, "/a/b/.": {"/a/b", "."}, "a": {".", "a"}, "/": {"/", "/"}, ".": {".", "."},
	} {
		if dir, base := Split(path); dir != want[0] || base != want[1] {
			t.Errorf("Split(%q) = %q, %q, want %q", path, dir, base, want)
		}
	}
	for _, c := range [][3]string{{"/a", "a/", "/a/"}, {"/a", "a/.", "/a/."}, {"/", "/", "/"}, {"/", ".", "/."}} {
		if got := Keep(c[0], c[1]); got != c[2] {
			t.Errorf("Keep(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
	for _, c := range [][4]string{{"/a/l", "/b/t", "/b/t", "l"}, {"/a/l/", "/b/l", "/b/l/", ""}, {"/a/l/.", "/b/t", "/b/t/.", ""}} {
		if path, name := Renamed(c[0], c[1]); path != c[2] || name != c[3] {
			t.Errorf("Renamed(%q, %q) = %q, %q, want %q, %q", c[0], c[1], path, name, c[2], c[3])
		}
	}
}

// write makes an archive of headers; a regular file's content is its name.
func write(t testing.TB, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if h.Mode == 0 {
			h.Mode = 0o700
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, h.Name)
			must(t, err)
		}
	}
	must(t, w.Close())
	return &b
}

func file(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
func dir(name string) tar.Header  { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func link(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}
func hard(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

// TestHostileArchives extracts what a hostile container, or engine, may send.
func TestHostileArchives(t *testing.T) {
	for name, c := range map[string]struct {
		archive []tar.Header
		fails   string
	}{
		"plain":                 {[]tar.Header{dir("src"), file("src/f"), hard("src/g", "src/f"), link("src/l", "/etc")}, ""},
		"dots":                  {[]tar.Header{file("../victim")}, "outside of"},
		"absolute":              {[]tar.Header{file("/src/f")}, ""},
		"through a link":        {[]tar.Header{link("src", ".."), file("src/victim")}, "escapes"},
		"through a root link":   {[]tar.Header{link("src", "/"), file("src/tmp/davit-victim")}, "escapes"},
		"two links":             {[]tar.Header{dir("a"), link("a/up", ".."), link("src", "a/up/.."), file("src/victim")}, "escapes"},
		"hard link out":         {[]tar.Header{hard("src", "../victim")}, "invalid hardlink"},
		"hard link by a link":   {[]tar.Header{link("l", ".."), hard("src", "l/victim")}, "escapes"},
		"directory over a link": {[]tar.Header{link("src", ".."), dir("src"), file("src/victim")}, "cannot overwrite non-directory"},
		"file over a link":      {[]tar.Header{link("src", "../victim"), file("src")}, ""},
		"unknown":               {[]tar.Header{{Typeflag: 'Z', Name: "src"}}, "unhandled tar header type"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			to := filepath.Join(base, "to")
			must(t, os.Mkdir(to, 0o755))
			must(t, os.WriteFile(filepath.Join(base, "victim"), []byte("untouched"), 0o644))
			err := Extract(write(t, c.archive...), Info{Path: "/src", Exists: true, IsDir: true}, to, Options{})
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			if got, err := os.ReadFile(filepath.Join(base, "victim")); err != nil || string(got) != "untouched" {
				t.Errorf("the file outside: %q %v", got, err)
			}
			if list, err := os.ReadDir(base); err != nil || len(list) != 2 {
				t.Errorf("outside: %v %v", list, err)
			}
		})
	}
}

// TestRoundTrip packs files, renames them and extracts them.
func TestRoundTrip(t *testing.T) {
	base := t.TempDir()
	src := filepath.Join(base, "src")
	must(t, os.MkdirAll(filepath.Join(src, "sub"), 0o750))
	must(t, os.WriteFile(filepath.Join(src, "sub/f"), []byte("content"), 0o640))
	must(t, os.Link(filepath.Join(src, "sub/f"), filepath.Join(src, "g")))
	must(t, os.Symlink("../..", filepath.Join(src, "up")))
	sparse, err := os.Create(filepath.Join(src, "sparse"))
	must(t, err)
	must(t, sparse.Truncate(10<<20))
	must(t, sparse.Close())
	old := time.Unix(1e9, 0)
	for _, name := range []string{"sub/f", "sub"} {
		must(t, os.Chtimes(filepath.Join(src, name), old, old))
	}
	source, err := Source(src, false)
	must(t, err)
	archive := Pack(source, "")
	defer archive.Close()
	must(t, Extract(archive, source, filepath.Join(base, "copy"), Options{}))
	for _, name := range []string{"sub", "sub/f", "g", "up", "sparse"} {
		a, err := os.Lstat(filepath.Join(src, name))
		must(t, err)
		b, err := os.Lstat(filepath.Join(base, "copy", name))
		must(t, err)
		if a.Mode() != b.Mode() || a.Size() != b.Size() || strings.HasPrefix(name, "sub") && !b.ModTime().Equal(old) {
			t.Errorf("%s: %v %d %v, want %v %d", name, b.Mode(), b.Size(), b.ModTime(), a.Mode(), a.Size())
		}
	}
	a, err := os.Stat(filepath.Join(base, "copy/g"))
	must(t, err)
	b, err := os.Stat(filepath.Join(base, "copy/sub/f"))
	must(t, err)
	if !os.SameFile(a, b) {
		t.Error("a hard link has become a file")
	}
}

// longest is the size of the longest file in an archive: a hole of exabytes
// takes a few bytes, and years.
func longest(data []byte) (size int64) {
	tr := tar.NewReader(bytes.NewReader(data))
	for h, err := tr.Next(); err == nil; h, err = tr.Next() {
		size = max(size, h.Size)
	}
	return size
}

// FuzzExtract extracts whatever comes; nothing outside the destination may
// change.
func FuzzExtract(f *testing.F) {
	f.Add(write(f, link("src", ".."), file("src/victim"), hard("h", "src/victim")).Bytes())
	f.Add(write(f, dir("src"), file("src/../../x"), file("/a/b")).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 || longest(data) > 16<<20 {
			return
		}
		base := t.TempDir()
		to := filepath.Join(base, "to")
		must(t, os.Mkdir(to, 0o755))
		must(t, os.WriteFile(filepath.Join(base, "victim"), []byte("untouched"), 0o644))
		_ = Extract(bytes.NewReader(data), Info{Path: "/src", Exists: true}, to, Options{}) // most fail
		if got, err := os.ReadFile(filepath.Join(base, "victim")); err != nil || string(got) != "untouched" {
			t.Errorf("the file outside: %q %v", got, err)
		}
		if list, err := os.ReadDir(base); err != nil || len(list) != 2 {
			t.Errorf("outside: %v %v", list, err)
		}
	})
}
