package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/davit-engine/davit/engine/etc"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
)

// writeFiles makes the container's own /etc/hostname, /etc/hosts and
// /etc/resolv.conf, which are mounted over its root filesystem. The result
// names those that are to be mounted; through says that they lead to the
// container's resolver.
func (l *launcher) writeFiles(rec *record.Container) (files spec.Files, through bool, err error) {
	dir := l.store.Dir(rec.ID)
	if other := rec.HostConfig.NetworkMode; other.IsContainer() {
		c, err := l.table.find(other.ConnectedContainer())
		if err != nil {
			return spec.Files{}, false, err
		}
		return filesIn(l.store.Dir(c.id)), false, nil
	}
	hosts, err := l.hosts(rec)
	if err != nil {
		return spec.Files{}, false, err
	}
	resolv, through, err := l.naming.resolvConf(rec)
	if err != nil {
		return spec.Files{}, false, err
	}
	for name, content := range map[string][]byte{
		record.Hostname:   []byte(rec.Config.Hostname + "\n"),
		record.Hosts:      hosts,
		record.ResolvConf: resolv.Text(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return spec.Files{}, false, fmt.Errorf("writing the container's %s: %w", name, err)
		}
	}
	return filesIn(dir), through, nil
}

func filesIn(dir string) spec.Files {
	return spec.Files{Hostname: filepath.Join(dir, "hostname"), Hosts: filepath.Join(dir, "hosts"), ResolvConf: filepath.Join(dir, "resolv.conf")}
}

// hosts is a container's /etc/hosts: on the host's network the host's, unless it
// asks for names of its own.
func (l *launcher) hosts(rec *record.Container) ([]byte, error) {
	extra := rec.HostConfig.ExtraHosts
	if rec.HostConfig.NetworkMode.IsHost() && len(extra) == 0 {
		text, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading the host's /etc/hosts: %w", err)
		}
		return text, nil
	}
	var lines []etc.Host
	for _, x := range extra {
		name, text, _ := cutHost(x)
		if text == "host-gateway" {
			list, err := l.naming.hostGateways(rec)
			if err != nil {
				return nil, err
			}
			for _, a := range list {
				lines = append(lines, etc.Host{Address: a, Names: name})
			}
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, errs.New(errs.InvalidParameter, "invalid IP address in add-host: %q", text)
		}
		lines = append(lines, etc.Host{Address: a, Names: name})
	}
	linked, err := l.linkHosts(rec)
	if err != nil {
		return nil, err
	}
	lines = append(lines, linked...)
	for _, p := range rec.Endpoints {
		lines = append(lines, ownHosts(rec, p)...)
	}
	return etc.Hosts(lines), nil
}
