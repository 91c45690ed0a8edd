package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	clabels "github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/davit-engine/davit/errs"
)

// ingestRef names an unfinished blob in the content store. It depends on the
// digest alone, so that any image with this blob can go on with it.
func ingestRef(d digest.Digest) string { return "blob-" + d.String() }

// fetcher brings blobs into the content store.
type fetcher struct {
	st       *stores
	blobs    keyLocks // by digest: one download of a blob at a time
	slots    *semaphore.Weighted
	attempts int
	backoff  time.Duration
	stall    time.Duration // without a byte for this long, a connection counts as broken
}

// fetchEvents are told how a download goes. Each may be nil.
type fetchEvents struct {
	progress func(have int64)
	retry    func(in time.Duration)
}

// fetch makes the blob desc be in the content store, with the given labels. It
// goes on where an earlier download stopped. existed tells that nothing was to do.
func (f *fetcher) fetch(ctx context.Context, from remotes.Fetcher, desc ocispec.Descriptor, labels map[string]string, ev fetchEvents) (existed bool, err error) {
	unlock, err := f.blobs.lock(ctx, desc.Digest.String())
	if err != nil {
		return false, err
	}
	defer unlock()
	d := &download{fetcher: f, from: from, desc: desc, labels: labels, ev: ev}
	if done, err := d.present(ctx); done || err != nil {
		return true, err
	}
	if err := f.slots.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer f.slots.Release(1)
	for try := 1; ; try++ {
		before := d.have
		err = d.attempt(ctx)
		if err == nil {
			return false, nil
		}
		// A connection that keeps breaking but brings data is not given up.
		if d.have-before >= 1<<20 {
			try = 1
		}
		if ctx.Err() != nil || !d.worthwhile(err) || try >= f.attempts {
			return false, err
		}
		wait := retryDelay(err, f.backoff, try)
		if ev.retry != nil {
			ev.retry(wait)
		}
		if err := sleep(ctx, wait); err != nil {
			return false, err
		}
	}
}

// download is one blob on its way.
type download struct {
	*fetcher
	from   remotes.Fetcher
	desc   ocispec.Descriptor
	labels map[string]string
	ev     fetchEvents
	have   int64 // bytes in the ingest
	// restarted is set once an ingest that was taken over turned out to be wrong
	// and was thrown away: data of before a power loss may be.
	restarted bool
}

var (
	errStalled  = errors.New("connection stalled")
	errMismatch = errors.New("digest mismatch")
)

// present reports whether the blob is in the store, with labels added.
func (d *download) present(ctx context.Context) (bool, error) {
	_, err := d.st.content.Info(ctx, d.desc.Digest)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for blob %s: %w", d.desc.Digest, err)
	}
	// Opening a writer for what exists adds it to the lease in ctx.
	w, err := content.OpenWriter(ctx, d.st.content, content.WithRef(ingestRef(d.desc.Digest)), content.WithDescriptor(d.desc))
	switch {
	case errdefs.IsAlreadyExists(err):
	case err != nil:
		return false, fmt.Errorf("looking for blob %s: %w", d.desc.Digest, err)
	default:
		// The garbage collector was faster.
		return false, w.Close()
	}
	return true, d.st.setLabels(ctx, d.desc.Digest, d.labels)
}

// attempt downloads what is missing over one connection.
func (d *download) attempt(ctx context.Context) (err error) {
	w, err := content.OpenWriter(ctx, d.st.content, content.WithRef(ingestRef(d.desc.Digest)), content.WithDescriptor(d.desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("storing blob %s: %w", d.desc.Digest, err)
	}
	defer w.Close()
	status, err := w.Status()
	if err != nil {
		return fmt.Errorf("storing blob %s: %w", d.desc.Digest, err)
	}
	d.have = status.Offset
	resumed := d.have > 0
	if d.have > d.desc.Size {
		if err := w.Truncate(0); err != nil {
			return fmt.Errorf("storing blob %s: %w", d.desc.Digest, err)
		}
		d.have = 0
	}
	if d.have < d.desc.Size {
		if err := d.copy(ctx, w); err != nil {
			return fmt.Errorf("downloading blob %s: %w", d.desc.Digest, err)
		}
	}
	if got := w.Digest(); got != d.desc.Digest {
		// Not to be continued: the next attempt, if any, begins anew.
		if err := w.Truncate(0); err != nil {
			return fmt.Errorf("storing blob %s: %w", d.desc.Digest, err)
		}
		d.have = 0
		if resumed && !d.restarted {
			d.restarted = true
			return d.attemptAgain(ctx, w)
		}
		w.Close()
		err := d.st.content.Abort(context.WithoutCancel(ctx), ingestRef(d.desc.Digest))
		return errors.Join(errs.New(errs.Unavailable, "filesystem layer verification failed for digest %s: the registry sent %s: %w", d.desc.Digest, got, errMismatch), err)
	}
	if err := w.Commit(ctx, d.desc.Size, d.desc.Digest, content.WithLabels(d.labels)); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("storing blob %s: %w", d.desc.Digest, err)
	}
	return nil
}

