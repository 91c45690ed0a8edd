package network

import (
	"context"
	"os"

	apinet "github.com/moby/moby/api/types/network"
)

// driver makes networks of one kind. The store has one of each and calls it
// from several goroutines at once.
//
//	Create of a network:  plan, then the store chooses addresses, then open
//	start of an engine:   open
//	Remove of a network:  lan.close(true)
type driver interface {
	// plan checks the options of a network to be made and fills in what only
	// the driver knows, such as the name of a device. The network has its ID
	// and name; its ranges are as the user gave them. It touches nothing.
	// Errors: InvalidParameter, Forbidden, in Docker's words where it has them.
	plan(n *apinet.Network) (ranging, error)
	// open makes what the network needs on the host, or takes over what an
	// earlier engine left. n's ranges are complete. It undoes what it did if it
	// fails.
	open(ctx context.Context, n apinet.Network) (lan, traits, error)
}

// ranging is where a network's addresses come from.
type ranging int

const (
	rangesPlanned ranging = iota // the store chooses what the user left out, gateways included
	rangesGiven                  // likewise, but a gateway is only what the user gave
	rangesDriver                 // the driver fills in the endpoints' addresses; the store has none to give
)

// lan is a network that is open. Its methods may be called at once.
type lan interface {
	// attach makes e's interface in the namespace at, named e.Interface, with
	// e.MAC, switched off and without addresses, which the store adds; it may
	// change e. The calling thread is in that namespace: what reaches for the
	// host uses sockets that were opened there, or onThread. options are those
	// of the endpoint. What it made by the time it fails it takes back. Errors:
	// Exhausted where no more interfaces fit.
	attach(ctx context.Context, e *Endpoint, at entry, options map[string]string) (plug, error)
	// detach removes the interfaces of endpoints, and what else the host knows
	// of them. That they are gone already is no error.
	detach(es []Endpoint, at leaving) error
	// found lists the interfaces on the host that an earlier engine has made:
	// HostVeth, Address4 and Address6 of each.
	found() ([]Endpoint, error)
	// restore makes again what somebody has removed from the host, tells whether
	// it did, and connects the interfaces of those endpoints to the network,
	// where they are not. It warns of those that are gone.
	restore(in []Endpoint) (bool, error)
	// close gives up what belongs to this process, and with remove all that
	// open made.
	close(remove bool) error
}

// traits are what the store must know of an open network. They do not change.
type traits struct {
	ipv6     bool   // interfaces have IPv6
	direct   bool   // the default route has no gateway, but goes through the interface
	noRoute  bool   // there is no default route: the network is internal
	ready    bool   // sandboxes can be made before they are asked for
	tidy     bool   // detach is to be called when a namespace has ended, too
	borrowed bool   // interfaces have the MAC of another: none can be wished for
	foreign  bool   // the driver chooses addresses; those of an endpoint to be made are wishes
	reach    *reach // how ports are published on it; nil: they cannot be
	nickname string // what interfaces are called, before their number: eth
}

// entry is a way into a container's network namespace.
type entry struct {
	ns       *os.File
	rtnl     rtnl // a socket in it
	position int  // of the interface in a new namespace, from 0; -1 in one that somebody lives in
}

// leaving says what becomes of the namespace.
type leaving struct {
	ended bool     // it is gone with its interfaces, or goes soon
	ns    *os.File // of a container that runs on; nil where it is not known
}

// plug is an interface that attach has made.
type plug struct {
	index int  // within the container's namespace
	done  bool // the driver did it all: no addresses and routes are to be added
}

// Drivers lists the drivers by the names that users know. What a driver is told
// in its name, behind a colon, is not among them.
func Drivers() []string {
	return []string{"bridge", kindCNI, "host", kindIPvlan, kindMacvlan, "null"}
}
