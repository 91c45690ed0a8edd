package oci

import (
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// Real-time signals as programs see them: the C library keeps the first two.
const (
	firstRealTime = 34
	lastRealTime  = 64
)

// parseSignal reads a signal: a number, or a name in any case, with SIG or
// without, RTMIN+n and RTMAX-n included.
func parseSignal(s string) (unix.Signal, error) {
	bad := errs.New(errs.InvalidParameter, "unknown signal %q", s)
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > lastRealTime {
			return 0, bad
		}
		return unix.Signal(n), nil
	}
	word := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum("SIG" + word); n != 0 {
		return n, nil
	}
	for _, base := range []struct {
		name string
		n    int
		sign byte
	}{{"RTMIN", firstRealTime, '+'}, {"RTMAX", lastRealTime, '-'}} {
		rest, ok := strings.CutPrefix(word, base.name)
		if !ok {
			continue
		}
		if rest == "" {
			return unix.Signal(base.n), nil
		}
		n, err := strconv.ParseUint(rest[1:], 10, 8)
		if err != nil || rest[0] != base.sign || n > lastRealTime-firstRealTime {
			return 0, bad
		}
		if base.sign == '-' {
			return unix.Signal(base.n - int(n)), nil
		}
		return unix.Signal(base.n + int(n)), nil
	}
	return 0, bad
}
