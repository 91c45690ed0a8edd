package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/engine"
	"github.com/moby/moby/api/types/events"
)

// open sends a request and returns when the head of the answer is there.
func open(t *testing.T, srv *httptest.Server, method, path string, headers ...string) (*http.Response, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp, cancel
}

// frame is one piece of a multiplexed stream.
func frame(stream byte, text string) string {
	return string([]byte{stream, 0, 0, 0, 0, 0, byte(len(text) >> 8), byte(len(text))}) + text
}

func TestWaitSendsItsHeadFirst(t *testing.T) {
	f := &fake{hold: make(chan struct{})}
	srv, _ := serve(t, f)
	resp, _ := open(t, srv, "POST", "/containers/web/wait") // returns before the container ends
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("head: %d %v", resp.StatusCode, resp.Header)
	}
	close(f.hold)
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != `{"StatusCode":3}`+"\n" {
		t.Errorf("body %q, %v", b, err)
	}
}

func TestLogs(t *testing.T) {
	for _, tc := range []struct {
		version, media string
		tty            bool
		want           string
	}{
		{"1.41", "application/vnd.docker.raw-stream", false, frame(1, "a\n") + frame(2, "b\n")},
		{"1.56", "application/vnd.docker.multiplexed-stream", false, frame(1, "a\n") + frame(2, "b\n")},
		{"1.56", "application/vnd.docker.raw-stream", true, "a\nb\n"},
	} {
		f := &fake{tty: tc.tty, output: []string{"1a", "2b"}}
		srv, _ := serve(t, f)
		resp, body := ask(t, srv, "GET", "/v"+tc.version+"/containers/web/logs?stdout=1&stderr=1&timestamps=1&details=1&tail=5&since=1700000000.25&until=0", "")
		if resp.Header.Get("Content-Type") != tc.media || body != tc.want {
			t.Errorf("%+v: got %s %q", tc, resp.Header.Get("Content-Type"), body)
		}
		want := engine.LogsOptions{Stdout: true, Stderr: true, Timestamps: true, Details: true, Tail: "5", Since: time.Unix(1700000000, 250000000)}
		if got := f.last(t); got != want {
			t.Errorf("the engine was asked %+v", got)
		}
	}
}

// TestLogsMerged: frames of many lines are for clients that do not mind.
func TestLogsMerged(t *testing.T) {
	for _, tc := range []struct {
		agent, query string
		want         bool
	}{
		{"docker-sdk-python/7.1", "", false}, {"Go-http-client/1.1", "", false}, {"davit", "&merge=1", true}, {"Docker-Client/28.2.2 (linux)", "", true},
	} {
		f := &fake{output: []string{"1a"}}
		srv, _ := serve(t, f)
		conn := dial(t, srv)
		fmt.Fprintf(conn, "GET /v1.41/containers/web/logs?stdout=1%s HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n", tc.query, tc.agent)
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		if o := f.last(t).(engine.LogsOptions); o.Merge != tc.want {
			t.Errorf("%s%s: merge %v", tc.agent, tc.query, o.Merge)
		}
	}
}

func TestLogsFollowed(t *testing.T) {
	f := &fake{hold: make(chan struct{}), output: []string{"1a"}}
	srv, _ := serve(t, f)
	resp, _ := open(t, srv, "GET", "/containers/web/logs?stdout=1&follow=1")
	first := make([]byte, 10)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != frame(1, "a\n") {
		t.Fatalf("%q, %v", first, err)
	}
	close(f.hold)
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 0 {
		t.Errorf("then %q, %v", b, err)
	}
}

