package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// file makes a regular file. What cannot be made whole is removed.
func (x *extractor) file(h *tar.Header, dir int, name string, mode uint32, body io.Reader) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	made := node{fd: fd}
	if made.st, err = stat(fd); err == nil {
		err = x.regroup(made)
	}
	if err == nil {
		err = x.fill(f, h.Size, body)
	}
	if err == nil {
		err = x.dress(fd, h, mode, false)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = unix.Unlinkat(dir, name, 0)
	}
	return err
}

// overwrite writes an entry's content into a file that has to stay the one it
// is.
func (x *extractor) overwrite(h *tar.Header, there node, body io.Reader) error {
	fd, err := unix.Open(self(there.fd), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	return x.fill(f, h.Size, body)
}

// holeSize is how many zeros become a hole, and what is written at once. More
// is slower: the page cache then takes larger pages, that are rarely at hand.
const holeSize = 32 << 10

// checkEvery is how many bytes are written between two looks at the disk.
const checkEvery = 16 << 20

// fill writes a file's content. Long runs of zeros become holes.
func (x *extractor) fill(f *os.File, size int64, body io.Reader) error {
	var at, unchecked int64
	for at < size {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		n, err := io.ReadFull(body, x.buf[:min(int64(len(x.buf)), size-at)])
		if err != nil {
			return x.unreadable(err)
		}
		block := x.buf[:n]
		if n < len(x.buf) || !bytes.Equal(block, zeros[:n]) {
			if _, err := f.WriteAt(block, at); err != nil {
				return err
			}
			if unchecked += int64(n); unchecked >= checkEvery {
				unchecked = 0
				if err := roomLeft(int(f.Fd())); err != nil {
					return err
				}
			}
		}
		at += int64(n)
	}
	return f.Truncate(size)
}

// roomLeft refuses to fill a disk to the last byte: the engine's own records
// have to find room.
func roomLeft(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil
	}
	if reserve := min(fs.Blocks/100, uint64(32<<20/max(fs.Bsize, 1))); fs.Blocks > 0 && fs.Bavail < reserve {
		return unix.ENOSPC
	}
	return nil
}
