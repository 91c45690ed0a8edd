package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockRoot makes the data root and takes it for this process. Two engines on
// one root would destroy each other's records.
func lockRoot(root string) (*os.File, error) {
	if err := makeRoot(root); err != nil {
		return nil, err
	}
	path := filepath.Join(root, "davitd.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, rootError(root, err)
	}
	if err := takeLock(f, root); err != nil {
		f.Close()
		return nil, err
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, rootError(root, err)
	}
	return f, nil
}

// lockPatience is how long a lock is waited for whose engine is dead already: a
// child that it had just forked holds it until it executes its own program.
const lockPatience = 2 * time.Second

// takeLock locks f, unless another engine that lives has done so.
func takeLock(f *os.File, root string) error {
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		holder, _ := os.ReadFile(f.Name()) // for the message, and to know whether it lives
		holder = bytes.TrimSpace(holder)
		if pid, err := strconv.Atoi(string(holder)); err == nil && !isEngine(pid) && time.Now().Before(end) {
			continue
		}
		if len(holder) == 0 {
			holder = []byte("unknown")
		}
		return fmt.Errorf("another engine (pid %s) uses %s: stop it, or choose another --data-root", holder, root)
	}
}

// makeRoot makes the data root, and refuses one that is Docker's.
func makeRoot(root string) error {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return rootError(root, err)
	}
	for _, name := range []string{"engine-id", "overlay2", "buildkit/containerd-overlayfs"} {
		_, docker := os.Stat(filepath.Join(root, name))
		_, ours := os.Stat(filepath.Join(root, "davitd.lock"))
		if docker == nil && ours != nil {
			return fmt.Errorf("%s holds Docker's data (%s): choose another --data-root", root, name)
		}
	}
	return nil
}

// rootError says what to do about a data root that cannot be used.
func rootError(root string, err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("the data root %s is on a read-only file system: remount it, or choose another --data-root: %w", root, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("no permission to write to the data root %s: start davitd as root, or choose another --data-root: %w", root, err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("the disk that holds the data root %s is full: free some space, or choose another --data-root: %w", root, err)
	}
	return fmt.Errorf("using the data root %s: %w", root, err)
}

// writePID writes the process ID, unless another engine's is there that lives.
func writePID(path string) (remove func(), err error) {
	if raw, err := os.ReadFile(path); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil && pid != os.Getpid() && isEngine(pid) {
			return nil, fmt.Errorf("process %d is named by %s and runs: stop it, or choose another --pidfile", pid, path)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the directory of the pid file: %w", err)
	}
	own := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(path, []byte(own), 0o644); err != nil {
		return nil, fmt.Errorf("writing the pid file: %w", err)
	}
	return func() {
		if raw, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(raw)) == own {
			_ = os.Remove(path)
		}
	}, nil
}

// isEngine reports whether a process is one of ours or Docker's: process IDs
// are used again, so a number alone says little.
func isEngine(pid int) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return false
	}
	switch strings.TrimSpace(string(name)) {
	case "davitd", "dockerd":
		return true
	}
	return false
}
