package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/davit-engine/davit/api"
)

var letters = bytes.Repeat([]byte("a"), 64<<10)

// endless gives as many bytes as asked for, of one JSON string.
type endless struct{ begun bool }

func (e *endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], letters)
	}
	if !e.begun {
		copy(p, `{"Image":"`)
		e.begun = true
	}
	return len(p), nil
}

// TestLargeBodies sends 100 MB where a description belongs. Nobody reads it to
// the end, and the memory that it takes is bounded.
func TestLargeBodies(t *testing.T) {
	const size = 100 << 20
	f := &fake{hold: closed()}
	s := api.New(f.parts(), api.Config{Version: "0.1.0", Log: slog.New(slog.DiscardHandler)})
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	for _, path := range []string{"/containers/create", "/containers/web/exec", "/exec/" + id + "/start", "/containers/web/update", "/volumes/create", "/auth", "/commit?container=web"} {
		for _, length := range []int64{size, -1} {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			body := &counter{r: io.LimitReader(&endless{}, size)}
			req, err := http.NewRequest("POST", srv.URL+path, body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				// The server may close the connection while we still write.
				if length == -1 || body.n.Load() > 20<<20 {
					t.Errorf("%s (%d): %v after %d bytes", path, length, err, body.n.Load())
				}
				continue
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			runtime.ReadMemStats(&after)
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s (%d): status %d: %s", path, length, resp.StatusCode, text)
			}
			t.Logf("%s (%d): %d, %d MB read, %d MB allocated", path, length, resp.StatusCode, body.n.Load()>>20, (after.TotalAlloc-before.TotalAlloc)>>20)
			if used := int64(after.TotalAlloc) - int64(before.TotalAlloc); used > 100<<20 || body.n.Load() > 30<<20 {
				t.Errorf("%s (%d): took %d bytes, and %d of memory in all", path, length, body.n.Load(), used)
			}
		}
	}
	if n := f.asked(); n != 0 {
		t.Errorf("the engine was asked %d times", n)
	}
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestSlowBody: a body that does not come in time is given up, and a connection
// that is taken over afterwards has no deadline.
func TestSlowBody(t *testing.T) {
	f := &fake{tty: true, output: []string{"1later"}, hold: make(chan struct{})}
	s := api.New(f.parts(), api.Config{Version: "0.1.0", BodyTime: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	t.Cleanup(s.EndStreams)
	dial := func(text string, args ...any) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, text, args...)
		return conn, bufio.NewReader(conn)
	}
	_, answer := dial("POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"Image\":")
	resp, err := http.ReadResponse(answer, nil)
	if err != nil || resp.StatusCode != http.StatusRequestTimeout {
		t.Fatalf("%v, %+v", err, resp)
	}
	conn, r := dial("POST /containers/web/attach?stream=1&stdout=1&logs=0 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	resp, err = http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %+v", err, resp)
	}
	// The fake sends back what it gets: three times what a body may take later.
	time.AfterFunc(150*time.Millisecond, func() { fmt.Fprint(conn, "again") })
	for all := ""; !strings.Contains(all, "again"); {
		part := make([]byte, 100)
		n, err := r.Read(part)
		if all += string(part[:n]); err != nil {
			t.Fatalf("the stream has ended with %v after %q", err, all)
		}
	}
	close(f.hold)
}

// TestOddJSON: what Docker's decoder takes and refuses.
func TestOddJSON(t *testing.T) {
	srv, _ := serve(t, &fake{})
	deep := strings.Repeat("[", 100_000)
	for body, want := range map[string]int{
		`{"Image":"a","Colour":"red","HostConfig":{"Taste":1}}`: 201, // unknown fields
		`{"Image":"a","Image":"b"}`:                             201, // the last one counts
		`{"image":"a"}`:                                         201, // in any case
		`{"Image":"a"} x`:                                       400,
		`{"Image":` + deep + `}`:                                400,
		`{"Image":"a","HostConfig":` + deep + `}`:               400,
		`[]`: 400, `null`: 400, ``: 400, `{`: 400, "\x00": 400,
	} {
		resp, text := ask(t, srv, "POST", "/containers/create", body, "Content-Type", "application/json")
		if resp.StatusCode != want {
			t.Errorf("%.60s: status %d, want %d: %s", body, resp.StatusCode, want, text)
		}
	}
}
