package cli

import (
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/cli/fake"
)

// lines answers with messages, one JSON object each.
func lines(messages ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, strings.Join(messages, "\r\n"))
	}
}

func TestPullAndPushCarryCredentials(t *testing.T) {
	engine := fake.Start(t)
	engine.Handle("POST /images/create", lines(`{"status":"Pulling from team/x","id":"1"}`, `{"status":"Status: Image is up to date"}`))
	engine.Handle("POST /images/{name...}", lines(`{"status":"The push refers to repository [localhost:5000/team/x]"}`, `{"status":"1: digest: sha256:1 size: 5"}`,
		`{"progressDetail":{},"aux":{"Tag":"1"}}`))
	config := t.TempDir()
	text := `{"auths":{"localhost:5000":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("me:secret")) + `"}}}`
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	i := invocation{engine: engine, config: config}
	for _, c := range []struct{ args, stdout, path, query string }{
		{"pull localhost:5000/team/x:1", "1: Pulling from team/x\nStatus: Image is up to date\nlocalhost:5000/team/x:1\n", "/images/create", "fromImage=localhost%3A5000%2Fteam%2Fx&tag=1"},
		{"pull -q localhost:5000/team/x", "localhost:5000/team/x:latest\n", "/images/create", "fromImage=localhost%3A5000%2Fteam%2Fx&tag=latest"},
		{"pull localhost:5000/team/x", "Using default tag: latest\n1: Pulling from team/x\nStatus: Image is up to date\nlocalhost:5000/team/x:latest\n", "/images/create", "fromImage=localhost%3A5000%2Fteam%2Fx&tag=latest"},
		{"pull --platform linux/arm64 localhost:5000/team/x:1", "1: Pulling from team/x\nStatus: Image is up to date\nlocalhost:5000/team/x:1\n", "/images/create", "fromImage=localhost%3A5000%2Fteam%2Fx&platform=linux%2Farm64&tag=1"},
		{"pull -aq localhost:5000/team/x", "localhost:5000/team/x\n", "/images/create", "fromImage=localhost%3A5000%2Fteam%2Fx"},
		{"push localhost:5000/team/x:1", "The push refers to repository [localhost:5000/team/x]\n1: digest: sha256:1 size: 5\n", "/images/localhost:5000/team/x/push", "tag=1"},
		{"image push -q localhost:5000/team/x:1", "localhost:5000/team/x:1\n", "/images/localhost:5000/team/x/push", "tag=1"},
	} {
		got := i.run(t, strings.Fields(c.args)...)
		if got != (result{c.stdout, "", 0}) {
			t.Errorf("%s: %+v", c.args, got)
		}
		r := engine.Last(t, "POST", c.path)
		auth, err := base64.URLEncoding.DecodeString(r.Header.Get("X-Registry-Auth"))
		if err != nil || r.Query.Encode() != c.query || !strings.Contains(string(auth), `"password":"secret"`) {
			t.Errorf("%s: asked %s with %s, %v", c.args, r.Query.Encode(), auth, err)
		}
	}
	// Nobody else's registry gets to see them.
	i.run(t, "pull", "example.com/x")
	if h := engine.Last(t, "POST", "/images/create").Header.Get("X-Registry-Auth"); h != "" {
		t.Errorf("another registry was sent %q", h)
	}
}

func TestImport(t *testing.T) {
	engine := fake.Start(t)
	engine.Handle("POST /images/create", lines(`{"status":"sha256:123"}`))
	file := filepath.Join(t.TempDir(), "x.tar")
	if err := os.WriteFile(file, []byte("from a file"), 0o644); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct{ body, source string }{
		"import - x:1":                    {"from stdin", "-"},
		"import " + file:                  {"from a file", "-"},
		"import http://example.com/x.tar": {"", "http://example.com/x.tar"},
		"image import -c CMD=x -m hello --platform linux/arm64 - x": {"from stdin", "-"},
	} {
		got := invocation{engine: engine, stdin: strings.NewReader("from stdin")}.run(t, strings.Fields(args)...)
		r := engine.Last(t, "POST", "/images/create")
		if got != (result{"sha256:123\n", "", 0}) || string(r.Body) != want.body || r.Query.Get("fromSrc") != want.source {
			t.Errorf("%s: %+v, asked %v with %q", args, got, r.Query, r.Body)
		}
		if strings.Contains(args, "hello") && r.Query.Encode() != "changes=CMD%3Dx&fromSrc=-&message=hello&platform=linux%2Farm64&repo=x" {
			t.Errorf("%s asks %s", args, r.Query.Encode())
		}
	}
	if got := (invocation{engine: engine}).run(t, "import", "/does/not/exist"); got.status != 1 || !strings.Contains(got.stderr, "no such file") {
		t.Errorf("%+v", got)
	}
}

func TestTagAndRemove(t *testing.T) {
	engine := fake.Start(t)
	engine.Handle("POST /images/{name}/tag", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	engine.Handle("DELETE /images/{name}", func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("name") {
		case "used":
			fake.Reply(w, http.StatusConflict, "conflict: unable to delete used")
		case "absent":
			fake.Reply(w, http.StatusNotFound, "No such image: absent:latest")
		default:
			fake.Reply(w, http.StatusOK, []map[string]string{{"Untagged": "x:1"}, {"Deleted": "sha256:1"}})
		}
	})
	i := invocation{engine: engine}
	if got := i.run(t, "tag", "x", "example.com/y"); got != (result{}) {
		t.Errorf("%+v", got)
	}
	if q := engine.Last(t, "POST", "/images/x/tag").Query.Encode(); q != "repo=example.com%2Fy&tag=latest" {
		t.Errorf("asked %s", q)
	}
	for args, want := range map[string]result{
		"rmi x":              {"Untagged: x:1\nDeleted: sha256:1\n", "", 0},
		"rmi used x absent":  {"Untagged: x:1\nDeleted: sha256:1\n", "Error response from daemon: conflict: unable to delete used\nError response from daemon: No such image: absent:latest\n", 1},
		"image rm -f absent": {"", "Error response from daemon: No such image: absent:latest\n", 0},
		"rmi -f used":        {"", "Error response from daemon: conflict: unable to delete used\n", 1},
	} {
		if got := i.run(t, strings.Fields(args)...); got != want {
			t.Errorf("%s: %+v", args, got)
		}
	}
	i.run(t, "rmi", "-f", "--no-prune", "x")
	if q := engine.Last(t, "DELETE", "/images/x").Query.Encode(); q != "force=1&noprune=1" {
		t.Errorf("asked %s", q)
	}
}
