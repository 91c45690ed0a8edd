package daemon

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/registry"
)

// TestLogin asks registries that speak the real protocol on loopback.
func TestLogin(t *testing.T) {
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	known := func(r *http.Request) bool {
		u, p, _ := r.BasicAuth()
		return u == "u" && p == "right" || u == "<token>" && p == "renew"
	}
	mode := ""
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		switch mode {
		case "open":
		case "basic":
			if !known(r) {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		case "token":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token?x=1",service="a, service"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !known(r) || q.Get("service") != "a, service" || q.Get("x") != "1" || q.Get("offline_token") != "true" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"token":"t","refresh_token":"r"}`)
	})
	l := login{agent: "test"}
	for _, tc := range []struct {
		mode  string
		auth  registry.AuthConfig
		token string
		kind  errs.Kind
	}{
		{"open", registry.AuthConfig{}, "", errs.Unknown},
		{"basic", registry.AuthConfig{Username: "u", Password: "right"}, "", errs.Unknown},
		{"basic", registry.AuthConfig{Username: "u", Password: "wrong"}, "", errs.Unauthorized},
		{"token", registry.AuthConfig{Username: "u", Password: "right"}, "r", errs.Unknown},
		{"token", registry.AuthConfig{Username: "u", Password: "wrong"}, "", errs.Unauthorized},
		{"token", registry.AuthConfig{Username: "u", IdentityToken: "renew"}, "r", errs.Unknown},
		{"teapot", registry.AuthConfig{}, "", errs.System},
	} {
		mode = tc.mode
		tc.auth.ServerAddress = host
		token, err := l.Login(t.Context(), tc.auth)
		if token != tc.token || errs.KindOf(err) != tc.kind || (err == nil) != (tc.kind == errs.Unknown) {
			t.Errorf("%s %+v: %q, %v", tc.mode, tc.auth, token, err)
		}
	}
	if _, err := l.Login(t.Context(), registry.AuthConfig{ServerAddress: "127.0.0.1:1"}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestRegistryHost(t *testing.T) {
	for address, want := range map[string]string{
		"": dockerHub, "https://index.docker.io/v1/": dockerHub, "docker.io": dockerHub, "r.example:5000": "r.example:5000", "http://r/v2/": "r",
	} {
		if got := registryHost(address); got != want {
			t.Errorf("%q: %s", address, got)
		}
	}
	l := login{insecure: []string{"r.example", "s:5000", "10.0.0.0/8"}}
	for host, want := range map[string]bool{
		"r.example": true, "r.example:1": true, "s:5000": true, "s:1": false, "10.1.2.3:5000": true, "11.1.2.3": false, "127.0.0.1:5": true, "localhost": true, "docker.io": false,
	} {
		if l.isInsecure(host) != want {
			t.Errorf("%s: %v", host, !want)
		}
	}
}
