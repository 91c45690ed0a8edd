package logs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pollTime is how often a log is looked at where inotify cannot be had.
const pollTime = 200 * time.Millisecond

// Watcher tells readers that something has changed beside their logs. All share
// one inotify instance, of which the kernel allows 128 to a user by default. It
// takes nothing until it is used. The zero value is ready.
type Watcher struct {
	mu      sync.Mutex
	inotify *os.File                    // guarded by mu; nil: none yet, or none to be had
	dirs    map[int32]map[*watch]string // guarded by mu; by watch descriptor, with the directory
	closed  bool                        // guarded by mu
}

// watch is one reader's.
type watch struct {
	watcher *Watcher
	wd      int32
	changed chan struct{} // holds one
	closed  chan struct{} // nil unless the log is polled
}

// watch tells of writing to the file at path and of the file that replaces it.
// Where the kernel gives no watch, or there is no directory yet, the log is
// polled.
func (w *Watcher) watch(path string) *watch {
	c := &watch{watcher: w, wd: -1, changed: make(chan struct{}, 1)}
	if !w.add(c, filepath.Dir(path)) {
		c.closed = make(chan struct{})
		go c.poll()
	}
	return c
}

func (w *Watcher) add(c *watch, dir string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	if w.inotify == nil {
		fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
		if err != nil {
			return false
		}
		w.inotify, w.dirs = os.NewFile(uintptr(fd), "inotify"), map[int32]map[*watch]string{}
		go w.listen(w.inotify)
	}
	raw, err := w.inotify.SyscallConn()
	if err != nil {
		return false
	}
	wd := -1
	if cerr := raw.Control(func(fd uintptr) {
		wd, err = unix.InotifyAddWatch(int(fd), dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO)
	}); cerr != nil || err != nil {
		return false
	}
	c.wd = int32(wd)
	if w.dirs[c.wd] == nil {
		w.dirs[c.wd] = map[*watch]string{}
	}
	w.dirs[c.wd][c] = dir
	return true
}

func (w *Watcher) listen(inotify *os.File) {
	events := make([]byte, 16<<10)
	for {
		n, err := inotify.Read(events)
		if err != nil {
			return
		}
		w.tell(events[:n])
	}
}

// tell wakes those whose directories the events name.
func (w *Watcher) tell(events []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := int32(-1)
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(size, len(events)):]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0: // nobody knows who is meant
			for _, readers := range w.dirs {
				wake(readers)
			}
		case wd != last:
			wake(w.dirs[wd])
			last = wd
		}
	}
}

func wake(readers map[*watch]string) {
	for c := range readers {
		c.tell()
	}
}

// Close ends what the watcher started. Readers that still use it are polled no
// more and woken no more.
func (w *Watcher) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.inotify != nil {
		w.inotify.Close()
		w.inotify = nil
	}
}

func (c *watch) poll() {
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.tell()
		case <-c.closed:
			return
		}
	}
}

func (c *watch) tell() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *watch) close() {
	if c.closed != nil {
		close(c.closed)
		return
	}
	w := c.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.dirs[c.wd], c)
	if len(w.dirs[c.wd]) > 0 || w.inotify == nil {
		return
	}
	delete(w.dirs, c.wd)
	if raw, err := w.inotify.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(c.wd)) }) // gone with its directory
	}
}
