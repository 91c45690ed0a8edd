package network

import (
	"log/slog"
	"sync"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network/shape"
)

// Rates holds endpoints to the bandwidth that options give them: their own, or
// their network's.
type Rates struct {
	shaper   *shape.Shaper
	networks *directory
	log      *slog.Logger
	work     sync.WaitGroup // what is removed in the background
}

func newRates(networks *directory, log *slog.Logger) (*Rates, error) {
	s, err := shape.Open()
	if err != nil {
		return nil, explain(err, "looking for limits of bandwidth")
	}
	r := &Rates{shaper: s, networks: networks, log: log}
	r.remove(s.Sweep)
	return r, nil
}

// set holds an endpoint to what its options say, and to nothing if they say
// nothing.
func (r *Rates) set(e Endpoint, network, own map[string]string) error {
	want, err := shape.Of(network, own)
	if err != nil {
		return err
	}
	if e.HostVeth == "" {
		if want == (shape.Rate{}) {
			return nil
		}
		return errs.New(errs.InvalidParameter, "network rate %s: this network's interfaces have no end on the host that could be held: use one of driver bridge", want)
	}
	return r.shaper.Set(e.HostVeth, want)
}

// hold is set for endpoints that are new, of which nothing is held.
func (r *Rates) hold(new []Endpoint, wishes []Wish, on []*segment) error {
	for i, e := range new {
		want, err := shape.Of(on[i].net.Options, wishes[i].Options)
		if err != nil {
			return err
		}
		if want == (shape.Rate{}) {
			continue
		}
		if err := r.set(e, on[i].net.Options, wishes[i].Options); err != nil {
			return err
		}
	}
	return nil
}

// forget lets go of an endpoint that ends. What was made for it is removed in
// the background.
func (r *Rates) forget(e Endpoint) {
	if gone := r.shaper.Forget(e.HostVeth); gone != nil {
		r.remove(gone)
	}
}

func (r *Rates) remove(gone func() error) {
	r.work.Go(func() {
		if err := gone(); err != nil {
			r.log.Warn("what limited a container's bandwidth stays", "error", err)
		}
	})
}

func (r *Rates) close() {
	r.work.Wait()
	r.shaper.Close()
}

// Set changes the bandwidth of an endpoint in use, whose own options are these,
// at once. Errors: InvalidParameter for options, NotImplemented for what the
// kernel lacks, NotFound when the network or the interface is gone.
func (r *Rates) Set(e Endpoint, own map[string]string) error {
	g, err := r.networks.get(e.Network)
	if err != nil {
		return err
	}
	return r.set(e, g.net.Options, own)
}

// Read tells what bandwidth an endpoint in use is held to, and what has become
// of its packets. Error: NotFound when the interface is gone, or is none of the
// host's.
func (r *Rates) Read(e Endpoint) (shape.State, error) { return r.shaper.Read(e.HostVeth) }
