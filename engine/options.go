package engine

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CreateOptions says which container to make.
type CreateOptions struct {
	Name     string                  // empty: the engine chooses one
	Request  container.CreateRequest // as the API receives it, defaults of its version already applied
	Platform *ocispec.Platform       // nil: the image's own
}

// StopOptions says how to end a container. The zero value uses the
// container's own signal and time-out.
type StopOptions struct {
	Signal  string // name or number; empty: the container's StopSignal, then SIGTERM
	Timeout *int   // seconds until SIGKILL; negative: wait for ever; nil: the container's StopTimeout, then 10

	// Warn is told, in words for the user, why the container had to be killed
	// after all; nil: nobody is.
	Warn func(text string)
}

// AttachOptions says which streams of a container a client wants.
type AttachOptions struct {
	Logs       bool // first everything that was logged
	Stream     bool // then everything that comes
	Stdin      bool
	Stdout     bool
	Stderr     bool
	DetachKeys string // such as "ctrl-p,ctrl-q"; empty: the default
	Raw        bool   // output comes without frames, whether the container has a terminal or not

	// Hijack takes the connection from the HTTP server and writes the answer's
	// head. raw says that the container has a terminal and the stream is not
	// framed. It returns the connection and what was already read from it; the
	// engine closes the connection. It is called once, and only when nothing
	// can fail any more.
	Hijack func(raw bool) (net.Conn, []byte, error)
}

// LogsOptions says which log lines are wanted.
type LogsOptions struct {
	Follow     bool
	Stdout     bool
	Stderr     bool
	Timestamps bool      // each line begins with its time, RFC 3339 with nine decimals
	Details    bool      // then with its attributes, k=v joined by commas
	Since      time.Time // zero: from the start
	Until      time.Time // zero: no end
	Tail       string    // a number of lines, or "all" or empty
	Merge      bool      // a frame may hold several lines, which is faster; else it has one, as Docker's
}

// LogStream is a container's log, ready to be copied.
type LogStream struct {
	TTY  bool                                          // one stream without framing
	Copy func(ctx context.Context, to io.Writer) error // writes frames, or the one stream; returns at the log's end, or at ctx's when following
}

// RemoveOptions says how far a removal goes.
type RemoveOptions struct {
	Force   bool // kill it when it runs
	Volumes bool // its anonymous volumes as well
	Link    bool // remove the link of that name, not the container
}

// ListOptions says which containers are listed.
type ListOptions struct {
	All     bool // stopped ones as well
	Limit   int  // newest first, at most that many, stopped ones included; 0: no limit
	Size    bool // compute sizes on disk
	Brief   bool // leave out networks, mounts, labels and manifests, which are half of the answer
	Filters map[string]map[string]bool
}

// EventStream is a subscription to the engine's events.
type EventStream struct {
	Past    []events.Message      // those that lie between since and now
	Live    <-chan events.Message // closed at the end
	Overrun func() bool           // after the end: more were waiting than are kept for a slow reader
	Cancel  func()                // must be called
}