// TestAttach speaks as the clients do, over a plain connection.
func TestAttach(t *testing.T) {
	for _, tc := range []struct {
		name, version, upgrade string
		tty                    bool
		head                   string
	}{
		{"upgraded", "v1.56", "Connection: Upgrade\r\nUpgrade: tcp\r\n", false,
			"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"},
		{"upgraded, with a terminal", "v1.56", "Connection: Upgrade\r\nUpgrade: tcp\r\n", true,
			"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"},
		{"upgraded, old", "v1.41", "Connection: Upgrade\r\nUpgrade: tcp\r\n", false,
			"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"},
		{"not upgraded", "v1.56", "", false, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fake{tty: tc.tty, output: []string{"1hello"}}
			srv, _ := serve(t, f)
			conn := dial(t, srv)
			// What follows the head at once belongs to the container.
			fmt.Fprintf(conn, "POST /%s/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1&detachKeys=ctrl-a HTTP/1.1\r\nHost: x\r\n%s\r\nearly\n", tc.version, tc.upgrade)
			if _, err := io.WriteString(conn, "late\n"); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if want := tc.head + "hello\nearly\nlate\n"; string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
			want := engine.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true, DetachKeys: "ctrl-a"}
			if o := f.last(t).(engine.AttachOptions); o.DetachKeys != want.DetachKeys || !o.Stream || !o.Stdin || !o.Stdout || !o.Stderr || o.Logs {
				t.Errorf("the engine was asked %+v", o)
			}
		})
	}
}

// TestAttachFailsBeforeTheHead: an error that is known in time is an answer
// like any other, and the connection goes on.
func TestAttachFailsBeforeTheHead(t *testing.T) {
	srv, _ := serve(t, &fake{})
	conn := dial(t, srv)
	r := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprint(conn, "POST /containers/x/attach?stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 404 || message(t, string(b)) != "No such container: x" {
			t.Errorf("%d %q %v", resp.StatusCode, b, err)
		}
	}
}

func event(kind events.Type, action events.Action) events.Message {
	return events.Message{Type: kind, Action: action, Scope: "local", Time: 1700000000, TimeNano: 1700000000000000005,
		Actor: events.Actor{ID: id, Attributes: map[string]string{"image": "busybox", "name": "web"}}}
}

func TestEvents(t *testing.T) {
	start, made := event("container", "start"), event("image", "create")
	const plain = `{"Type":"container","Action":"start","Actor":{"ID":"` + id + `","Attributes":{"image":"busybox","name":"web"}},"scope":"local","time":1700000000,"timeNano":1700000000000000005`
	const image = `{"Type":"image","Action":"create","Actor":{"ID":"` + id + `","Attributes":{"image":"busybox","name":"web"}},"scope":"local","time":1700000000,"timeNano":1700000000000000005`
	for _, tc := range []struct{ version, accept, media, want string }{
		{"1.56", "", "application/json", plain + "}\n" + image + "}\n"},
		{"1.51", "", "application/json", plain + `,"from":"busybox","id":"` + id + `","status":"start"}` + "\n" + image + `,"id":"` + id + `","status":"create"}` + "\n"},
		{"1.45", "", "application/json", plain + `,"from":"busybox","id":"` + id + `","status":"start"}` + "\n"},
		{"1.56", "application/x-ndjson", "application/x-ndjson", plain + "}\n" + image + "}\n"},
		{"1.56", "text/html, application/json-seq;q=0.5", "application/json-seq", "\x1e" + plain + "}\n\x1e" + image + "}\n"},
		{"1.56", "application/jsonl", "application/jsonl", plain + "}\n" + image + "}\n"},
	} {
		f := &fake{past: []events.Message{start, made}}
		srv, _ := serve(t, f)
		resp, body := ask(t, srv, "GET", "/v"+tc.version+"/events?until=1700000001", "", "Accept", tc.accept)
		if resp.Header.Get("Content-Type") != tc.media || body != tc.want {
			t.Errorf("%s %s: %s\n got %s\nwant %s", tc.version, tc.accept, resp.Header.Get("Content-Type"), body, tc.want)
		}
	}
}

