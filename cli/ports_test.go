package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/davit-engine/davit/cli/fake"
)

// TestPort compares with docker's client.
func TestPort(t *testing.T) {
	engine := fake.Start(t)
	body := `{"Id":"` + strings.Repeat("0123456789abcdef", 4) + `","Name":"/web","State":{},"HostConfig":{},"Config":{},"NetworkSettings":{"Ports":{
		"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],
		"443/tcp":[{"HostIp":"127.0.0.1","HostPort":"10443"},{"HostIp":"127.0.0.1","HostPort":"9443"}],
		"53/udp":[{"HostIp":"0.0.0.0","HostPort":"53"}],"99/tcp":null}}}`
	engine.Handle("GET /containers/web/json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	})
	for _, args := range [][]string{
		{"port", "web", "80"}, {"port", "web", "443/tcp"}, {"port", "web", "53/udp"}, {"port", "web", "53"}, {"port", "web", "99/tcp"}, {"port", "web"},
	} {
		got, want := invocation{engine: engine}.run(t, args...), docker(t, engine, args...)
		if got != want {
			t.Errorf("%v: %+v\ndocker: %+v", args, got, want)
		}
	}
}

// TestReach holds what docker's client does not show: who can get to a port.
func TestReach(t *testing.T) {
	engine := fake.Start(t)
	engine.JSON("GET /containers/web/json", 200, json.RawMessage(`{"Id":"a","State":{},"HostConfig":{},"Config":{},"NetworkSettings":{"Ports":{
		"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::1","HostPort":"8080"}],"443/tcp":[{"HostIp":"127.0.0.7","HostPort":"9443"}]}}}`))
	engine.JSON("GET /containers/json", 200, json.RawMessage(`[{"Id":"a","Ports":[{"IP":"127.0.0.1","PrivatePort":80,"PublicPort":80,"Type":"tcp"},{"IP":"10.0.0.1","PrivatePort":81,"PublicPort":81,"Type":"tcp"}]},
		{"Id":"b","Ports":[{"IP":"::1","PrivatePort":80,"PublicPort":81,"Type":"tcp"},{"PrivatePort":81,"Type":"tcp"}]},{"Id":"c","Ports":[{"PrivatePort":81,"Type":"tcp"}]}]`))
	for args, want := range map[string]string{
		"port web --format table":                      "PORT      ADDRESS          REACH\n80/tcp    0.0.0.0:8080     world\n80/tcp    [::1]:8080       host\n443/tcp   127.0.0.7:9443   host\n",
		"port web --json 443":                          `{"Address":"127.0.0.7:9443","HostIP":"127.0.0.7","HostPort":"9443","Port":"443/tcp","Reach":"host"}` + "\n",
		"ps -a --no-trunc --format {{.ID}}={{.Reach}}": "a=world\nb=host\nc=\n",
	} {
		if got := (invocation{engine: engine}).run(t, strings.Fields(args)...); got != (result{want, "", 0}) {
			t.Errorf("%s: %+v, want %q", args, got, want)
		}
	}
}

// TestPortsColumn compares ps with docker's client, on containers with ports of
// all kinds.
func TestPortsColumn(t *testing.T) {
	engine := fake.Start(t)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	var list []any
	for i := range 200 {
		var ports []string
		for range random.IntN(12) {
			private := 80 + random.IntN(6)
			port := fmt.Sprintf(`{"PrivatePort":%d,"Type":%q}`, private, pick("tcp", "udp", "sctp"))
			if ip := pick("", "0.0.0.0", "127.0.0.1", "::"); ip != "" {
				public := private
				if random.IntN(2) == 0 {
					public = 8080 + random.IntN(3)
				}
				port = fmt.Sprintf(`{"IP":%q,"PublicPort":%d,%s`, ip, public, port[1:])
			}
			if !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
		list = append(list, map[string]any{"Id": strings.Repeat("a", 64), "Names": []string{fmt.Sprintf("/c%d", i)}, "Ports": json.RawMessage("[" + strings.Join(ports, ",") + "]")})
	}
	engine.JSON("GET /containers/json", 200, list)
	args := []string{"ps", "--format", "{{.Names}} {{.Ports}}"}
	got, want := invocation{engine: engine}.run(t, args...), docker(t, engine, args...)
	ours, theirs := strings.Split(got.stdout, "\n"), strings.Split(want.stdout, "\n")
	if len(ours) != len(theirs) || len(ours) < 200 {
		t.Fatalf("%d lines, docker %d", len(ours), len(theirs))
	}
	for i := range ours {
		if ours[i] != theirs[i] {
			t.Errorf("davit  %s\ndocker %s", ours[i], theirs[i])
		}
	}
}
