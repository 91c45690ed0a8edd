package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/registry"
)

func TestMain(m *testing.M) {
	registry.RouteLogs(slog.New(slog.DiscardHandler))
	if root := os.Getenv("DAVIT_TEST_PULL_ROOT"); root != "" {
		pullForever(root, os.Getenv("DAVIT_TEST_PULL_REF"))
		return
	}
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("layers are unpacked with owners and device files: needs root")
	}
}

func openStore(t testing.TB, change ...func(*Config)) *Store {
	t.Helper()
	needRoot(t)
	return openAt(t, t.TempDir(), change...)
}

func openAt(t testing.TB, root string, change ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{Root: root, backoff: time.Millisecond, stall: 5 * time.Second}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// testRegistry is the real registry behind a door where faults are made.
type testRegistry struct {
	*httptest.Server
	host string

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request, next http.Handler) // guarded by mu

	requests, blobGets, bytes atomic.Int64
}

func newRegistry(t testing.TB) *testRegistry {
	t.Helper()
	server, err := registry.New(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tr := &testRegistry{}
	tr.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.requests.Add(1)
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			tr.blobGets.Add(1)
		}
		tr.mu.Lock()
		fault := tr.fault
		tr.mu.Unlock()
		cw := &countingWriter{ResponseWriter: w, n: &tr.bytes}
		if fault != nil {
			fault(cw, r, server)
			return
		}
		server.ServeHTTP(cw, r)
	}))
	tr.host = strings.TrimPrefix(tr.URL, "http://")
	t.Cleanup(func() {
		tr.CloseClientConnections()
		tr.Close()
		server.Close()
	})
	return tr
}

func (tr *testRegistry) setFault(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.fault = f
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// entry is one file of a layer.
type entry struct {
	name, body, link string
	kind             byte
	mode             int64
	uid              int
	pax              map[string]string
}

func file(name, body string) entry {
	return entry{name: name, body: body, kind: tar.TypeReg, mode: 0o644}
}
func dir(name string) entry { return entry{name: name + "/", kind: tar.TypeDir, mode: 0o755} }

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		hdr := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body)), Linkname: e.link, Uid: e.uid, PAXRecords: e.pax, ModTime: time.Unix(1700000000, 0)}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// noise returns n bytes that do not compress.
func noise(n int, seed uint64) string {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, n)
	r.Read(b)
	return string(b)
}

// testImage is an image made in memory, ready to be put into a registry.
type testImage struct {
	blobs    map[digest.Digest][]byte
	layers   []ocispec.Descriptor
	manifest []byte
	desc     ocispec.Descriptor
	config   dockerspec.DockerOCIImage
}

func buildImage(t testing.TB, platform string, layers ...[]byte) *testImage {
	t.Helper()
	img := &testImage{blobs: map[digest.Digest][]byte{}}
	p := platforms.MustParse(platform)
	created := time.Unix(1700000000, 0).UTC()
	img.config.Platform = p
	img.config.Created = &created
	img.config.Author = "somebody"
	img.config.Config.Cmd = []string{"/hello"}
	img.config.Config.Env = []string{"PATH=/bin"}
	img.config.Config.Labels = map[string]string{"platform": platform}
	img.config.RootFS.Type = "layers"
	for i, l := range layers {
		img.config.RootFS.DiffIDs = append(img.config.RootFS.DiffIDs, digest.FromBytes(l))
		img.config.History = append(img.config.History, ocispec.History{Created: &created, CreatedBy: fmt.Sprint("step ", i)})
		img.layers = append(img.layers, img.add(ocispec.MediaTypeImageLayerGzip, gz(t, l)))
	}
	img.config.History = append(img.config.History, ocispec.History{Created: &created, CreatedBy: "CMD", EmptyLayer: true, Comment: "the end"})
	img.seal(t)
	return img
}

func (img *testImage) add(mediaType string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	img.blobs[d] = data
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// seal writes config and manifest.
func (img *testImage) seal(t testing.TB) {
	t.Helper()
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    img.add(ocispec.MediaTypeImageConfig, mustJSON(t, img.config)),
		Layers:    img.layers,
	}
	img.sealManifest(t, m)
}

func (img *testImage) sealManifest(t testing.TB, m ocispec.Manifest) {
	t.Helper()
	img.manifest = mustJSON(t, m)
	p := img.config.Platform
	img.desc = ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(img.manifest), Size: int64(len(img.manifest)), Platform: &p}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// put uploads img as repo:tag by plain HTTP.
