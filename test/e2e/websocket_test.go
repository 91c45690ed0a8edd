package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/net/websocket"
	"golang.org/x/sys/unix"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// dialWS attaches to a container over a web socket.
func dialWS(t *testing.T, e *enginetest.Engine, path, origin string) (*websocket.Conn, error) {
	t.Helper()
	config, err := websocket.NewConfig("ws://docker"+path, origin)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return websocket.NewClient(config, conn)
}

func TestAttachWebSocket(t *testing.T) {
	e := engine(t)
	davit := e.Davit()
	for _, version := range []string{"", "/v1.41", "/v1.27"} {
		t.Run("api"+strings.ReplaceAll(version, "/", "-"), func(t *testing.T) {
			n := name(t, davit)
			davit.OK(t, "run", "-d", "-i", "--name", n, "busybox", "sh", "-c", "echo early; sleep 0.1; read x; echo got $x; echo err >&2; exit 3")
			enginetest.Eventually(t, 10*time.Second, func() error {
				if out := davit.OK(t, "logs", n); out != "early" {
					return fmt.Errorf("logs: %q", out)
				}
				return nil
			})
			ws, err := dialWS(t, e, version+"/containers/"+n+"/attach/ws?logs=1&stream=1&stdin=1&stdout=1&stderr=1", "http://docker")
			if err != nil {
				t.Fatal(err)
			}
			if err := websocket.Message.Send(ws, "ping\n"); err != nil { // as text
				t.Fatal(err)
			}
			var all []byte
			for {
				frame, err := ws.NewFrameReader()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("after %q: %v", all, err)
				}
				want := byte(websocket.BinaryFrame)
				if version == "/v1.27" {
					want = websocket.TextFrame
				}
				if kind := frame.PayloadType(); kind == websocket.CloseFrame {
					break
				} else if kind != want {
					t.Errorf("message of type %d, want %d", kind, want)
				}
				p, err := io.ReadAll(frame)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, p...)
			}
			for _, want := range []string{"early\n", "got ping\n", "err\n"} {
				if !strings.Contains(string(all), want) || len(all) != len("early\ngot ping\nerr\n") {
					t.Errorf("got %q, want %q in it", all, want)
				}
			}
			if code := davit.OK(t, "wait", n); code != "3" {
				t.Errorf("exit code %s", code)
			}
		})
	}
	n := sleeper(t, davit)
	if _, err := dialWS(t, e, "/containers/"+n+"/attach/ws?stream=1&stdout=1", "http://elsewhere.example"); err == nil {
		t.Error("a page of another site may attach")
	}
	if _, err := dialWS(t, e, "/containers/nowhere/attach/ws?stream=1", "http://docker"); err == nil {
		t.Error("attached to nothing")
	}
	// A client that goes away leaves nothing: neither here nor with the shim.
	before := descriptors(t, e)
	for range 20 {
		ws, err := dialWS(t, e, "/containers/"+n+"/attach/ws?stream=1&stdout=1", "http://docker")
		if err != nil {
			t.Fatal(err)
		}
		_ = ws.Close()
	}
	enginetest.Eventually(t, 10*time.Second, func() error {
		if now := descriptors(t, e); now > before+10 { // shims that wait come and go
			return fmt.Errorf("engine and shims have %d descriptors, %d before", now, before)
		}
		return nil
	})
}

// descriptors counts those of the engine and its shims.
func descriptors(t *testing.T, e *enginetest.Engine) (sum int) {
	t.Helper()
	pids := []int{e.Pid()}
	for _, s := range e.Shims() {
		pids = append(pids, s.ShimPid)
	}
	for _, pid := range pids {
		sum += len(readDir(fmt.Sprintf("/proc/%d/fd", pid)))
	}
	return sum
}

// TestIdleAttachments holds a thousand clients that see nothing for a while:
// they cost little, and all get the end.
func TestIdleAttachments(t *testing.T) {
	const many = 1000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*many {
		t.Skipf("needs %d descriptors, has %d (%v)", 3*many, limit.Cur, err)
	}
	e := engine(t)
	ctx, api, davit := context.Background(), e.Client(t), e.Davit()
	n := name(t, davit)
	davit.OK(t, "run", "-d", "-i", "--name", n, "busybox", "sh", "-c", "read x; echo end $x")
	before := memoryOf(t, e)
	streams := make([]client.HijackedResponse, many)
	var all sync.WaitGroup
	for i := range streams {
		all.Go(func() {
			got, err := api.ContainerAttach(ctx, n, client.ContainerAttachOptions{Stream: true, Stdout: true})
			if err != nil {
				t.Error(err)
				return
			}
			streams[i] = got.HijackedResponse
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	grown := memoryOf(t, e) - before
	t.Logf("%d idle attachments cost %d KiB (%d goroutines here)", many, grown, runtime.NumGoroutine())
	if grown > 48<<10 {
		t.Errorf("%d idle attachments cost %d KiB", many, grown)
	}
	last, err := api.ContainerAttach(ctx, n, client.ContainerAttachOptions{Stream: true, Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(last.Conn, "now")
	for i, s := range streams {
		all.Go(func() {
			defer s.Close()
			_ = s.Conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			if got, err := io.ReadAll(s.Reader); err != nil || !strings.HasSuffix(string(got), "end now\n") {
				t.Errorf("%d: got %q, %v", i, got, err)
			}
		})
	}
	all.Wait()
	last.Close()
}

func readDir(dir string) []os.DirEntry {
	entries, _ := os.ReadDir(dir)
	return entries
}
