package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
)

const (
	hubDomain = "docker.io"
	hubHost   = "registry-1.docker.io"
)

// registries knows how to reach registries: mirrors, plain HTTP, certificates,
// credentials, patience. Connections are kept per host.
type registries struct {
	mirrors  []*url.URL
	insecure insecureList
	certs    []string
	attempts int
	backoff  time.Duration // before the second attempt; doubles from there
	agent    string

	mu         sync.Mutex
	transports map[string]*http.Transport // by host; guarded by mu
	fallbacks  map[string]http.RoundTripper
}

func newRegistries(cfg Config) (*registries, error) {
	r := &registries{
		certs:      cfg.CertsDirs,
		attempts:   cfg.DownloadAttempts,
		backoff:    cfg.backoff,
		agent:      cfg.UserAgent,
		transports: map[string]*http.Transport{},
		fallbacks:  map[string]http.RoundTripper{},
	}
	for _, m := range cfg.Mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("registry mirror %q is not an http or https URL", m)
		}
		r.mirrors = append(r.mirrors, u)
	}
	var err error
	r.insecure, err = parseInsecure(cfg.InsecureRegistries)
	return r, err
}

// insecureList holds the registries that need no valid certificate.
type insecureList struct {
	hosts map[string]bool
	nets  []netip.Prefix
}

func parseInsecure(entries []string) (insecureList, error) {
	l := insecureList{hosts: map[string]bool{}}
	for _, e := range entries {
		if p, err := netip.ParsePrefix(e); err == nil {
			l.nets = append(l.nets, p)
			continue
		}
		if e == "" || strings.Contains(e, "://") {
			return l, fmt.Errorf("insecure registry %q is neither host, host:port nor address range", e)
		}
		l.hosts[strings.ToLower(e)] = true
	}
	return l, nil
}

// has reports whether host (with or without port) is on the list. Loopback
// always is, as with Docker.
func (l insecureList) has(host string) bool {
	host = strings.ToLower(host)
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if docker.IsLocalhost(host) || l.hosts[host] || l.hosts[name] {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil {
		return false
	}
	for _, p := range l.nets {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// close drops idle connections.
func (r *registries) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.transports {
		t.CloseIdleConnections()
	}
}

// resolver returns a resolver for one operation on ref, with its own tokens.
func (r *registries) resolver(ref reference.Named, auth *registry.AuthConfig) (remotes.Resolver, docker.StatusTracker) {
	tracker := docker.NewInMemoryTracker()
	hosts := func(domain string) ([]docker.RegistryHost, error) { return r.hosts(domain, auth) }
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   hosts,
		Tracker: tracker,
		Headers: http.Header{"User-Agent": {r.agent}},
	}), tracker
}

// hosts lists where images of a domain come from, in the order to try.
func (r *registries) hosts(domain string, auth *registry.AuthConfig) ([]docker.RegistryHost, error) {
	const pull = docker.HostCapabilityPull | docker.HostCapabilityResolve
	var list []docker.RegistryHost
	if domain == hubDomain {
		for _, m := range r.mirrors {
			h, err := r.host(m.Host, m.Scheme, nil, 2)
			if err != nil {
				return nil, err
			}
			h.Path = strings.TrimSuffix(m.Path, "/") + "/v2"
			h.Capabilities = pull
			list = append(list, h)
		}
	}
	host := domain
	if domain == hubDomain {
		host = hubHost
	}
	if !authIsFor(auth, domain) {
		auth = nil
	}
	h, err := r.host(host, "https", auth, r.attempts)
	if err != nil {
		return nil, err
	}
	h.Path = "/v2"
	h.Capabilities = pull | docker.HostCapabilityPush
	return append(list, h), nil
}

// authIsFor reports whether credentials may be shown to the registry of domain.
func authIsFor(auth *registry.AuthConfig, domain string) bool {
	if auth == nil || auth.ServerAddress == "" {
		return auth != nil
	}
	addr := auth.ServerAddress
	if _, rest, ok := strings.Cut(addr, "://"); ok {
		addr = rest
	}
	addr, _, _ = strings.Cut(addr, "/")
	switch addr {
	case "index.docker.io", hubHost, "registry.hub.docker.com":
		addr = hubDomain
	}
	return strings.EqualFold(addr, domain)
}

func (r *registries) host(host, scheme string, auth *registry.AuthConfig, attempts int) (docker.RegistryHost, error) {
	transport, err := r.transport(host, scheme)
	if err != nil {
		return docker.RegistryHost{}, err
	}
	client := &http.Client{Transport: &patient{next: transport, attempts: attempts, backoff: r.backoff}}
	h := docker.RegistryHost{Client: client, Host: host, Scheme: scheme}
	if auth != nil && auth.RegistryToken != "" {
		h.Authorizer = bearer{host: host, token: auth.RegistryToken}
		return h, nil
	}
	h.Authorizer = docker.NewDockerAuthorizer(
		docker.WithAuthClient(client),
		docker.WithAuthHeader(http.Header{"User-Agent": {r.agent}}),
		docker.WithAuthCreds(func(asked string) (string, string, error) {
			if auth == nil || asked != host {
				return "", "", nil
			}
			if auth.IdentityToken != "" {
				return "", auth.IdentityToken, nil
			}
			return auth.Username, auth.Password, nil
		}))
	return h, nil
}

