package api

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"golang.org/x/net/websocket"
)

// attachWS is attach over a web socket: output without frames of Docker's, both
// streams mixed. Since 1.28 its messages are binary, before that they were text;
// either is read. Which streams are wanted could not be said before 1.42.
//
// The bytes pass the engine, which must take the messages apart.
func (h streamRoutes) attachWS(c *call) error {
	if !strings.EqualFold(c.r.Header.Get("Upgrade"), "websocket") {
		return errs.New(errs.InvalidParameter, "attaching over a web socket needs the header Upgrade: websocket")
	}
	if err := sameOrigin(c.r); err != nil {
		return err
	}
	o := engine.AttachOptions{
		Logs: c.truth("logs"), Stream: c.truth("stream"), Stdin: true, Stdout: true, Stderr: true,
		DetachKeys: c.r.Form.Get("detachKeys"), Raw: true,
	}
	if !c.version.Before(42) {
		o.Stdin, o.Stdout, o.Stderr = c.truth("stdin"), c.truth("stdout"), c.truth("stderr")
	}
	hijacked := false
	o.Hijack = func(bool) (net.Conn, []byte, error) {
		hijacked = true
		conn, err := c.webSocket()
		return conn, nil, err
	}
	err := h.part.Attach(c.ctx, c.container(), o)
	if err != nil && hijacked { // there is nobody left to tell
		c.log.Debug("attaching ended in an error", "error", err)
		return nil
	}
	return err
}

// sameOrigin refuses pages of other sites. A browser lets any page open a web
// socket to any address; who may attach to containers is root.
func sameOrigin(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host != r.Host {
		return errs.New(errs.Forbidden, "web socket from another site: the Origin %q is not the address asked, %q", origin, r.Host)
	}
	return nil
}

// webSocket takes the connection from the HTTP server and shakes hands.
func (c *call) webSocket() (net.Conn, error) {
	conns := make(chan *webSocket, 1)
	server := websocket.Server{Handler: func(ws *websocket.Conn) {
		ws.PayloadType = websocket.BinaryFrame
		if c.version.Before(28) {
			ws.PayloadType = websocket.TextFrame
		}
		s := &webSocket{Conn: ws, closed: make(chan struct{})}
		conns <- s
		<-s.closed // the package closes the connection when this returns
	}}
	go func() {
		defer close(conns)
		server.ServeHTTP(hijacker{c.w}, c.r)
	}()
	s, ok := <-conns
	if !ok {
		return nil, errs.New(errs.InvalidParameter, "the client's web socket handshake failed")
	}
	return s, nil
}

// webSocket is a connection whose reads and writes are messages. It cannot be
// half closed.
type webSocket struct {
	*websocket.Conn
	once   sync.Once
	closed chan struct{}
}

// Close says goodbye and closes the connection.
func (s *webSocket) Close() error {
	defer s.once.Do(func() { close(s.closed) })
	return s.Conn.Close()
}

// hijacker finds the connection behind a wrapped ResponseWriter.
type hijacker struct{ http.ResponseWriter }

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}
