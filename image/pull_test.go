package image

import (
	"archive/tar"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/platforms"
	registrytypes "github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/moby/moby/api/types/jsonstream"

	"github.com/davit-engine/davit/errs"
)

func TestPullTellsWhatDockerTells(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	img := small(t, 1)
	tr.put(t, img, "library/hello", "latest")
	ref := tr.ref(t, "library/hello:latest")
	id, m := pull(t, s, ref, PullOptions{})
	if id != img.desc.Digest {
		t.Errorf("id %s, want the manifest's %s", id, img.desc.Digest)
	}
	want := []string{"latest: Pulling from library/hello"}
	for _, l := range img.layers {
		for _, st := range []string{"Pulling fs layer", "Download complete", "Pull complete"} {
			want = append(want, shortID(l.Digest)+": "+st)
		}
	}
	want = append(want, "Digest: "+id.String(), "Status: Downloaded newer image for "+tr.host+"/library/hello:latest")
	got := m.lines()
	if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	before := tr.blobGets.Load()
	_, m = pull(t, s, ref, PullOptions{})
	want = []string{"latest: Pulling from library/hello", "Digest: " + id.String(), "Status: Image is up to date for " + tr.host + "/library/hello:latest"}
	if got := m.lines(); !slices.Equal(got, want) {
		t.Errorf("second pull: got %q want %q", got, want)
	}
	if n := tr.blobGets.Load() - before; n != 0 {
		t.Errorf("second pull fetched %d blobs", n)
	}

	// Another image with the same base says so.
	other := buildImage(t, platforms.DefaultString(), makeTar(t, dir("etc"), file("etc/name", "image 1")), makeTar(t, file("new", "x")))
	tr.put(t, other, "library/other", "1")
	_, m = pull(t, s, tr.ref(t, "library/other:1"), PullOptions{})
	if !m.has(shortID(other.layers[0].Digest) + ": Already exists") {
		t.Errorf("shared layer: %q", m.lines())
	}
}

