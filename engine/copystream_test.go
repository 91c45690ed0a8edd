package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/davit-engine/davit/errs"
)

// view is a rootView without a root.
func view(patience bool) *rootView {
	v := &rootView{patient: patience, close: func() {}}
	v.ctx, v.revoke = context.WithCancelCause(context.Background())
	return v
}

func TestFeed(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	for name, content := range map[string]io.Reader{
		"whole": bytes.NewReader(want), "in halves": iotest.HalfReader(bytes.NewReader(want)), "end with data": iotest.DataErrReader(bytes.NewReader(want)),
	} {
		var got []byte
		err := view(true).feed(content, func(_ context.Context, r io.Reader) (err error) {
			got, err = io.ReadAll(r)
			return err
		})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	broken := errors.New("broken off")
	err := view(true).feed(io.MultiReader(bytes.NewReader(want), iotest.ErrReader(broken)), func(_ context.Context, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if !errors.Is(err, broken) {
		t.Errorf("a stream that breaks off: %v", err)
	}
}

// TestFeedRevoked: who waits for a client that says nothing is let go when the
// view is taken back, and after a while where nobody may wait.
func TestFeedRevoked(t *testing.T) {
	silent, w := io.Pipe()
	defer w.Close()
	why := errors.New("started again")
	v := view(true)
	err := v.feed(silent, func(_ context.Context, r io.Reader) error {
		v.revoke(why)
		_, err := r.Read(make([]byte, 1))
		return err
	})
	if !errors.Is(err, why) {
		t.Errorf("revoked: %v", err)
	}
	a := &ahead{ctx: context.Background(), patience: time.Millisecond, full: make(chan []byte), empty: make(chan []byte, 1)}
	if _, err := a.Read(make([]byte, 1)); !errs.Is(err, errs.Deadline) {
		t.Errorf("stalled: %v", err)
	}
}

// TestStream: a reader that stands still does not hold up who writes for ever.
func TestStream(t *testing.T) {
	done := make(chan struct{})
	s := stream(context.Background(), 20*time.Millisecond, func(_ context.Context, w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<20))
		return err
	}, func() { close(done) })
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	<-done
	if _, err := io.Copy(io.Discard, s); !errs.Is(err, errs.Deadline) {
		t.Errorf("after a stall: %v", err)
	}
	done = make(chan struct{})
	s = stream(context.Background(), 0, func(_ context.Context, w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<20))
		return err
	}, func() { close(done) })
	_ = s.Close()
	<-done
}