// transport returns the connections to a host. An insecure host is tried with
// TLS first and then in plain.
func (r *registries) transport(host, scheme string) (http.RoundTripper, error) {
	key := scheme + "://" + host
	r.mu.Lock()
	defer r.mu.Unlock()
	if rt := r.fallbacks[key]; rt != nil {
		return rt, nil
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       20 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		// Layers are compressed already; a transparent gunzip would break ranges.
		DisableCompression: true,
	}
	var rt http.RoundTripper = t
	if scheme == "https" {
		conf, err := r.tlsConfig(host)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = conf
		if r.insecure.has(host) {
			conf.InsecureSkipVerify = true
			rt = docker.NewHTTPFallback(t)
		}
	}
	r.transports[key], r.fallbacks[key] = t, rt
	return rt, nil
}

// tlsConfig reads a host's certificates from the certs.d directories: *.crt are
// authorities, a *.cert with its *.key is what to show (Docker's layout).
func (r *registries) tlsConfig(host string) (*tls.Config, error) {
	conf := &tls.Config{}
	for _, certs := range r.certs {
		dir := filepath.Join(certs, host)
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("reading registry certificates: %w", err)
		}
		for _, e := range entries {
			if err := addCertificate(conf, filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("reading registry certificate: %w", err)
			}
		}
	}
	return conf, nil
}

func addCertificate(conf *tls.Config, path string) error {
	switch filepath.Ext(path) {
	case ".crt":
		pem, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if conf.RootCAs == nil {
			if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
				return err
			}
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate", path)
		}
	case ".cert":
		pair, err := tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".cert")+".key")
		if err != nil {
			return err
		}
		conf.Certificates = append(conf.Certificates, pair)
	}
	return nil
}

// bearer shows a token that the client brought itself.
type bearer struct{ host, token string }

func (b bearer) Authorize(_ context.Context, req *http.Request) error {
	if req.URL.Host == b.host {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	return nil
}

func (bearer) AddResponses(context.Context, []*http.Response) error { return errdefs.ErrNotImplemented }

// patient repeats requests that failed for a passing reason: GET and HEAD that
// were answered 429 or 5xx, or whose connection broke. A connection that is
// refused is reported at once; it may be a wrong address.
type patient struct {
	next     http.RoundTripper
	attempts int
	backoff  time.Duration
}

func (p *patient) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := p.next.RoundTrip(req)
		if err == nil {
			if resp, err = p.inspect(req, resp); err == nil {
				return resp, nil
			}
		}
		if req.Method != http.MethodGet && req.Method != http.MethodHead || !passing(err) {
			return nil, err
		}
		if try >= p.attempts {
			return nil, &exhausted{err}
		}
		if err := sleep(req.Context(), retryDelay(err, p.backoff, try)); err != nil {
			return nil, err
		}
	}
}

// errBusy is a registry's answer that it cannot serve now.
type errBusy struct {
	remoteerrors.ErrUnexpectedStatus
	after time.Duration // from Retry-After; 0 when it said nothing
}

func (e *errBusy) Unwrap() error { return e.ErrUnexpectedStatus }

// exhausted is the last of several failures. It hides what the failure was of,
// so that the layers above, which have retries of their own, do not multiply
// the attempts; a registry's answer can still be looked into.
type exhausted struct{ err error }

func (e *exhausted) Error() string { return e.err.Error() }

func (e *exhausted) Unwrap() error {
	var busy *errBusy
	if errors.As(e.err, &busy) {
		return busy.ErrUnexpectedStatus
	}
	return nil
}

// expected is what the caller knows of the blob that it asks for.
type expected struct{ size int64 }

type expectedKey struct{}

// inspect turns answers into errors that are none: busy registries, documents
// and blobs of a wrong size.
func (p *patient) inspect(req *http.Request, resp *http.Response) (*http.Response, error) {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			return resp, nil
		}
		busy := &errBusy{after: retryAfter(resp.Header.Get("Retry-After"))}
		errors.As(remoteerrors.NewUnexpectedStatusErr(resp), &busy.ErrUnexpectedStatus)
		resp.Body.Close()
		return nil, busy
	case http.StatusOK:
		if req.Method != http.MethodGet {
			return resp, nil
		}
		if strings.Contains(req.URL.Path, "/manifests/") {
			resp.Body = &limitedBody{resp.Body, maxManifestSize}
		}
		// The context goes along to token servers too, hence the path.
		want, ok := req.Context().Value(expectedKey{}).(expected)
		if ok && strings.Contains(req.URL.Path, "/blobs/") && resp.Header.Get("Content-Encoding") == "" &&
			resp.ContentLength >= 0 && resp.ContentLength != want.size {
			resp.Body.Close()
			return nil, fmt.Errorf("registry sends %d bytes where the manifest names %d: %w", resp.ContentLength, want.size, errdefs.ErrFailedPrecondition)
		}
	}
	return resp, nil
}

// limitedBody fails once more than left bytes were read.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("manifest has more than %d bytes: %w", maxManifestSize, errdefs.ErrInvalidArgument)
	}
	return n, err
}

// retryAfter reads the header's seconds or date, at most a minute.
func retryAfter(header string) time.Duration {
	d := time.Duration(0)
	if n, err := strconv.Atoi(header); err == nil {
		d = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(header); err == nil {
		d = time.Until(t)
	}
	return min(max(d, 0), time.Minute)
}

// passing reports whether the same request may succeed a little later.
func passing(err error) bool {
	var busy *errBusy
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, syscall.ECONNREFUSED):
		return false
	case errors.As(err, &busy), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return true
	}
	return errors.As(err, &timeout) && timeout.Timeout()
}

// retryDelay is how long to wait after the given failed try, counted from 1.
func retryDelay(err error, backoff time.Duration, try int) time.Duration {
	var busy *errBusy
	if errors.As(err, &busy) && busy.after > 0 {
		return busy.after
	}
	d := min(backoff<<min(try-1, 10), 30*time.Second)
	return d/2 + rand.N(d/2+1)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