func TestPullUnpacks(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	img := buildImage(t, platforms.DefaultString(),
		makeTar(t, dir("etc"), file("etc/a", "lower"), file("etc/gone", "x"), entry{name: "tmp/", kind: tar.TypeDir, mode: 0o1777, uid: 7}, file("etc/target", "t")),
		// No entry for tmp: its mode and owner come from below. A link to below too.
		makeTar(t, file("tmp/x", "y"), entry{name: "etc/hard", link: "etc/target", kind: tar.TypeLink, mode: 0o644}),
		makeTar(t, dir("etc"), file("etc/a", "upper"), file("etc/.wh.gone", ""),
			entry{name: "evil/", kind: tar.TypeDir, mode: 0o755, pax: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.fine": "1"}}),
	)
	tr.put(t, img, "x", "1")
	// The lower hard link target is not in the second layer: the archive cannot be
	// extracted at all without a copy; the first file alone shows the directory.
	img2 := buildImage(t, platforms.DefaultString(), makeTar(t, entry{name: "tmp/", kind: tar.TypeDir, mode: 0o1777, uid: 7}), makeTar(t, file("tmp/x", "y")),
		makeTar(t, dir("etc"), file("etc/a", "upper"), file("etc/.wh.gone", ""),
			entry{name: "evil/", kind: tar.TypeDir, mode: 0o755, pax: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.fine": "1"}}))
	tr.put(t, img2, "x", "2")
	pull(t, s, tr.ref(t, "x:2"), PullOptions{})
	got, err := s.Get(t.Context(), tr.host+"/x:2", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Lower) != 3 || readLower(t, got, "etc/a") != "upper" {
		t.Fatalf("layers %q", got.Lower)
	}
	fi, err := os.Lstat(got.Lower[1] + "/tmp")
	if err != nil || fi.Mode()&(os.ModeSticky|0o777) != os.ModeSticky|0o777 || fi.Sys().(*syscall.Stat_t).Uid != 7 {
		t.Errorf("tmp in the second layer is %v %v", fi, err)
	}
	fi, err = os.Lstat(got.Lower[0] + "/etc/gone")
	if err != nil || fi.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("whiteout is %v %v", fi, err)
	}
	if n, err := syscall.Getxattr(got.Lower[0]+"/evil", "trusted.overlay.redirect", nil); err == nil {
		t.Errorf("a layer set overlay's redirect (%d bytes)", n)
	}
	if _, err := syscall.Getxattr(got.Lower[0]+"/evil", "user.fine", nil); err != nil {
		t.Errorf("user attribute: %v", err)
	}
}

func TestPullPlatforms(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	here := small(t, 1)
	arm := buildImage(t, "linux/arm64", makeTar(t, file("arch", "arm64")))
	if platforms.DefaultSpec().Architecture == "arm64" {
		arm = buildImage(t, "linux/amd64", makeTar(t, file("arch", "amd64")))
	}
	index := tr.putIndex(t, "multi", "latest", arm, here)
	id, _ := pull(t, s, tr.ref(t, "multi:latest"), PullOptions{})
	if id != index {
		t.Errorf("id %s, want the index's %s", id, index)
	}
	got, err := s.Get(t.Context(), tr.host+"/multi", nil)
	if err != nil || got.Manifest.Digest != here.desc.Digest || got.ID != index || got.Name != tr.host+"/multi:latest" {
		t.Fatalf("%+v %v", got, err)
	}
	other := arm.config.Platform
	_, err = s.Get(t.Context(), tr.host+"/multi", &other)
	want := "image with reference " + tr.host + "/multi:latest was found but does not provide the specified platform (" + platforms.FormatAll(other) + ")"
	if !errs.Is(err, errs.NotFound) || err.Error() != want {
		t.Errorf("missing platform: %v", err)
	}
	pull(t, s, tr.ref(t, "multi:latest"), PullOptions{Platform: &other})
	got, err = s.Get(t.Context(), tr.host+"/multi", &other)
	if err != nil || got.Manifest.Digest != arm.desc.Digest {
		t.Errorf("%+v %v", got, err)
	}
	mips := platforms.MustParse("linux/mips")
	_, err = s.Pull(t.Context(), tr.ref(t, "multi:latest"), PullOptions{Platform: &mips})
	if !errs.Is(err, errs.NotFound) || !strings.HasPrefix(err.Error(), "no matching manifest for linux/mips in the manifest list entries") {
		t.Errorf("no entry: %v", err)
	}
	// A single image for another platform comes when nothing was asked for.
	tr.put(t, arm, "single", "latest")
	pull(t, s, tr.ref(t, "single:latest"), PullOptions{})
	if got, err := s.Get(t.Context(), tr.host+"/single", nil); err != nil || got.Platform.Architecture != other.Architecture {
		t.Errorf("%+v %v", got, err)
	}
}

func TestPullFailures(t *testing.T) {
	deny := func(status int, header http.Header, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			for k, v := range header {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	onBlob := func(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet {
				f(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	for _, c := range []struct {
		name  string
		repo  string
		fault func(http.ResponseWriter, *http.Request, http.Handler)
		kind  errs.Kind
		text  string
	}{
		{"unknown tag", "hello:nope", nil, errs.NotFound, "/hello:nope not found: manifest unknown"},
		{"unknown repository", "nope:latest", nil, errs.NotFound, "not found: manifest unknown"},
		{"basic wanted", "hello:latest", deny(401, http.Header{"Www-Authenticate": {`Basic realm="x"`}}, ""), errs.Unauthorized, "no basic auth credentials"},
		{"forbidden", "hello:latest", deny(403, nil, `{"errors":[{"code":"DENIED","message":"this address may not"}]}`), errs.Forbidden, "this address may not"},
		{"too many", "hello:latest", deny(429, nil, `{}`), errs.Unavailable, "429 Too Many Requests"},
		{"broken", "hello:latest", deny(500, nil, ``), errs.Unavailable, "500 Internal Server Error"},
		{"schema 1", "hello:latest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
			w.Header().Set("Docker-Content-Digest", digest.FromString("{}").String())
			io.WriteString(w, "{}")
		}, errs.NotImplemented, "schema 1"},
		{"endless manifest", "hello:latest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			for r.Method == http.MethodGet {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, errs.InvalidParameter, "manifest has more than"},
		{"large manifest", "hello:latest", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest.FromString("{}").String())
			w.Header().Set("Content-Length", "90000000")
		}, errs.InvalidParameter, "rejecting 90000000 byte manifest"},
		{"wrong blob", "hello:latest", onBlob(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			rec := &blobWriter{ResponseWriter: w, change: func(b []byte) { b[0] ^= 0xff }}
			next.ServeHTTP(rec, r)
		}), errs.Unavailable, "verification failed for digest"},
		{"wrong length", "hello:latest", onBlob(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("Content-Length", "99999999999")
			w.WriteHeader(200)
		}), errs.Unknown, "registry sends 99999999999 bytes where the manifest names"},
		{"always cut", "hello:latest", onBlob(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&blobWriter{ResponseWriter: w, limit: -1}, r)
		}), errs.Unavailable, "EOF"},
		{"blob missing", "hello:latest", onBlob(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.WriteHeader(404)
		}), errs.NotFound, "not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, tr := openStore(t), newRegistry(t)
			tr.put(t, small(t, 1), "hello", "latest")
			tr.setFault(c.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := s.Pull(ctx, tr.ref(t, c.repo), PullOptions{})
			if err == nil || !strings.Contains(err.Error(), c.text) || c.kind != errs.Unknown && !errs.Is(err, c.kind) {
				t.Errorf("got %v (%v), want %q (%v)", err, errs.KindOf(err), c.text, c.kind)
			}
			if list, err := s.List(t.Context(), ListOptions{}); err != nil || len(list) != 0 {
				t.Errorf("images recorded: %v %v", list, err)
			}
		})
	}
}

// blobWriter spoils a body: it changes the first bytes, or stops after limit
// (at once if that is negative).
type blobWriter struct {
	http.ResponseWriter
	change func([]byte)
	limit  int
	n      int
}

func (b *blobWriter) Write(p []byte) (int, error) {
	if b.n == 0 && b.change != nil {
		p = slices.Clone(p)
		b.change(p)
	}
	if b.limit != 0 && b.n+len(p) > b.limit {
		b.ResponseWriter.Write(p[:max(0, b.limit-b.n)])
		http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	b.n += len(p)
	return b.ResponseWriter.Write(p)
}

func TestPullRefusesManifestsThatLie(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	lie := func(t *testing.T, repo string, change func(m *ocispec.Manifest)) {
		img := small(t, 1)
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: img.add(ocispec.MediaTypeImageConfig, mustJSON(t, img.config)), Layers: slices.Clone(img.layers)}
		m.SchemaVersion = 2
		change(&m)
		img.sealManifest(t, m)
		for d, data := range img.blobs {
			tr.putBlob(t, repo, d, data)
		}
		// The real registry would refuse it: it is served from here.
		tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !strings.Contains(r.URL.Path, repo+"/manifests/") {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", img.desc.MediaType)
			w.Header().Set("Docker-Content-Digest", img.desc.Digest.String())
			w.Header().Set("Content-Length", strconv.Itoa(len(img.manifest)))
			if r.Method == http.MethodGet {
				w.Write(img.manifest)
			}
		})
	}
	for _, c := range []struct {
		name   string
		change func(m *ocispec.Manifest)
		text   string
	}{
		{"huge layer", func(m *ocispec.Manifest) { m.Layers[0].Size = 1 << 50 }, "no space left on device"},
		{"overflowing layers", func(m *ocispec.Manifest) { m.Layers[0].Size = 1<<63 - 1; m.Layers[1].Size = 1<<63 - 1 }, "more bytes than can be"},
		{"negative layer", func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }, "size of -1 bytes"},
		{"short layer", func(m *ocispec.Manifest) { m.Layers[0].Size-- }, "where the manifest names"},
		{"long layer", func(m *ocispec.Manifest) { m.Layers[0].Size++ }, "where the manifest names"},
		{"huge config", func(m *ocispec.Manifest) { m.Config.Size = 1 << 40 }, "more than 8388608"},
		{"layer missing", func(m *ocispec.Manifest) { m.Layers = m.Layers[:1] }, "names 2 layers, its manifest 1"},
		{"layers swapped", func(m *ocispec.Manifest) { slices.Reverse(m.Layers) }, "the image's config names"},
		{"not an image", func(m *ocispec.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }, "not a container image"},
		{"bad digest", func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:../../etc" }, "invalid checksum digest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lie(t, "liar", c.change)
			before := tr.bytes.Load()
			_, err := s.Pull(t.Context(), tr.ref(t, "liar:latest"), PullOptions{})
			if err == nil || !strings.Contains(err.Error(), c.text) || errs.KindOf(err) == errs.Unknown {
				t.Errorf("got %v (%v)", err, errs.KindOf(err))
			}
			if n := tr.bytes.Load() - before; n > 1<<20 {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
	tr.setFault(nil)
	holds(t, s, 0)
}

func TestPullUnreachable(t *testing.T) {
	s := openStore(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = s.Pull(t.Context(), mustRef(t, addr+"/x:1"), PullOptions{})
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), `failed to resolve reference "`+addr+`/x:1"`) {
		t.Errorf("got %v (%v)", err, errs.KindOf(err))
	}
}

func TestPullSurvivesFaults(t *testing.T) {
	for name, fault := range map[string]func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler){
		"busy": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n%2 == 1 {
				w.WriteHeader([]int{429, 503, 500, 502}[n/2%4])
				return
			}
			next.ServeHTTP(w, r)
		},
		"dropped": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n%3 == 1 {
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		},
		"cut": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n%2 == 1 {
				w = &blobWriter{ResponseWriter: w, limit: 700}
			}
			next.ServeHTTP(w, r)
		},
		"cut without ranges": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header.Del("Range")
			if n%2 == 1 {
				w = &blobWriter{ResponseWriter: w, limit: 700}
			}
			next.ServeHTTP(w, r)
		},
		"stalled": func(n int64, w http.ResponseWriter, r *http.Request, next http.Handler) {
			if n == 3 {
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, func(c *Config) { c.stall = 300 * time.Millisecond })
			tr := newRegistry(t)
			img := small(t, 1)
			tr.put(t, img, "hello", "latest")
			var n atomic.Int64
			tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) { fault(n.Add(1), w, r, next) })
			pull(t, s, tr.ref(t, "hello:latest"), PullOptions{})
			got, err := s.Get(t.Context(), tr.host+"/hello", nil)
			if err != nil || readLower(t, got, "bin/data") != noise(2000, 1) {
				t.Errorf("image is wrong: %v", err)
			}
			holds(t, s, 4+2)
		})
	}
}

