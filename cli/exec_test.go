package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/cli/fake"
)

// execEngine is an engine with the container "web" and its execs.
func execEngine(t *testing.T) *fake.Engine {
	t.Helper()
	e := fake.Start(t)
	e.JSON("POST /containers/web/exec", 201, container.ExecCreateResponse{ID: "abc"})
	e.JSON("POST /containers/gone/exec", 409, "container gone is not running")
	e.JSON("GET /containers/web/json", 200, container.InspectResponse{ID: "web-id", Name: "/web", ExecIDs: []string{"abc", "def"}})
	code := 3
	e.JSON("GET /exec/abc/json", 200, container.ExecInspectResponse{
		ID: "abcabcabcabcabc", Running: true, Pid: 42, ProcessConfig: &container.ExecProcessConfig{Entrypoint: "sh", Arguments: []string{"-c", "x"}, User: "me"},
	})
	e.JSON("GET /exec/def/json", 200, container.ExecInspectResponse{ID: "def", ExitCode: &code, ProcessConfig: &container.ExecProcessConfig{Entrypoint: "true"}})
	e.JSON("POST /exec/nosuch/kill", 404, "No such exec instance: nosuch")
	for _, at := range []string{"POST /exec/abc/kill", "POST /exec/abc/start"} {
		e.Handle(at, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	}
	return e
}

func TestExecRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("F=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := execEngine(t)
	args := []string{"exec", "-d", "-it", "--privileged", "-u", "me", "-w", "/d", "-e", "A=1", "--env-file", file, "--detach-keys", "ctrl-a", "web", "sh", "-c", "x"}
	if got := (invocation{engine: e}).run(t, args...); got != (result{}) {
		t.Errorf("%+v", got)
	}
	var r container.ExecCreateRequest
	if err := json.Unmarshal(e.Last(t, "POST", "/containers/web/exec").Body, &r); err != nil {
		t.Fatal(err)
	}
	if r.AttachStdin || r.AttachStdout || !r.Tty || !r.Privileged || r.User != "me" || r.WorkingDir != "/d" || r.DetachKeys != "ctrl-a" ||
		strings.Join(r.Env, " ") != "F=1 A=1" || strings.Join(r.Cmd, " ") != "sh -c x" {
		t.Errorf("%+v", r)
	}
	if body := string(e.Last(t, "POST", "/exec/abc/start").Body); !strings.Contains(body, `"Detach":true`) {
		t.Errorf("start: %s", body)
	}
}

func TestExecVerbs(t *testing.T) {
	for _, c := range []struct {
		args, stdout, stderr string
		status               int
		last                 string // request, with its query
	}{
		{"exec ls web", "EXEC ID        CONTAINER   COMMAND     USER      PID       STATUS\nabcabcabcabc   web         \"sh -c x\"   me        42        Running\n", "", 0, ""},
		{"exec ls -aq web", "abcabcabcabc\ndef\n", "", 0, ""},
		{"exec ls -a --format {{.Status}} web", "Running\nExited (3)\n", "", 0, ""},
		{"exec kill abc", "abc\n", "", 0, "POST /exec/abc/kill"},
		{"container exec kill -s TERM abc", "abc\n", "", 0, "POST /exec/abc/kill signal=TERM"},
		{"exec kill nosuch", "", "Error response from daemon: No such exec instance: nosuch\n", 1, ""},
		{"exec gone true", "", "Error response from daemon: container gone is not running\n", 1, ""},
		{"exec -it web sh", "", "the input device is not a TTY\n", 1, ""},
		{"exec -d --die-with-client web sh", "", "conflicting options: --detach and --die-with-client: a detached command has no client\n", 1, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			e := execEngine(t)
			if got := (invocation{engine: e}).run(t, strings.Fields(c.args)...); got != (result{c.stdout, c.stderr, c.status}) {
				t.Errorf("got %+v", got)
			}
			all := e.Requests()
			if c.last == "" || len(all) == 0 {
				return
			}
			last := all[len(all)-1]
			if got := strings.TrimSpace(last.Method + " " + last.Path + " " + last.Query.Encode()); got != c.last {
				t.Errorf("asked %s, want %s", got, c.last)
			}
		})
	}
	// A container of that name is meant.
	e := execEngine(t)
	e.JSON("GET /containers/kill/json", 200, container.InspectResponse{ID: "kill-id", Name: "/kill"})
	e.JSON("POST /containers/kill/exec", 409, "container kill is not running")
	if got := (invocation{engine: e}).run(t, "exec", "kill", "abc"); !strings.Contains(got.stderr, "container kill is not running") {
		t.Errorf("got %+v", got)
	}
	if got := (invocation{engine: execEngine(t)}).run(t, "exec", "web"); got.status != 1 || !strings.Contains(got.stderr, "'davit exec' requires at least 2 arguments") {
		t.Errorf("got %+v", got)
	}
}