func (d *download) attemptAgain(ctx context.Context, w content.Writer) error {
	if err := w.Close(); err != nil {
		return fmt.Errorf("storing blob %s: %w", d.desc.Digest, err)
	}
	return d.attempt(ctx)
}

// copy reads from the registry, from d.have on, and counts.
func (d *download) copy(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(d.stall, func() { cancel(errStalled) })
	defer watch.Stop()

	var rc io.ReadCloser
	if int64(len(d.desc.Data)) == d.desc.Size {
		rc = io.NopCloser(bytes.NewReader(d.desc.Data[d.have:]))
	} else {
		fctx := ctx
		if d.have == 0 {
			fctx = context.WithValue(ctx, expectedKey{}, expected{d.desc.Size})
		}
		var err error
		if rc, err = d.from.Fetch(fctx, d.desc); err != nil {
			return causeOf(ctx, err)
		}
		if seeker, ok := rc.(io.Seeker); ok && d.have > 0 {
			if _, err := seeker.Seek(d.have, io.SeekStart); err != nil {
				rc.Close()
				return err
			}
		}
	}
	defer rc.Close()
	buf := make([]byte, 128<<10)
	for d.have < d.desc.Size {
		n, err := rc.Read(buf[:min(int64(len(buf)), d.desc.Size-d.have)])
		if n > 0 {
			watch.Reset(d.stall)
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			d.have += int64(n)
			if d.ev.progress != nil {
				d.ev.progress(d.have)
			}
		}
		switch {
		case err == io.EOF && d.have < d.desc.Size:
			return fmt.Errorf("registry sent %d of %d bytes: %w", d.have, d.desc.Size, io.ErrUnexpectedEOF)
		case err != nil && err != io.EOF:
			return causeOf(ctx, err)
		}
	}
	return nil
}

// worthwhile reports whether another attempt may do better.
func (d *download) worthwhile(err error) bool {
	var over *exhausted
	switch {
	case errors.As(err, &over):
		return false
	case outOfSpace(err), errdefs.IsNotFound(err), errors.Is(err, errMismatch), errdefs.IsFailedPrecondition(err):
		return false
	case errors.Is(err, errStalled), errors.Is(err, syscall.ECONNREFUSED):
		// Refused in the middle of a pull: a registry that restarts.
		return true
	}
	return passing(err) || unreachable(err)
}

// document fetches a manifest, an index or a config and returns it.
func (f *fetcher) document(ctx context.Context, from remotes.Fetcher, desc ocispec.Descriptor, limit int64, labels map[string]string) ([]byte, error) {
	if err := checkDescriptor(desc); err != nil {
		return nil, err
	}
	if desc.Size > limit {
		return nil, errs.New(errs.InvalidParameter, "%s %s has %d bytes, more than %d", desc.MediaType, desc.Digest, desc.Size, limit)
	}
	if _, err := f.fetch(ctx, from, desc, labels, fetchEvents{}); err != nil {
		return nil, err
	}
	data, err := content.ReadBlob(ctx, f.st.content, desc)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", desc.Digest, err)
	}
	return data, nil
}

// sourceLabels note which repository of a registry has a blob: a later push to
// another repository there can mount it. The form is containerd's: the host
// without its port, and repositories joined by commas.
func sourceLabels(ref reference.Named) map[string]string {
	return map[string]string{sourceKey(ref): reference.Path(ref)}
}

// joinRepositories merges two lists of a source label. The first wins where both
// together are longer than a label may be.
func joinRepositories(a, b string) string {
	repos := strings.Split(a, ",")
	for repo := range strings.SplitSeq(b, ",") {
		if repo != "" && !slices.Contains(repos, repo) {
			repos = append(repos, repo)
		}
	}
	slices.Sort(repos)
	joined := strings.Join(repos, ",")
	if clabels.Validate(clabels.LabelDistributionSource, joined) != nil || len(joined) > 3000 {
		return a
	}
	return joined
}

func sourceKey(ref reference.Named) string {
	host := reference.Domain(ref)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return clabels.LabelDistributionSource + "." + strings.Trim(host, "[]")
}
