package spawn

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// usersOf describes the user namespace of a process by what a spec would say:
// with no maps if it cannot be looked at.
func usersOf(pid int) *specs.Linux {
	l := &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.UserNamespace}}}
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/uid_map")
	for line := range strings.Lines(string(b)) {
		var m specs.LinuxIDMapping
		if _, err := fmt.Sscan(line, &m.ContainerID, &m.HostID, &m.Size); err == nil {
			l.UIDMappings = append(l.UIDMappings, m)
		}
	}
	return l
}