func TestPullAuth(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	tr.put(t, small(t, 1), "private/x", "1")
	ref := tr.ref(t, "private/x:1")
	const user, pass = "joe", "secret"

	t.Run("basic", func(t *testing.T) {
		tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if u, p, _ := r.BasicAuth(); u != user || p != pass {
				w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
				w.WriteHeader(401)
				return
			}
			next.ServeHTTP(w, r)
		})
		if _, err := s.Pull(t.Context(), ref, PullOptions{}); !errs.Is(err, errs.Unauthorized) {
			t.Errorf("anonymous: %v", err)
		}
		_, err := s.Pull(t.Context(), ref, PullOptions{Auth: &registrytypes.AuthConfig{Username: user, Password: "wrong"}})
		if err == nil || errs.KindOf(err) != errs.NotFound || !strings.Contains(err.Error(), "pull access denied for "+tr.host+"/private/x, repository does not exist or may require 'docker login'") {
			t.Errorf("wrong password: %v (%v)", err, errs.KindOf(err))
		}
		pull(t, s, ref, PullOptions{Auth: &registrytypes.AuthConfig{Username: user, Password: pass, ServerAddress: tr.host}})
		// Credentials for another server are not shown.
		if _, err := s.Pull(t.Context(), ref, PullOptions{Auth: &registrytypes.AuthConfig{Username: user, Password: pass, ServerAddress: "example.com"}}); err == nil {
			t.Error("credentials of another server were used")
		}
	})
	t.Run("token", func(t *testing.T) {
		token := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.URL.Path == "/token" {
				r.ParseForm()
				u, p, _ := r.BasicAuth()
				if r.Method == http.MethodPost {
					u, p = r.Form.Get("username"), r.Form.Get("password")
				}
				if u == user && p == pass || r.Form.Get("refresh_token") == "identity" {
					fmt.Fprint(w, `{"token":"good","access_token":"good","expires_in":300}`)
				} else if u != "" {
					w.WriteHeader(401)
					fmt.Fprint(w, `{"details":"incorrect username or password"}`)
				} else {
					fmt.Fprint(w, `{"token":"anonymous"}`)
				}
				return
			}
			if r.Header.Get("Authorization") != "Bearer good" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+tr.URL+`/token",service="test",scope="repository:private/x:pull"`)
				w.WriteHeader(401)
				fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
				return
			}
			next.ServeHTTP(w, r)
		}
		tr.setFault(token)
		if _, err := s.Pull(t.Context(), ref, PullOptions{}); !errs.Is(err, errs.NotFound) || !strings.HasPrefix(err.Error(), "pull access denied for ") {
			t.Errorf("anonymous: %v (%v)", err, errs.KindOf(err))
		}
		_, err := s.Pull(t.Context(), ref, PullOptions{Auth: &registrytypes.AuthConfig{Username: user, Password: "wrong"}})
		if !errs.Is(err, errs.Unauthorized) || !strings.Contains(err.Error(), "incorrect username or password") {
			t.Errorf("wrong password: %v (%v)", err, errs.KindOf(err))
		}
		for name, auth := range map[string]*registrytypes.AuthConfig{
			"password": {Username: user, Password: pass},
			"identity": {IdentityToken: "identity"},
			"registry": {RegistryToken: "good"},
		} {
			if _, err := s.Pull(t.Context(), ref, PullOptions{Auth: auth}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestPullMirror(t *testing.T) {
	tr := newRegistry(t)
	s := openStore(t, func(c *Config) { c.Mirrors = []string{"http://127.0.0.1:1", tr.URL} })
	tr.put(t, small(t, 1), "library/hello-world", "latest")
	pull(t, s, mustRef(t, "hello-world:latest"), PullOptions{})
	got, err := s.Get(t.Context(), "hello-world", nil)
	if err != nil || got.Name != "hello-world:latest" {
		t.Errorf("%+v %v", got.Name, err)
	}
	if _, err := Open(t.Context(), Config{Root: t.TempDir(), Mirrors: []string{"not a url"}}); err == nil {
		t.Error("a mirror that is no URL was taken")
	}
}

func TestPullTLS(t *testing.T) {
	plain := newRegistry(t)
	plain.put(t, small(t, 1), "x", "1")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2 := r.Clone(r.Context())
		r2.RequestURI = ""
		r2.URL.Scheme, r2.URL.Host = "http", plain.host
		resp, err := http.DefaultTransport.RoundTrip(r2)
		if err != nil {
			w.WriteHeader(500)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
	}))
	defer server.Close()
	// Loopback is insecure by itself, so the certificate decides under another name.
	host := strings.TrimPrefix(server.URL, "https://")
	dial := func(s *Store, name string) {
		rt, err := s.registries.transport(name, "https")
		if err != nil {
			t.Fatal(err)
		}
		if tr, ok := rt.(*http.Transport); ok {
			tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, host)
			}
		}
	}
	ref := mustRef(t, "example.com/x:1")
	s := openStore(t)
	dial(s, "example.com")
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v (%v)", err, errs.KindOf(err))
	}
	certs := t.TempDir()
	if err := os.Mkdir(certs+"/example.com", 0o755); err != nil {
		t.Fatal(err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(certs+"/example.com/ca.crt", crt, 0o644); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, func(c *Config) { c.CertsDirs = []string{certs} })
	dial(s, "example.com")
	pull(t, s, ref, PullOptions{})
	s = openStore(t)
	pull(t, s, mustRef(t, host+"/x:1"), PullOptions{})
}

