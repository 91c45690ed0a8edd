package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other owners, and mounts")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var quiet = slog.New(slog.DiscardHandler)

// openRoot returns the root filesystem in dir.
func openRoot(t testing.TB, dir string, ids IDs) *Root {
	t.Helper()
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return New(f, ids, quiet)
}

// plant makes files: "dir/", "link -> target", "hard => target", "!whiteout",
// "opaque!/", "fifo|", "file=content".
func plant(t testing.TB, root string, entries ...string) string {
	t.Helper()
	for _, e := range entries {
		name, content, _ := strings.Cut(e, "=")
		sym, target, isSym := strings.Cut(e, " -> ")
		other, source, isHard := strings.Cut(e, " => ")
		switch {
		case isSym:
			name = sym
		case isHard:
			name = other
		}
		dir, base := filepath.Split(strings.TrimRight(name, "|/"))
		p := filepath.Join(root, dir, strings.Trim(base, "!"))
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch {
		case isSym:
			must(t, os.Symlink(target, p))
		case isHard:
			must(t, os.Link(filepath.Join(root, source), p))
		case strings.HasPrefix(base, "!"):
			must(t, unix.Mknod(p, unix.S_IFCHR, 0))
		case strings.HasSuffix(name, "!/"):
			must(t, os.MkdirAll(p, 0o755))
			must(t, unix.Setxattr(p, "trusted.overlay.opaque", []byte("y"), 0))
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(p, 0o755))
		case strings.HasSuffix(name, "|"):
			must(t, unix.Mkfifo(p, 0o644))
		default:
			must(t, os.WriteFile(p, []byte(content), 0o644))
		}
	}
	return root
}

// list is an archive as text.
func list(t testing.TB, archive io.Reader) string {
	t.Helper()
	var out strings.Builder
	tr := tar.NewReader(archive)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out.String()
		}
		must(t, err)
		content, err := io.ReadAll(tr)
		must(t, err)
		fmt.Fprintf(&out, "%c %s", h.Typeflag, h.Name)
		if h.Linkname != "" {
			fmt.Fprintf(&out, " -> %s", h.Linkname)
		}
		if len(content) > 0 {
			fmt.Fprintf(&out, " %q", content)
		}
		out.WriteByte('\n')
	}
}

func same(t testing.TB, got, want string) {
	t.Helper()
	if got = strings.TrimSpace(got); got != strings.TrimSpace(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.TrimSpace(want))
	}
}

// entry is one entry of an archive to be extracted.
type entry struct {
	tar.Header
	content string
}

func dir(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func link(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func hard(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}, ""}
}

func archive(t testing.TB, entries ...entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		must(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.content)
		must(t, err)
	}
	must(t, w.Close())
	return &b
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "/": "/", ".": "/.", "./": "/./", "a": "/a", "/a/": "/a/", "/a/.": "/a/.", "/a/b/..": "/a", "../a": "/a", "//a//b/": "/a/b/",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestStat(t *testing.T) {
	root := openRoot(t, plant(t, t.TempDir(), "etc/passwd=root", "etc/link -> /var/lib/../x", "up -> ../../../../etc", "loop -> loop", "var/lib/", "x=", "pipe|"), IDs{})
	for path, want := range map[string]string{
		"/etc":                         "etc d",
		"/etc/":                        "etc d",
		"/":                            "/ d",
		"etc/passwd":                   "passwd -",
		"/etc/link":                    "link L /var/x",
		"/up":                          "up L /etc",
		"/up/":                         "up d",
		"/up/passwd":                   "passwd -",
		"/loop":                        "loop L /loop",
		"/pipe":                        "pipe p",
		"/../../etc/.":                 ". d",
		"/nosuch":                      "not found",
		"/etc/passwd/":                 "invalid parameter",
		"/loop/x":                      "invalid parameter",
		"/" + strings.Repeat("x", 300): "invalid parameter",
	} {
		st, err := root.Stat(path)
		got := fmt.Sprintf("%s %s %s", st.Name, st.Mode.String()[:1], st.LinkTarget)
		if err != nil {
			got = errs.KindOf(err).String()
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("Stat(%q): %q, want %q (%v)", path, got, want, err)
		}
	}
}

