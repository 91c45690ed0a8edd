package api_test

import (
	"context"
	"testing"

	"github.com/davit-engine/davit/dialect"
)

type fakeExplainer struct{ *fake }

func (f fakeExplainer) Container(_ context.Context, ref string) (dialect.Explanation, error) {
	return dialect.Explanation{Kind: "container", Name: ref}, f.find(ref)
}

func (f fakeExplainer) Image(_ context.Context, ref string) (dialect.Explanation, error) {
	return dialect.Explanation{Kind: "image", Name: ref}, f.known(ref)
}

func (f fakeExplainer) known(ref string) error { return fakeImages(f).known(ref) }

func TestExplain(t *testing.T) {
	for path, want := range map[string]struct {
		status     int
		kind, name string
	}{
		"/containers/web/explain":                       {200, "container", "web"},
		"/containers/nobody/explain":                    {404, "", ""},
		"/images/docker.io/library/busybox/explain":     {200, "image", "docker.io/library/busybox"},
		"/v1.41/images/docker.io%2Flibrary%2Fx/explain": {404, "", ""},
	} {
		srv, _ := serve(t, &fake{})
		resp, body := ask(t, srv, "GET", path, "")
		if resp.StatusCode != want.status {
			t.Errorf("%s: status %d, want %d: %s", path, resp.StatusCode, want.status, body)
		} else if got := object(t, body); want.kind != "" && (got["Kind"] != want.kind || got["Name"] != want.name) {
			t.Errorf("%s: %s", path, body)
		}
	}
}
