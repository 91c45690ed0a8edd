package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// unpacker turns blobs into layer directories.
type unpacker struct {
	st     *stores
	chains keyLocks // by chain ID: one extraction of a layer at a time
	slots  *semaphore.Weighted
	syncer syncer
}

func newUnpacker(st *stores) *unpacker {
	return &unpacker{st: st, slots: semaphore.NewWeighted(int64(max(2, runtime.NumCPU()))), syncer: syncer{dir: st.root}}
}

// layerEvents are told what happens to layer i. Each may be nil.
type layerEvents struct {
	fetch   func(ctx context.Context, i int) error // returns when layer i's blob is there
	extract func(i int, read int64)
	done    func(i int, existed bool)
}

// unpack extracts the layers of one image side by side, each as soon as its blob
// is there, and commits them from the bottom up, synced to the disk first. On
// failure the layers that were complete stay, the others leave nothing.
func (u *unpacker) unpack(ctx context.Context, layers []ocispec.Descriptor, diffs []digest.Digest, ev layerEvents) error {
	chain := identity.ChainIDs(slices.Clone(diffs))
	committed := make([]chan struct{}, len(layers))
	for i := range committed {
		committed[i] = make(chan struct{})
	}
	ctx, stop := guardSpace(ctx, u.st.root)
	defer stop()
	eg, ctx := errgroup.WithContext(ctx)
	for i := range layers {
		eg.Go(func() error {
			l := &layer{unpacker: u, desc: layers[i], diff: diffs[i], chain: chain[:i+1], tell: func(read int64) {
				if ev.extract != nil {
					ev.extract(i, read)
				}
			}}
			if i > 0 {
				l.below = committed[i-1]
			}
			if ev.fetch != nil {
				if err := ev.fetch(ctx, i); err != nil {
					return err
				}
			}
			existed, err := l.bring(ctx)
			if err != nil {
				return err
			}
			close(committed[i])
			if ev.done != nil {
				ev.done(i, existed)
			}
			return nil
		})
	}
	return causeOf(ctx, eg.Wait())
}

// layer is one layer of one image being unpacked.
type layer struct {
	*unpacker
	desc  ocispec.Descriptor
	diff  digest.Digest
	chain []digest.Digest // chain IDs up to and with this layer's
	below <-chan struct{} // closed when the layer below is committed; nil for the lowest
	tell  func(read int64)
}

func (l *layer) name() string { return l.chain[len(l.chain)-1].String() }

// bring makes the layer be there.
func (l *layer) bring(ctx context.Context) (existed bool, err error) {
	// Waiting for the layer below under this lock cannot dead-lock: who holds
	// that layer's lock waits for lower ones only.
	unlock, err := l.chains.lock(ctx, l.name())
	if err != nil {
		return false, err
	}
	defer unlock()
	if _, err := l.st.snaps.Stat(ctx, l.name()); err == nil {
		// The lease in ctx must hold it; a committed layer is held by its name.
		return true, l.hold(ctx)
	} else if !errdefs.IsNotFound(err) {
		return false, fmt.Errorf("finding layer %s: %w", l.name(), err)
	}

	key := "extract-" + rand.Text() + " " + l.name()
	labels := snapshots.WithLabels(map[string]string{"containerd.io/snapshot.ref": l.name()})
	mounts, err := l.st.snaps.Prepare(ctx, key, "", labels)
	if err != nil {
		return false, fmt.Errorf("preparing layer %s: %w", l.name(), err)
	}
	defer func() {
		if err != nil {
			// The directory itself goes with the next garbage collection; emptying it
			// now gives the space back at once.
			err = errors.Join(err, emptyDir(mounts[0].Source), l.st.snaps.Remove(context.WithoutCancel(ctx), key))
		}
	}()
	if err := l.extract(ctx, mounts[0].Source); err != nil {
		return false, err
	}
	if err := l.await(ctx); err != nil {
		return false, err
	}
	if err := l.syncer.sync(); err != nil {
		return false, fmt.Errorf("syncing layer %s: %w", l.name(), err)
	}
	opts := []snapshots.Opt{labels}
	if l.below != nil {
		opts = append(opts, snapshots.WithParent(l.chain[len(l.chain)-2].String()))
	}
	if err := l.st.snaps.Commit(ctx, l.name(), key, opts...); err != nil {
		return false, fmt.Errorf("recording layer %s: %w", l.name(), err)
	}
	return false, nil
}

