package logs

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// file is one file of a log, open.
type file struct {
	*os.File
	info   fs.FileInfo // when it was opened
	zipped bool
}

func openFile(name string) (*file, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &file{File: f, info: info}, nil
}

// openRotated opens path.i or path.i.gz. The writer removes the first only
// after the second is whole.
func openRotated(path string, i int) (*file, error) {
	name := fmt.Sprintf("%s.%d", path, i)
	f, err := openFile(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if f, err = openFile(name + ".gz"); err == nil {
		f.zipped = true
	}
	return f, err
}

// openAll opens the files of a log, newest first. The first is nil if there is
// no current file. It tries again when the log is rotated meanwhile.
func openAll(path string) (files []*file, err error) {
	for range 10 {
		if files, err = openOnce(path); err != nil || current(path, files[0]) {
			return files, err
		}
		closeAll(files)
	}
	return openOnce(path)
}

// current reports whether f is still what path names.
func current(path string, f *file) bool {
	info, err := os.Stat(path)
	if err != nil || f == nil {
		return f == nil && err != nil
	}
	return os.SameFile(info, f.info)
}

func openOnce(path string) ([]*file, error) {
	f, err := openFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	files := []*file{f}
	for i := 1; ; i++ {
		f, err := openRotated(path, i)
		if errors.Is(err, fs.ErrNotExist) {
			return files, nil
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
}

func closeAll(files []*file) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// lastTime is what a compressed file's header tells of its newest entry: zero
// if nothing.
func lastTime(z *gzip.Reader) time.Time {
	var extra struct {
		LastTime time.Time `json:"lastTime"`
	}
	_ = json.Unmarshal(z.Extra, &extra) // a hint only
	return extra.LastTime
}

// unzipped opens f's content from its beginning.
func (f *file) unzipped() (*gzip.Reader, error) {
	return gzip.NewReader(io.NewSectionReader(f, 0, f.info.Size()))
}

// unzippedSize reads the size of the content, modulo 2^32, from a compressed
// file's last four bytes (RFC 1952, ISIZE).
func (f *file) unzippedSize() uint32 {
	var b [4]byte
	if _, err := f.ReadAt(b[:], f.info.Size()-4); err != nil {
		return 0
	}
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