func TestPullAllTags(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	tr.put(t, small(t, 1), "many", "a")
	tr.put(t, small(t, 2), "many", "b")
	pull(t, s, tr.ref(t, "many"), PullOptions{})
	list, err := s.List(t.Context(), ListOptions{})
	if err != nil || len(list) != 2 {
		t.Errorf("%v %v", list, err)
	}
}

func TestPullTogether(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	img := small(t, 1)
	tr.put(t, img, "hello", "latest")
	release := make(chan struct{})
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			<-release
		}
		next.ServeHTTP(w, r)
	})
	ctx, hangUp := context.WithCancel(t.Context())
	results := make(chan error, 3)
	seen := make(chan string, 100)
	go func() {
		_, err := s.Pull(ctx, tr.ref(t, "hello:latest"), PullOptions{Progress: func(m jsonstream.Message) { seen <- m.Status }})
		results <- err
	}()
	for st := range seen {
		if strings.HasPrefix(st, "Pulling from") {
			break
		}
	}
	late := []*messages{{}, {}}
	for _, m := range late {
		go func() {
			_, err := s.Pull(t.Context(), tr.ref(t, "hello:latest"), PullOptions{Progress: m.add})
			results <- err
		}()
	}
	waitFor(t, func() bool { return late[0].has("Pulling from") && late[1].has("Pulling from") })
	hangUp()
	if err := <-results; !errs.Is(err, errs.Cancelled) {
		t.Errorf("the one that hung up: %v", err)
	}
	close(release)
	for range late {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	for _, m := range late {
		if !m.has("Status: Downloaded newer image") {
			t.Errorf("a late caller heard %q", m.lines())
		}
	}
	if n := tr.blobGets.Load(); n != int64(len(img.blobs)) {
		t.Errorf("%d blobs fetched for %d", n, len(img.blobs))
	}
}

