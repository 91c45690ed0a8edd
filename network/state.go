package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/davit-engine/davit/errs"
	apinet "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"
)

// state is what outlives the engine of the default bridge, as JSON in StateDir.
type state struct {
	Bridge      netip.Prefix `json:"bridge"`                // the bridge's own address and range
	Bridge6     netip.Prefix `json:"bridge6,omitzero"`      // likewise for IPv6
	Last        netip.Addr   `json:"last,omitzero"`         // the address given out last; of a clean end only
	Forwarding  string       `json:"forwarding,omitempty"`  // boot ID of the boot in which we switched IPv4 forwarding on
	Forwarding6 string       `json:"forwarding6,omitempty"` // likewise IPv6 forwarding
	Listening   []string     `json:"listening,omitempty"`   // interfaces whose accept_ra we set from 1 to 2 with that
}

func statePath(dir, bridge string) string { return filepath.Join(dir, "bridge-"+bridge+".json") }

// memory is the state and its file.
type memory struct {
	path string

	mu    sync.Mutex
	state state // guarded by mu
}

// recall reads what an earlier engine has left. With an error it is as if there
// had been none.
func recall(path string) (*memory, error) {
	m := &memory{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m.state)
	}
	if err != nil {
		m.state = state{}
		return m, fmt.Errorf("reading the bridge's state: %w", err)
	}
	return m, nil
}

func (m *memory) now() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// change changes the state and writes it.
func (m *memory) change(fn func(*state)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn(&m.state)
	return saveJSON(m.path, m.state, "the bridge's state")
}

// forget removes the file.
func (m *memory) forget() error {
	if err := os.Remove(m.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// kept is a user's network as JSON in StateDir/networks/<ID>.json.
type kept struct {
	Network apinet.Network
	Last    []netip.Addr `json:",omitempty"` // the address of each range given out last, IPv4's first; of a clean end only
}

func keptPath(dir, id string) string { return filepath.Join(dir, "networks", id+".json") }

func (k kept) save(dir string) error {
	return saveJSON(keptPath(dir, k.Network.ID), k, "network "+k.Network.Name)
}

// forgetNetwork removes a network's file.
func forgetNetwork(dir, id string) error {
	if err := os.Remove(keptPath(dir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a network: %w", err)
	}
	return nil
}

// loadNetworks reads the users' networks. The error joins those of files that
// cannot be read.
func loadNetworks(dir string) ([]kept, error) {
	paths, err := filepath.Glob(keptPath(dir, "*"))
	if err != nil {
		return nil, err
	}
	var all []kept
	var failed []error
	for _, p := range paths {
		var k kept
		text, err := os.ReadFile(p)
		if err == nil {
			err = json.Unmarshal(text, &k)
		}
		if err == nil && k.Network.ID+".json" != filepath.Base(p) {
			err = errors.New("the file is of another network")
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("reading network %s: %w", p, err))
			continue
		}
		all = append(all, k)
	}
	return all, errors.Join(failed...)
}

// saveJSON writes a file that is whole at any moment.
func saveJSON(path string, v any, what string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("saving %s: %w", what, err)
		}
	}()
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// lockDir is where the engines of a host meet, whatever their roots are: only
// root may write below /run. Bridges and tables belong to a network namespace,
// so its number is part of each lock's name.
const lockDir = "/run/davit/network"

// lock is a name that one process of the host holds at a time; the kernel
// frees it with the process.
type lock struct{ file *os.File }

// takeLock waits for a lock for as long as patience, then answers Conflict.
func takeLock(ctx context.Context, name string, patience time.Duration) (*lock, error) {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return nil, fmt.Errorf("identifying the network namespace: %w", err)
	}
	if err := os.MkdirAll(lockDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of network locks: %w", err)
	}
	path := filepath.Join(lockDir, fmt.Sprintf("%d-%s.lock", ns.Ino, name))
	end := time.Now().Add(patience)
	for {
		l, err := tryLock(path)
		if l != nil || err != nil {
			return l, err
		}
		if time.Now().After(end) {
			return nil, errs.New(errs.Conflict, "another engine on this host holds the name %s", name)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// tryLock returns nil without an error if somebody else holds the lock, or has
// just removed its file.
func tryLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a network lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	mine, err1 := f.Stat()
	there, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(mine, there) {
		f.Close()
		return nil, nil
	}
	return &lock{f}, nil
}

func (l *lock) release() {
	os.Remove(l.file.Name())
	l.file.Close()
}
