// Package shape holds containers to the bandwidth that they were given, and
// delays or loses their packets for tests, with the kernel's traffic control.
//
//	          host                                    |  container
//	                                                  |
//	          root: tbf, fq_codel below it            |
//	bridge ------------------> dv0a000002 ------------|--> eth0     down
//	   ^                       dv0a000002 <-----------|--- eth0     up
//	   |                            | ingress: all to di0000002a
//	   '---------------- di0000002a (ifb)
//	                     root: [netem,] tbf, fq_codel below it
//
// Both directions are held on the host's side, so that a container which may
// configure its own interface (NET_ADMIN) cannot get out of it. What a
// container sends can only be made to wait on its way into the host through a
// device of its own, an ifb; it is the one thing that has to be removed when
// the container's interface is gone. It bears that interface's index in its
// name: indices are not used again, so a device whose interface is gone belongs
// to nobody, whatever has happened to the engine in between.
//
// The package owns the queueing disciplines on the interfaces that it is told
// of, and the ifb devices. It must not know networks, addresses or containers.
// What is in force is read from the kernel. A Shaper's methods may be called at
// once; its lock is never held while anything else is locked.
package shape

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/davit-engine/davit/errs"
)

// Option is the driver option that holds containers to a rate: of a network,
// for each container on it, or of a container's place on a network, which goes
// before.
const Option = "davit.rate"

// Rate is what a container may send and receive on one network. The zero value
// holds it to nothing.
type Rate struct {
	Up, Down uint64        // bits per second on the wire, with Ethernet's header; 0: no limit
	Burst    uint64        // bytes that may pass at once after a pause; 0: chosen by the rate
	Delay    time.Duration // by which each packet that the container sends is late
	Loss     float64       // percentage of the packets sent that are lost
}

const (
	minRate  = 8_000 // bits per second: a full packet takes 1.5 s
	maxRate  = 1_000_000_000_000
	minBurst = 1600 // bytes
	maxBurst = 1 << 30
	maxDelay = time.Minute
)

// none is the text of the zero Rate.
const none = "none"

// Parse reads a rate as the user writes it: fields in any order, up or down or
// both, with the unit that network engineers use.
//
//	up=10mbit,down=50mbit,burst=64k,delay=20ms,loss=0.5%
//
// "none" and "" are no limits. Errors: InvalidParameter.
func Parse(text string) (Rate, error) {
	var r Rate
	if text == "" || text == none {
		return r, nil
	}
	seen := map[string]bool{}
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			return Rate{}, wrong(text, "%q is not of the form KEY=VALUE; the keys are up, down, burst, delay and loss", field)
		}
		if seen[key] {
			return Rate{}, wrong(text, "%s is there twice", key)
		}
		seen[key] = true
		var err error
		switch key {
		case "up":
			r.Up, err = parseBits(value)
		case "down":
			r.Down, err = parseBits(value)
		case "burst":
			r.Burst, err = parseBurst(value)
		case "delay":
			r.Delay, err = parseDelay(value)
		case "loss":
			r.Loss, err = parseLoss(value)
		default:
			return Rate{}, wrong(text, "there is no %q; the keys are up, down, burst, delay and loss", key)
		}
		if err != nil {
			return Rate{}, wrong(text, "%s=%s: %w", key, value, err)
		}
	}
	if r.Burst > 0 && r.Up == 0 && r.Down == 0 {
		return Rate{}, wrong(text, "a burst goes with up or down")
	}
	return r, nil
}

// Of returns the rate of a container's place on a network: that of its own
// options or else of the network's. Errors: those of Parse.
func Of(network, own map[string]string) (Rate, error) {
	if text, given := own[Option]; given {
		return Parse(text)
	}
	return Parse(network[Option])
}

func wrong(text, format string, args ...any) error {
	return errs.New(errs.InvalidParameter, "invalid network rate %q: "+format, append([]any{text}, args...)...)
}

// bitUnits are those of rates, the largest first.
var bitUnits = []struct {
	name string
	bits uint64
}{{"tbit", 1e12}, {"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

func parseBits(text string) (uint64, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/")
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(n) || n < 0 {
		return 0, fmt.Errorf("not a rate such as 10mbit")
	}
	unit := strings.TrimSuffix(strings.ToLower(text[len(digits):]), "/s")
	for _, u := range bitUnits {
		if u.name != unit {
			continue
		}
		bits := math.Round(n * float64(u.bits))
		if bits != 0 && (bits < minRate || bits > maxRate) {
			return 0, fmt.Errorf("a rate is from 8kbit to 1tbit, or 0 for no limit")
		}
		return uint64(bits), nil
	}
	switch unit {
	case "":
		if n == 0 {
			return 0, nil
		}
		return 0, fmt.Errorf("the unit is missing: kbit, mbit or gbit per second")
	case "kbps", "mbps", "gbps":
		return 0, fmt.Errorf("%s is megabits to some and megabytes to others: write %sbit", unit, unit[:1])
	}
	return 0, fmt.Errorf("there is no unit %q; write kbit, mbit or gbit, per second", unit)
}

func parseBurst(text string) (uint64, error) {
	n, err := units.RAMInBytes(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("not a size such as 64k")
	case n != 0 && (n < minBurst || n > maxBurst):
		return 0, fmt.Errorf("a burst is from %d bytes, a packet, to 1g", minBurst)
	}
	return uint64(n), nil
}

func parseDelay(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxDelay {
		return 0, fmt.Errorf("not a time such as 20ms, of %s at most", maxDelay)
	}
	return d, nil
}

func parseLoss(text string) (float64, error) {
	p, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || math.IsNaN(p) || p < 0 || p > 100 {
		return 0, fmt.Errorf("not a percentage such as 0.5%%")
	}
	return p, nil
}

// String is the rate as Parse reads it, each field in its largest whole unit.
func (r Rate) String() string {
	var fields []string
	add := func(key, value string) { fields = append(fields, key+"="+value) }
	if r.Up > 0 {
		add("up", Bits(r.Up))
	}
	if r.Down > 0 {
		add("down", Bits(r.Down))
	}
	if r.Burst > 0 {
		add("burst", size(r.Burst))
	}
	if r.Delay > 0 {
		add("delay", r.Delay.String())
	}
	if r.Loss > 0 {
		add("loss", strconv.FormatFloat(r.Loss, 'f', -1, 64)+"%")
	}
	if len(fields) == 0 {
		return none
	}
	return strings.Join(fields, ",")
}

// Bits is a number of bits per second in the largest unit that gives it whole,
// or with one digit after the point.
func Bits(n uint64) string {
	for _, u := range bitUnits {
		if n >= u.bits && n%u.bits == 0 {
			return strconv.FormatUint(n/u.bits, 10) + u.name
		}
		if tenth := u.bits / 10; tenth > 0 && n >= u.bits && n%tenth == 0 {
			return strconv.FormatFloat(float64(n)/float64(u.bits), 'f', 1, 64) + u.name
		}
	}
	return strconv.FormatUint(n, 10) + "bit"
}

func size(n uint64) string {
	for _, u := range []struct {
		name  string
		bytes uint64
	}{{"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatUint(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatUint(n, 10)
}
