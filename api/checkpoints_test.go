package api_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/davit-engine/davit/dialect"
	"github.com/moby/moby/api/types/checkpoint"
)

// fakeCheckpoints are the checkpoints of the fake's container.
type fakeCheckpoints struct{ *fake }

func (f fakeCheckpoints) Create(_ context.Context, ref string, o checkpoint.CreateRequest) error {
	f.note(o)
	return f.find(ref)
}

func (f fakeCheckpoints) List(_ context.Context, ref, dir string) ([]checkpoint.Summary, error) {
	f.note(dir)
	return []checkpoint.Summary{{Name: "one"}}, f.find(ref)
}

func (f fakeCheckpoints) Remove(_ context.Context, ref, dir, name string) error {
	f.note(dir + " " + name)
	return f.find(ref)
}

func (f fakeCheckpoints) Export(_ context.Context, ref, dir, name string) (io.ReadCloser, error) {
	f.note(dir + " " + name)
	return io.NopCloser(strings.NewReader("an archive")), f.find(ref)
}

func (f fakeCheckpoints) Import(_ context.Context, name string, archive io.Reader) (dialect.ImportedCheckpoint, error) {
	content, err := io.ReadAll(archive)
	f.note(name + " " + string(content))
	return dialect.ImportedCheckpoint{ID: id, Checkpoint: "one"}, err
}

func TestCheckpointRoutes(t *testing.T) {
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string // in the answer
		asked              any    // of the engine; nil: nothing is compared
	}{
		{"POST", "/containers/web/checkpoints", `{"CheckpointID":"one","Exit":true}`, 201, "", checkpoint.CreateRequest{CheckpointID: "one", Exit: true}},
		{"POST", "/containers/nothing/checkpoints", `{"CheckpointID":"one"}`, 404, "No such container: nothing", nil},
		{"POST", "/containers/web/checkpoints", ``, 400, "EOF", nil},
		{"GET", "/containers/web/checkpoints?dir=/d", "", 200, `[{"Name":"one"}]`, "/d"},
		{"DELETE", "/containers/web/checkpoints/one?dir=/d", "", 204, "", "/d one"},
		{"GET", "/containers/web/checkpoints/one/export?dir=/d", "", 200, "an archive", "/d one"},
		{"GET", "/containers/nothing/checkpoints/one/export", "", 404, "No such container", nil},
		{"POST", "/checkpoints/import?name=new", "an archive", 201, `"Checkpoint":"one","Warnings":[]`, "new an archive"},
		{"POST", "/containers/web/start?checkpoint=one", "", 204, "", "start webone"},
	} {
		t.Run(tc.method+tc.path, func(t *testing.T) {
			f := &fake{}
			srv, _ := serve(t, f)
			resp, body := ask(t, srv, tc.method, tc.path, tc.body)
			if resp.StatusCode != tc.status || !strings.Contains(string(body), tc.want) {
				t.Errorf("got %d %s, want %d %s", resp.StatusCode, body, tc.status, tc.want)
			}
			if tc.asked != nil && (len(f.got) == 0 || fmt.Sprint(f.got[len(f.got)-1]) != fmt.Sprint(tc.asked)) {
				t.Errorf("asked %v, want %v", f.got, tc.asked)
			}
		})
	}
}
