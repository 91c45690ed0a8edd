package wire

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// StartTime reads field 22 of /proc/PID/stat, in clock ticks since boot: it
// tells a process from a later one with the same number (State.PidStart).
func StartTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("reading start time: %w", err)
	}
	// The second field is the name in parentheses and may hold any byte.
	stat := string(b)
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const starttime = 22 - 3
	if len(fields) <= starttime {
		return 0, fmt.Errorf("reading start time: malformed stat of process %d", pid)
	}
	return strconv.ParseUint(fields[starttime], 10, 64)
}
