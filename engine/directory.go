package engine

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/runtime/resolver"
)

// directory tells resolvers who is on which network: it keeps a names file for
// each network that somebody has names on. Files are renamed into place, so
// that each question finds a whole one, and those that an earlier engine left
// serve until they differ from what this one knows.
type directory struct {
	root string // where the files are, by the networks' IDs

	mu      sync.Mutex                             // held while files are written; nothing is locked under it
	on      map[string]map[string]network.Endpoint // guarded by mu; network ID -> endpoint ID
	settled bool                                   // guarded by mu; until then nothing is written
}

func newDirectory(execRoot string) *directory {
	return &directory{root: filepath.Join(execRoot, "networks"), on: map[string]map[string]network.Endpoint{}}
}

func (d *directory) path(network string) string { return filepath.Join(d.root, network) }

// enter makes the names of endpoints known, in place of those that they had.
func (d *directory) enter(list ...network.Endpoint) error {
	return d.change(list, func(on map[string]network.Endpoint, e network.Endpoint) { on[e.ID] = e })
}

// leave takes the names of endpoints back.
func (d *directory) leave(list ...network.Endpoint) error {
	return d.change(list, func(on map[string]network.Endpoint, e network.Endpoint) { delete(on, e.ID) })
}

func (d *directory) change(list []network.Endpoint, do func(map[string]network.Endpoint, network.Endpoint)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var failed []error
	for _, e := range list {
		if len(e.Names) == 0 {
			continue
		}
		if d.on[e.Network] == nil {
			d.on[e.Network] = map[string]network.Endpoint{}
		}
		do(d.on[e.Network], e)
		if d.settled {
			failed = append(failed, d.writeLocked(e.Network))
		}
	}
	return errors.Join(failed...)
}

// settle says that everybody who runs was entered: files that differ from that
// are written, others that are there are removed.
func (d *directory) settle() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = true
	if err := os.MkdirAll(d.root, 0o700); err != nil {
		return fmt.Errorf("making the directory of names: %w", err)
	}
	there, err := os.ReadDir(d.root)
	if err != nil {
		return fmt.Errorf("reading the directory of names: %w", err)
	}
	var failed []error
	for _, f := range there {
		if d.on[f.Name()] == nil {
			failed = append(failed, os.Remove(filepath.Join(d.root, f.Name())))
		}
	}
	for id := range d.on {
		failed = append(failed, d.writeLocked(id))
	}
	return errors.Join(failed...)
}

// writeLocked writes the names file of a network if it has changed, or removes
// it with the last name.
func (d *directory) writeLocked(id string) error {
	on := d.on[id]
	if len(on) == 0 {
		delete(d.on, id)
		if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the names of a network: %w", err)
		}
		return nil
	}
	sorted := slices.SortedFunc(maps.Values(on), func(a, b network.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Names[0], b.Names[0]), cmp.Compare(a.ID, b.ID))
	})
	entries := make([]resolver.Entry, len(sorted))
	for i, e := range sorted {
		entries[i] = resolver.Entry{Addresses: addressesOf(&e), Names: e.Names}
	}
	text := resolver.NamesFile(entries)
	if old, err := os.ReadFile(d.path(id)); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := record.WriteFile(d.path(id), text, 0o600, false); err != nil {
		return fmt.Errorf("writing the names of a network: %w", err)
	}
	return nil
}

// addressesOf are those that an endpoint's names lead to.
func addressesOf(e *network.Endpoint) []netip.Addr {
	var list []netip.Addr
	for _, p := range []netip.Prefix{e.Address4, e.Address6} {
		if p.IsValid() {
			list = append(list, p.Addr())
		}
	}
	return list
}
