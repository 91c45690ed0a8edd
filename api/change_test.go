package api_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

func (f *fake) Update(_ context.Context, ref string, wish container.UpdateConfig) (container.UpdateResponse, error) {
	f.note(wish)
	return container.UpdateResponse{Warnings: []string{}}, f.find(ref)
}

func (f *fake) Change(_ context.Context, ref string, wish *dialect.Change, dry bool) (dialect.Plan, error) {
	f.note([]any{*wish, dry})
	return dialect.Plan{Settings: []dialect.Setting{}, Warnings: []string{}}, f.find(ref)
}

func (f *fake) Request(_ context.Context, ref string) (dialect.Request, error) {
	f.note("request " + ref)
	return dialect.Request{Name: "web", CreateRequest: container.CreateRequest{Config: &container.Config{Image: "busybox"}}}, f.find(ref)
}

func TestRequest(t *testing.T) {
	f := &fake{}
	srv, _ := serve(t, f)
	resp, body := ask(t, srv, "GET", "/containers/web/request", "")
	if got := object(t, body); resp.StatusCode != 200 || got["Image"] != "busybox" || got["Name"] != "web" || f.last(t) != "request web" {
		t.Errorf("status %d: %s; the engine was asked for %v", resp.StatusCode, body, f.last(t))
	}
}

func TestChange(t *testing.T) {
	one := "1"
	for _, c := range []struct {
		path, body string
		status     int
		message    string
		want       any
	}{
		{"/containers/web/change?dry-run=1", `{"Env":{"A":"1","B":null}}`, 200, "", []any{dialect.Change{Env: map[string]*string{"A": &one, "B": nil}}, true}},
		{"/containers/web/change", `{}`, 200, "", []any{dialect.Change{}, false}},
		{"/containers/web/change", `{"Envs":{}}`, 400, `invalid JSON: json: unknown field "Envs"`, nil},
		{"/containers/nobody/change", `{}`, 404, "No such container: nobody", nil},
	} {
		f := &fake{}
		srv, _ := serve(t, f)
		resp, body := ask(t, srv, "POST", c.path, c.body)
		switch {
		case resp.StatusCode != c.status:
			t.Errorf("%s %s: status %d, want %d: %s", c.path, c.body, resp.StatusCode, c.status, body)
		case c.message != "" && message(t, body) != c.message:
			t.Errorf("%s %s: %q, want %q", c.path, c.body, message(t, body), c.message)
		case c.want != nil && !reflect.DeepEqual(f.last(t), c.want):
			t.Errorf("%s %s: the engine was asked %+v, want %+v", c.path, c.body, f.last(t), c.want)
		}
	}
}

func TestUpdate(t *testing.T) {
	pids := int64(7)
	for _, c := range []struct {
		path, body string
		status     int
		message    string
		want       *container.UpdateConfig
	}{
		{"/containers/web/update", `{"Memory":67108864,"RestartPolicy":{"Name":"always"}}`, 200, "",
			&container.UpdateConfig{Resources: container.Resources{Memory: 64 << 20}, RestartPolicy: container.RestartPolicy{Name: "always"}}},
		{"/containers/web/update", `{"PidsLimit":7}`, 200, "", &container.UpdateConfig{Resources: container.Resources{PidsLimit: &pids}}},
		{"/v1.39/containers/web/update", `{"PidsLimit":7}`, 200, "", &container.UpdateConfig{}},
		{"/containers/web/update", `{`, 400, "invalid JSON: unexpected EOF", nil},
		{"/containers/web/update", ``, 400, "invalid JSON: got EOF while reading request body", nil},
		{"/containers/web/update", `{} {}`, 400, "unexpected content after JSON", nil},
		{"/containers/nobody/update", `{}`, 404, "No such container: nobody", nil},
	} {
		f := &fake{}
		srv, _ := serve(t, f)
		resp, body := ask(t, srv, "POST", c.path, c.body)
		if resp.StatusCode != c.status {
			t.Errorf("%s %s: status %d, want %d: %s", c.path, c.body, resp.StatusCode, c.status, body)
			continue
		}
		if c.message != "" && message(t, body) != c.message {
			t.Errorf("%s %s: %q, want %q", c.path, c.body, message(t, body), c.message)
		}
		if c.want != nil {
			if got := f.last(t); !reflect.DeepEqual(got, *c.want) {
				t.Errorf("%s %s: the engine was asked %+v, want %+v", c.path, c.body, got, *c.want)
			}
		}
	}
	f := &fake{err: errs.New(errs.Conflict, "Cannot update container x: no")}
	srv, _ := serve(t, f)
	if resp, body := ask(t, srv, "POST", "/containers/web/update", "{}"); resp.StatusCode != 409 {
		t.Errorf("a conflict: status %d: %s", resp.StatusCode, body)
	}
}