func (tr *testRegistry) put(t testing.TB, img *testImage, repo, tag string) {
	t.Helper()
	for d, data := range img.blobs {
		tr.putBlob(t, repo, d, data)
	}
	tr.putManifest(t, repo, tag, img.desc.MediaType, img.manifest)
}

func (tr *testRegistry) do(t testing.TB, method, url, contentType string, body []byte, want int) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%s %s: %s %v %s", method, url, resp.Status, err, text)
	}
	return resp
}

func (tr *testRegistry) putBlob(t testing.TB, repo string, d digest.Digest, data []byte) {
	t.Helper()
	resp := tr.do(t, http.MethodPost, tr.URL+"/v2/"+repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	to := resp.Header.Get("Location")
	tr.do(t, http.MethodPut, to+"&digest="+d.String(), "application/octet-stream", data, http.StatusCreated)
}

func (tr *testRegistry) putManifest(t testing.TB, repo, tag, mediaType string, data []byte) {
	t.Helper()
	tr.do(t, http.MethodPut, tr.URL+"/v2/"+repo+"/manifests/"+tag, mediaType, data, http.StatusCreated)
}

// putIndex uploads images below one index.
func (tr *testRegistry) putIndex(t testing.TB, repo, tag string, images ...*testImage) digest.Digest {
	t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, img := range images {
		tr.put(t, img, repo, img.desc.Digest.String())
		index.Manifests = append(index.Manifests, img.desc)
	}
	data := mustJSON(t, index)
	tr.putManifest(t, repo, tag, index.MediaType, data)
	return digest.FromBytes(data)
}

func (tr *testRegistry) ref(t testing.TB, rest string) reference.Named {
	t.Helper()
	return mustRef(t, tr.host+"/"+rest)
}

func mustRef(t testing.TB, name string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// messages collects progress.
type messages struct {
	mu   sync.Mutex
	list []jsonstream.Message
}

func (m *messages) add(msg jsonstream.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, msg)
}

// lines gives all messages that are no bars, as "id: status".
func (m *messages) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, msg := range m.list {
		if isTick(msg) || msg.Status == "" {
			continue
		}
		line := msg.Status
		if msg.ID != "" {
			line = msg.ID + ": " + line
		}
		out = append(out, line)
	}
	return out
}

func (m *messages) has(part string) bool {
	for _, l := range m.lines() {
		if strings.Contains(l, part) {
			return true
		}
	}
	return false
}

// pull pulls and fails the test if that fails.
func pull(t testing.TB, s *Store, ref reference.Named, o PullOptions) (digest.Digest, *messages) {
	t.Helper()
	m := &messages{}
	o.Progress = m.add
	id, err := s.Pull(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("pulling %s: %v\n%s", ref, err, strings.Join(m.lines(), "\n"))
	}
	return id, m
}

// readLower reads a file through the layers, as overlay would.
func readLower(t testing.TB, img Image, name string) string {
	t.Helper()
	for _, dir := range img.Lower {
		data, err := os.ReadFile(dir + "/" + name)
		if err == nil {
			return string(data)
		}
		if !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	t.Fatalf("no layer has %s", name)
	return ""
}

// holds fails unless the store holds so many things. What a call that has
// returned leaves to the garbage collector may take a moment to go.
func holds(t testing.TB, s *Store, want int) {
	t.Helper()
	left := leftovers(t, s)
	for end := time.Now().Add(10 * time.Second); len(left) != want && time.Now().Before(end); left = leftovers(t, s) {
		time.Sleep(50 * time.Millisecond)
	}
	if len(left) != want {
		t.Errorf("store holds %d things, want %d: %q", len(left), want, left)
	}
}

// leftovers says what unfinished or unreferenced data a store holds.
func leftovers(t testing.TB, s *Store) []string {
	t.Helper()
	ctx := s.st.context(context.Background())
	s.collector.now(ctx)
	var list []string
	leases, err := s.st.leases.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		list = append(list, "lease "+l.ID)
	}
	for _, sub := range []string{"content/ingest", "content/blobs/sha256", "snapshots/snapshots"} {
		entries, err := os.ReadDir(s.st.root + "/" + sub)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			list = append(list, sub+"/"+e.Name())
		}
	}
	return list
}

func small(t testing.TB, seed uint64) *testImage {
	return buildImage(t, platforms.DefaultString(), makeTar(t, dir("etc"), file("etc/name", fmt.Sprint("image ", seed))), makeTar(t, dir("bin"), file("bin/data", noise(2000, seed))))
}
