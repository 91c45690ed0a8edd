package fake

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	api "github.com/moby/moby/api/types/container"
)

// Program is what runs in a container: it has its streams and the signals sent
// to it, and returns the exit status. On a tty stderr is stdout.
type Program func(p *Process) int

// Process is a running Program's surroundings.
type Process struct {
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Signals        <-chan string
	Sizes          <-chan [2]int // width, height
	Context        context.Context
}

type container struct {
	id, name string
	request  api.CreateRequest
	attached []*attachment
	signals  chan string
	sizes    chan [2]int
	exit     chan struct{} // closed when status is set
	status   int
	running  bool
}

type attachment struct {
	conn           net.Conn
	reader         io.Reader
	stdin          bool
	stdout, stderr bool
	mu             sync.Mutex // guards writes of frames
}

// Program gives an image what its containers run. An image without one is not
// found.
func (e *Engine) Program(image string, p Program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.programs[image] = p
}

func (e *Engine) routes() {
	e.mux.HandleFunc("POST /containers/create", e.create)
	e.mux.HandleFunc("POST /containers/{id}/attach", e.attach)
	e.mux.HandleFunc("POST /containers/{id}/start", e.start)
	e.mux.HandleFunc("POST /containers/{id}/wait", e.wait)
	e.mux.HandleFunc("POST /containers/{id}/kill", e.kill)
	e.mux.HandleFunc("POST /containers/{id}/resize", e.resize)
	e.mux.HandleFunc("GET /containers/{id}/json", e.inspect)
}

func (e *Engine) create(w http.ResponseWriter, r *http.Request) {
	var request api.CreateRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		Reply(w, http.StatusBadRequest, err.Error())
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.programs[request.Image] == nil {
		Reply(w, http.StatusNotFound, "No such image: "+request.Image)
		return
	}
	sum := sha256.Sum256([]byte(strconv.Itoa(len(e.containers))))
	c := &container{
		id: hex.EncodeToString(sum[:]), name: r.URL.Query().Get("name"), request: request,
		signals: make(chan string, 16), sizes: make(chan [2]int, 16), exit: make(chan struct{}),
	}
	e.containers[c.id] = c
	Reply(w, http.StatusCreated, api.CreateResponse{ID: c.id, Warnings: []string{}})
}

// find answers 404 itself.
func (e *Engine) find(w http.ResponseWriter, r *http.Request) *container {
	e.mu.Lock()
	defer e.mu.Unlock()
	ref := r.PathValue("id")
	for id, c := range e.containers {
		if strings.HasPrefix(id, ref) || c.name == ref {
			return c
		}
	}
	Reply(w, http.StatusNotFound, "No such container: "+ref)
	return nil
}

func (e *Engine) attach(w http.ResponseWriter, r *http.Request) {
	c := e.find(w, r)
	if c == nil {
		return
	}
	q := r.URL.Query()
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		Reply(w, http.StatusInternalServerError, err.Error())
		return
	}
	kind := "application/vnd.docker.multiplexed-stream"
	if c.request.Tty {
		kind = "application/vnd.docker.raw-stream"
	}
	// The client starts the container as soon as it reads this: the attachment has to stand by then.
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", kind)
	c.attached = append(c.attached, &attachment{
		conn: conn, reader: buffered.Reader, stdin: q.Get("stdin") == "1", stdout: q.Get("stdout") == "1", stderr: q.Get("stderr") == "1",
	})
}

func (e *Engine) start(w http.ResponseWriter, r *http.Request) {
	c := e.find(w, r)
	if c == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c.running = true
	program := e.programs[c.request.Image]
	attached := c.attached
	go func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		p := &Process{
			Args: c.request.Cmd, Signals: c.signals, Sizes: c.sizes, Context: ctx, Stdin: strings.NewReader(""),
			Stdout: &frames{attached, 1, c.request.Tty}, Stderr: &frames{attached, 2, c.request.Tty},
		}
		for _, a := range attached {
			if a.stdin {
				p.Stdin = a.reader
			}
		}
		status := program(p)
		for _, a := range attached {
			_ = a.conn.Close()
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		c.status, c.running = status, false
		close(c.exit)
	}()
	w.WriteHeader(http.StatusNoContent)
}

// frames writes to every attached client, in the multiplexed form unless the
// container has a tty.
type frames struct {
	to     []*attachment
	stream byte
	raw    bool
}

func (f *frames) Write(p []byte) (int, error) {
	for _, a := range f.to {
		if f.stream == 1 && !a.stdout || f.stream == 2 && !a.stderr {
			continue
		}
		a.mu.Lock()
		if !f.raw {
			header := [8]byte{f.stream}
			binary.BigEndian.PutUint32(header[4:], uint32(len(p)))
			_, _ = a.conn.Write(header[:])
		}
		_, _ = a.conn.Write(p)
		a.mu.Unlock()
	}
	return len(p), nil
}

func (e *Engine) wait(w http.ResponseWriter, r *http.Request) {
	c := e.find(w, r)
	if c == nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	select {
	case <-c.exit:
		_ = json.NewEncoder(w).Encode(api.WaitResponse{StatusCode: int64(c.status)})
	case <-r.Context().Done():
	}
}

func (e *Engine) kill(w http.ResponseWriter, r *http.Request) {
	if c := e.find(w, r); c != nil {
		c.signals <- r.URL.Query().Get("signal")
		w.WriteHeader(http.StatusNoContent)
	}
}

func (e *Engine) resize(w http.ResponseWriter, r *http.Request) {
	if c := e.find(w, r); c != nil {
		width, _ := strconv.Atoi(r.URL.Query().Get("w"))
		height, _ := strconv.Atoi(r.URL.Query().Get("h"))
		c.sizes <- [2]int{width, height}
		w.WriteHeader(http.StatusOK)
	}
}

func (e *Engine) inspect(w http.ResponseWriter, r *http.Request) {
	c := e.find(w, r)
	if c == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	Reply(w, http.StatusOK, api.InspectResponse{
		ID: c.id, Name: "/" + c.name, Config: c.request.Config, HostConfig: c.request.HostConfig,
		State: &api.State{Running: c.running, ExitCode: c.status},
	})
}
