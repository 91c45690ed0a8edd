package logfile

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// LastTime is what Docker keeps in the gzip header of a rotated log, as JSON:
// a reader that wants newer entries only need not unpack the file.
type LastTime struct {
	LastTime time.Time `json:"lastTime"`
}

// compressor compresses rotated files, one after another, the newest first.
// Files move on meanwhile: it keeps count of the steps.
type compressor struct {
	trim func() // called when all is done; may be nil

	mu      sync.Mutex
	shifts  int           // guarded by mu; rotations so far
	running chan struct{} // guarded by mu; closed when the goroutine ends; nil: there is none
	again   bool          // guarded by mu; look for files once more
	last    time.Time     // guarded by mu; no entry of a rotated file is newer
	failed  error         // guarded by mu; not yet reported
}

// start compresses what is to be compressed, in the background.
func (c *compressor) start(path string, files int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.again = true
	if c.running == nil {
		c.running = make(chan struct{})
		go c.run(path, files, c.running)
	}
}

func (c *compressor) run(path string, files int, done chan struct{}) {
	defer close(done)
	if c.trim != nil {
		defer c.trim()
	}
	for {
		c.mu.Lock()
		if !c.again {
			c.running = nil
			c.mu.Unlock()
			return
		}
		c.again = false
		in, at := newestPlain(path, files)
		shifts, last := c.shifts, c.last
		c.mu.Unlock()
		if in == nil {
			continue
		}
		err := c.compress(path, files, in, at, shifts, last)
		in.Close()
		c.mu.Lock()
		c.again = err == nil
		c.failed = first(c.failed, err)
		c.mu.Unlock()
	}
}

// newestPlain opens the newest rotated file that is not compressed.
func newestPlain(path string, files int) (*os.File, int) {
	for i := 1; i < files; i++ {
		if f, err := os.Open(name(path, i)); err == nil {
			return f, i
		}
	}
	return nil, 0
}

// compress replaces path.at, which is open as in, by path.at.gz, whatever at
// is by the time that it is done. At each moment one of the two is whole.
func (c *compressor) compress(path string, files int, in *os.File, at, shifts int, last time.Time) (err error) {
	temporary := path + ".gz.tmp"
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("compressing log: %w", err), remove(temporary))
		}
	}()
	out, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	if err := gzipTo(out, in, last); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at += c.shifts - shifts; at >= files {
		return remove(temporary) // too old by now
	}
	if err := os.Rename(temporary, name(path, at)+".gz"); err != nil {
		return err
	}
	return remove(name(path, at))
}

// gzipTo compresses at the fastest level, which needs no less memory than the
// others (0.8 MB while it runs) but a quarter of the time.
func gzipTo(out io.Writer, in io.Reader, last time.Time) error {
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if z.Extra, err = json.Marshal(LastTime{last.UTC()}); err != nil {
		return err
	}
	if _, err := io.Copy(z, in); err != nil {
		return err
	}
	return z.Close()
}

// trouble returns and forgets what went wrong since it was asked last.
func (c *compressor) trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.failed
	c.failed = nil
	return err
}

// wait waits until there is nothing more to compress.
func (c *compressor) wait() error {
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if running != nil {
		<-running
	}
	return c.trouble()
}
