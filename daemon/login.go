package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/registry"
)

// login checks credentials with registries, for `docker login`.
type login struct {
	insecure []string // registries that may be spoken to without, or with any, certificate
	agent    string
}

// dockerHub is the registry that no name means.
const dockerHub = "registry-1.docker.io"

// Login implements api.Registry: it asks the registry's /v2/ with the
// credentials, by Basic or by a token, whichever the registry wants.
func (l login) Login(ctx context.Context, auth registry.AuthConfig) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	host := registryHost(auth.ServerAddress)
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
	schemes := []string{"https"}
	if l.isInsecure(host) {
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		schemes = append(schemes, "http")
	}
	defer client.CloseIdleConnections()
	var err error
	for _, scheme := range schemes {
		var token string
		if token, err = l.try(ctx, client, scheme+"://"+host+"/v2/", auth); err == nil || errs.KindOf(err) != errs.Unavailable {
			return token, err
		}
	}
	return "", err
}

func (l login) try(ctx context.Context, client *http.Client, address string, auth registry.AuthConfig) (string, error) {
	resp, err := l.get(ctx, client, address, nil)
	if err != nil {
		return "", err
	}
	switch resp.StatusCode {
	case http.StatusOK: // it asks nobody who they are
		return "", nil
	case http.StatusUnauthorized:
	default:
		return "", errs.New(errs.System, "login attempt to %s failed with status: %s", address, resp.Status)
	}
	scheme, params := challenge(resp.Header.Get("WWW-Authenticate"))
	if strings.EqualFold(scheme, "bearer") {
		return l.token(ctx, client, params, auth)
	}
	resp, err = l.get(ctx, client, address, func(r *http.Request) { r.SetBasicAuth(auth.Username, auth.Password) })
	if err != nil {
		return "", err
	}
	return "", refusal(address, resp)
}

// token asks a token server. A token given instead of a password is renewed.
func (l login) token(ctx context.Context, client *http.Client, params map[string]string, auth registry.AuthConfig) (string, error) {
	u, err := url.Parse(params["realm"])
	if err != nil || u.Host == "" {
		return "", errs.New(errs.System, "the registry names no token server: realm %q", params["realm"])
	}
	q := u.Query()
	q.Set("service", params["service"])
	q.Set("account", auth.Username)
	q.Set("client_id", "davit")
	q.Set("offline_token", "true")
	u.RawQuery = q.Encode()
	resp, err := l.get(ctx, client, u.String(), func(r *http.Request) {
		if auth.IdentityToken != "" {
			r.SetBasicAuth("<token>", auth.IdentityToken)
			return
		}
		r.SetBasicAuth(auth.Username, auth.Password)
	})
	if err != nil {
		return "", err
	}
	if err := refusal(u.Redacted(), resp); err != nil {
		return "", err
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(resp.body, &answer); err != nil {
		return "", errs.New(errs.System, "the token server's answer is not JSON: %w", err)
	}
	return answer.RefreshToken, nil
}

func refusal(address string, resp *response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return errs.New(errs.Unauthorized, "unauthorized: incorrect username or password")
	}
	return errs.New(errs.System, "login attempt to %s failed with status: %s", address, resp.Status)
}

type response struct {
	*http.Response
	body []byte // the first 64 KiB
}

func (l login) get(ctx context.Context, client *http.Client, address string, prepare func(*http.Request)) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errs.Wrap(errs.InvalidParameter, err)
	}
	req.Header.Set("User-Agent", l.agent)
	if prepare != nil {
		prepare(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, errs.New(errs.Unavailable, "reading the answer of %s: %w", req.URL.Redacted(), err)
	}
	return &response{resp, body}, nil
}

// challenge takes a WWW-Authenticate header apart.
func challenge(header string) (scheme string, params map[string]string) {
	scheme, rest, _ := strings.Cut(header, " ")
	params = map[string]string{}
	for rest != "" {
		name, tail, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		var v string
		if strings.HasPrefix(tail, `"`) {
			v, tail, _ = strings.Cut(tail[1:], `"`)
			_, tail, _ = strings.Cut(tail, ",")
		} else {
			v, tail, _ = strings.Cut(tail, ",")
		}
		params[strings.ToLower(strings.TrimSpace(name))] = v
		rest = tail
	}
	return scheme, params
}

// registryHost returns the host that a server address means. Docker Hub has
// many names.
func registryHost(address string) string {
	host := strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	switch host {
	case "", "docker.io", "index.docker.io", "registry.hub.docker.com":
		return dockerHub
	}
	return host
}

// isInsecure reports whether a registry is on loopback or was named as
// insecure, by name or by a range of addresses.
func (l login) isInsecure(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip, err := netip.ParseAddr(name)
	if name == "localhost" || err == nil && ip.IsLoopback() {
		return true
	}
	for _, entry := range l.insecure {
		if entry == host || entry == name {
			return true
		}
		if p, bad := netip.ParsePrefix(entry); bad == nil && err == nil && p.Contains(ip) {
			return true
		}
	}
	return false
}