func TestArchive(t *testing.T) {
	root := openRoot(t, plant(t, t.TempDir(), "d/a=1", "d/b => d/a", "d/sub/c=2", "d/l -> /etc", "d/p|", "dl -> d", "d/odd\x01\xff name=3"), IDs{})
	for path, want := range map[string]string{
		"/d":   "5 d/\n0 d/a \"1\"\n1 d/b -> d/a\n2 d/l -> /etc\n0 d/odd\x01\xff name \"3\"\n6 d/p\n5 d/sub/\n0 d/sub/c \"2\"",
		"/d/.": "5 ./\n0 ./a \"1\"\n1 ./b -> ./a\n2 ./l -> /etc\n0 ./odd\x01\xff name \"3\"\n6 ./p\n5 ./sub/\n0 ./sub/c \"2\"",
		"/dl":  "2 dl -> d",
		"/d/a": "0 a \"1\"",
		"/dl/": "5 dl/\n0 dl/a \"1\"\n1 dl/b -> dl/a\n2 dl/l -> /etc\n0 dl/odd\x01\xff name \"3\"\n6 dl/p\n5 dl/sub/\n0 dl/sub/c \"2\"",
	} {
		var b bytes.Buffer
		must(t, root.Archive(context.Background(), &b, path))
		t.Run(path, func(t *testing.T) { same(t, list(t, &b), want) })
	}
	var b bytes.Buffer
	must(t, root.Archive(context.Background(), &b, "/"))
	if got := list(t, &b); !strings.HasPrefix(got, "5 /\n5 /d/\n0 /d/a ") {
		t.Errorf("the root:\n%s", got)
	}
}

// TestRoundTrip copies all sorts of files and compares.
func TestRoundTrip(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	plant(t, from, "a/f=content", "a/g => a/f", "a/deep/er/x=1", "l -> a/f", "p|", "odd\n\x7f\xfe=2", "suid=3")
	must(t, os.Chown(filepath.Join(from, "a/f"), 1000, 1001))
	must(t, os.Lchown(filepath.Join(from, "l"), 7, 8))
	must(t, os.Chown(filepath.Join(from, "a"), 5, 6))
	must(t, os.Chmod(filepath.Join(from, "a"), 0o2711|os.ModeSetgid))
	must(t, os.Chmod(filepath.Join(from, "suid"), 0o755|os.ModeSetuid))
	must(t, unix.Mknod(filepath.Join(from, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Setxattr(filepath.Join(from, "suid"), "user.x", []byte("\x00y"), 0))
	caps := []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	must(t, unix.Setxattr(filepath.Join(from, "suid"), capability, caps, 0))
	old := time.Unix(1e9, 0)
	must(t, os.Chtimes(filepath.Join(from, "a/f"), old, old))
	must(t, os.Chtimes(filepath.Join(from, "a"), old, old))
	big, err := os.Create(filepath.Join(from, "sparse"))
	must(t, err)
	must(t, big.Truncate(50<<20))
	_, err = big.WriteAt([]byte("x"), 30<<20)
	must(t, err)
	must(t, big.Close())

	r, w := io.Pipe()
	go func() { w.CloseWithError(openRoot(t, from, IDs{}).Archive(context.Background(), w, "/.")) }()
	must(t, openRoot(t, to, IDs{}).Extract(context.Background(), r, "/", ExtractOptions{}))
	before, after := describe(t, from), describe(t, to)
	if before != after {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(to, "sparse"), &st))
	if st.Blocks*512 > 2<<20 {
		t.Errorf("a file of 50 MiB with one byte takes %d bytes", st.Blocks*512)
	}
}

func describe(t testing.TB, root string) string {
	t.Helper()
	var out strings.Builder
	inodes := map[uint64]string{}
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		must(t, err)
		name, _ := filepath.Rel(root, p)
		if name == "." {
			return nil
		}
		var st unix.Stat_t
		must(t, unix.Lstat(p, &st))
		fmt.Fprintf(&out, "%q %o %d:%d %d", name, st.Mode, st.Uid, st.Gid, st.Rdev)
		if !d.IsDir() {
			fmt.Fprintf(&out, " size %d nlink %d", st.Size, st.Nlink)
		}
		if name != "a/deep" {
			fmt.Fprintf(&out, " at %d", st.Mtim.Sec)
		}
		if st.Nlink > 1 && !d.IsDir() {
			if inodes[st.Ino] == "" {
				inodes[st.Ino] = name
			}
			fmt.Fprintf(&out, " is %s", inodes[st.Ino])
		}
		if d.Type().IsRegular() || d.IsDir() {
			f, err := os.OpenFile(p, unix.O_PATH, 0)
			must(t, err)
			x, err := IDs{}.xattrs(int(f.Fd()))
			must(t, err)
			f.Close()
			fmt.Fprintf(&out, " %q", x)
		}
		out.WriteByte('\n')
		return nil
	}))
	return out.String()
}