func TestPullManyShareLayers(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	base := makeTar(t, dir("base"), file("base/data", noise(100000, 9)))
	const n = 6
	for i := range n {
		tr.put(t, buildImage(t, platforms.DefaultString(), base, makeTar(t, file("own", fmt.Sprint(i)))), fmt.Sprint("r", i), "1")
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := s.Pull(t.Context(), tr.ref(t, fmt.Sprint("r", i, ":1")), PullOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := tr.blobGets.Load(); got != 1+2*n {
		t.Errorf("%d blobs fetched, want %d", got, 1+2*n)
	}
	for i := range n {
		img, err := s.Get(t.Context(), fmt.Sprint(tr.host, "/r", i, ":1"), nil)
		if err != nil || readLower(t, img, "own") != fmt.Sprint(i) {
			t.Errorf("image %d: %v", i, err)
		}
	}
}

func TestPullHangUpThenResume(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	img := buildImage(t, platforms.DefaultString(), makeTar(t, file("data", noise(4<<20, 3))))
	tr.put(t, img, "big", "1")
	ctx, hangUp := context.WithCancel(t.Context())
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, img.layers[0].Digest.String()) {
			w = &hangUpWriter{ResponseWriter: w, after: 3 << 20, do: hangUp, until: ctx.Done()}
		}
		next.ServeHTTP(w, r)
	})
	_, err := s.Pull(ctx, tr.ref(t, "big:1"), PullOptions{})
	if !errs.Is(err, errs.Cancelled) {
		t.Fatalf("got %v", err)
	}
	tr.setFault(nil)
	if left := leftovers(t, s); len(left) == 0 {
		t.Error("nothing is left to resume")
	}
	before := tr.bytes.Load()
	pull(t, s, tr.ref(t, "big:1"), PullOptions{})
	if n := tr.bytes.Load() - before; n > 2<<20 {
		t.Errorf("%d bytes after the pull was resumed", n)
	}
}

