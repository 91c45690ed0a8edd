package shim

import (
	"os"
	"sync"
)

// stdin is the container's standard input, which several clients may feed.
type stdin struct {
	ready chan struct{} // closed by open: before that, who writes or closes waits

	mu sync.Mutex // held for a whole chunk, so that chunks are not mixed

	file   *os.File // set before ready is closed; nil: what comes is discarded
	shared bool     // likewise; file is the terminal, which is not ours to close
}

func newStdin() *stdin { return &stdin{ready: make(chan struct{})} }

// open says where input goes: file, which is the terminal if shared, or
// nowhere if it is nil. It is called once.
func (in *stdin) open(file *os.File, shared bool) {
	in.file, in.shared = file, shared
	close(in.ready)
}

// write waits until the container has taken p, or will take no more; then p
// is lost, as in a closed pipe.
func (in *stdin) write(p []byte) {
	<-in.ready
	if len(p) == 0 || in.file == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	_, _ = in.file.Write(p)
}

// close gives the container the end of its input, once open was called. A
// write that waits gives up.
func (in *stdin) close() {
	<-in.ready
	if in.file != nil && !in.shared {
		in.file.Close()
	}
}