func TestExtract(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	plant(t, outside, "victim=untouched")
	for name, c := range map[string]struct {
		before  []string
		at      string
		entries []entry
		keep    bool
		want    string // a failure's text, else files that have to be there, NAME=CONTENT
	}{
		"parents are made":          {at: "/", entries: []entry{file("a/b/c", "x")}, want: "a/b/c=x"},
		"absolute":                  {before: []string{"d/"}, at: "/d", entries: []entry{file("/etc/x", "x")}, want: "d/etc/x=x"},
		"dots inside":               {at: "/", entries: []entry{file("a/../b", "x")}, want: "b=x"},
		"dots out":                  {before: []string{"d/"}, at: "/d", entries: []entry{file("../b", "x")}, want: "outside of"},
		"missing":                   {at: "/no", entries: []entry{file("b", "x")}, want: "no such file"},
		"not a directory":           {before: []string{"f="}, at: "/f", entries: []entry{file("b", "x")}, want: "extraction point is not a directory"},
		"through the user's link":   {before: []string{"d/", "e/", "d/l -> /e"}, at: "/d", entries: []entry{file("l/x", "1")}, want: "e/x=1"},
		"through a link inside":     {before: []string{"d/e/", "d/l -> e"}, at: "/d", entries: []entry{file("l/x", "1")}, want: "d/e/x=1"},
		"through its own link":      {before: []string{"d/", "e/"}, at: "/d", entries: []entry{link("l", "/e"), file("l/x", "1")}, want: "leads out of"},
		"through its own dots":      {before: []string{"d/", "e/"}, at: "/d", entries: []entry{link("l", "../e"), file("l/x", "1")}, want: "leads out of"},
		"through its own inside":    {before: []string{"d/"}, at: "/d", entries: []entry{dir("e"), link("l", "e"), file("l/x", "1")}, want: "d/e/x=1"},
		"host's link":               {at: "/", entries: []entry{link("l", outside), file("l/victim", "1")}, want: "no such file"},
		"hard link out":             {before: []string{"d/", "s=secret"}, at: "/d", entries: []entry{hard("l", "../s")}, want: "invalid hardlink"},
		"hard link to nothing":      {at: "/", entries: []entry{hard("l", "x")}, want: "invalid hardlink"},
		"hard link by a link":       {before: []string{"d/", "e/s=secret"}, at: "/d", entries: []entry{link("l", "/e"), hard("h", "l/s")}, want: "leads out of"},
		"hard link":                 {before: []string{"s=old"}, at: "/", entries: []entry{hard("l", "s")}, want: "l=old"},
		"hard link to itself":       {before: []string{"s=old", "l => s"}, at: "/", entries: []entry{hard("l", "s")}, want: "l=old"},
		"replaces a link":           {before: []string{"l -> /t", "t=old"}, at: "/", entries: []entry{file("l", "new")}, want: "t=old l=new"},
		"whiteout is a name":        {before: []string{"x=1"}, at: "/", entries: []entry{file(".wh.x", "w"), file(".wh..wh..opq", "o")}, want: "x=1 .wh.x=w .wh..wh..opq=o"},
		"directory for file":        {before: []string{"x=1"}, at: "/", entries: []entry{dir("x"), file("x/y", "2")}, want: "x/y=2"},
		"file for directory":        {before: []string{"x/y/z=1"}, at: "/", entries: []entry{file("x", "2")}, want: "x=2"},
		"directory for file, kept":  {before: []string{"x=1"}, at: "/", keep: true, entries: []entry{dir("x")}, want: "cannot overwrite non-directory"},
		"file for directory, kept":  {before: []string{"x/"}, at: "/", keep: true, entries: []entry{file("x", "2")}, want: "cannot overwrite directory"},
		"file in place of a parent": {before: []string{"x=1"}, at: "/", entries: []entry{file("x/y", "2")}, want: "not a directory"},
		"the directory itself":      {before: []string{"d/x=1"}, at: "/d", entries: []entry{dir("./"), file("./y", "2")}, want: "d/x=1 d/y=2"},
	} {
		t.Run(name, func(t *testing.T) {
			root := plant(t, t.TempDir(), c.before...)
			err := openRoot(t, root, IDs{}).Extract(context.Background(), archive(t, c.entries...), c.at, ExtractOptions{KeepKinds: c.keep})
			if err != nil {
				if !strings.Contains(err.Error(), c.want) || strings.Contains(c.want, "=") {
					t.Errorf("error %v, want %s", err, c.want)
				}
				if k := errs.KindOf(err); k != errs.InvalidParameter && k != errs.NotFound {
					t.Errorf("error %v is of kind %v", err, k)
				}
			} else if !strings.Contains(c.want, "=") {
				t.Errorf("no error, want %s", c.want)
			} else {
				for _, want := range strings.Fields(c.want) {
					name, content, _ := strings.Cut(want, "=")
					if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != content {
						t.Errorf("%s: %q, %v", name, got, err)
					}
				}
			}
			if got, err := os.ReadFile(filepath.Join(outside, "victim")); err != nil || string(got) != "untouched" {
				t.Errorf("the host's file: %q %v", got, err)
			}
		})
	}
}

