package engine

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
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

	mu      sync.Mutex       // held while files are written; nothing is locked under it
	on      map[string]*roll // guarded by mu; by the networks' IDs
	settled bool             // guarded by mu; until then nothing is written
}

// roll is what a names file says, in an order of its own, so that the same
// endpoints always make the same file.
type roll struct{ parts []part }

// part is what one endpoint has in a names file.
type part struct {
	name, id string
	text     []byte
}

func (p part) compare(o part) int {
	return cmp.Or(cmp.Compare(p.name, o.name), cmp.Compare(p.id, o.id))
}

func newDirectory(execRoot string) *directory {
	return &directory{root: filepath.Join(execRoot, "networks"), on: map[string]*roll{}}
}

func (d *directory) path(network string) string { return filepath.Join(d.root, network) }

// enter makes the names of endpoints known, in place of those that they had.
func (d *directory) enter(list ...network.Endpoint) error {
	return d.change(list, func(r *roll, e network.Endpoint) bool {
		p := part{e.Names[0], e.ID, resolver.NamesFile([]resolver.Entry{{Addresses: addressesOf(&e), Names: e.Names}})}
		if i := r.index(e.ID); i >= 0 {
			if r.parts[i].name == p.name && bytes.Equal(r.parts[i].text, p.text) {
				return false
			}
			r.parts = slices.Delete(r.parts, i, i+1)
		}
		at, _ := slices.BinarySearchFunc(r.parts, p, part.compare)
		r.parts = slices.Insert(r.parts, at, p)
		return true
	})
}

// leave takes the names of endpoints back.
func (d *directory) leave(list ...network.Endpoint) error {
	return d.change(list, func(r *roll, e network.Endpoint) bool {
		i := r.index(e.ID)
		if i >= 0 {
			r.parts = slices.Delete(r.parts, i, i+1)
		}
		return i >= 0
	})
}

// index is where an endpoint's part is; negative if it has none.
func (r *roll) index(id string) int {
	return slices.IndexFunc(r.parts, func(p part) bool { return p.id == id })
}

// change does something with the rolls of endpoints' networks that reports
// whether it has changed them.
func (d *directory) change(list []network.Endpoint, do func(*roll, network.Endpoint) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var failed []error
	for _, e := range list {
		if len(e.Names) == 0 {
			continue
		}
		r := d.on[e.Network]
		if r == nil {
			r = new(roll)
		}
		if !do(r, e) {
			continue
		}
		if d.on[e.Network] = r; d.settled {
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
	for id, r := range d.on {
		if old, err := os.ReadFile(d.path(id)); err != nil || !bytes.Equal(old, r.text()) {
			failed = append(failed, d.writeLocked(id))
		}
	}
	return errors.Join(failed...)
}

// writeLocked writes the names file of a network, or removes it with the last
// name.
func (d *directory) writeLocked(id string) error {
	r := d.on[id]
	if len(r.parts) == 0 {
		delete(d.on, id)
		if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the names of a network: %w", err)
		}
		return nil
	}
	if err := record.WriteFile(d.path(id), r.text(), 0o600, false); err != nil {
		return fmt.Errorf("writing the names of a network: %w", err)
	}
	return nil
}

func (r *roll) text() []byte {
	var b bytes.Buffer
	for _, p := range r.parts {
		b.Write(p.text)
	}
	return b.Bytes()
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
