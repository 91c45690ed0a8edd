package jsonlog

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"time"
)

// LastTime is what Docker keeps in the gzip header of a rotated log, as JSON:
// a reader that wants newer entries only need not unpack the file.
type LastTime struct {
	LastTime time.Time `json:"lastTime"`
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
