package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/api"
)

// FuzzRequests sends anything to every route. Whatever it is, it is the
// client's fault: no answer has a status of 500 or more, but for what the
// engine does not have, and nothing waits for ever.
func FuzzRequests(f *testing.F) {
	fake := &fake{hold: closed(), output: []string{"1out"}}
	s := api.New(fake.parts(), api.Config{Version: "0.1.0", Builder: "1", BodyTime: time.Second, Log: slog.New(slog.DiscardHandler)})
	s.EndStreams() // what would never end by itself ends at once
	patterns := s.Patterns()
	slices.SortFunc(patterns, func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	bodies := []string{
		`{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"bind"}],"Links":["a:b"]},"NetworkingConfig":{"EndpointsConfig":{"bridge":null}}}`,
		`{"Cmd":["sh"],"ConsoleSize":[1,2],"Tty":true}`, `{"Detach":true}`, `{"Memory":1,"RestartPolicy":{"Name":"always"}}`, `{"Name":"v","DriverOpts":{"type":"tmpfs"}}`,
		`{"Name":"n","EnableIPv4":false,"IPAM":{"Config":[{"Subnet":"10.0.0.0/8","IPRange":"","Gateway":"fd00::1","AuxiliaryAddresses":{"a":"::"}}]},"ConfigFrom":{"Network":"c"}}`,
		`{"Container":"web","Force":true,"EndpointConfig":{"IPAMConfig":{"LinkLocalIPs":["fe80::1"]},"MacAddress":"02:42:00:00:00:01","GwPriority":-1,"Links":null}}`,
		`{"username":"u"}`, "", "[", `{"a":{"b":[1e999]}}`,
	}
	queries := []string{
		"", "all=1&limit=-1&size=x&filters=" + url.QueryEscape(`{"label":["a=b"],"status":{"running":true}}`), "filters=%7B%22a%22%3A1%7D", "since=1.5&until=-3h&tail=x&follow=1&stdout=1",
		"t=99999999999999999999&signal=SIGX", "h=-1&w=70000", "platform=linux%2Farm64&name=a%20b", "path=..%2F..%2Fetc&noOverwriteDirNonDir=1&copyUIDGID=1", "condition=never",
		"repo=a%2Fb&tag=%2F&fromImage=x%40sha256:1", "force=1&v=1&link=1", "type=container&type=x&verbose=1", "%zz=1", "stream=0&one-shot=1&stdin=1", "changes=RUN+x&pause=0&author=%00",
	}
	for i := range patterns {
		f.Add(uint16(i), uint8(i%40), "web", queries[i%len(queries)], bodies[i%len(bodies)], "application/json", "e30=")
		f.Add(uint16(i), uint8(30), id, "", bodies[(i+3)%len(bodies)], "", "")
	}
	f.Fuzz(func(t *testing.T, route uint16, minor uint8, place, query, body, contentType, auth string) {
		if len(body) > 1<<16 || len(query) > 1<<14 || len(place) > 1<<10 {
			return
		}
		p := patterns[int(route)%len(patterns)]
		path, rest, more := strings.Cut(p[1], "{")
		for more {
			var piece string
			_, rest, _ = strings.Cut(rest, "}")
			piece, rest, more = strings.Cut(rest, "{")
			path += place + piece
		}
		if minor > 0 {
			path = fmt.Sprintf("/v1.%d%s", minor, path)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		r := (&http.Request{
			Method: p[0], URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
			ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "x",
		}).WithContext(ctx)
		for name, value := range map[string]string{"Content-Type": contentType, "X-Registry-Auth": auth} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if strings.HasSuffix(p[1], "/attach/ws") || len(auth)%2 == 1 {
			r.Header.Set("Upgrade", "tcp")
			r.Header.Set("Connection", "Upgrade")
		}
		w := &hijackable{ResponseRecorder: httptest.NewRecorder()}
		s.ServeHTTP(w, r)
		w.end()
		if err := ctx.Err(); err != nil {
			t.Errorf("%s %s?%s took too long", p[0], path, query)
		}
		if code := w.Code; code >= 500 && code != http.StatusNotImplemented && code != http.StatusServiceUnavailable {
			t.Errorf("%s %s?%s %q: status %d: %s", p[0], path, query, body, code, w.Body)
		}
	})
}

// hijackable is a recorder whose connection can be taken over: by a client that
// sends nothing and reads all.
type hijackable struct {
	*httptest.ResponseRecorder
	client net.Conn
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	server, client := net.Pipe()
	h.client = client
	go func() { _, _ = io.Copy(io.Discard, client) }()
	time.AfterFunc(5*time.Millisecond, func() { client.Close() })
	return server, bufio.NewReadWriter(bufio.NewReader(server), bufio.NewWriter(server)), nil
}

func (h *hijackable) end() {
	if h.client != nil {
		h.client.Close()
	}
}
