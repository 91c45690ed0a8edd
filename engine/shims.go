package engine

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/runtime/pidfd"
	"github.com/davit-engine/davit/runtime/seal"
	"github.com/davit-engine/davit/runtime/wire"
)

// DefaultWarmShims is how many shims wait for a container. Starting one takes
// about 2 ms, which a container's start then saves.
const DefaultWarmShims = 4

// shim is a davit-shim that no container was given to yet.
type shim struct {
	client *wire.Client
	pid    int
}

// shimPool keeps shims waiting. They end by themselves when the engine does.
type shimPool struct {
	program *os.File // the davit-shim program, sealed; nil if broken
	broken  error
	output  string // file that takes what a shim says when it crashes; not the engine's stderr, which it would outlive
	size    int
	log     *slog.Logger

	mu      sync.Mutex
	idle    []*shim // guarded by mu
	filling bool    // guarded by mu
	closed  bool    // guarded by mu
}

func newShimPool(path, output string, size int, log *slog.Logger) *shimPool {
	switch {
	case size == 0:
		size = DefaultWarmShims
	case size < 0:
		size = 0
	}
	p := &shimPool{output: output, size: size, log: log}
	p.program, p.broken = seal.Mount(path)
	return p
}

// take returns a shim for one container: a warm one, or a new one when none
// is left.
func (p *shimPool) take() (*shim, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	return p.spawn()
}

// fill brings the pool to its size again, in the background.
func (p *shimPool) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.filling || p.closed || len(p.idle) >= p.size {
		return
	}
	p.filling = true
	go func() {
		for {
			s, err := p.spawn()
			p.mu.Lock()
			if err != nil {
				p.log.Error("keeping shims ready", "error", err)
			} else if p.closed {
				_ = s.client.Close()
			} else {
				p.idle = append(p.idle, s)
			}
			if done := err != nil || p.closed || len(p.idle) >= p.size; done {
				p.filling = false
				p.mu.Unlock()
				return
			}
			p.mu.Unlock()
		}
	}()
}

// close dismisses the idle shims.
func (p *shimPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range p.idle {
		_ = s.client.Close()
	}
	p.idle = nil
	if p.program != nil {
		p.program.Close()
	}
}

// forget takes a shim that died idle out of the pool.
func (p *shimPool) forget(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.idle {
		if s.pid == pid {
			_ = s.client.Close()
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return
		}
	}
}

func (p *shimPool) spawn() (*shim, error) {
	if p.broken != nil {
		return nil, fmt.Errorf("starting a shim: %w", p.broken)
	}
	client, child, err := wire.Pair()
	if err != nil {
		return nil, fmt.Errorf("starting a shim: %w", err)
	}
	defer child.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("starting a shim: %w", err)
	}
	defer null.Close()
	files := make([]*os.File, wire.ShimFD+1)
	for i := range files {
		files[i] = null
	}
	stderr, err := os.OpenFile(p.output, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("starting a shim: %w", err)
	}
	defer stderr.Close()
	files[2] = stderr
	files[wire.ShimFD] = child
	fd := -1
	// By its descriptor, which the child has too until it executes it.
	proc, err := os.StartProcess("/proc/self/fd/"+strconv.Itoa(int(p.program.Fd())), wire.Args(), &os.ProcAttr{
		Dir: "/", Env: wire.Env(), Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &fd},
	})
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("starting a shim: %w", err)
	}
	pid := proc.Pid
	_ = proc.Release()
	go p.reap(pid, fd)
	return &shim{client, pid}, nil
}

// reap collects the shim when it ends. It waits in the poller, not in a
// thread of its own as os.Process.Wait would: there is one per container.
func (p *shimPool) reap(pid, fd int) {
	pidfd.Await(fd)
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	p.forget(pid)
}
