package shape

import (
	"fmt"
	"strings"
	"time"
)

// Handles of the queueing disciplines. Each sort of chain has its own, because
// the kernel changes a discipline in place, with all below it, if it finds its
// handle, and puts a new chain in the old one's place in one step if not.
const (
	rootTBF     = 0x01_0000
	rootLeaf    = 0x02_0000
	netem       = 0x11_0000
	delayedTBF  = 0x12_0000
	delayedLeaf = 0x13_0000
	onlyNetem   = 0x21_0000
	firstClass  = 1 // of a discipline with one child
)

const (
	frameHeader = 14 // Ethernet's, which queues count and an MTU does not
	burstTime   = 5 * time.Millisecond
	fullBurst   = 1 << 20               // bytes, of which more help no rate
	queueTime   = 50 * time.Millisecond // what waits at most where the kernel has no fq_codel
	burstFrames = 10
	queueFrames = 24
	maxQueue    = 32 << 20 // bytes
	minLate     = 1_000    // packets that are under way at once, with a delay
	maxLate     = 20_000
	codelTarget = 5 * time.Millisecond
	codelWindow = 100 * time.Millisecond
)

// place is where a direction is held: a device and its MTU.
type place struct {
	device string
	mtu    int
}

// verb is what a step does.
type verb string

const (
	addIFB   verb = "add-ifb"
	dropIFB  verb = "drop-ifb"
	redirect verb = "redirect" // what the device receives, to the ifb
	release  verb = "release"  // the opposite
	set      verb = "set"      // a queueing discipline
	clearAll verb = "clear"    // the opposite, of all on the device
)

// step is one thing to do. The last three are a queueing discipline's.
type step struct {
	verb   verb
	device string
	to     string // of redirect: the ifb
	parent uint32 // of set; 0: the root
	handle uint32
	kind   discipline
}

// discipline is one of tbf, fqCodel and delay.
type discipline interface{ String() string }

type tbf struct {
	rate         uint64 // bytes per second
	burst, limit uint32 // bytes
}

type fqCodel struct{ target, interval time.Duration }

type late struct {
	delay time.Duration
	loss  float64 // percent
	limit uint32  // packets
}

func (t tbf) String() string {
	return fmt.Sprintf("tbf rate %dbit burst %d limit %d", t.rate*8, t.burst, t.limit)
}

func (f fqCodel) String() string {
	return fmt.Sprintf("fq_codel target %s interval %s, where the kernel has it", f.target, f.interval)
}

func (l late) String() string {
	return fmt.Sprintf("netem delay %s loss %g%% limit %d", l.delay, l.loss, l.limit)
}

// plan is what brings an interface from one rate to another.
type plan []step

// String shows the plan, a line for each step, much as tc would be told.
func (p plan) String() string {
	var b strings.Builder
	for _, s := range p {
		switch s.verb {
		case redirect:
			fmt.Fprintf(&b, "redirect %s to %s\n", s.device, s.to)
		case set:
			at := "root"
			if s.parent != 0 {
				at = fmt.Sprintf("below %x:%x", s.parent>>16, s.parent&0xffff)
			}
			fmt.Fprintf(&b, "set %s %s %x: %s\n", s.device, at, s.handle>>16, s.kind)
		default:
			fmt.Fprintf(&b, "%s %s\n", s.verb, s.device)
		}
	}
	return b.String()
}

// needsIFB tells whether what a container sends must be held.
func (r Rate) needsIFB() bool { return r.Up > 0 || r.Delay > 0 || r.Loss > 0 }

// decide says how an interface whose rate is was gets the rate r. Traffic goes
// on meanwhile: it is redirected when the ifb holds it, and released before the
// ifb goes.
func decide(on place, ifb string, was, r Rate) plan {
	var p plan
	switch {
	case r.Down > 0:
		p = append(p, chain(on, r.Down, r.Burst, 0, 0)...)
	case was.Down > 0:
		p = append(p, step{verb: clearAll, device: on.device})
	}
	switch {
	case r.needsIFB():
		held := place{ifb, on.mtu}
		if !was.needsIFB() {
			p = append(p, step{verb: addIFB, device: ifb})
		}
		p = append(p, chain(held, r.Up, r.Burst, r.Delay, r.Loss)...)
		if !was.needsIFB() {
			p = append(p, step{verb: redirect, device: on.device, to: ifb})
		}
	case was.needsIFB():
		p = append(p, step{verb: release, device: on.device}, step{verb: dropIFB, device: ifb})
	}
	return p
}

// chain is the queueing disciplines of one direction: what is late comes before
// what is slow, as on a long line with a narrow end.
func chain(on place, rate, burst uint64, delay time.Duration, loss float64) (p plan) {
	parent, handle, leaf := uint32(0), uint32(rootTBF), uint32(rootLeaf)
	if delay > 0 || loss > 0 {
		k := late{delay, loss, underWay(rate, delay)}
		if rate == 0 {
			return plan{{verb: set, device: on.device, handle: onlyNetem, kind: k}}
		}
		p = append(p, step{verb: set, device: on.device, handle: netem, kind: k})
		parent, handle, leaf = netem|firstClass, delayedTBF, delayedLeaf
	}
	t := bucket(rate, burst, on.mtu)
	return append(p,
		step{verb: set, device: on.device, parent: parent, handle: handle, kind: t},
		step{verb: set, device: on.device, parent: handle | firstClass, handle: leaf, kind: fair(t.rate, on.mtu)},
	)
}

// bucket chooses what a rate leaves open. The bucket holds a packet at least,
// or none of that size would ever pass; the kernel cuts larger ones that the
// sender has left to its interface to cut.
func bucket(bits, burst uint64, mtu int) tbf {
	rate, frame := bits/8, uint64(mtu+frameHeader)
	if burst == 0 {
		burst = max(min(bytesIn(burstTime, rate), fullBurst), burstFrames*frame)
	}
	burst = min(max(burst, frame), maxBurst)
	limit := burst + min(max(bytesIn(queueTime, rate), queueFrames*frame), maxQueue)
	return tbf{rate: rate, burst: uint32(burst), limit: uint32(limit)}
}

// bytesIn is how much passes in a time well below a second.
func bytesIn(t time.Duration, rate uint64) uint64 { return rate / uint64(time.Second/t) }

// fair chooses fq_codel's times: a queue must be let grow to a packet and a
// half, however slow (RFC 8290, 5.2.2), and be watched for so much longer.
func fair(rate uint64, mtu int) fqCodel {
	target := codelTarget
	if slow := time.Duration(uint64(mtu+frameHeader) * 3 / 2 * uint64(time.Second) / rate); slow > target {
		target = slow.Round(time.Microsecond)
	}
	return fqCodel{target: target, interval: codelWindow + target - codelTarget}
}

// underWay is how many packets can be under way during a delay.
func underWay(bits uint64, delay time.Duration) uint32 {
	const small = 500 // bytes of a packet; the average of the Internet's
	if bits == 0 {
		return maxLate
	}
	n := float64(bits) / 8 / small * delay.Seconds()
	return uint32(min(max(n, minLate), maxLate))
}
