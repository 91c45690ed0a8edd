package flags

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/blkiodev"
)

// Weights collects PATH:WEIGHT for block devices.
type Weights struct{ Values []*blkiodev.WeightDevice }

// Set implements pflag.Value.
func (w *Weights) Set(v string) error {
	path, number, ok := strings.Cut(v, ":")
	if !ok || path == "" {
		return fmt.Errorf("bad format: %s", v)
	}
	if !strings.HasPrefix(path, "/dev/") {
		return fmt.Errorf("bad format for device path: %s", v)
	}
	weight, err := strconv.ParseUint(number, 10, 16)
	if err != nil || weight > 0 && (weight < 10 || weight > 1000) {
		return fmt.Errorf("invalid weight for device: %s", v)
	}
	w.Values = append(w.Values, &blkiodev.WeightDevice{Path: path, Weight: uint16(weight)})
	return nil
}

// Type implements pflag.Value.
func (*Weights) Type() string     { return "list" }
func (w *Weights) String() string { return "" }

// Throttles collects PATH:RATE for block devices, the rate in bytes or in
// operations a second.
type Throttles struct {
	Values []*blkiodev.ThrottleDevice
	Ops    bool
}

// Set implements pflag.Value.
func (t *Throttles) Set(v string) error {
	path, number, ok := strings.Cut(v, ":")
	if !ok || path == "" {
		return fmt.Errorf("bad format: %s", v)
	}
	if !strings.HasPrefix(path, "/dev/") {
		return fmt.Errorf("bad format for device path: %s", v)
	}
	var rate uint64
	var err error
	form := "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
	if t.Ops {
		form = "<device-path>:<number>. Number must be a positive integer"
		rate, err = strconv.ParseUint(number, 10, 64)
	} else {
		var n int64
		n, err = units.RAMInBytes(number)
		rate = uint64(n)
		if n < 0 {
			err = strconv.ErrRange
		}
	}
	if err != nil {
		return fmt.Errorf("invalid rate for device: %s. The correct format is %s", v, form)
	}
	t.Values = append(t.Values, &blkiodev.ThrottleDevice{Path: path, Rate: rate})
	return nil
}

// Type implements pflag.Value.
func (*Throttles) Type() string     { return "list" }
func (t *Throttles) String() string { return "" }
