package parcel

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

// receiver keeps what is read.
type receiver struct {
	dir    string
	header Header
	layer  []string
	fail   error // of Layer
}

func (r *receiver) Begin(h Header) error { r.header = h; return nil }

func (r *receiver) Layer(in io.Reader) error {
	if r.fail != nil {
		return r.fail
	}
	return each(tar.NewReader(in), func(h *tar.Header, content io.Reader) error {
		b, err := io.ReadAll(content)
		r.layer = append(r.layer, fmt.Sprintf("%c %s %s%s %v", h.Typeflag, h.Name, h.Linkname, b, h.PAXRecords["SCHILY.xattr.user.a"]))
		return err
	})
}

func (r *receiver) Files() (string, error) { return r.dir, nil }

func header() Header {
	return Header{Checkpoint: "one", Image: Image{ID: "sha256:1", Name: "busybox"},
		Request: dialect.Request{Name: "web", CreateRequest: container.CreateRequest{Config: &container.Config{Image: "busybox"}}}}
}

// archived is an archive with everything in it.
func archived(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"pages-1.img": strings.Repeat("p", 5000), "inventory.img": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	err := Write(&out, header(), func(w io.Writer) error {
		tw := tar.NewWriter(w)
		for _, h := range []*tar.Header{
			{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "etc/motd", Size: 2, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}},
			{Name: "etc/same", Typeflag: tar.TypeLink, Linkname: "etc/motd"},
			{Name: "etc/soft", Typeflag: tar.TypeSymlink, Linkname: "layer/x"},
			{Name: ".wh.gone"},
		} {
			if err := tw.WriteHeader(h); err != nil {
				return err
			}
			if _, err := io.CopyN(tw, strings.NewReader("hi"), h.Size); err != nil {
				return err
			}
		}
		return tw.Close()
	}, dir)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestThereAndBack(t *testing.T) {
	r := &receiver{dir: t.TempDir()}
	if err := Read(bytes.NewReader(archived(t)), r); err != nil {
		t.Fatal(err)
	}
	if r.header.Checkpoint != "one" || r.header.Image.Name != "busybox" || r.header.Request.Config.Image != "busybox" || r.header.Format != Format {
		t.Errorf("header %+v", r.header)
	}
	want := "[5 etc/  ; 0 etc/motd hi b; 1 etc/same etc/motd ; 2 etc/soft layer/x ; 0 .wh.gone  ]"
	if got := "[" + strings.Join(r.layer, "; ") + "]"; got != want {
		t.Errorf("layer %s, want %s", got, want)
	}
	b, err := os.ReadFile(filepath.Join(r.dir, "pages-1.img"))
	if err != nil || len(b) != 5000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if entries, _ := os.ReadDir(r.dir); len(entries) != 2 {
		t.Errorf("files %v", entries)
	}
}

func TestReadRefuses(t *testing.T) {
	good := `{"Format":1,"Checkpoint":"one","Image":{"ID":"x"},"Request":{"Image":"busybox"}}`
	entry := func(tw *tar.Writer, h tar.Header, content string) {
		h.Size = int64(len(content))
		if err := errors.Join(tw.WriteHeader(&h), func() error { _, err := io.WriteString(tw, content); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		write func(tw *tar.Writer)
		want  string
	}{
		"nothing":        {func(*tar.Writer) {}, "EOF"},
		"something else": {func(tw *tar.Writer) { entry(tw, tar.Header{Name: "manifest.json"}, "{}") }, "begins with"},
		"newer":          {func(tw *tar.Writer) { entry(tw, tar.Header{Name: headerName}, `{"Format":2}`) }, "newer engine"},
		"no container":   {func(tw *tar.Writer) { entry(tw, tar.Header{Name: headerName}, `{"Format":1}`) }, "lacks"},
		"way out": {func(tw *tar.Writer) {
			entry(tw, tar.Header{Name: headerName}, good)
			entry(tw, tar.Header{Name: "checkpoint/../../x"}, "x")
		}, "no file of criu's"},
		"a link for a file": {func(tw *tar.Writer) {
			entry(tw, tar.Header{Name: headerName}, good)
			entry(tw, tar.Header{Name: "checkpoint/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, "")
		}, "no file of criu's"},
		"twice": {func(tw *tar.Writer) {
			entry(tw, tar.Header{Name: headerName}, good)
			entry(tw, tar.Header{Name: "checkpoint/x"}, "x")
			entry(tw, tar.Header{Name: "checkpoint/x"}, "y")
		}, "file exists"},
		"a link out of the layer": {func(tw *tar.Writer) {
			entry(tw, tar.Header{Name: headerName}, good)
			entry(tw, tar.Header{Name: "layer/x", Typeflag: tar.TypeLink, Linkname: "checkpoint/x"}, "")
		}, "not in the layer"},
		"layer too late": {func(tw *tar.Writer) {
			entry(tw, tar.Header{Name: headerName}, good)
			entry(tw, tar.Header{Name: "checkpoint/x"}, "x")
			entry(tw, tar.Header{Name: "layer/x"}, "x")
		}, "no file of criu's"},
	} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		c.write(tw)
		_ = tw.Close()
		err := Read(&b, &receiver{dir: t.TempDir()})
		if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	failed := errors.New("disk full")
	if err := Read(bytes.NewReader(archived(t)), &receiver{dir: t.TempDir(), fail: failed}); !errors.Is(err, failed) {
		t.Errorf("a layer that cannot be made: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archived(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		above := t.TempDir()
		dir := filepath.Join(above, "files")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = Read(bytes.NewReader(data), &receiver{dir: dir})
		if entries, _ := os.ReadDir(above); len(entries) != 1 {
			t.Errorf("files outside: %v", entries)
		}
	})
}
