package oci

import (
	"os"
	"strings"
)

// unprivileged reports whether this is not the host's root: another user, or
// root in a user namespace that does not map all users to themselves.
func unprivileged() bool {
	if os.Geteuid() != 0 {
		return true
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return err == nil && !(len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295")
}
