package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/davit-engine/davit/cli/fake"
)

// TestUpdateRequests looks at what update asks the engine for.
func TestUpdateRequests(t *testing.T) {
	for _, c := range []struct {
		args []string
		path string // "" if nothing is asked
		body string // JSON, of which the zero fields were taken out
		text string // in what is printed
	}{
		{args: []string{"-m", "64m", "--restart", "always"}, path: "/update", body: `{"Memory":67108864,"RestartPolicy":{"Name":"always"}}`},
		{args: []string{"--pids-limit", "0"}, path: "/update", body: `{"PidsLimit":0}`},
		{args: []string{"-e", "A=1", "--env-rm", "B", "-l", "c=d", "--cpus", "2"}, path: "/change",
			body: `{"Env":{"A":"1","B":null},"Labels":{"c":"d"},"Resources":{"NanoCpus":2000000000}}`},
		{args: []string{"-p", "127.0.0.1:8080:80", "--publish-rm", "53/udp"}, path: "/change",
			body: `{"PortBindings":{"53/udp":null,"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]},"Resources":{}}`},
		{args: []string{"--network", "back", "--network-rm", "bridge"}, path: "/change", body: `{"Networks":{"back":{},"bridge":null},"Resources":{}}`},
		{args: []string{"--network-rate", "up=10mbit"}, path: "/change", body: `{"NetworkRate":"up=10mbit","Resources":{}}`},
		{args: []string{"-v", "/srv:/data/:ro", "--mount", "type=volume,src=v,dst=/v", "--tmpfs", "/t", "--mount-rm", "/old"}, path: "/change",
			body: `{"Mounts":{"/data":{"BindOptions":{"CreateMountpoint":true},"ReadOnly":true,"Source":"/srv","Target":"/data/","Type":"bind"},"/old":null,` +
				`"/t":{"Target":"/t","Type":"tmpfs"},"/v":{"Source":"v","Target":"/v","Type":"volume"}},"Resources":{}}`},
		{args: []string{"--health-interval", "5s", "--hostname", "h", "--stop-signal", "INT", "--stop-timeout", "0"}, path: "/change",
			body: `{"Healthcheck":{"Interval":5000000000},"Hostname":"h","Resources":{},"StopSignal":"INT","StopTimeout":0}`},
		{args: []string{"--dry-run", "-m", "64m"}, path: "/change?dry-run=1", body: `{"Resources":{"Memory":67108864}}`, text: "web: all is so already"},
		{args: []string{"-e", "A=1", "--env-rm", "A"}, text: "conflicting options: --env and --env-rm of A"},
		{args: []string{"-v", "/a:/x", "--mount-rm", "/x"}, text: "conflicting options: a mount at /x and --mount-rm of it"},
		{args: []string{"-v", "/a:/x:z"}, text: "option z is not known here"},
		{args: []string{"-e", "DAVIT_TEST_NOT_SET"}, text: "variable DAVIT_TEST_NOT_SET has no value here"},
		{args: []string{"--json", "-m", "64m"}, text: "--json is for --dry-run"},
		{args: nil, text: "you must provide one or more flags"},
	} {
		engine := fake.Start(t)
		var path, body string
		for verb, answer := range map[string]any{"update": map[string]any{"Warnings": []string{}}, "change": map[string]any{"Settings": []any{}}} {
			engine.Handle("POST /containers/web/"+verb, func(w http.ResponseWriter, r *http.Request) {
				path = "/" + verb
				if r.URL.RawQuery != "" {
					path += "?" + r.URL.RawQuery
				}
				var v any
				if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
					t.Error(err)
				}
				text, err := json.Marshal(sparse(v, true))
				if err != nil {
					t.Error(err)
				}
				body = string(text)
				fake.Reply(w, http.StatusOK, answer)
			})
		}
		got := invocation{engine: engine}.run(t, append(append([]string{"update"}, c.args...), "web")...)
		if path != c.path || body != c.body {
			t.Errorf("%v: POST %s %s\nwant %s %s\n%+v", c.args, path, body, c.path, c.body, got)
		}
		if !strings.Contains(got.stdout+got.stderr, c.text) {
			t.Errorf("%v: %+v\nwant in it: %s", c.args, got, c.text)
		}
	}
}

// sparse takes empty values out of decoded JSON; at the top and where a null
// takes something away they stay.
func sparse(v any, keep bool) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for k, x := range m {
		x = sparse(x, k == "Env" || k == "PortBindings" || k == "Networks" || k == "Mounts")
		m[k] = x
		if keep && k != "RestartPolicy" {
			continue
		}
		switch x := x.(type) {
		case nil:
			delete(m, k)
		case float64:
			if x == 0 {
				delete(m, k)
			}
		case string:
			if x == "" {
				delete(m, k)
			}
		case map[string]any:
			if len(x) == 0 {
				delete(m, k)
			}
		}
	}
	return m
}
