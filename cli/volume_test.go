package cli

import (
	"net/http"
	"strings"
	"testing"

	"github.com/davit-engine/davit/cli/fake"
)

func TestVolumes(t *testing.T) {
	engine := fake.Start(t)
	engine.JSON("POST /volumes/create", http.StatusCreated, map[string]any{"Name": "data", "Driver": "local"})
	engine.Handle("DELETE /volumes/{name}", func(w http.ResponseWriter, r *http.Request) {
		switch name := r.PathValue("name"); name {
		case "used":
			fake.Reply(w, http.StatusConflict, "remove used: volume is in use - [c]")
		case "absent":
			fake.Reply(w, http.StatusNotFound, "get absent: no such volume")
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	i := invocation{engine: engine}
	for args, want := range map[string]string{
		"volume create":      `{"Driver":"local"}`,
		"volume create data": `{"Driver":"local","Name":"data"}`,
		"volume create -d local -o type=tmpfs --opt device=tmpfs -o o=size=1m,uid=7 --label a=1 --label b data": `{"Driver":"local","DriverOpts":{"device":"tmpfs","o":"size=1m,uid=7","type":"tmpfs"},"Labels":{"a":"1","b":""},"Name":"data"}`,
	} {
		if got := i.run(t, strings.Fields(args)...); got != (result{"data\n", "", 0}) {
			t.Errorf("%s: %+v", args, got)
		}
		if got := strings.TrimSpace(string(engine.Last(t, "POST", "/volumes/create").Body)); got != want {
			t.Errorf("%s asked\n%s, want\n%s", args, got, want)
		}
	}
	if got := i.run(t, "volume", "rm", "used", "data", "absent"); got != (result{"data\n", "Error response from daemon: remove used: volume is in use - [c]\nError response from daemon: get absent: no such volume\n", 1}) {
		t.Errorf("%+v", got)
	}
	i.run(t, "volume", "rm", "-f", "data")
	if q := engine.Last(t, "DELETE", "/volumes/data").Query.Encode(); q != "force=1" {
		t.Errorf("asked %s", q)
	}
	// A name that is a path would ask for something else.
	if got := i.run(t, "volume", "rm", "../containers/web"); got.status != 1 || !strings.Contains(got.stderr, "no such volume") {
		t.Errorf("%+v", got)
	}
}
