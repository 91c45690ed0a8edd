package chaos

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"golang.org/x/sys/unix"
)

func free(t *testing.T, path string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bfree) * s.Bsize
}

// registry stands between an engine and a registry: it can be slow, and
// counts what it hands out.
type registry struct {
	slow    atomic.Bool  // 64 KiB every 20 ms
	blobs   atomic.Int64 // bytes of blobs handed out
	resumed atomic.Int64 // requests for the rest of a blob
}

func (r *registry) serve(t *testing.T, to string) *httptest.Server {
	t.Helper()
	target, err := url.Parse("http://" + to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if strings.Contains(request.URL.Path, "/blobs/") {
			if from := request.Header.Get("Range"); from != "" && !strings.HasPrefix(from, "bytes=0-") {
				r.resumed.Add(1)
			}
			w = &counted{w, r}
		}
		proxy.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	return server
}

type counted struct {
	http.ResponseWriter
	registry *registry
}

func (c *counted) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n := len(p)
		if c.registry.slow.Load() {
			n = min(n, 64<<10)
			<-time.After(20 * time.Millisecond)
		}
		n, err = c.ResponseWriter.Write(p[:n])
		c.registry.blobs.Add(int64(n))
		written += n
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

func (c *counted) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() } // the client may have gone

// TestPullResumes kills the engine in the middle of a pull; the next pull goes
// on where it ended.
func TestPullResumes(t *testing.T) {
	source := enginetest.Start(t, enginetest.Config{})
	const size = 24 << 20
	noise := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise) // it never fails
	image := enginetest.NewRootfs(t)
	image.File("noise", 0o644, noise)
	source.Publish(t, "noise:latest", image.Bytes(), `CMD ["/x"]`)

	between := &registry{}
	server := between.serve(t, source.Registry)
	e := enginetest.Start(t, enginetest.Config{NoRegistry: true, Args: []string{"--registry-mirror", server.URL}})
	cli := e.Davit()

	between.slow.Store(true)
	pull := cli.Start(t, "pull", "noise")
	enginetest.Eventually(t, 30*time.Second, func() error {
		if between.blobs.Load() < size/3 {
			return errors.New("a third has not come yet")
		}
		return nil
	})
	e.Kill(t)
	if code := pull.Wait(t); code == 0 {
		t.Fatal("the pull ended well although the engine was killed")
	}
	first := between.blobs.Load()
	between.slow.Store(false)
	e.Restart(t)
	cli.OK(t, "pull", "noise")
	if between.resumed.Load() == 0 {
		t.Error("the second pull began from the start")
	}
	if all := between.blobs.Load(); all > size+size/3 {
		t.Errorf("%d MiB were fetched for an image of %d MiB, %d of them before the kill", all>>20, size>>20, first>>20)
	}
}

// TestPullClientGone ends the client in the middle of a pull: the engine stops
// fetching, and is none the worse for it.
func TestPullClientGone(t *testing.T) {
	source := enginetest.Start(t, enginetest.Config{})
	noise := make([]byte, 16<<20)
	random := rand.NewChaCha8([32]byte{2})
	_, _ = random.Read(noise) // it never fails
	image := enginetest.NewRootfs(t)
	image.File("noise", 0o644, noise)
	source.Publish(t, "noise:latest", image.Bytes(), `CMD ["/x"]`)
	between := &registry{}
	between.slow.Store(true)
	server := between.serve(t, source.Registry)
	e := enginetest.Start(t, enginetest.Config{NoRegistry: true, Args: []string{"--registry-mirror", server.URL}})

	pull := e.Davit().Start(t, "pull", "noise")
	enginetest.Eventually(t, 30*time.Second, func() error {
		if between.blobs.Load() < 1<<20 {
			return errors.New("nothing has come yet")
		}
		return nil
	})
	pull.Kill()
	last := int64(-1)
	enginetest.Eventually(t, 20*time.Second, func() error {
		now := between.blobs.Load()
		if now == last {
			return nil
		}
		last = now
		<-time.After(500 * time.Millisecond)
		return errors.New("the engine still fetches an image that nobody waits for")
	})
	between.slow.Store(false)
	e.Davit().OK(t, "pull", "noise")
}
