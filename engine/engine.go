// Package engine carries out what users ask of containers and images.
//
// It owns the containers: one file per verb, each a list of steps. Images,
// networks, logs and events are other packages' nouns, joined here. It knows
// nothing of HTTP.
//
// Two truths: the record on disk says what the user asked for, the shim says
// what runs. What the engine holds in memory is a cache of both, made anew at
// each start by the same code that keeps it at run time.
//
// Concurrency: each container has one owner at a time, whoever holds its verb
// semaphore (start, exit, remove). Its mu guards the fields for readers and is
// held for moments only. Lock order: a container's verb, then Engine.mu, then
// a container's mu. No lock is held while talking to a shim or a client, but
// for verb.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/event"
	"github.com/davit-engine/davit/image"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
)

// Config is what the engine is made of.
type Config struct {
	DataRoot  string // containers live in its subdirectory containers
	ExecRoot  string // running containers' sockets and exit records; best on a tmpfs
	ShimPath  string // the davit-shim program
	WarmShims int    // shims kept waiting for a container; 0: DefaultWarmShims, negative: none

	Images  *image.Store
	Network *network.Bridge
	Events  *event.Hub
	Log     *slog.Logger

	Defaults       spec.Defaults
	LogDriver      string            // "json-file" or "none"
	LogOpts        map[string]string // such as max-size
	DNS            []netip.Addr
	DNSSearch      []string
	DNSOptions     []string
	SeccompProfile string // "", "unconfined" or the JSON of a profile

	About About
}

// About is what the engine says of itself in info and version.
type About struct {
	Version, Commit, BuildTime     string
	APIVersion, MinAPIVersion      string
	Name                           string // host name
	Labels                         []string
	Debug                          bool
	Mirrors, Insecure              []string
	HTTPProxy, HTTPSProxy, NoProxy string
}

// Engine holds the containers of one data root.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	store  *record.Store
	shims  *shimPool
	host   *hostFacts
	filter *filterCache
	users  *userCache
	id     string // of this engine, kept on disk

	mu    sync.RWMutex
	byID  map[string]*ctr   // guarded by mu
	names map[string]string // name -> ID, also of containers being created; guarded by mu

	work   sync.WaitGroup // watchers and background removals
	closed chan struct{}
}

// Open reads the records below cfg.DataRoot, finds the shims that still run,
// and returns when the engine knows everything again.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	host, err := detectHost()
	if err != nil {
		return nil, err
	}
	store, err := record.Open(filepath.Join(cfg.DataRoot, "containers"))
	if err != nil {
		return nil, err
	}
	id, err := engineID(cfg.DataRoot)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, log: cfg.Log, store: store, host: host, id: id,
		shims:  newShimPool(cfg.ShimPath, filepath.Join(cfg.ExecRoot, "shims.log"), cfg.WarmShims, cfg.Log),
		filter: newFilterCache(cfg.SeccompProfile),
		users:  newUserCache(),
		byID:   map[string]*ctr{},
		names:  map[string]string{},
		closed: make(chan struct{}),
	}
	if err := e.restore(ctx); err != nil {
		e.shims.close()
		return nil, err
	}
	e.shims.fill()
	if cfg.Network != nil {
		cfg.Network.Ready()
	}
	return e, nil
}

// Close lets go of all containers, which keep running, and waits for
// background work until ctx ends.
func (e *Engine) Close(ctx context.Context) error {
	close(e.closed)
	e.shims.close()
	for _, c := range e.all() {
		c.mu.Lock()
		r := c.run
		c.mu.Unlock()
		if r != nil {
			_ = r.shim.Close()
		}
	}
	done := make(chan struct{})
	go func() { e.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for background work: %w", ctx.Err())
	}
}