func TestEventsLive(t *testing.T) {
	f := &fake{live: make(chan events.Message, 1)}
	srv, _ := serve(t, f)
	resp, cancel := open(t, srv, "GET", `/events?since=10m&filters={"type":["container"]}`)
	f.live <- event("container", "die") // the head is there: now the event
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"Action":"die"`) {
		t.Errorf("%q, %v", line, err)
	}
	got := f.last(t).([]any)
	if since := time.Since(got[0].(time.Time)); since < 9*time.Minute || since > 11*time.Minute {
		t.Errorf("since is %v ago", since)
	}
	cancel()
	poll(t, "the subscription ends", func() bool { return f.last(t) == "events cancelled" })
}

// TestEventsOverrun: a client that did not keep up sees its connection break, as
// an end like any other would hide that events are missing.
func TestEventsOverrun(t *testing.T) {
	f := &fake{live: make(chan events.Message, 1), overrun: true}
	srv, _ := serve(t, f)
	f.live <- event("container", "die")
	close(f.live)
	resp, _ := open(t, srv, "GET", "/events")
	if b, err := io.ReadAll(resp.Body); err == nil || !strings.Contains(string(b), `"Action":"die"`) {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestEventsUntil(t *testing.T) {
	f := &fake{live: make(chan events.Message)}
	srv, _ := serve(t, f)
	until := time.Now().Add(200 * time.Millisecond)
	resp, _ := open(t, srv, "GET", fmt.Sprintf("/events?until=%d.%09d", until.Unix(), until.Nanosecond()))
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 0 || time.Now().Before(until) {
		t.Errorf("ended with %q, %v, %v before its time", b, err, time.Until(until))
	}
}

func TestEndStreams(t *testing.T) {
	f := &fake{hold: make(chan struct{}), live: make(chan events.Message)}
	srv, s := serve(t, f)
	var bodies []*http.Response
	for method, path := range map[string]string{"GET": "/events", "POST": "/containers/web/wait"} {
		resp, _ := open(t, srv, method, path)
		bodies = append(bodies, resp)
	}
	resp, _ := open(t, srv, "GET", "/containers/web/logs?stdout=1&follow=1")
	bodies = append(bodies, resp)
	s.EndStreams()
	for _, resp := range bodies {
		_, err := io.ReadAll(resp.Body)
		// A log that goes on does not end as one that is over.
		if want := resp.Request.URL.Path == "/containers/web/logs"; errors.Is(err, io.ErrUnexpectedEOF) != want || !want && err != nil {
			t.Errorf("%s: %v", resp.Request.URL, err)
		}
	}
	s.EndStreams() // once more does no harm
}

// TestNoGoroutineIsLeft hangs up in the middle of everything that lasts.
func TestNoGoroutineIsLeft(t *testing.T) {
	f := &fake{hold: make(chan struct{}), live: make(chan events.Message), output: []string{"1a"}}
	srv, _ := serve(t, f)
	round := func() {
		for _, request := range []string{
			"GET /events", "POST /containers/web/wait", "POST /v1.29/containers/web/wait", "GET /containers/web/logs?stdout=1&follow=1", "POST /containers/web/attach?stream=1&stdin=1",
		} {
			before := f.asked()
			conn := dial(t, srv)
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n\r\n", request)
			poll(t, request+" reaches the engine", func() bool { return f.asked() > before })
			conn.Close()
		}
	}
	settled := func(limit int) func() bool {
		return func() bool { return runtime.NumGoroutine() <= limit }
	}
	round() // what is made once is made
	srv.Client().CloseIdleConnections()
	baseline := 0
	poll(t, "goroutines settle", func() bool {
		n := runtime.NumGoroutine()
		same := n == baseline
		baseline = n
		return same
	})
	for range 5 {
		round()
	}
	poll(t, "goroutines end", settled(baseline))
}

// poll waits until ok; it fails the test after a while.
func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			var b bytes.Buffer
			buf := make([]byte, 1<<18)
			b.Write(buf[:runtime.Stack(buf, true)])
			t.Fatalf("waiting until %s: it does not\n%s", what, b.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