// TestTruncated checks that an archive that ends early leaves no part of the
// entry that it ends in, and the others.
func TestTruncated(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	whole, err := io.ReadAll(archive(t, file("first", "1"), file("second", strings.Repeat("2", 4096))))
	must(t, err)
	err = openRoot(t, root, IDs{}).Extract(context.Background(), bytes.NewReader(whole[:2500]), "/", ExtractOptions{})
	if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), "reading the archive") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "first")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "second")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a half-made file is left: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	root := plant(t, t.TempDir(), "f=1")
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("a reason")
	cancel(why)
	if err := openRoot(t, root, IDs{}).Archive(ctx, io.Discard, "/"); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

// TestDeep makes and copies a path that is longer than any path may be.
func TestDeep(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	name := strings.Repeat("d", 100)
	entries := make([]entry, 0, 60)
	for i := range 60 {
		entries = append(entries, dir(strings.Repeat(name+"/", i+1)))
	}
	entries = append(entries, file(strings.Repeat(name+"/", 60)+"f", "deep"))
	must(t, openRoot(t, from, IDs{}).Extract(context.Background(), archive(t, entries...), "/", ExtractOptions{}))
	var b bytes.Buffer
	must(t, openRoot(t, from, IDs{}).Archive(context.Background(), &b, "/."))
	must(t, openRoot(t, to, IDs{}).Extract(context.Background(), &b, "/", ExtractOptions{}))
	b.Reset()
	must(t, openRoot(t, to, IDs{}).Archive(context.Background(), &b, "/."))
	if got := list(t, &b); !strings.HasSuffix(got, name+"/f \"deep\"\n") {
		t.Errorf("the last entry is gone: %s", got[max(0, len(got)-200):])
	}
	err := openRoot(t, to, IDs{}).Extract(context.Background(), archive(t, file(strings.Repeat("d/", maxDepth)+"f", "")), "/", ExtractOptions{})
	if !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("too deep: %v", err)
	}
}

