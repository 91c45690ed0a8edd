package volume

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// measure is how large a volume was when somebody asked. Who asks while it is
// being found out waits for the answer.
type measure struct {
	turn   chan struct{} // capacity 1: full while somebody measures, who owns what follows
	at     time.Time     // zero: not known
	size   int64
	as     uint64        // writes when the measuring began
	writes atomic.Uint64 // how often somebody began or ended to use the volume
}

// fresh is how long an answer is good for while nobody is known to write.
const fresh = 2 * time.Second

// forget says that the content may be another from now on.
func (m *measure) forget() { m.writes.Add(1) }

// Usage returns the bytes that the volume's files hold, each inode once. It is
// -1 for a volume with a file system of its own that is not mounted. It may
// take long, and ends with ctx; an answer is kept for two seconds.
func (s *Store) Usage(ctx context.Context, name string) (int64, error) {
	v, err := s.find(name)
	if err != nil {
		return 0, err
	}
	if v.needsMount() {
		if there, err := mounted(v.data()); err != nil || !there {
			return -1, err
		}
	}
	m := &v.size
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	now := m.writes.Load()
	if m.as == now && !m.at.IsZero() && time.Since(m.at) < fresh {
		return m.size, nil
	}
	size, err := sum(ctx, v.data())
	if err != nil {
		return 0, err
	}
	m.size, m.at, m.as = size, time.Now(), now
	return size, nil
}

// Users returns how many hold the volume.
func (s *Store) Users(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.volumes[name]; v != nil {
		return len(v.users)
	}
	return 0
}

// sum adds up the files of a tree, without entering what is mounted in it.
func sum(ctx context.Context, root string) (total int64, err error) {
	type inode struct {
		device uint64
		number uint64
	}
	var top unix.Stat_t
	if err := unix.Lstat(root, &top); err != nil {
		return 0, err
	}
	seen := map[inode]bool{}
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var st unix.Stat_t
		if err != nil || unix.Lstat(path, &st) != nil {
			return nil // what went away while we looked
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if st.Dev != top.Dev {
				return filepath.SkipDir
			}
			return nil
		}
		if id := (inode{st.Dev, st.Ino}); st.Nlink > 1 {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		total += st.Size
		return nil
	})
	return total, err
}