// closing reports whether Close was called.
func (e *Engine) closing() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// ctr is one container in memory.
type ctr struct {
	id   string
	verb chan struct{} // capacity 1: full while a verb owns the container

	mu         sync.Mutex
	rec        *record.Container // guarded by mu; changed only by the verb's owner
	run        *run              // the process; nil when there is none; guarded by mu
	waiting    []waiter          // guarded by mu
	pending    []*attachment     // clients that attached before the start; guarded by mu
	lastAttach uint64            // number of the latest attachment; guarded by mu
	gone       bool              // removed; guarded by mu
	cooling    <-chan struct{}   // the last run's ended: until it closes, its cgroup is in use; guarded by mu
	used       bool              // its layers may differ from the image's: it was started once; guarded by mu
}

// run is one life of a container's process.
type run struct {
	shim   *wire.Client
	state  wire.State
	exited chan struct{} // closed when the exit is recorded
	ended  chan struct{} // closed when the shim is gone too: its cgroup is free

}

func newCtr(rec *record.Container) *ctr {
	return &ctr{id: rec.ID, rec: rec, verb: make(chan struct{}, 1)}
}

// own takes the container for a verb. It fails when ctx ends first, or when
// the container was removed meanwhile.
func (c *ctr) own(ctx context.Context) error {
	select {
	case c.verb <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	if gone {
		c.disown()
		return noSuchContainer(c.id)
	}
	return nil
}

func (c *ctr) disown() { <-c.verb }

// snapshot returns a copy of the record that is safe to read without locks.
// What it points to is never changed in place.
func (c *ctr) snapshot() record.Container {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.rec
}

// current returns the running process, or nil.
func (c *ctr) current() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.run
}

func noSuchContainer(ref string) error {
	return errs.New(errs.NotFound, "No such container: %s", ref)
}

// find looks a container up by full ID, then by name, then by a prefix of its
// ID that no other container has.
func (e *Engine) find(ref string) (*ctr, error) {
	name := strings.TrimPrefix(ref, "/")
	if name == "" {
		return nil, errs.New(errs.InvalidParameter, "container name or ID is empty")
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if c := e.byID[name]; c != nil {
		return c, nil
	}
	if c := e.byID[e.names[name]]; c != nil {
		return c, nil
	}
	var found *ctr
	for id, c := range e.byID {
		if !strings.HasPrefix(id, name) {
			continue
		}
		if found != nil {
			return nil, errs.New(errs.InvalidParameter, "multiple IDs found with provided prefix: %s", name)
		}
		found = c
	}
	if found == nil {
		return nil, noSuchContainer(ref)
	}
	return found, nil
}

// all lists the containers, newest first.
func (e *Engine) all() []*ctr {
	e.mu.RLock()
	defer e.mu.RUnlock()
	list := make([]*ctr, 0, len(e.byID))
	for _, c := range e.byID {
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i].rec, list[j].rec
		if !a.Created.Equal(b.Created) {
			return a.Created.After(b.Created)
		}
		return a.ID < b.ID
	})
	return list
}

// publish tells subscribers what happened to a container.
func (e *Engine) publish(rec *record.Container, action events.Action, extra map[string]string) {
	attrs := make(map[string]string, len(rec.Config.Labels)+len(extra)+2)
	for k, v := range rec.Config.Labels {
		attrs[k] = v
	}
	attrs["image"] = rec.Config.Image
	attrs["name"] = rec.Name
	for k, v := range extra {
		attrs[k] = v
	}
	e.cfg.Events.Publish(events.Message{Type: events.ContainerEventType, Action: action, Actor: events.Actor{ID: rec.ID, Attributes: attrs}})
}

// runDir is where the shim of container id keeps its socket and records.
func (e *Engine) runDir(id string) string { return filepath.Join(e.cfg.ExecRoot, "containers", id) }

// save writes the record; a container that is removed when it ends is not
// worth a sync.
func (e *Engine) save(rec *record.Container, durable bool) error {
	return e.store.Save(rec, durable && !rec.HostConfig.AutoRemove)
}

// Names of the networks that exist without being created.
const (
	networkBridge = "bridge"
	networkNone   = "none"
	networkHost   = "host"
)

// networkOf returns the name of the network that a container is on, or
// container:<id>.
func networkOf(h *container.HostConfig) string {
	switch m := h.NetworkMode; {
	case m.IsDefault() || m == "" || m == networkBridge:
		return networkBridge
	default:
		return string(m)
	}
}
