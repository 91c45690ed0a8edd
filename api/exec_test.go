package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/multiplex"
	"github.com/moby/moby/api/types/container"
)

// fakeExecs are the fake's execs: "abc" is the only one.
type fakeExecs struct{ *fake }

func (f fakeExecs) exec(id string) error {
	switch {
	case f.err != nil:
		return f.err
	case id != "abc":
		return errs.New(errs.NotFound, "No such exec instance: %s", id)
	}
	return nil
}

func (f fakeExecs) Create(_ context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	f.note(r)
	return "abc", f.find(ref)
}

func (f fakeExecs) Start(_ context.Context, id string, o engine.ExecStartOptions) error {
	hijack := o.Hijack
	o.Hijack = nil
	f.note(o)
	if err := f.exec(id); err != nil || o.Detach {
		return err
	}
	conn, _, err := hijack(o.Tty)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(multiplex.Writer{W: conn, Stream: multiplex.Stdout}, "exec out")
	return nil
}

func (f fakeExecs) Inspect(_ context.Context, id string) (container.ExecInspectResponse, error) {
	code, no := 3, false
	return container.ExecInspectResponse{
		ID: id, ContainerID: id, ExitCode: &code, DetachKeys: []byte{}, ProcessConfig: &container.ExecProcessConfig{Entrypoint: "true", Arguments: []string{}, Privileged: &no},
	}, f.exec(id)
}

func (f fakeExecs) Resize(_ context.Context, id string, height, width uint32) error {
	f.note([2]uint32{height, width})
	return f.exec(id)
}

func (f fakeExecs) Kill(_ context.Context, id, signal string) error {
	f.note(signal)
	return f.exec(id)
}

func TestExecRoutes(t *testing.T) {
	size := [2]uint{24, 80}
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		want                     string // in the answer
		asked                    any    // of the engine; nil: nothing is compared
	}{
		{"create", "POST", "/containers/web/exec", `{"Cmd":["a"],"Env":["A=b"],"Tty":true,"ConsoleSize":[24,80]}`, 201, `"Id":"abc"`,
			container.ExecCreateRequest{Cmd: []string{"a"}, Env: []string{"A=b"}, Tty: true, ConsoleSize: &size}},
		{"create before sizes were", "POST", "/v1.41/containers/web/exec", `{"Cmd":["a"],"Tty":true,"ConsoleSize":[24,80]}`, 201, `"Id":"abc"`,
			container.ExecCreateRequest{Cmd: []string{"a"}, Tty: true}},
		{"create nowhere", "POST", "/containers/nothing/exec", `{"Cmd":["a"]}`, 404, "No such container: nothing", nil},
		{"create with no body", "POST", "/containers/web/exec", ``, 400, "got EOF while reading request body", nil},
		{"create with text", "POST", "/containers/web/exec", `{"Cmd":1}`, 400, "invalid JSON", nil},
		{"create with more", "POST", "/containers/web/exec", `{"Cmd":["a"]}{}`, 400, "unexpected content after JSON", nil},
		{"create with 5 MB", "POST", "/containers/web/exec", `{"Cmd":["` + strings.Repeat("a", 5<<20) + `"]}`, 400, "too large", nil},
		{"start", "POST", "/exec/abc/start?dieWithClient=1", `{"Detach":true,"ConsoleSize":[24,80]}`, 200, "", engine.ExecStartOptions{Detach: true, DieWithClient: true}},
		{"start nothing", "POST", "/exec/x/start", `{}`, 404, "No such exec instance: x", nil},
		{"inspect", "GET", "/exec/abc/json", "", 200, `"ExitCode":3`, nil},
		{"inspect nothing", "GET", "/exec/x/json", "", 404, "No such exec instance: x", nil},
		{"resize", "POST", "/exec/abc/resize?h=1&w=2", "", 200, "", [2]uint32{1, 2}},
		{"resize to what", "POST", "/exec/abc/resize?h=1", "", 400, "invalid resize width", nil},
		{"kill", "POST", "/exec/abc/kill?signal=TERM", "", 204, "", "TERM"},
		{"kill nothing", "POST", "/exec/x/kill", "", 404, "No such exec instance: x", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fake{}
			srv, _ := serve(t, f)
			resp, body := ask(t, srv, tc.method, tc.path, tc.body)
			if resp.StatusCode != tc.status || !strings.Contains(string(body), tc.want) {
				t.Errorf("got %d %s, want %d %s", resp.StatusCode, body, tc.status, tc.want)
			}
			if tc.asked != nil && fmt.Sprintf("%+v", f.got) == "[]" {
				t.Fatal("the engine was not asked")
			}
			if tc.asked != nil {
				same(t, f.got[len(f.got)-1], tc.asked)
			}
		})
	}
}

// same compares what the engine was asked.
func same(t *testing.T, got, want any) {
	t.Helper()
	if g, ok := got.(container.ExecCreateRequest); ok {
		w := want.(container.ExecCreateRequest)
		if (g.ConsoleSize == nil) != (w.ConsoleSize == nil) || g.ConsoleSize != nil && *g.ConsoleSize != *w.ConsoleSize {
			t.Errorf("size %v, want %v", g.ConsoleSize, w.ConsoleSize)
		}
		g.ConsoleSize, w.ConsoleSize = nil, nil
		got, want = g, w
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("asked %+v, want %+v", got, want)
	}
}

func TestExecHead(t *testing.T) {
	for _, tc := range []struct {
		path, body, want string
	}{
		{"/exec/abc/start", `{}`, "application/vnd.docker.multiplexed-stream"},
		{"/exec/abc/start", `{"Tty":true}`, "application/vnd.docker.raw-stream"},
		{"/v1.41/exec/abc/start", `{}`, "application/vnd.docker.raw-stream"},
	} {
		srv, _ := serve(t, &fake{})
		resp, _ := ask(t, srv, "POST", tc.path, tc.body, "Upgrade", "tcp", "Connection", "Upgrade")
		if ct := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusSwitchingProtocols || ct != tc.want {
			t.Errorf("%s %s: %d %q, want 101 %q", tc.path, tc.body, resp.StatusCode, ct, tc.want)
		}
	}
}
