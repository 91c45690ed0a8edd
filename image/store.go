package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/semaphore"
)

// Config says where a Store lives and how it talks to registries.
type Config struct {
	Root               string   // made if missing, mode 0700
	Mirrors            []string // URLs tried first, in order, for docker.io
	InsecureRegistries []string // host, host:port or address range: no certificate check, plain HTTP allowed
	MaxDownloads       int      // layers downloaded at once; 0 means 3
	MaxUploads         int      // layers uploaded at once; 0 means 5
	DownloadAttempts   int      // tries per request and per layer; 0 means 5
	CertsDirs          []string // directories with <host>/*.crt, *.cert, *.key, as Docker's certs.d
	UserAgent          string   // "" means "davit"
	Log                *slog.Logger

	backoff time.Duration // before a second attempt; 0 means 500 ms
	stall   time.Duration // silence after which a connection is given up; 0 means a minute
}

// withDefaults fills in what is left out.
func (c Config) withDefaults() Config {
	or := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	or(&c.MaxDownloads, 3)
	or(&c.MaxUploads, 5)
	or(&c.DownloadAttempts, 5)
	if c.UserAgent == "" {
		c.UserAgent = "davit"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.backoff == 0 {
		c.backoff = 500 * time.Millisecond
	}
	if c.stall == 0 {
		c.stall = time.Minute
	}
	return c
}

// Store keeps the images below one directory.
type Store struct {
	cfg        Config
	st         *stores
	names      *names
	cache      cache
	pins       pins
	registries *registries
	fetcher    *fetcher
	uploads    *semaphore.Weighted
	unpacker   *unpacker
	flights    flights
	collector  *collector
}

// Open opens the store below cfg.Root, making it if it is missing. A metadata
// database that cannot be read is set aside and rebuilt from the content.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("finding the image directory: %w", err)
	}
	cfg.Root = root
	registries, err := newRegistries(cfg)
	if err != nil {
		return nil, err
	}
	st, rebuilt, err := openStores(ctx, root, cfg.Log)
	if err != nil {
		return nil, classify(err)
	}
	s := &Store{cfg: cfg, st: st, registries: registries}
	s.cache.clear() // generation 0 belongs to images that were never looked up
	s.names = &names{st: st, changed: s.cache.clear, failed: func(err error) { cfg.Log.Warn("image names are not copied", "error", err) }}
	s.fetcher = &fetcher{st: st, slots: semaphore.NewWeighted(int64(cfg.MaxDownloads)), attempts: cfg.DownloadAttempts, backoff: cfg.backoff, stall: cfg.stall}
	s.uploads = semaphore.NewWeighted(int64(cfg.MaxUploads))
	s.unpacker = newUnpacker(st)
	s.collector = newCollector(st, cfg.Log)
	ctx = st.context(ctx)
	if rebuilt {
		found, lost, err := s.names.restore(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("rebuilding image metadata: %w", err), s.Close())
		}
		cfg.Log.Warn("image metadata is rebuilt", "images", len(found), "lost", lost)
		s.collector.soon()
	}
	if err := s.pins.load(ctx, st); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// What a killed process left is removed once the engine has settled.
	s.collector.after(startupDelay)
	return s, nil
}

// startupDelay keeps the first collection away from the engine's start.
const startupDelay = 30 * time.Second

// Close ends pulls that are under way and background work, and releases the files.
func (s *Store) Close() error {
	s.flights.close()
	s.collector.close()
	s.registries.close()
	if err := s.st.close(); err != nil {
		return fmt.Errorf("closing the image store: %w", err)
	}
	return nil
}
