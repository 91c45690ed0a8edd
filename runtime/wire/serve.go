package wire

import (
	"context"
	"syscall"
)

// Service is what a shim does for its container on sockets that it is given. It
// begins before the container's first process and ends with it. Exactly one of
// its kinds is set.
type Service struct {
	Name     string    `json:"name"`              // no other service of the container has it
	Sockets  int       `json:"sockets,omitempty"` // descriptors that are its
	Forward  *Forward  `json:"forward,omitempty"`
	Resolver *Resolver `json:"resolver,omitempty"`
}

// Resolver answers the container's questions for names, at a UDP socket and one
// that listens by TCP, both of the container's network namespace and
// non-blocking.
type Resolver struct {
	Plan string `json:"plan"` // path of the file that it goes by
}

// Forward has a published port, or a range of them, reserved by sockets bound
// to the host's ports, one each in ascending order. Connections and datagrams
// that reach the sockets, because no rule of the firewall took them elsewhere,
// are passed on to the container.
type Forward struct {
	Proto   string `json:"proto"`             // "tcp", "udp" or "sctp"
	Address string `json:"address"`           // of the container
	Port    uint16 `json:"port"`              // of the container; the first socket's
	Packed  bool   `json:"packed,omitempty"`  // the one descriptor is a unix stream socket, and the sockets lie in its queue, up to 253 with each byte
	Reserve bool   `json:"reserve,omitempty"` // keep the sockets, pass nothing on
}

// Serve changes what is done for a running container: the services of Drop end,
// then those of Add begin, all or none of them. The descriptors are those of
// Add's services. A name in Drop that is not known is no error.
type Serve struct {
	Add  []Service `json:"add,omitempty"`
	Drop []string  `json:"drop,omitempty"`
}

// Served are the names of a container's services, in no order.
type Served struct {
	Names []string `json:"names,omitempty"`
}

// Serve changes the container's services and returns those that it has then,
// also when Add failed. The files stay the caller's, who closes them after
// Serve returns.
func (c *Client) Serve(ctx context.Context, s *Serve, files ...syscall.Conn) (Served, error) {
	var now Served
	err := c.call(ctx, TypeServe, s, &now, files...)
	return now, err
}