func TestMappedOwners(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	ids := IDs{
		UIDs: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 700000, Size: 1000}},
		GIDs: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 800000, Size: 1000}},
	}
	r := openRoot(t, root, ids)
	caps := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	owned := file("sub/f", "x")
	owned.Uid, owned.Gid, owned.Mode = 33, 44, 0o4755
	owned.PAXRecords = map[string]string{paxXattr + capability: caps}
	must(t, r.Extract(context.Background(), archive(t, owned), "/", ExtractOptions{}))
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(root, "sub/f"), &st))
	if st.Uid != 700033 || st.Gid != 800044 || st.Mode&0o7777 != 0o4755 {
		t.Errorf("on disk it belongs to %d:%d, mode %o", st.Uid, st.Gid, st.Mode)
	}
	must(t, unix.Stat(filepath.Join(root, "sub"), &st))
	if st.Uid != 700000 || st.Gid != 800000 {
		t.Errorf("its directory belongs to %d:%d", st.Uid, st.Gid)
	}
	var b bytes.Buffer
	must(t, r.Archive(context.Background(), &b, "/sub/f"))
	h, err := tar.NewReader(&b).Next()
	must(t, err)
	if h.Uid != 33 || h.Gid != 44 || h.PAXRecords[paxXattr+capability] != caps {
		t.Errorf("in the archive it belongs to %d:%d with %q", h.Uid, h.Gid, h.PAXRecords)
	}
	owned.Uid = 1000
	if err := r.Extract(context.Background(), archive(t, owned), "/", ExtractOptions{}); !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), "user id 1000") {
		t.Errorf("an id that is not mapped: %v", err)
	}
	device := entry{tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8}, ""}
	if err := r.Extract(context.Background(), archive(t, device), "/", ExtractOptions{}); !errs.Is(err, errs.Forbidden) {
		t.Errorf("a device: %v", err)
	}
	owned.Uid = 0
	must(t, r.Extract(context.Background(), archive(t, owned), "/", ExtractOptions{Owner: &Owner{1, 2}}))
	must(t, unix.Stat(filepath.Join(root, "sub/f"), &st))
	if st.Uid != 700001 || st.Gid != 800002 {
		t.Errorf("with an owner it belongs to %d:%d", st.Uid, st.Gid)
	}
}

// TestSetgidDirectory: the group comes from the archive, not from the
// directory.
func TestSetgidDirectory(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "d"), 0o755))
	must(t, os.Chown(filepath.Join(root, "d"), 0, 50))
	must(t, os.Chmod(filepath.Join(root, "d"), 0o2755|os.ModeSetgid))
	all := []entry{file("f", "x"), dir("s"), link("l", "f"), {tar.Header{Typeflag: tar.TypeFifo, Name: "p"}, ""}}
	for i := range all {
		all[i].Uid, all[i].Gid = 3, 4
	}
	must(t, openRoot(t, root, IDs{}).Extract(context.Background(), archive(t, all...), "/d", ExtractOptions{}))
	for _, e := range all {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, "d", e.Name), &st))
		if st.Uid != 3 || st.Gid != 4 {
			t.Errorf("%s belongs to %d:%d", e.Name, st.Uid, st.Gid)
		}
	}
}

// layerSet makes layers, topmost first.
func layerSet(t testing.TB, sets ...[]string) Layers {
	t.Helper()
	l := Layers{Log: quiet}
	for i, s := range sets {
		d := plant(t, t.TempDir(), s...)
		if i == 0 {
			l.Upper = d
		} else {
			l.Lower = append(l.Lower, d)
		}
	}
	return l
}

