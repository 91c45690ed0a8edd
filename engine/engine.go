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
// held for moments only. Lock order: spaces.giving, a container's verb, then the
// table's mu, then a container's disk, then its mu. No lock is held while talking to a shim or a
// client, but for verb.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/system"

	"github.com/davit-engine/davit/engine/devices"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/event"
	"github.com/davit-engine/davit/image"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/volume"
)

// Config is what the engine is made of.
type Config struct {
	DataRoot  string // containers live in its subdirectory containers
	ExecRoot  string // running containers' sockets and exit records; best on a tmpfs
	ShimPath  string // the davit-shim program
	WarmShims int    // shims kept waiting for a container; 0: DefaultWarmShims, negative: none

	Images  *image.Store
	Volumes *volume.Store
	Network *network.Store
	Events  *event.Hub
	Log     *slog.Logger

	Defaults       spec.Defaults
	LogDriver      string            // one of driver.Names
	LogOpts        map[string]string // such as max-size
	DNS            []netip.Addr
	DNSSearch      []string
	DNSOptions     []string
	HostGateways   []netip.Addr          // what host-gateway stands for; none: the default bridge's addresses
	SeccompProfile string                // "", "unconfined" or the JSON of a profile
	Given          func(key string) bool // whether a key of daemon.json was given, there or as an option; nil: none was
	UserNS         UserNS
	Runtimes       map[string]Runtime // beside the engine's own, by name
	DefaultRuntime string             // "": the engine's own
	LinkVariables  bool               // tell linked containers of each other in variables, as Docker up to 28
	CDIDirs        []string           // where devices are described; none: CDI is off

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
	AddressPools                   []system.NetworkAddressPool // as configured; nil: the defaults
	HTTPProxy, HTTPSProxy, NoProxy string
}

// core is what every part of the engine stands on.
type core struct {
	cfg    Config
	log    *slog.Logger
	store  *record.Store
	host   *hostFacts
	table  *table
	id     string // of this engine, kept on disk
	base   string // directory of the layer below all others
	spaces *spaces
	cdi    *devices.Registry

	logging *logging
	nets    *nets
	naming  *naming
	ports   *ports

	runtimes   *runtimes
	hostsFiles *hostsFiles
	execs      *execTable

	work   sync.WaitGroup // watchers and background removals
	closed chan struct{}
}

// Engine holds the containers of one data root. Its methods are the verbs; the
// work is done by parts that each know one thing.
type Engine struct {
	*core
	keeper   *keeper   // what runs: signals, exits, removal
	launcher *launcher // from a record to a process
	drafter  *drafter  // from a request to a record
	lister   *lister   // what ps shows
	sampler  *sampler  // what containers use, while somebody looks
	space    *Space    // what is on the disk, and what can go
	execer   *execer   // more processes in what runs
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
	base, err := makeBase(cfg.DataRoot)
	if err != nil {
		return nil, err
	}
	e := assemble(&core{
		cfg: cfg, log: cfg.Log, store: store, host: host, id: id, base: base, table: newTable(), spaces: newSpaces(cfg, id), cdi: devices.New(cfg.CDIDirs), closed: make(chan struct{}),
	})
	if err := (&restorer{keeper: e.keeper}).restore(ctx); err != nil {
		return nil, err
	}
	e.work.Go(e.shipRest)
	e.launcher.ahead.soon()
	if cfg.Network != nil {
		if err := cfg.Network.Ready(); err != nil {
			return nil, err
		}
		for _, c := range e.table.all() {
			e.keeper.joiner.rejoin(ctx, c)
		}
	}
	return e, nil
}

// assemble joins the parts.
func assemble(c *core) *Engine {
	c.runtimes, c.hostsFiles = newRuntimes(&c.cfg), &hostsFiles{store: c.store}
	c.logging, c.nets, c.naming = newLogging(c), &nets{c}, &naming{core: c, directory: newDirectory(c.cfg.ExecRoot)}
	c.ports = &ports{c}
	c.execs = newExecTable(c.dropExecFiles)
	k := &keeper{core: c, mounts: &mounter{core: c, early: true}, joiner: &joiner{core: c}}
	f := newFilterCache(c.cfg.SeccompProfile)
	l := &launcher{
		keeper: k, filter: f, users: newUserCache(),
		shims: newShimPool(c.cfg.ShimPath, filepath.Join(c.cfg.ExecRoot, "shims.log"), c.cfg.WarmShims, c.log),
	}
	l.ahead = &quiet{do: l.makeReady}
	x := &execer{c, f}
	k.reviver, k.checker, k.usher = &reviver{launcher: l}, &checker{launcher: l, prober: x}, &usher{l}
	e := &Engine{
		core:     c,
		keeper:   k,
		launcher: l,
		drafter:  &drafter{c, f},
		lister:   &lister{core: c, layers: &layerSizes{by: map[string]int64{}}},
		sampler:  &sampler{core: c, watched: map[*ctr]*watched{}},
		execer:   x,
	}
	e.space = &Space{core: c, keeper: k, lister: e.lister, images: e.Images(), volumes: e.Volumes()}
	return e
}

// Close lets go of all containers, which keep running, and waits for
// background work until ctx ends.
func (e *Engine) Close(ctx context.Context) error {
	close(e.closed)
	e.launcher.ahead.stop()
	e.launcher.shims.close()
	e.spaces.close()
	e.logging.shippers.close()
	e.logging.watcher.Close()
	e.keeper.checker.restAll()
	for _, c := range e.table.all() {
		c.cancelRetry()
		if r := c.current(); r != nil {
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
func (e *core) closing() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// until returns a context that ends when closed is.
func until(closed <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// publish tells subscribers what happened to a container.
func (e *core) publish(rec *record.Container, action events.Action, extra map[string]string) {
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
func (e *core) runDir(id string) string { return filepath.Join(e.cfg.ExecRoot, "containers", id) }

// save writes the record; a container that is removed when it ends is not
// worth a sync.
func (e *core) save(rec *record.Container, durable bool) error {
	return e.store.Save(rec, durable && !rec.HostConfig.AutoRemove)
}

// persist writes the record as it is now. Of several calls at once each writes
// what is current when its turn comes, so the last one on disk is the newest.
func (e *core) persist(c *ctr, durable bool) error {
	c.disk.Lock()
	defer c.disk.Unlock()
	rec := c.snapshot()
	return e.save(&rec, durable)
}

// commit makes rec the container's record, on disk and in memory, or neither.
// For its owner.
func (e *core) commit(c *ctr, rec *record.Container, durable bool) error {
	c.disk.Lock()
	defer c.disk.Unlock()
	if err := e.save(rec, durable); err != nil {
		return err
	}
	c.replace(rec)
	return nil
}

// Names of the networks that exist without being created.
const (
	networkBridge = "bridge"
	networkNone   = "none"
	networkHost   = "host"
)
