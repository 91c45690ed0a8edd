package registry

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	RouteLogs(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

func request(t *testing.T, method, url, contentType string, body []byte, want int) (http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%s %s: %s, want %d: %s %v", method, url, resp.Status, want, text, err)
	}
	return resp.Header, string(text)
}

func sum(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// TestLife pushes, pulls, lists and deletes, over two servers on one directory.
func TestLife(t *testing.T) {
	root := filepath.Join(t.TempDir(), "made", "here")
	open := func() string {
		s, err := New(t.Context(), root, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(s)
		t.Cleanup(func() { server.Close(); s.Close() })
		return server.URL
	}
	url := open()
	request(t, http.MethodGet, url+"/v2/", "", nil, http.StatusOK)
	const configType, manifestType = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.manifest.v1+json"
	config := []byte("{}")
	header, _ := request(t, http.MethodPost, url+"/v2/a/b/blobs/uploads/", "", nil, http.StatusAccepted)
	request(t, http.MethodPut, header.Get("Location")+"&digest="+sum(config), "application/octet-stream", config, http.StatusCreated)
	manifest := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[]}`, manifestType, configType, sum(config)))
	request(t, http.MethodPut, url+"/v2/a/b/manifests/v1", manifestType, manifest, http.StatusCreated)

	url = open()
	if _, body := request(t, http.MethodGet, url+"/v2/a/b/manifests/v1", "", nil, http.StatusOK); body != string(manifest) {
		t.Errorf("manifest came back as %s", body)
	}
	if _, body := request(t, http.MethodGet, url+"/v2/a/b/tags/list", "", nil, http.StatusOK); !strings.Contains(body, `["v1"]`) {
		t.Errorf("tags %s", body)
	}
	if _, body := request(t, http.MethodGet, url+"/v2/_catalog", "", nil, http.StatusOK); !strings.Contains(body, `["a/b"]`) {
		t.Errorf("catalogue %s", body)
	}
	request(t, http.MethodDelete, url+"/v2/a/b/manifests/"+sum(manifest), "", nil, http.StatusAccepted)
	request(t, http.MethodGet, url+"/v2/a/b/manifests/v1", "", nil, http.StatusNotFound)
	request(t, http.MethodDelete, url+"/v2/a/b/blobs/"+sum(config), "", nil, http.StatusAccepted)
	request(t, http.MethodPut, url+"/v2/a/b/manifests/v2", manifestType, []byte("no manifest"), http.StatusBadRequest)
	request(t, http.MethodGet, url+"/v2/../../etc/passwd", "", nil, http.StatusNotFound)
}

func TestNewRefusesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), path, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file was taken as the directory")
	}
}