func TestLayers(t *testing.T) {
	needRoot(t)
	l := layerSet(t,
		[]string{"new/in/f=1", "etc/b=changed", "!gone", "etc/!c", "var!/", "var/kept=3", "was=file", "wasfile/in=4", "nodir/!x", "!never", "etc/.wh.x=5", "data/"},
		[]string{"etc/a=a", "etc/b=b", "gone=g", "var/lost=l", "was/inner=i", "wasfile=w"},
		[]string{"etc/a=hidden", "etc/c=c", "var/kept=2", "var/deep/x=d", "bin/sh=sh", "data/x=x"},
	)
	var b bytes.Buffer
	must(t, l.Export(context.Background(), &b))
	t.Run("export", func(t *testing.T) {
		same(t, list(t, &b), `
5 bin/
0 bin/sh "sh"
5 data/
0 data/x "x"
5 etc/
0 etc/.wh.x "5"
0 etc/a "a"
0 etc/b "changed"
5 new/
5 new/in/
0 new/in/f "1"
5 nodir/
5 var/
0 var/kept "3"
0 was "file"
5 wasfile/
0 wasfile/in "4"`)
	})
	b.Reset()
	must(t, l.Diff(context.Background(), &b))
	t.Run("diff", func(t *testing.T) {
		same(t, list(t, &b), `
5 data/
5 etc/
0 etc/b "changed"
0 etc/.wh.c
0 .wh.gone
5 new/
5 new/in/
0 new/in/f "1"
5 nodir/
5 var/
0 var/.wh..wh..opq
0 var/kept "3"
0 was "file"
5 wasfile/
0 wasfile/in "4"`)
	})
	changes, err := l.Changes(context.Background())
	must(t, err)
	var out strings.Builder
	for _, c := range changes {
		fmt.Fprintln(&out, c.Kind, c.Path)
	}
	t.Run("changes", func(t *testing.T) {
		same(t, out.String(), `
C /etc
A /etc/.wh.x
C /etc/b
D /etc/c
D /gone
A /new
A /new/in
A /new/in/f
A /nodir
C /var
D /var/deep
C /var/kept
D /var/lost
C /was
D /was/inner
C /wasfile
A /wasfile/in`)
	})
	if len(changes) > 0 && changes[0].Kind != container.ChangeModify {
		t.Errorf("kinds are %v", changes)
	}
}

// TestMount looks at a root filesystem that is mounted for the purpose.
func TestMount(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	for _, d := range []string{"upper", "work", "volume", "image"} {
		must(t, os.Mkdir(filepath.Join(base, d), 0o755))
	}
	plant(t, filepath.Join(base, "volume"), "sub/in=volume", "esc -> ../../../../etc")
	plant(t, filepath.Join(base, "image"), "img=image")
	l := layerSet(t, nil, []string{"etc/a=a", "vol -> /real", "real/"}, []string{"etc/b=b"})
	before, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	root, ns, err := Mount(Mounts{
		Lower: l.Lower, Upper: filepath.Join(base, "upper"), Work: filepath.Join(base, "work"), Options: []string{"redirect_dir=off", "metacopy=off"},
		Binds: []Bind{
			{Source: filepath.Join(base, "volume"), Target: "/vol", Recursive: true},
			{Source: filepath.Join(base, "volume"), Subpath: "sub", Target: "/made/here", ReadOnly: true},
			{Source: filepath.Join(base, "volume/sub/in"), Target: "/etc/a"},
			{Lower: []string{filepath.Join(base, "image"), l.Lower[1]}, Target: "/img", ReadOnly: true},
			{Source: filepath.Join(base, "nosuch"), Target: "/nosuch"},
		},
	})
	must(t, err)
	defer root.Close()
	defer ns.Close()
	during, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if !bytes.Equal(before, during) {
		t.Errorf("the host's mounts have changed:\n%s", during)
	}
	r := New(root, IDs{}, quiet)
	for path, want := range map[string]string{
		"/etc/b": "b", "/etc/a": "volume", "/vol/sub/in": "volume", "/real/sub/in": "volume", "/made/here/in": "volume", "/img/img": "image",
	} {
		var b bytes.Buffer
		if err := r.Archive(context.Background(), &b, path); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := list(t, &b); !strings.HasSuffix(got, fmt.Sprintf(" %q\n", want)) {
			t.Errorf("%s: %s", path, got)
		}
	}
	must(t, r.Extract(context.Background(), archive(t, file("n", "new")), "/vol/sub", ExtractOptions{}))
	if got, err := os.ReadFile(filepath.Join(base, "volume/sub/n")); err != nil || string(got) != "new" {
		t.Errorf("written to a volume: %q %v", got, err)
	}
	must(t, r.Extract(context.Background(), archive(t, file("n", "new")), "/etc", ExtractOptions{}))
	if got, err := os.ReadFile(filepath.Join(base, "upper/etc/n")); err != nil || string(got) != "new" {
		t.Errorf("written to the layer: %q %v", got, err)
	}
	must(t, r.Extract(context.Background(), archive(t, file("a", "in place")), "/etc", ExtractOptions{}))
	if got, err := os.ReadFile(filepath.Join(base, "volume/sub/in")); err != nil || string(got) != "in place" {
		t.Errorf("written over a mounted file: %q %v", got, err)
	}
	for _, path := range []string{"/made/here", "/img"} {
		err := r.Extract(context.Background(), archive(t, file("n", "new")), path, ExtractOptions{})
		if !errs.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), "mounted volume is marked read-only") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := r.Extract(context.Background(), archive(t, file("vol", "new")), "/", ExtractOptions{}); err == nil {
		// A link in the image, so it is replaced; the mount itself is not.
		if _, err := os.Stat(filepath.Join(base, "volume/sub")); err != nil {
			t.Error(err)
		}
	}
	if err := r.Extract(context.Background(), archive(t, file("real", "new")), "/", ExtractOptions{}); !errs.Is(err, errs.Conflict) {
		t.Errorf("putting a file in the place of a volume: %v", err)
	}
	if _, err := os.Stat(filepath.Join(base, "volume/sub")); err != nil {
		t.Error(err)
	}
	root.Close()
	ns.Close()
	again, ns, err := Mount(Mounts{Lower: l.Lower, Upper: filepath.Join(base, "upper"), Work: filepath.Join(base, "work"), ReadOnly: true})
	must(t, err)
	defer again.Close()
	defer ns.Close()
	err = New(again, IDs{}, quiet).Extract(context.Background(), archive(t, file("n", "new")), "/etc", ExtractOptions{})
	if !errs.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), "container rootfs is marked read-only") {
		t.Errorf("a read-only root: %v", err)
	}
}

