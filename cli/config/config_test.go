package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/registry"
)

// directory makes a configuration directory with these files.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDir(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"/x":         {"DOCKER_CONFIG": "/x", "HOME": "/h"},
		"/h/.docker": {"HOME": "/h"},
	} {
		if got := Dir(func(name string) string { return env[name] }); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	f, err := Load(t.TempDir())
	if err != nil || f.CurrentContext != "" {
		t.Errorf("a missing file: %+v, %v", f, err)
	}
	f, err = Load(directory(t, map[string]string{"config.json": `{"currentContext":"c","detachKeys":"ctrl-a","HttpHeaders":{"X":"y"},"unknown":{"a":1},
		"proxies":{"default":{"httpProxy":"http://p","noProxy":"localhost"},"unix:///s":{"httpProxy":"http://q"}}}`}))
	if err != nil || f.CurrentContext != "c" || f.DetachKeys != "ctrl-a" || f.HTTPHeaders["X"] != "y" {
		t.Errorf("%+v, %v", f, err)
	}
	want := map[string]string{"HTTP_PROXY": "http://p", "http_proxy": "http://p", "NO_PROXY": "localhost", "no_proxy": "localhost"}
	if got := f.ProxyEnv("unix:///other"); !reflect.DeepEqual(got, want) {
		t.Errorf("proxies %v", got)
	}
	if got := f.ProxyEnv("unix:///s"); got["HTTP_PROXY"] != "http://q" || len(got) != 2 {
		t.Errorf("proxies of one host %v", got)
	}
	for _, text := range []string{"{", "[]", `{"auths":1}`} {
		f, err := Load(directory(t, map[string]string{"config.json": text}))
		if err == nil || f == nil {
			t.Errorf("%s: %v, %v", text, f, err)
		}
	}
}

func TestContext(t *testing.T) {
	sum := sha256.Sum256([]byte("far"))
	id := hex.EncodeToString(sum[:])
	dir := directory(t, map[string]string{
		"contexts/meta/" + id + "/meta.json":       `{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://far:2376","SkipTLSVerify":true}}}`,
		"contexts/tls/" + id + "/docker/ca.pem":    "x",
		"contexts/tls/" + id + "/docker/cert.pem":  "x",
		"contexts/meta/" + strings.Repeat("0", 64): "not this one",
	})
	f := &File{dir: dir}
	got, err := f.Context("far")
	tls := filepath.Join(dir, "contexts/tls", id, "docker")
	want := Endpoint{Host: "tcp://far:2376", SkipTLSVerify: true, CA: tls + "/ca.pem", Cert: tls + "/cert.pem"}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := f.Context("near"); err == nil || !strings.HasPrefix(err.Error(), `context "near": context not found`) {
		t.Errorf("%v", err)
	}
}

func TestAuthFor(t *testing.T) {
	helper := t.TempDir()
	script := "#!/bin/sh\nread server\ncase $server in\nhelped.example) echo '{\"ServerURL\":\"helped.example\",\"Username\":\"u\",\"Secret\":\"s\"}';;\n" +
		"token.example) echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';;\nbroken.example) echo oops; exit 1;;\n*) echo 'credentials not found in native keychain'; exit 1;;\nesac\n"
	if err := os.WriteFile(filepath.Join(helper, "docker-credential-test"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", helper+":"+os.Getenv("PATH"))
	text := fmt.Sprintf(`{"auths":{
		%q:{"auth":"aHViOnB3OndpdGhjb2xvbg=="},
		"localhost:5000":{"auth":"bG9jYWw6cHc="},
		"https://old.example/v1/":{"username":"o","password":"p"},
		"plain.example":{"identitytoken":"id"},
		"bad.example":{"auth":"!"},
		"bad2.example":{"auth":"bm9jb2xvbg=="}},
		"credHelpers":{"helped.example":"test","token.example":"test","broken.example":"test","unknown.example":"test","missing.example":"no-such-helper"}}`, DockerHub)
	f, err := Load(directory(t, map[string]string{"config.json": text}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		domain string
		want   registry.AuthConfig
		fails  bool
	}{
		{"docker.io", registry.AuthConfig{Username: "hub", Password: "pw:withcolon", ServerAddress: DockerHub}, false},
		{"localhost:5000", registry.AuthConfig{Username: "local", Password: "pw", ServerAddress: "localhost:5000"}, false},
		{"old.example", registry.AuthConfig{Username: "o", Password: "p", ServerAddress: "old.example"}, false},
		{"plain.example", registry.AuthConfig{IdentityToken: "id", ServerAddress: "plain.example"}, false},
		{"none.example", registry.AuthConfig{}, false},
		{"bad.example", registry.AuthConfig{}, true},
		{"bad2.example", registry.AuthConfig{}, true},
		{"helped.example", registry.AuthConfig{Username: "u", Password: "s", ServerAddress: "helped.example"}, false},
		{"token.example", registry.AuthConfig{IdentityToken: "t", ServerAddress: "token.example"}, false},
		{"unknown.example", registry.AuthConfig{}, false},
		{"broken.example", registry.AuthConfig{}, true},
		{"missing.example", registry.AuthConfig{}, true},
	} {
		got, err := f.AuthFor(c.domain)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %+v, %v", c.domain, got, err)
		}
	}
}
