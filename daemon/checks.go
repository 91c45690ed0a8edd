package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/engine/idrange"
)

func notEmpty(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	return nil
}

func oneOf(message string, words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf("%s (%s): use one of %q", message, s, words)
	}
}

// levels maps the names that dockerd knows to those that the log has.
var levels = map[string]slog.Level{
	"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn,
	"error": slog.LevelError, "fatal": slog.LevelError, "panic": slog.LevelError,
}

func logLevel(s string) error {
	if _, ok := levels[strings.ToLower(s)]; !ok {
		return fmt.Errorf("invalid logging level: %s", s)
	}
	return nil
}

func apiVersion(s string) error {
	if strings.HasPrefix(strings.ToLower(s), "v") {
		return errors.New(`API version must be provided without "v" prefix`)
	}
	v, err := compat.Parse(s)
	if err != nil {
		return err
	}
	if (compat.Range{Min: compat.Min, Max: compat.Max}).Check(v, s) != nil {
		return fmt.Errorf("API versions are from %s to %s: %s", compat.Min, compat.Max, s)
	}
	return nil
}

func label(s string) error {
	if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
		return fmt.Errorf("bad attribute format: %s", s)
	}
	return nil
}

// labelConflict refuses a label that has two values.
func labelConflict(labels []string) error {
	seen := map[string]string{}
	for _, l := range labels {
		name, value, _ := strings.Cut(l, "=")
		if old, ok := seen[name]; ok && old != value {
			return fmt.Errorf("conflict labels for %s=%s and %s=%s", name, value, name, old)
		}
		seen[name] = value
	}
	return nil
}

// hostAddress reads an address, which may be left empty.
func hostAddress(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(s)
}

// ipv4Prefix reads an address with its prefix length, which is kept as it is:
// a bip is an address within its network.
func ipv4Prefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("invalid CIDR address: %s: write an IPv4 network such as 172.17.0.1/16", s)
	}
	return p, nil
}

// ipv6Prefix is ipv4Prefix for IPv6.
func ipv6Prefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("invalid CIDR address: %s: write an IPv6 network such as fd00:1::/64", s)
	}
	return p, nil
}

func dnsSearch(s string) error {
	s = strings.Trim(s, " ")
	if s == "." || s == "" {
		return nil
	}
	for _, part := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		ok := part != "" && len(part) <= 63 && !strings.HasPrefix(part, "-") && !strings.HasSuffix(part, "-")
		for _, r := range part {
			ok = ok && (r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
		}
		if !ok {
			return fmt.Errorf("%s is not a valid domain", s)
		}
	}
	return nil
}

func mirror(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("invalid mirror: %q is not a valid URI: %w", s, err)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("invalid mirror: unsupported scheme %q in %q: must use either 'https://' or 'http://'", u.Scheme, s)
	case u.Host == "":
		return fmt.Errorf("invalid mirror: no host in %q", s)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("invalid mirror: query or fragment at end of the URI %q", s)
	case u.User != nil:
		return fmt.Errorf("invalid mirror: username/password not allowed in URI %q", u.Redacted())
	}
	return nil
}

// indexName checks a registry: host, host:port or a range of addresses.
func indexName(s string) error {
	if s == "" || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") {
		return fmt.Errorf("invalid index name (%s). Cannot begin or end with a hyphen, or be empty", s)
	}
	if strings.Contains(s, "://") {
		return fmt.Errorf("insecure registry %s should not contain '://'", s)
	}
	return nil
}

func usernsRemap(s string) error {
	if s == "" {
		return nil
	}
	_, _, err := idrange.ParseUser(s)
	return err
}

func execOption(s string) error {
	name, v, ok := strings.Cut(s, "=")
	name, v = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(v)
	switch {
	case !ok || name == "" || v == "":
		return fmt.Errorf("invalid exec-opt (%s): must be formatted 'opt=value'", s)
	case name == "isolation":
		return fmt.Errorf("invalid exec-opt (%s): option 'isolation' is only supported on windows", s)
	case name != "native.cgroupdriver":
		return fmt.Errorf("invalid exec-opt (%s): unknown option: '%s'", s, name)
	case v != "cgroupfs" && v != "systemd":
		return fmt.Errorf("invalid exec-opt (%s): the cgroup driver is cgroupfs or systemd", s)
	}
	return nil
}

func hostForm(s string) error {
	_, err := parseHost(s, "", false)
	return err
}

// endpoint is one place to listen at.
type endpoint struct{ scheme, address string }

func (e endpoint) String() string { return e.scheme + "://" + e.address }

// parseHost reads a -H. Parts that are left out are Docker's: port 2375 or
// 2376 with TLS on localhost; socket is the default path of a unix socket.
func parseHost(s, socket string, tls bool) (endpoint, error) {
	s = strings.TrimSpace(s)
	scheme, address, ok := strings.Cut(s, "://")
	if !ok {
		scheme, address = "tcp", s
		if s == "" {
			scheme = "unix"
		}
	}
	bad := func(format string, args ...any) (endpoint, error) {
		return endpoint{}, fmt.Errorf("invalid bind address (%s): %s", s, fmt.Sprintf(format, args...))
	}
	switch scheme {
	case "unix":
		switch {
		case strings.Contains(address, "://"):
			return bad("invalid unix address: %s", address)
		case address == "":
			address = socket
		case !filepath.IsAbs(address):
			return bad("the path of a unix socket must begin with /")
		}
		return endpoint{"unix", address}, nil
	case "fd":
		return endpoint{"fd", address}, nil
	case "tcp":
		u, err := url.Parse("tcp://" + address)
		if err != nil {
			return bad("%v", err)
		}
		if u.Path != "" {
			return bad("should not contain a path element")
		}
		host, port := u.Hostname(), u.Port()
		if host == "" {
			host = "localhost"
		}
		if port == "" {
			port = "2375"
			if tls {
				port = "2376"
			}
		} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return bad("invalid port: %s", port)
		}
		return endpoint{"tcp", net.JoinHostPort(host, port)}, nil
	case "npipe":
		return bad("named pipes are Windows'; use unix:// or tcp://")
	}
	return bad("unsupported proto '%s'", scheme)
}
