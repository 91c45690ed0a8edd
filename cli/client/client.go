// Package client owns the conversation with an engine: connections, requests
// of Docker's API as far as the commands make them, their answers and errors.
//
// It is a small client rather than moby's, because a command lives for a few
// milliseconds: what is linked, started and allocated here is most of what a
// user waits for. It knows no command, prints nothing, and takes images' names
// as package name understands them.
//
// A Client is safe for concurrent use. On a unix socket it starts goroutines for
// uploads only. A context ends a call and the stream that the call returned.
package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/davit-engine/davit/errs"
)

// dialLimit is how long a connection may take to be made.
const dialLimit = 10 * time.Second

// Config says where the engine is and how to speak to it.
type Config struct {
	// Host is SCHEME://ADDRESS with the scheme unix, tcp, http or https; of any
	// other Dial has to be set.
	Host string
	// Dial makes a connection to the engine, nil for one to Host.
	Dial func(context.Context) (net.Conn, error)
	// TLS is spoken if it is set, and with https.
	TLS *tls.Config
	// Headers go with each request, below those that the protocol needs.
	Headers map[string]string
	// Version is the API's, "" for the newest that both sides know.
	Version string
	// Warn is told what an engine adds to an answer for the user; several calls
	// may do so at once. nil: nobody is.
	Warn func(text string)
}

// Client speaks to one engine.
type Client struct {
	Containers Containers
	Images     Images
	Volumes    Volumes
	Networks   Networks
	Execs      Execs

	Checkpoints Checkpoints

	host      string  // as configured, for people
	base      url.URL // scheme, host and path of every request
	headers   http.Header
	warn      func(text string)
	dial      func(context.Context) (net.Conn, error)
	transport *http.Transport
	local     *local // for all but uploads on a unix socket, else nil

	mu      sync.Mutex
	version apiVersion // guarded by mu
	settled bool       // version is what both sides know; guarded by mu
}

// New returns a client. Nothing is sent before the first call.
func New(config Config) (*Client, error) {
	c := &Client{host: config.Host, warn: config.Warn, version: newest, headers: http.Header{}}
	c.Containers, c.Images, c.Volumes, c.Execs = Containers{c}, Images{c}, Volumes{c}, Execs{c}
	c.Networks, c.Checkpoints = Networks{c}, Checkpoints{c}
	if config.Version != "" {
		v, err := parseVersion(config.Version)
		if err != nil {
			return nil, errs.New(errs.InvalidParameter, "invalid API version (%s): %w", config.Version, err)
		}
		c.version, c.settled = v, true
	}
	for k, v := range config.Headers {
		k = textproto.CanonicalMIMEHeaderKey(k)
		if c.headers[k] != nil {
			return nil, errs.New(errs.InvalidParameter, "duplicate custom HTTP header (%s)", k)
		}
		c.headers[k] = []string{v}
	}
	c.headers["User-Agent"] = []string{"Davit-Client"}
	if err := c.aim(config); err != nil {
		return nil, err
	}
	return c, nil
}

// aim sets where requests go to and how.
func (c *Client) aim(config Config) error {
	scheme, address, ok := strings.Cut(config.Host, "://")
	if !ok || address == "" {
		return errs.New(errs.InvalidParameter, "unable to parse docker host `%s`", config.Host)
	}
	// The name stands for whatever is at the other end of a socket.
	c.base = url.URL{Scheme: "http", Host: "davit.localhost"}
	c.transport = &http.Transport{
		MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
	}
	switch {
	case config.Dial != nil:
		c.dial = config.Dial
	case scheme == "unix":
		if len(address) > len(syscall.RawSockaddrUnix{}.Path) {
			return errs.New(errs.InvalidParameter, "unix socket path %q is too long", address)
		}
		c.dial = func(context.Context) (net.Conn, error) { // it succeeds or fails at once
			return net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: address})
		}
		c.local = &local{c.dial}
	case scheme == "tcp", scheme == "http":
		c.remote(address, config.TLS)
	case scheme == "https" && config.TLS == nil:
		c.remote(address, &tls.Config{MinVersion: tls.VersionTLS12})
	case scheme == "https":
		c.remote(address, config.TLS)
	default:
		return errs.New(errs.InvalidParameter, "unable to parse docker host `%s`: unknown scheme %s", config.Host, scheme)
	}
	return nil
}

// remote aims at HOST[:PORT][/PATH] over TCP, with TLS if secure is set, and by
// the proxy that the environment names; an attachment goes past the proxy.
func (c *Client) remote(address string, secure *tls.Config) {
	address, path, _ := strings.Cut(address, "/")
	c.base = url.URL{Scheme: "http", Host: address, Path: path}
	port := "80"
	if secure != nil {
		c.base.Scheme, port = "https", "443"
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), port)
	}
	dialer := &net.Dialer{Timeout: dialLimit}
	c.dial = func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", address) }
	if secure != nil {
		d := &tls.Dialer{NetDialer: dialer, Config: secure}
		c.dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	// The transport dials whom it is told to, such as a proxy, and speaks TLS itself.
	c.transport.Proxy, c.transport.DisableCompression, c.transport.TLSClientConfig = http.ProxyFromEnvironment, false, secure
	c.transport.DialContext = dialer.DialContext
}

// Dial makes a connection of its own to the engine, for whoever speaks HTTP
// over it himself.
func (c *Client) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the Docker daemon. Is 'docker daemon' running on this host?: %w", err)
	}
	return conn, nil
}
