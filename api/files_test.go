package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
)

// fakeFiles is the fake's container's one file, /f. An archive of it breaks off
// if the path is /broken.
type fakeFiles struct{ *fake }

var fileStat = container.PathStat{Name: "f", Size: 3, Mode: 0o644, Mtime: time.Unix(1e9, 0).UTC()}

func (f fakeFiles) StatPath(_ context.Context, ref, path string) (container.PathStat, error) {
	f.note("stat " + ref + " " + path)
	if path == "/nosuch" {
		return container.PathStat{}, errs.New(errs.NotFound, "Could not find the file /nosuch in container web")
	}
	return fileStat, f.err
}

func (f fakeFiles) ArchivePath(ctx context.Context, ref, path string) (container.PathStat, io.ReadCloser, error) {
	st, err := f.StatPath(ctx, ref, path)
	content := io.Reader(strings.NewReader("an archive"))
	if path == "/broken" {
		content = io.MultiReader(content, brokenReader{})
	}
	return st, io.NopCloser(content), err
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the disk is on fire") }

func (f fakeFiles) ExtractToDir(_ context.Context, ref, path string, content io.Reader, o engine.ExtractOptions) error {
	data, err := io.ReadAll(content)
	f.note([]any{ref, path, string(data), o})
	return errors.Join(err, f.err)
}

func (f fakeFiles) Export(_ context.Context, ref string) (io.ReadCloser, error) {
	f.note("export " + ref)
	return io.NopCloser(strings.NewReader("an archive")), f.err
}

func (f fakeFiles) Changes(_ context.Context, ref string) ([]container.FilesystemChange, error) {
	f.note("changes " + ref)
	return []container.FilesystemChange{{Kind: container.ChangeAdd, Path: "/f"}}, f.err
}

func (f fakeFiles) Commit(_ context.Context, ref string, o engine.CommitOptions) (digest.Digest, error) {
	name := ""
	if o.Ref != nil {
		name = o.Ref.String()
	}
	user := ""
	if o.Config != nil {
		user = "user " + o.Config.User
	}
	f.note([]any{ref, name, o.Author, o.Comment, strings.Join(o.Changes, "|"), user, o.Pause})
	return digest1, f.err
}

// TestArchiveHead looks at what HEAD and GET say of a file in their heads.
func TestArchiveHead(t *testing.T) {
	srv, _ := serve(t, &fake{})
	for _, method := range []string{"HEAD", "GET"} {
		resp, body := ask(t, srv, method, "/containers/web/archive?path=/f", "")
		data, err := base64.StdEncoding.DecodeString(resp.Header.Get("X-Docker-Container-Path-Stat"))
		var st container.PathStat
		if err == nil {
			err = json.Unmarshal(data, &st)
		}
		if err != nil || st != fileStat {
			t.Errorf("%s: %+v, %v", method, st, err)
		}
		if method == "GET" && (string(body) != "an archive" || resp.Header.Get("Content-Type") != "application/x-tar") {
			t.Errorf("GET: %q of type %s", body, resp.Header.Get("Content-Type"))
		}
	}
}

// TestBrokenArchive: an archive that breaks off must not look whole.
func TestBrokenArchive(t *testing.T) {
	srv, _ := serve(t, &fake{})
	resp, err := http.Get(srv.URL + "/containers/web/archive?path=/broken")
	if err != nil {
		return // before the head, just as well
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("it ended well, with %q", body)
	}
}

// TestUpload: a body that calls itself a form is an archive all the same.
func TestUpload(t *testing.T) {
	f := &fake{}
	srv, _ := serve(t, f)
	req, err := http.NewRequest("PUT", srv.URL+"/containers/web/archive?path=/d", bytes.NewReader([]byte("path=/other")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	got, _ := f.last(t).([]any)
	if resp.StatusCode != 200 || len(got) != 4 || got[1] != "/d" || got[2] != "path=/other" {
		t.Errorf("status %d, the engine was asked %v", resp.StatusCode, got)
	}
}
