package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// writeFiles makes the container's own /etc/hostname, /etc/hosts and
// /etc/resolv.conf, which are mounted over its root filesystem. The result
// names those that are to be mounted.
func (l *launcher) writeFiles(rec *record.Container) (spec.Files, error) {
	dir := l.store.Dir(rec.ID)
	if other := rec.HostConfig.NetworkMode; other.IsContainer() {
		c, err := l.table.find(other.ConnectedContainer())
		if err != nil {
			return spec.Files{}, err
		}
		dir = l.store.Dir(c.id)
		return filesIn(dir), nil
	}
	hosts, err := l.hosts(rec)
	if err != nil {
		return spec.Files{}, err
	}
	resolv, err := l.resolvConf(rec)
	if err != nil {
		return spec.Files{}, err
	}
	for name, content := range map[string][]byte{
		record.Hostname:   []byte(rec.Config.Hostname + "\n"),
		record.Hosts:      hosts,
		record.ResolvConf: resolv,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return spec.Files{}, fmt.Errorf("writing the container's %s: %w", name, err)
		}
	}
	return filesIn(dir), nil
}

func filesIn(dir string) spec.Files {
	return spec.Files{Hostname: filepath.Join(dir, "hostname"), Hosts: filepath.Join(dir, "hosts"), ResolvConf: filepath.Join(dir, "resolv.conf")}
}

func (l *launcher) hosts(rec *record.Container) ([]byte, error) {
	var b bytes.Buffer
	if rec.HostConfig.NetworkMode.IsHost() {
		if data, err := os.ReadFile("/etc/hosts"); err == nil {
			b.Write(data)
		}
	} else {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	}
	for _, x := range rec.HostConfig.ExtraHosts {
		name, addr, _ := cutHost(x)
		if addr == "host-gateway" {
			if len(rec.Endpoints) == 0 {
				return nil, errs.New(errs.InvalidParameter, "unable to derive the IP value for host-gateway: the container is not on a bridge network")
			}
			addr = rec.Endpoints[0].Gateway4.String()
		}
		if _, err := netip.ParseAddr(addr); err != nil {
			return nil, errs.New(errs.InvalidParameter, "invalid IP address in add-host: %q", addr)
		}
		fmt.Fprintf(&b, "%s\t%s\n", addr, name)
	}
	links, err := l.linkHosts(rec)
	if err != nil {
		return nil, err
	}
	b.WriteString(links)
	for _, p := range rec.Endpoints {
		name := rec.Config.Hostname
		if rec.Config.Domainname != "" {
			name = rec.Config.Hostname + "." + rec.Config.Domainname + " " + rec.Config.Hostname
		}
		fmt.Fprintf(&b, "%s\t%s\n", p.Address4.Addr(), name)
	}
	return b.Bytes(), nil
}

// resolvConf writes the container's name servers: its own, the engine's, or
// those of the host that can be reached from a network namespace of its own.
func (l *launcher) resolvConf(rec *record.Container) ([]byte, error) {
	h := rec.HostConfig
	host := hostResolver(rec.HostConfig.NetworkMode.IsHost())
	servers, search, options := host.servers, host.search, host.options
	if len(l.cfg.DNS) > 0 {
		servers = l.cfg.DNS
	}
	if len(l.cfg.DNSSearch) > 0 {
		search = l.cfg.DNSSearch
	}
	if len(l.cfg.DNSOptions) > 0 {
		options = l.cfg.DNSOptions
	}
	if len(h.DNS) > 0 {
		servers = h.DNS
	}
	if len(h.DNSSearch) > 0 {
		search = h.DNSSearch
	}
	if len(h.DNSOptions) > 0 {
		options = h.DNSOptions
	}
	var b bytes.Buffer
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 && !(len(search) == 1 && search[0] == ".") {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.Bytes(), nil
}

type resolver struct {
	servers []netip.Addr
	search  []string
	options []string
}

// hostResolver reads the host's resolver configuration. Where systemd-resolved
// offers a stub on a loopback address, its list of real servers is taken.
// With loopback, servers on the host's own loopback count too.
func hostResolver(loopback bool) resolver {
	r := readResolver("/etc/resolv.conf")
	if loopback {
		return r
	}
	if len(r.servers) == 1 && r.servers[0] == netip.AddrFrom4([4]byte{127, 0, 0, 53}) {
		r = readResolver("/run/systemd/resolve/resolv.conf")
	}
	kept := r.servers[:0]
	for _, s := range r.servers {
		if !s.IsLoopback() {
			kept = append(kept, s)
		}
	}
	r.servers = kept
	return r
}

func readResolver(path string) resolver {
	var r resolver
	data, err := os.ReadFile(path)
	if err != nil {
		return r
	}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil {
				r.servers = append(r.servers, a)
			}
		case "search", "domain":
			r.search = f[1:]
		case "options":
			r.options = f[1:]
		}
	}
	return r
}