func TestInterruptedPullIsForgottenInTheEnd(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	tr.put(t, small(t, 1), "x", "1")
	ctx, hangUp := context.WithCancel(t.Context())
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			hangUp()
			<-r.Context().Done()
		}
		next.ServeHTTP(w, r)
	})
	if _, err := s.Pull(ctx, tr.ref(t, "x:1"), PullOptions{}); !errs.Is(err, errs.Cancelled) {
		t.Fatalf("got %v", err)
	}
	if left := leftovers(t, s); len(left) == 0 {
		t.Error("nothing is left to resume")
	}
	s.collector.keep = 0
	holds(t, s, 0)
}

// hangUpWriter does something after so many bytes, and waits for its effect.
type hangUpWriter struct {
	http.ResponseWriter
	after, n int
	do       func()
	until    <-chan struct{}
}

func (h *hangUpWriter) Write(p []byte) (int, error) {
	n, err := h.ResponseWriter.Write(p)
	if h.n += n; h.n >= h.after {
		http.NewResponseController(h.ResponseWriter).Flush()
		time.Sleep(50 * time.Millisecond) // for the bytes to arrive; not what the test depends on
		h.do()
		<-h.until
	}
	return n, err
}

func TestRepullKeepsTheOldImageDangling(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	old, new := small(t, 1), small(t, 2)
	tr.put(t, old, "x", "latest")
	pull(t, s, tr.ref(t, "x:latest"), PullOptions{})
	tr.put(t, new, "x", "latest")
	_, m := pull(t, s, tr.ref(t, "x:latest"), PullOptions{})
	if !m.has("Downloaded newer image") {
		t.Errorf("%q", m.lines())
	}
	list, err := s.List(t.Context(), ListOptions{Filters: map[string]map[string]bool{"dangling": {"true": true}}})
	if err != nil || len(list) != 1 || list[0].ID != old.desc.Digest.String() || len(list[0].RepoTags) != 0 {
		t.Fatalf("dangling: %+v %v", list, err)
	}
	if _, err := s.Get(t.Context(), old.desc.Digest.String(), nil); err != nil {
		t.Error(err)
	}
	// The tag moves back: the image has a name again, the other one none.
	tr.put(t, old, "x", "latest")
	pull(t, s, tr.ref(t, "x:latest"), PullOptions{})
	list, err = s.List(t.Context(), ListOptions{Filters: map[string]map[string]bool{"dangling": {"true": true}}})
	if err != nil || len(list) != 1 || list[0].ID != new.desc.Digest.String() {
		t.Fatalf("dangling: %+v %v", list, err)
	}
}

