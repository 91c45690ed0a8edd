package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/davit-engine/davit/errs"
)

// Bounds of a request's body where it describes something, in bytes and in the
// time that a client may take to send it. What is streamed, such as an archive,
// has none.
const (
	maxBody  = 8 << 20
	bodyTime = time.Minute
)

var errSlowBody = errors.New("the request's body took too long to come")

// bound refuses a body that says that it is too large, and has one that turns
// out to be, or takes too long to come, fail while it is read.
func (s *Server) bound(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > maxBody {
		// Nothing of it is read, so nothing else can come on this connection.
		w.Header().Set("Connection", "close")
		return errs.New(errs.InvalidParameter, "the request's body has %d bytes, %d are allowed", r.ContentLength, int64(maxBody))
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	limit := s.cfg.BodyTime
	if limit == 0 {
		limit = bodyTime
	}
	r.Body = http.MaxBytesReader(w, &timedBody{r.Body, w, time.Now().Add(limit)}, maxBody)
	return nil
}

// timedBody is a body that has to be there in time.
type timedBody struct {
	io.ReadCloser
	w   http.ResponseWriter
	end time.Time
}

// Read sets the connection's deadline for as long as it reads only: whoever
// takes the connection over has none. Not every connection knows deadlines.
func (b *timedBody) Read(p []byte) (int, error) {
	conn := http.NewResponseController(b.w)
	_ = conn.SetReadDeadline(b.end)
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.w.Header().Set("Connection", "close") // else the rest would be waited for
		return n, errSlowBody
	}
	_ = conn.SetReadDeadline(time.Time{})
	return n, err
}
