package driver

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// options reads a driver's options. The first error counts.
type options struct {
	driver string
	all    map[string]string
	known  map[string]bool // those that somebody has asked for
	err    error
}

func (o *options) refuse(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

func (o *options) fail(key string, err error) {
	o.refuse("invalid value for log opt %s: %q: %w", key, o.all[key], err)
}

// rejectUnknown refuses what nobody has asked for.
func (o *options) rejectUnknown() {
	for _, k := range slices.Sorted(maps.Keys(o.all)) {
		if !o.known[k] {
			o.refuse("unknown log opt '%s' for %s log driver", k, o.driver)
		}
	}
}

func (o *options) text(key string) string {
	o.known[key] = true
	return o.all[key]
}

// value returns an option that is there and not empty.
func (o *options) value(key string) (string, bool) {
	v := o.text(key)
	return v, v != ""
}

func (o *options) regex(key string) string {
	v := o.text(key)
	if _, err := regexp.Compile(v); err != nil {
		o.fail(key, err)
	}
	return v
}

func (o *options) truth(key string) (value, set bool) {
	v, set := o.value(key)
	if !set {
		return false, false
	}
	value, err := strconv.ParseBool(v)
	if err != nil {
		o.refuse("invalid value for log opt %s: %q is neither true nor false", key, v)
	}
	return value, true
}

func (o *options) number(key string) (value int, set bool) {
	v, set := o.value(key)
	if !set {
		return 0, false
	}
	value, err := strconv.Atoi(v)
	if err != nil {
		o.refuse("invalid value for log opt %s: %q is not a number", key, v)
	}
	return value, true
}

// bytes reads a size with 1k = 1024.
func (o *options) bytes(key string) (value int64, set bool) { return o.size(key, units.RAMInBytes) }

// humanSize reads a size with 1k = 1000, as Docker does for files.
func (o *options) humanSize(key string) (value int64, set bool) {
	return o.size(key, units.FromHumanSize)
}

func (o *options) size(key string, read func(string) (int64, error)) (value int64, set bool) {
	v, set := o.value(key)
	if !set {
		return 0, false
	}
	value, err := read(v)
	if err != nil {
		o.fail(key, err)
	}
	return value, true
}

// duration reads a time that must not be negative.
func (o *options) duration(key string) (value time.Duration, set bool) {
	v, set := o.value(key)
	if !set {
		return 0, false
	}
	value, err := time.ParseDuration(v)
	if err == nil && value < 0 {
		err = fmt.Errorf("must not be negative")
	}
	if err != nil {
		o.refuse("invalid value for %s: %w", key, err)
	}
	return value, true
}

// Address says where a target listens.
type Address struct {
	Network string // as package net has it, or "tcp+tls"; empty: the host's own
	Host    string // host:port, or a path
}

func (a Address) String() string {
	if a.Network == "" {
		return "local"
	}
	return a.Network + "://" + a.Host
}

// address reads proto://host:port or proto:///path, where proto is one of
// networks and port may be left out if there is a default.
func (o *options) address(key string, port int, networks ...string) (a Address) {
	v, set := o.value(key)
	if !set {
		return a
	}
	scheme, rest, found := strings.Cut(v, "://")
	if !found || !slices.Contains(networks, scheme) {
		o.refuse("%s should be in form proto://address with one of %s, got %v", key, strings.Join(networks, ", "), v)
		return a
	}
	u, err := url.Parse(v)
	if err != nil {
		o.fail(key, err)
		return a
	}
	if strings.HasPrefix(scheme, "unix") {
		if u.Path == "" || u.Host != "" {
			o.refuse("%s needs the absolute path of a socket, as in %s:///run/log.sock, got %v", key, scheme, v)
		}
		return Address{scheme, u.Path}
	}
	if u.Path != "" && u.Path != "/" {
		o.refuse("%s: should not contain a path element: %v", key, v)
	}
	return Address{scheme, o.hostPort(key, strings.TrimSuffix(rest, "/"), port)}
}

// hostPort adds the default port where there is none; 0 is no default.
func (o *options) hostPort(key, host string, port int) string {
	h, p, err := net.SplitHostPort(host)
	if err != nil && strings.Contains(err.Error(), "missing port") && port != 0 {
		return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
	}
	if err == nil {
		_, err = strconv.ParseUint(p, 10, 16)
	}
	if err == nil && h == "" && port == 0 {
		err = fmt.Errorf("no host")
	}
	if err != nil {
		o.refuse("%s: please provide it as host:port: %w", key, err)
	}
	return host
}