func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen in time")
		}
	}
}

func TestRegistryMessage(t *testing.T) {
	for body, want := range map[string]string{
		`{"errors":[{"code":"DENIED","message":"no"}]}`:                        "no",
		`{"errors":[{"code":"NAME_UNKNOWN"},{"message":"b","detail":"more"}]}`: "name unknown, b - more",
		`{"errors":[{"code":"X","message":"m","detail":{"a":1}}]}`:             "m",
		`{"details":"bad password"}`:                                           "bad password",
		`<html>`:                                                               "",
		``:                                                                     "",
	} {
		if got := registryMessage([]byte(body)); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}

func TestAuthIsFor(t *testing.T) {
	for _, c := range []struct {
		server, domain string
		want           bool
	}{
		{"", "x.org", true}, {"x.org", "x.org", true}, {"https://x.org/v2/", "x.org", true}, {"y.org", "x.org", false},
		{"https://index.docker.io/v1/", "docker.io", true}, {"https://index.docker.io/v1/", "x.org", false}, {"x.org:5000", "x.org:5000", true},
	} {
		if got := authIsFor(&registrytypes.AuthConfig{ServerAddress: c.server}, c.domain); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if authIsFor(nil, "x") {
		t.Error("nobody's credentials are for somebody")
	}
}

func TestInsecureList(t *testing.T) {
	l, err := parseInsecure([]string{"Reg.local", "other:5000", "10.0.0.0/8", "fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"reg.local": true, "reg.local:443": true, "other:5000": true, "other": false, "10.1.2.3:80": true, "11.1.2.3": false,
		"[fd00::1]:5000": true, "127.9.9.9:1": true, "localhost:5000": true, "[::1]:5000": true, "docker.io": false,
	} {
		if got := l.has(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	if _, err := parseInsecure([]string{"http://x"}); err == nil {
		t.Error("a URL was taken")
	}
}
