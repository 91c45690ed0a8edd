package logs

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"
)

// follow reads what is written, until there is a reason to stop.
func (r *reader) follow(w *watch) error {
	var until <-chan time.Time
	if !r.o.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.o.Until))
		defer timer.Stop()
		until = timer.C
	}
	for last := false; ; {
		if err := r.catchUp(); err != nil {
			return err
		}
		if last {
			return r.tellDamage()
		}
		if r.o.Idle != nil {
			if err := r.o.Idle(); err != nil {
				return err
			}
		}
		select {
		case <-w.changed:
		case <-until:
			last = true
		case <-r.o.Done:
			last = true
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// catchUp reads the newest file to its end, and on through those that have
// replaced it.
func (r *reader) catchUp() error {
	for {
		if err := r.more(); err != nil {
			return err
		}
		if current(r.path, r.file) {
			return nil
		}
		if moved, err := r.next(); !moved || err != nil {
			return err
		}
	}
}

// next goes over to the file that path names now, by way of files that were
// rotated out meanwhile.
func (r *reader) next() (moved bool, err error) {
	// What was written between the last look and the rotation.
	if err := r.more(); err != nil {
		return false, err
	}
	files, err := openAll(r.path)
	if err != nil {
		return false, fmt.Errorf("opening log: %w", err)
	}
	defer func() { closeAll(files) }()
	if files[0] == nil {
		return false, nil // in the middle of a rotation, or deleted
	}
	newer := len(files) // our file was deleted if it is not among them
	for i, f := range files {
		if r.same(f) {
			newer = i
			break
		}
	}
	if newer == 0 {
		return false, nil
	}
	for i := newer - 1; i > 0; i-- {
		if err := r.rotated(files[i], position{}); err != nil {
			return false, err
		}
	}
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.offset, files[0] = files[0], 0, nil
	return true, nil
}

// same reports whether f is the newest file read so far, perhaps compressed
// meanwhile.
func (r *reader) same(f *file) bool {
	if r.file == nil {
		return false
	}
	if os.SameFile(r.file.info, f.info) {
		return true
	}
	if !f.zipped || r.file.zipped {
		return false
	}
	sum, size := f.trailer()
	if size != uint32(r.file.info.Size()) {
		return false
	}
	// Files of one size are common: each is as large as is allowed.
	own := crc32.NewIEEE()
	if _, err := io.Copy(own, io.NewSectionReader(r.file, 0, r.file.info.Size())); err != nil {
		return false
	}
	return own.Sum32() == sum
}
