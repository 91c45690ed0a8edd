package logfile

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// rotateIfFull rotates as Docker does: before the entry that finds the file at
// its largest size or over it. If that fails the file goes on growing.
func (w *Writer) rotateIfFull() error {
	if w.o.MaxSize <= 0 || w.size+int64(len(w.batch)) < w.o.MaxSize {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	failed := w.compressor.trouble()
	if err := w.rotate(w.o.MaxFile); err != nil {
		return first(failed, err)
	}
	if w.o.Compress && w.o.MaxFile > 1 {
		w.compressor.start(w.path, w.o.MaxFile)
	}
	return failed
}

// rotate moves the files on. Readers keep what they have open.
func (w *Writer) rotate(files int) error {
	w.compressor.mu.Lock()
	defer w.compressor.mu.Unlock()
	if err := shift(w.path, files); err != nil {
		return fmt.Errorf("rotating log: %w", err)
	}
	w.compressor.shifts++
	w.compressor.last = time.Unix(0, w.now.nano) // no entry is newer than this Write
	old, size := w.file, w.size
	if err := w.open(os.O_EXCL); err != nil {
		if files > 1 {
			return errors.Join(err, os.Rename(name(w.path, 1), w.path))
		}
		return err
	}
	w.base += size
	old.Close()
	return nil
}

// shift makes path.1 of path and so on, and removes what is too old.
func shift(path string, files int) error {
	if files == 1 {
		return remove(path)
	}
	for i := files - 1; i > 1; i-- {
		for _, ext := range []string{"", ".gz"} {
			err := os.Rename(name(path, i-1)+ext, name(path, i)+ext)
			if errors.Is(err, os.ErrNotExist) {
				err = remove(name(path, i) + ext)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := remove(name(path, 1) + ".gz"); err != nil {
		return err
	}
	return os.Rename(path, name(path, 1))
}

func name(path string, i int) string { return fmt.Sprintf("%s.%d", path, i) }

func remove(path string) error {
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}