// TestOverlayByName mounts layers the way of older kernels.
func TestOverlayByName(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	lower := []string{plant(t, filepath.Join(base, "a,b:c"), "f=1"), plant(t, filepath.Join(base, `d\e`), "f=2", "g=3")}
	for _, d := range []string{"upper", "work"} {
		must(t, os.Mkdir(filepath.Join(base, d), 0o755))
	}
	must(t, apart(func() error {
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
			return err
		}
		top, err := overlayByName(Mounts{Lower: lower, Upper: filepath.Join(base, "upper"), Work: filepath.Join(base, "work"), Options: []string{"redirect_dir=off"}})
		if err != nil {
			return err
		}
		defer unix.Close(top)
		for name, want := range map[string]string{"f": "1", "g": "3"} {
			fd, err := unix.Openat(top, name, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			buf := make([]byte, 10)
			n, err := unix.Read(fd, buf)
			unix.Close(fd)
			if err != nil || string(buf[:n]) != want {
				return fmt.Errorf("%s: %q %v", name, buf[:n], err)
			}
		}
		return nil
	}))
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

// FuzzExtract feeds archives that anybody may have made. Whatever they hold,
// nothing outside the root changes.
func FuzzExtract(f *testing.F) {
	needRoot(f)
	for _, entries := range [][]entry{
		{dir("a"), file("a/b", "x"), link("l", "../../etc"), hard("h", "a/b")},
		{link("l", "/"), file("l/tmp/x", "x")},
		{file("../../../x", "x"), file("/x", "y")},
	} {
		data, err := io.ReadAll(archive(f, entries...))
		must(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 || longest(data) > 16<<20 {
			return
		}
		base := t.TempDir()
		plant(t, base, "outside/victim=untouched", "root/in/")
		before := describe(t, filepath.Join(base, "outside"))
		err := openRoot(t, filepath.Join(base, "root"), IDs{}).Extract(context.Background(), bytes.NewReader(data), "/in", ExtractOptions{})
		if err != nil && errs.KindOf(err) == errs.Unknown {
			t.Errorf("an error of no kind: %v", err)
		}
		if after := describe(t, filepath.Join(base, "outside")); after != before {
			t.Errorf("outside: %s", after)
		}
		if entries, err := os.ReadDir(filepath.Join(base, "root")); err != nil || len(entries) != 1 {
			t.Errorf("beside the target: %v %v", entries, err)
		}
	})
}
