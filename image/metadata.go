package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	lslog "github.com/sirupsen/logrus/hooks/slog"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// namespace is the only one in the metadata database.
	namespace = "davit"
	// snapshotter is the name that labels give the overlay snapshotter.
	snapshotter = "overlayfs"
	// upperLabel is set by the overlay snapshotter on Stat: a layer's directory.
	upperLabel = "containerd.io/snapshot/overlay.upperdir"
)

// stores holds containerd's stores over one directory, opened together.
type stores struct {
	root    string
	bolt    *bolt.DB
	db      *metadata.DB
	content content.Store
	images  images.Store
	leases  leases.Manager
	snaps   snapshots.Snapshotter
	overlay io.Closer
	logger  *log.Entry
}

// openStores opens the stores below root. Where the metadata database cannot be
// read it is set aside and an empty one is opened; rebuilt tells so.
func openStores(ctx context.Context, root string, logger *slog.Logger) (st *stores, rebuilt bool, err error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, false, fmt.Errorf("making the image directory: %w", err)
	}
	st, err = tryStores(ctx, root, logger)
	if err == nil {
		return st, false, nil
	}
	if errors.Is(err, bolterrors.ErrTimeout) || !damaged(err) {
		return nil, false, err
	}
	// Both databases refer to each other by key, so one without the other is of
	// no use. The layers are moved, not removed: running containers have them
	// mounted, and a mount follows its directory.
	suffix := ".damaged-" + time.Now().UTC().Format("20060102T150405.000000000")
	for _, name := range []string{"metadata.db", "snapshots"} {
		path := filepath.Join(root, name)
		if rerr := os.Rename(path, path+suffix); rerr != nil && !os.IsNotExist(rerr) {
			return nil, false, errors.Join(err, rerr)
		}
	}
	logger.Error("image metadata is damaged: it and the layers are set aside, both are made again from the content; what is set aside may be removed once the containers that run now have ended",
		"metadata", filepath.Join(root, "metadata.db"+suffix), "layers", filepath.Join(root, "snapshots"+suffix), "error", err)
	st, err = tryStores(ctx, root, logger)
	return st, true, err
}

// errDamaged marks failures to read a database, as against failures to reach it.
var errDamaged = errors.New("damaged database")

func damaged(err error) bool { return errors.Is(err, errDamaged) }

// openBolt opens a bbolt file and, with check, reads through it. bbolt can panic
// on a file that lost writes with the power, hence the recover.
func openBolt(path string, check bool) (db *bolt.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: opening %s: %v", errDamaged, path, p)
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: 10 * time.Second, FreelistType: bolt.FreelistMapType})
	switch {
	case err == nil:
	case errors.Is(err, bolterrors.ErrTimeout), os.IsPermission(err), outOfSpace(err):
		return nil, fmt.Errorf("opening %s: %w", path, err)
	default:
		return nil, fmt.Errorf("%w: opening %s: %w", errDamaged, path, err)
	}
	if !check {
		return db, nil
	}
	if err := db.View(readThrough); err != nil {
		db.Close()
		return nil, fmt.Errorf("%w: reading %s: %w", errDamaged, path, err)
	}
	return db, nil
}

// readThrough visits every bucket, which touches every page that matters.
func readThrough(tx *bolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	var visit func(b *bolt.Bucket) error
	visit = func(b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if v != nil {
				return nil
			}
			if b.Bucket(k) == nil {
				return fmt.Errorf("bucket %q is gone", k)
			}
			return visit(b.Bucket(k))
		})
	}
	return tx.ForEach(func(_ []byte, b *bolt.Bucket) error { return visit(b) })
}

func tryStores(ctx context.Context, root string, logger *slog.Logger) (_ *stores, err error) {
	st := &stores{root: root, logger: routeLogs(logger)}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
		if err != nil {
			st.close()
		}
	}()
	backend, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return nil, fmt.Errorf("opening the content store: %w", err)
	}
	if err := removeTorn(root); err != nil {
		return nil, err
	}
	snapDir := filepath.Join(root, "snapshots")
	if err := os.MkdirAll(snapDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the layer directory: %w", err)
	}
	// Writes are lost with the power, not with the process: one look per boot.
	boot, check := newBoot(root)
	if check {
		// The snapshotter opens its database lazily; damage must show here and not
		// in the middle of a pull.
		probe, err := openBolt(filepath.Join(snapDir, "metadata.db"), true)
		if err != nil {
			return nil, err
		}
		if err := probe.Close(); err != nil {
			return nil, fmt.Errorf("closing the layer database: %w", err)
		}
	}
	ms, err := storage.NewMetaStore(filepath.Join(snapDir, "metadata.db"))
	if err != nil {
		return nil, fmt.Errorf("opening the layer database: %w", err)
	}
	st.overlay = ms
	raw, err := overlay.NewSnapshotter(snapDir, overlay.AsynchronousRemove, overlay.WithUpperdirLabel, overlay.WithMetaStore(ms))
	if err != nil {
		return nil, fmt.Errorf("opening the layer store: %w", err)
	}
	st.bolt, err = openBolt(filepath.Join(root, "metadata.db"), check)
	if err != nil {
		return nil, err
	}
	st.db = metadata.NewDB(st.bolt, backend, map[string]snapshots.Snapshotter{snapshotter: raw})
	if err := st.db.Init(ctx); err != nil {
		return nil, fmt.Errorf("%w: preparing the metadata database: %w", errDamaged, err)
	}
	st.content = st.db.ContentStore()
	st.images = metadata.NewImageStore(st.db)
	st.leases = metadata.NewLeaseManager(st.db)
	st.snaps = st.db.Snapshotter(snapshotter)
	if check {
		if err := os.WriteFile(filepath.Join(root, bootFile), []byte(boot), 0o600); err != nil {
			return nil, fmt.Errorf("noting the boot: %w", err)
		}
	}
	return st, nil
}

// bootFile holds the ID of the boot in which the databases were last read through.
const bootFile = "boot"

// newBoot returns the ID of this boot and whether it is another one than that
// in which root was last opened.
func newBoot(root string) (id string, differs bool) {
	now, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", true
	}
	then, err := os.ReadFile(filepath.Join(root, bootFile))
	return string(now), err != nil || string(then) != string(now)
}

func (st *stores) close() error {
	var errs []error
	if st.db != nil {
		errs = append(errs, st.db.Close())
	} else if st.bolt != nil {
		errs = append(errs, st.bolt.Close())
	}
	if st.overlay != nil {
		errs = append(errs, st.overlay.Close())
	}
	return errors.Join(errs...)
}

// context gives ctx what containerd's stores want in it: the namespace, and a
// logger that ends in ours.
func (st *stores) context(ctx context.Context) context.Context {
	return log.WithLogger(namespaces.WithNamespace(ctx, namespace), st.logger)
}

// update runs fn in one transaction: what fn does through the stores with the
// context given to it happens as a whole or not at all, and costs one sync.
func (st *stores) update(ctx context.Context, fn func(ctx context.Context) error) error {
	return st.db.Update(func(tx *bolt.Tx) error { return fn(boltutil.WithTransaction(ctx, tx)) })
}

// routeLogs returns a logger for containerd's libraries that ends in out. Their
// "info" tells of every request, so it passes only where out takes debug.
func routeLogs(out *slog.Logger) *log.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.WarnLevel)
	if out.Enabled(context.Background(), slog.LevelDebug) {
		l.SetLevel(logrus.DebugLevel)
	}
	l.AddHook(lslog.NewHook(out, nil))
	return logrus.NewEntry(l)
}