// extract fills dir, looking at the layers below only if it must.
func (l *layer) extract(ctx context.Context, dir string) error {
	x := &extraction{desc: l.desc, diff: l.diff, dir: dir, base: l.below == nil, progress: l.tell, free: func() int64 { return freeSpace(l.st.root) }}
	run := func() error {
		if err := l.slots.Acquire(ctx, 1); err != nil {
			return err
		}
		defer l.slots.Release(1)
		return x.run(ctx, l.st.content)
	}
	err := run()
	if !errors.Is(err, errNeedsParents) {
		return err
	}
	if err := emptyDir(dir); err != nil {
		return err
	}
	if err := l.await(ctx); err != nil {
		return err
	}
	if x.parents, err = l.st.lower(ctx, l.chain[:len(l.chain)-1]); err != nil {
		return err
	}
	return run()
}

// await waits for the layer below.
func (l *layer) await(ctx context.Context) error {
	if l.below == nil {
		return nil
	}
	select {
	case <-l.below:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold adds the layer to the lease in ctx, if there is one.
func (l *layer) hold(ctx context.Context) error {
	id, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	err := l.st.leases.AddResource(ctx, leases.Lease{ID: id}, leases.Resource{ID: l.name(), Type: "snapshots/" + snapshotter})
	if err != nil {
		return fmt.Errorf("holding layer %s: %w", l.name(), err)
	}
	return nil
}

// unpack unpacks an image whose blobs are all here, as after a rebuild of the
// metadata.
func (s *Store) unpack(ctx context.Context, c candidate) error {
	ctx, release, err := s.st.lease(ctx, "unpack-"+rand.Text())
	if err != nil {
		return err
	}
	defer release()
	if err := s.unpacker.unpack(ctx, c.manifest.Layers, c.config.RootFS.DiffIDs, layerEvents{}); err != nil {
		return fmt.Errorf("unpacking image: %w", err)
	}
	return s.st.setLabels(ctx, c.manifest.Config.Digest, snapshotLabel(c.config.RootFS.DiffIDs))
}

// snapshotLabel is the garbage collector's reference from an image's config to
// its topmost layer.
func snapshotLabel(diffs []digest.Digest) map[string]string {
	if len(diffs) == 0 {
		return nil
	}
	return map[string]string{"containerd.io/gc.ref.snapshot." + snapshotter: identity.ChainID(slices.Clone(diffs)).String()}
}

// syncer gathers syncfs calls: whoever asks while one runs shares the next one.
type syncer struct {
	dir     string
	mu      sync.Mutex
	running bool      // guarded by mu
	next    *syncOnce // the call that will begin after the running one; guarded by mu
}

type syncOnce struct {
	done chan struct{}
	err  error
}

// sync writes everything out that was written to the filesystem before the call.
func (s *syncer) sync() error {
	s.mu.Lock()
	if s.running {
		if s.next == nil {
			s.next = &syncOnce{done: make(chan struct{})}
		}
		call := s.next
		s.mu.Unlock()
		<-call.done
		return call.err
	}
	s.running = true
	s.mu.Unlock()

	err := syncFilesystem(s.dir)
	s.mu.Lock()
	call := s.next
	s.next = nil
	s.running = call != nil
	s.mu.Unlock()
	if call != nil {
		go s.runNext(call)
	}
	return err
}

func (s *syncer) runNext(call *syncOnce) {
	for call != nil {
		call.err = syncFilesystem(s.dir)
		close(call.done)
		s.mu.Lock()
		call = s.next
		s.next = nil
		s.running = call != nil
		s.mu.Unlock()
	}
}

func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// freeSpace returns how many bytes may still be written below dir before the
// reserve is touched: 1% of the filesystem, 32 MiB at most, so that the engine's
// own records still find room when a layer fills the disk. It is never negative.
func freeSpace(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 1 << 62
	}
	reserve := min(int64(fs.Blocks)*fs.Bsize/100, 32<<20)
	return max(0, int64(fs.Bavail)*fs.Bsize-reserve)
}

// guardSpace ends the context that it returns, with an error of kind Exhausted,
// when the filesystem of dir is nearly full. This is what bounds a layer that
// decompresses to far more than it says.
func guardSpace(ctx context.Context, dir string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if freeSpace(dir) == 0 {
					cancel(errs.New(errs.Exhausted, "unpacking layers: %w", unix.ENOSPC))
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
