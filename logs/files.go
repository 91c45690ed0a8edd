package logs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/davit-engine/davit/runtime/logfile"
)

// file is one file of a log, open.
type file struct {
	*os.File
	info   fs.FileInfo // when it was opened
	zipped bool
	head   []byte // of its content, as far as it is known
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
// no current file. A rotation moves files one by one, the oldest first, so it
// looks again until nothing has moved under its eyes.
func openAll(path string) (files []*file, err error) {
	for pause := 100 * time.Microsecond; ; pause *= 2 {
		if files, err = openOnce(path); err != nil || still(path, files) {
			return files, err
		}
		if pause > time.Second { // somebody moves files who is no writer of ours
			return files, nil
		}
		closeAll(files)
		time.Sleep(pause)
	}
}

// still reports whether files are what the names of the log stand for.
func still(path string, files []*file) bool {
	for i, f := range files {
		switch {
		case i == 0:
			if !current(path, f) {
				return false
			}
		default:
			info, err := os.Stat(f.Name())
			if err != nil || !os.SameFile(info, f.info) {
				return false
			}
		}
	}
	for i := len(files); i <= len(files)+1; i++ { // a gap of one is where a rotation is
		for _, ext := range []string{"", ".gz"} {
			if _, err := os.Lstat(fmt.Sprintf("%s.%d%s", path, i, ext)); err == nil {
				return false
			}
		}
	}
	return true
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

// format tells what f holds, if it holds an entry already. Where the beginning
// is damaged, the first entry after it counts.
func (f *file) format() (logfile.Format, bool) {
	format, known := logfile.Detect(f.begin())
	if known || f.zipped || len(f.head) < logfile.HeadSize {
		return format, known
	}
	buf, done := block()
	defer done()
	n, _ := f.ReadAt(buf, 0) // what cannot be read has no format
	local, json := bytes.Index(buf[:n], mark), bytes.Index(buf[:n], entryBegin)
	if local >= 0 && (json < 0 || local < json) {
		return logfile.Local, true
	}
	return logfile.JSON, json >= 0
}

// base returns how much was logged before f. It is not ok if f does not begin
// with an entry of the local format.
func (f *file) base() (int64, bool) {
	if format, known := logfile.Detect(f.begin()); !known || format != logfile.Local {
		return 0, false
	}
	return logfile.BaseOf(f.head), true
}

// begin returns the first bytes of the content.
func (f *file) begin() []byte {
	if len(f.head) == logfile.HeadSize {
		return f.head
	}
	f.head = make([]byte, logfile.HeadSize)
	var n int
	if !f.zipped {
		n, _ = f.ReadAt(f.head, 0) // what cannot be read has no format
	} else if z, err := f.unzipped(); err == nil {
		n, _ = io.ReadFull(z, f.head)
	}
	f.head = f.head[:n]
	return f.head
}

// forget drops what is known of a file that was emptied.
func (f *file) forget() { f.head = nil }

// unzipped opens f's content from its beginning.
func (f *file) unzipped() (*gzip.Reader, error) {
	return gzip.NewReader(io.NewSectionReader(f, 0, f.info.Size()))
}

// trailer reads what a compressed file's last eight bytes tell of its content:
// its CRC-32, and its size modulo 2^32 (RFC 1952).
func (f *file) trailer() (sum, size uint32) {
	var b [8]byte
	if _, err := f.ReadAt(b[:], f.info.Size()-int64(len(b))); err != nil {
		return 0, 0
	}
	return binary.LittleEndian.Uint32(b[:]), binary.LittleEndian.Uint32(b[4:])
}

// Exists reports whether there is a log at path, or what was rotated out of
// one.
func Exists(path string) bool {
	for _, p := range []string{path, path + ".1", path + ".1.gz"} {
		if _, err := os.Lstat(p); err == nil {
			return true
		}
	}
	return false
}

// Rename gives a log that nobody writes another path. One that does not exist
// is no error.
func Rename(from, to string) error {
	if err := rename(from, to); err != nil {
		return err
	}
	for i := 1; ; i++ {
		old, name := fmt.Sprintf("%s.%d", from, i), fmt.Sprintf("%s.%d", to, i)
		found := false
		for _, ext := range []string{"", ".gz"} {
			_, err := os.Lstat(old + ext)
			found = found || err == nil
			if err := rename(old+ext, name+ext); err != nil {
				return err
			}
		}
		if !found {
			return nil
		}
	}
}

func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("moving log: %w", err)
	}
	return nil
}
