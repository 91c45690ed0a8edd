package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// engine answers on every transport that the client has.
type engine struct {
	newest int // of the API, 0 for an engine that does not say

	mu       sync.Mutex
	requests []string // guarded by mu
	*http.ServeMux
}

// ServeHTTP implements http.Handler as Docker does: the version comes first.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.requests = append(e.requests, r.Method+" "+r.URL.RequestURI())
	e.mu.Unlock()
	if e.newest > 0 {
		w.Header().Set("Api-Version", fmt.Sprintf("1.%d", e.newest))
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/base"); ok {
		r.URL.Path = rest
	}
	var version int
	if n, _ := fmt.Sscanf(r.URL.Path, "/v1.%d/", &version); n == 1 {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, fmt.Sprintf("/v1.%d", version))
	}
	if e.newest > 0 && version > e.newest {
		reply(w, http.StatusBadRequest, `{"message":"client version 1.%d is too new. Maximum supported API version is 1.%d"}`, version, e.newest)
		return
	}
	e.ServeMux.ServeHTTP(w, r)
}

func reply(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, format, args...)
}

func newEngine(newest int) *engine {
	e := &engine{newest: newest, ServeMux: http.NewServeMux()}
	e.HandleFunc("/_ping", func(http.ResponseWriter, *http.Request) {})
	e.HandleFunc("GET /containers/json", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `[{"Id":"a"},{"Id":"b"}]`) })
	e.HandleFunc("POST /images/create", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		reply(w, 200, `{"status":"%d bytes, %v"}`, n, err)
	})
	e.HandleFunc("POST /containers/{id}/attach", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello ")
		_, _ = io.Copy(conn, rw)
	})
	return e
}

// listen serves on a unix socket and returns its path.
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return path
}

func connect(t *testing.T, c Config) *Client {
	t.Helper()
	got, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestWarn passes on what the engine adds to an answer.
func TestWarn(t *testing.T) {
	path := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Davit-Warning"] = []string{"one", "two"}
		w.WriteHeader(http.StatusNoContent)
	}))
	var got []string
	c := connect(t, Config{Host: "unix://" + path, Warn: func(text string) { got = append(got, text) }})
	if err := c.Containers.Stop(t.Context(), "web", StopOptions{}); err != nil || strings.Join(got, " ") != "one two" {
		t.Errorf("%q %v", got, err)
	}
	if err := connect(t, Config{Host: "unix://" + path}).Containers.Stop(t.Context(), "web", StopOptions{}); err != nil {
		t.Error(err)
	}
}

