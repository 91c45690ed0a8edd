package env

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-connections/tlsconfig"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/config"
)

// The sockets that are tried, in this order, when nothing names a host.
const (
	DavitSocket  = "/run/davit/davit.sock"
	DockerSocket = "/var/run/docker.sock"
)

// Client returns the connection to the engine, made at the first call. No
// packet is sent before the first request.
func (e *Env) Client() (*client.Client, error) {
	if e.api != nil {
		return e.api, nil
	}
	endpoint, err := e.endpoint()
	if err != nil {
		return nil, err
	}
	e.host = endpoint.Host
	options := client.Config{Host: endpoint.Host, Headers: e.Config().HTTPHeaders, Version: e.Getenv("DOCKER_API_VERSION"), Warn: e.Warn}
	if strings.HasPrefix(endpoint.Host, "ssh://") {
		options.Dial, err = sshDialer(endpoint.Host)
	} else {
		options.TLS, err = e.tls(endpoint)
	}
	if err != nil {
		return nil, err
	}
	e.api, err = client.New(options)
	return e.api, err
}

// Host returns the engine's address as it was resolved, "" before Client.
func (e *Env) Host() string { return e.host }

// ContextName returns the context in force, "default" where the address comes
// from flags or the environment.
func (e *Env) ContextName() string {
	switch {
	case e.Global.Context != "":
		return e.Global.Context
	case len(e.Global.Hosts) > 0 || e.Getenv("DAVIT_HOST") != "" || e.Getenv("DOCKER_HOST") != "":
		return config.DefaultContext
	case e.Getenv("DOCKER_CONTEXT") != "":
		return e.Getenv("DOCKER_CONTEXT")
	case e.Config().CurrentContext != "":
		return e.Config().CurrentContext
	}
	return config.DefaultContext
}

func (e *Env) endpoint() (config.Endpoint, error) {
	switch {
	case len(e.Global.Hosts) > 1:
		return config.Endpoint{}, &Exit{Status: StatusError, Text: "Specify only one -H"}
	case len(e.Global.Hosts) > 0 && e.Global.Context != "":
		return config.Endpoint{}, &Exit{Status: StatusError, Text: "conflicting options: cannot specify both --host and --context"}
	}
	if name := e.ContextName(); name != config.DefaultContext {
		endpoint, err := e.Config().Context(name)
		if err == nil && endpoint.Host == "" {
			endpoint.Host = defaultHost()
		}
		return endpoint, err
	}
	host := ""
	switch {
	case len(e.Global.Hosts) == 1:
		host = e.Global.Hosts[0]
	case e.Global.Context != "": // "default", given: only the sockets count
	case e.Getenv("DAVIT_HOST") != "":
		host = e.Getenv("DAVIT_HOST")
	default:
		host = e.Getenv("DOCKER_HOST")
	}
	host, err := parseHost(host, e.wantsTLS())
	return config.Endpoint{Host: host}, err
}

// defaultHost is the first of the two usual sockets that exists.
func defaultHost() string {
	for _, path := range [...]string{DavitSocket, DockerSocket} {
		if _, err := os.Stat(path); err == nil {
			return "unix://" + path
		}
	}
	return "unix://" + DavitSocket
}

// parseHost completes what users write after -H.
func parseHost(host string, secure bool) (string, error) {
	host = strings.TrimSpace(host)
	scheme, address, ok := strings.Cut(host, "://")
	switch {
	case host == "":
		return defaultHost(), nil
	case !ok && strings.HasPrefix(host, "/"):
		return "unix://" + host, nil
	case !ok:
		scheme, address = "tcp", host
	}
	switch scheme {
	case "unix", "ssh", "http", "https":
		if address == "" && scheme == "unix" {
			return defaultHost(), nil
		}
		return scheme + "://" + address, nil
	case "tcp":
		port := "2375"
		if secure {
			port = "2376"
		}
		address, path, slash := strings.Cut(address, "/")
		if strings.HasPrefix(address, ":") || address == "" {
			address = "localhost" + address
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), port)
		}
		if slash {
			address += "/" + path
		}
		return "tcp://" + address, nil
	}
	return "", &Exit{Status: StatusError, Text: fmt.Sprintf("invalid host %q: the scheme must be unix, tcp, http, https or ssh", host)}
}

func (e *Env) wantsTLS() bool {
	return e.Global.TLS || e.Global.TLSVerify || e.Getenv("DOCKER_TLS_VERIFY") != "" || e.Getenv("DOCKER_TLS") != ""
}

// tls returns the TLS configuration for endpoint, nil for none: from the
// context's files, or from the flags with DOCKER_CERT_PATH as the place of
// files that are not named.
func (e *Env) tls(endpoint config.Endpoint) (*tls.Config, error) {
	if strings.HasPrefix(endpoint.Host, "unix://") {
		return nil, nil
	}
	options := tlsconfig.Options{MinVersion: tls.VersionTLS12, ExclusiveRootPools: true}
	switch {
	case endpoint.CA != "" || endpoint.Cert != "" || endpoint.Key != "" || endpoint.SkipTLSVerify:
		options.CAFile, options.CertFile, options.KeyFile = endpoint.CA, endpoint.Cert, endpoint.Key
		options.InsecureSkipVerify = endpoint.SkipTLSVerify
	case e.wantsTLS():
		dir := e.Getenv("DOCKER_CERT_PATH")
		if dir == "" {
			dir = e.Global.ConfigDir
		}
		options.InsecureSkipVerify = !e.Global.TLSVerify && e.Getenv("DOCKER_TLS_VERIFY") == ""
		for _, f := range [...]struct {
			at          *string
			flag, named string
		}{
			{&options.CAFile, e.Global.TLSCA, "ca.pem"},
			{&options.CertFile, e.Global.TLSCert, "cert.pem"},
			{&options.KeyFile, e.Global.TLSKey, "key.pem"},
		} {
			// Files at their usual place are optional, files that were named are not.
			*f.at = f.flag
			if f.flag == "" {
				*f.at = filepath.Join(dir, f.named)
				if _, missing := os.Stat(*f.at); missing != nil {
					*f.at = ""
				}
			}
		}
		if options.InsecureSkipVerify {
			options.CAFile = ""
		}
	default:
		return nil, nil
	}
	c, err := tlsconfig.Client(options)
	if err != nil {
		return nil, fmt.Errorf("setting up TLS: %w", err)
	}
	return c, nil
}

var errNoSSH = errors.New("an ssh:// host needs the ssh program, and it is not on the PATH")