// TestTransports has the same conversation over each of them: a list, an
// upload, and an attachment whose input ends before its output.
func TestTransports(t *testing.T) {
	e := newEngine(51)
	path := listen(t, e)
	plain := httptest.NewServer(e)
	defer plain.Close()
	secure := httptest.NewTLSServer(e)
	defer secure.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	trust := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	_, address, _ := strings.Cut(plain.URL, "://")
	_, secureAddress, _ := strings.Cut(secure.URL, "://")

	for name, c := range map[string]Config{
		"unix": {Host: "unix://" + path}, "tcp": {Host: "tcp://" + address}, "http": {Host: "http://" + address}, "path": {Host: "tcp://" + address + "/base"},
		"tcp, TLS": {Host: "tcp://" + secureAddress, TLS: trust}, "https": {Host: "https://" + secureAddress, TLS: trust},
		"dialled": {Host: "ssh://far", Dial: func(context.Context) (net.Conn, error) { return net.Dial("unix", path) }},
	} {
		t.Run(name, func(t *testing.T) {
			api, ctx := connect(t, c), t.Context()
			for range 2 {
				if list, err := api.Containers.List(ctx, ListOptions{}); err != nil || len(list) != 2 || list[1].ID != "b" {
					t.Errorf("list: %v, %v", list, err)
				}
			}
			if v := api.APIVersion(); v != "1.51" {
				t.Errorf("speaks %s", v)
			}
			answer, err := api.Images.Import(ctx, ImportOptions{Source: "-", Upload: strings.NewReader(strings.Repeat("x", 1<<20))})
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(answer); err != nil || string(text) != `{"status":"1048576 bytes, <nil>"}` {
				t.Errorf("import: %s, %v", text, err)
			}
			_ = answer.Close()
			s, err := api.Containers.Attach(ctx, "a", AttachOptions{Stdin: true, Stdout: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := io.WriteString(s, "world"); err != nil {
				t.Fatal(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(s); err != nil || string(text) != "hello world" {
				t.Errorf("attached: %q, %v", text, err)
			}
		})
	}
}

func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		newest   int
		version  string
		requests string
		fails    string
	}{
		{56, "", "GET /v1.56/containers/json GET /v1.56/containers/json", ""},
		{60, "", "GET /v1.56/containers/json GET /v1.56/containers/json", ""},
		{0, "", "GET /v1.56/containers/json GET /v1.56/containers/json", ""},
		{44, "", "GET /v1.56/containers/json GET /v1.44/containers/json GET /v1.44/containers/json", ""},
		{39, "", "GET /v1.56/containers/json GET /v1.56/containers/json", "client version 1.56 is too new"},
		{56, "v1.41", "GET /v1.41/containers/json GET /v1.41/containers/json", ""},
		{44, "1.45", "GET /v1.45/containers/json GET /v1.45/containers/json", "client version 1.45 is too new"},
	} {
		t.Run(fmt.Sprint(c.newest, c.version), func(t *testing.T) {
			e := newEngine(c.newest)
			api := connect(t, Config{Host: "unix://" + listen(t, e), Version: c.version})
			for range 2 {
				_, err := api.Containers.List(t.Context(), ListOptions{})
				if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
					t.Errorf("%v", err)
				}
			}
			if got := strings.Join(e.requests, " "); got != c.requests {
				t.Errorf("asked %s\nwant  %s", got, c.requests)
			}
		})
	}
	e := newEngine(44)
	api := connect(t, Config{Host: "unix://" + listen(t, e)})
	_, _, err := api.Images.Inspect(t.Context(), "x", &ocispec.Platform{OS: "linux", Architecture: "amd64"})
	if err == nil || err.Error() != `"platform" requires API version 1.49, but the Docker daemon API version is 1.44` {
		t.Errorf("%v", err)
	}
	if got := strings.Join(e.requests, " "); got != "HEAD /_ping" {
		t.Errorf("asked %s", got)
	}
}

// TestNegotiationSideBySide begins with several requests at once, each of
// which is refused and repeated.
func TestNegotiationSideBySide(t *testing.T) {
	api := connect(t, Config{Host: "unix://" + listen(t, newEngine(44))})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := api.Containers.List(t.Context(), ListOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		status            int
		kind, body, error string
		want              errs.Kind
	}{
		{404, "application/json", `{"message":"No such container: x\n"}`, "Error response from daemon: No such container: x", errs.NotFound},
		{409, "text/plain", " in words ", "Error response from daemon: in words", errs.Conflict},
		{418, "application/json", "{}", "Error response from daemon: API returned a 418 (I'm a teapot) but provided no error-message", errs.InvalidParameter},
		{500, "application/json", "{", "error reading JSON: unexpected end of JSON input", errs.System},
		{503, "", "", "request returned 503 Service Unavailable for API route and version http://davit.localhost/v1.56/containers/x/start, check if the server supports the requested API version", errs.Unavailable},
		{500, "text/plain", strings.Repeat("x", maxFailure+1), "request returned 500 Internal Server Error with a message (> 1048576 bytes)", errs.System},
		{302, "", "", "unexpected redirect in response", errs.Unknown},
		{304, "", "", "", errs.Unknown},
		{204, "", "", "", errs.Unknown},
	} {
		t.Run(fmt.Sprint(c.status, len(c.body)), func(t *testing.T) {
			e := newEngine(56)
			answer := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}
			e.HandleFunc("POST /containers/x/start", answer)
			e.HandleFunc("POST /containers/x/attach", answer)
			api := connect(t, Config{Host: "unix://" + listen(t, e)})
			err := api.Containers.Start(t.Context(), "x", StartOptions{})
			if c.error == "" && err != nil || c.error != "" && (err == nil || !strings.HasPrefix(err.Error(), c.error)) || !errs.Is(err, c.want) {
				t.Errorf("%v (%v)", err, errs.KindOf(err))
			}
			if _, err := api.Containers.Attach(t.Context(), "x", AttachOptions{}); c.error != "" && (err == nil || !errs.Is(err, c.want)) {
				t.Errorf("attaching: %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	secure := httptest.NewUnstartedServer(newEngine(56))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	_, address, _ := strings.Cut(secure.URL, "://")
	for host, want := range map[string]string{
		"unix://" + dir + "/none": "Cannot connect to the Docker daemon at unix://" + dir + "/none. Is the docker daemon running?",
		"unix://" + stale:         "Cannot connect to the Docker daemon at unix://" + stale + ". Is the docker daemon running?",
		"tcp://127.0.0.1:1":       "Cannot connect to the Docker daemon at tcp://127.0.0.1:1. Is the docker daemon running?",
		"https://" + address:      "error during connect: Get \"https://" + address + "/v1.56/containers/json\": tls: failed to verify certificate",
	} {
		_, err := connect(t, Config{Host: host}).Containers.List(t.Context(), ListOptions{})
		if err == nil || !strings.HasPrefix(err.Error(), want) || !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: %v", host, err)
		}
	}
	api := connect(t, Config{Host: "ssh://far", Dial: func(context.Context) (net.Conn, error) { return nil, os.ErrPermission }})
	if _, err := api.Containers.List(t.Context(), ListOptions{}); err == nil || err.Error() != "permission denied while trying to connect to the docker API at ssh://far" {
		t.Errorf("%v", err)
	}
}

// TestNoHTTP meets peers that speak something else, or stop in the middle.
func TestNoHTTP(t *testing.T) {
	for said, want := range map[string]string{
		"":                                 "EOF",
		"SSH-2.0-x\r\n":                    "Are you trying to connect to a TLS-enabled daemon without TLS?",
		"HTTP/1.1 200 OK\r\nContent-Le":    "malformed MIME header",
		"HTTP/1.1 200 OK\r\n\r\n[":         "unexpected end of JSON input",
		"HTTP/1.1 200 OK\r\n\r\n[]garbage": "invalid character",
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]": "unexpected EOF",
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err == nil {
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, said)
				_ = conn.Close()
			}
		}()
		_, err = connect(t, Config{Host: "unix://" + path}).Containers.List(t.Context(), ListOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", said, err, want)
		}
		_ = l.Close()
	}
}

func TestContextEndsCall(t *testing.T) {
	e := newEngine(56)
	asked := make(chan struct{})
	e.HandleFunc("GET /info", func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := connect(t, Config{Host: "unix://" + listen(t, e)}).Info(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestWait(t *testing.T) {
	for said, want := range map[string]string{
		`{"StatusCode":7}` + strings.Repeat(" ", 5000): "7 <nil>",
		"upstream timed out":                           "0 upstream timed out",
		"":                                             "0 EOF",
	} {
		e := newEngine(56)
		e.HandleFunc("POST /containers/x/wait", func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, said)
		})
		api := connect(t, Config{Host: "unix://" + listen(t, e)})
		r, err := api.Containers.Wait(t.Context(), "x", container.WaitConditionRemoved).Result()
		if got := fmt.Sprint(r.StatusCode, err); got != want {
			t.Errorf("%q: %s", said, got)
		}
		if got := e.requests[0]; got != "POST /v1.56/containers/x/wait?condition=removed" {
			t.Errorf("asked %s", got)
		}
	}
	if _, err := connect(t, Config{Host: "unix:///none"}).Containers.Wait(t.Context(), " ", "").Result(); err == nil || err.Error() != "invalid container name or ID: value is empty" {
		t.Errorf("no name: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"unable to parse docker host `x`":         {Host: "x"},
		"unable to parse docker host `unix://`":   {Host: "unix://"},
		"unknown scheme fd":                       {Host: "fd://3"},
		"is too long":                             {Host: "unix:///" + strings.Repeat("x", 200)},
		"invalid API version (1): must be format": {Host: "unix:///x", Version: "1"},
		"invalid API version (2.0)":               {Host: "unix:///x", Version: "2.0"},
		"duplicate custom HTTP header (X-A)":      {Host: "unix:///x", Headers: map[string]string{"x-a": "1", "X-A": "2"}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	e := newEngine(56)
	e.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
		reply(w, 200, `{"Version":"%s %s %s"}`, r.Header.Get("X-Meta"), r.Header.Get("User-Agent"), r.Header.Get("Content-Type"))
	})
	v, err := connect(t, Config{Host: "unix://" + listen(t, e), Headers: map[string]string{"x-meta": "a", "user-agent": "b"}}).ServerVersion(t.Context())
	if err != nil || v.Version != "a Davit-Client " {
		t.Errorf("%q, %v", v.Version, err)
	}
}

func TestTimestamp(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, zone)
	for text, want := range map[string]string{
		"": "", "0": "0", "1136073600": "1136073600", "1136073600.000000001": "1136073600.000000001",
		"1m": fmt.Sprint(now.Unix() - 60), "1h30m": fmt.Sprint(now.Unix() - 5400), "1.5h": fmt.Sprint(now.Unix() - 5400),
		"2006-01-02T15:04:05.999999999+07:00": "1136189045.999999999", "2006-01-02T15:04:05Z": "1136214245.000000000",
		"2006-01-02T15:04Z": "1136214240.000000000", "2006-01-02T15+00:00": "1136214000.000000000", "2006-01-02Z": "1136160000.000000000",
		"2006-01-02T15:04:05.5": "1136207045.500000000", "2006-01-02T15:04": "1136207040.000000000", "2006-01-02T15": "1136206800.000000000", "2006-01-02": "1136152800.000000000",
	} {
		if got, err := timestamp(text, now); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"now", "2006-01-02T", "2006-01-02T15:0", "2006-13-01", "12.x", "1.", "-"} {
		if got, err := timestamp(text, now); err == nil {
			t.Errorf("%q gives %q", text, got)
		}
	}
}
