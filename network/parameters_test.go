package network

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
)

func TestParameterPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.conf.eth0.log_martians": "net/ipv4/conf/eth0/log_martians",
		"net.ipv6.neigh.vlan.7.mcast":     "net/ipv6/neigh/vlan.7/mcast",
		"net.ipv4.ip_forward":             "net/ipv4/ip_forward",
	} {
		if got, err := parameterPath(name); got != want || err != nil {
			t.Errorf("%s is at %s, %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"", "kernel.x", "net.ipv4..x", "net......", "net.ipv4.conf.eth0."} {
		if got, err := parameterPath(name); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%q is at %s, %v", name, got, err)
		}
	}
}

// FuzzParameterPath: no name leads to anything above net/.
func FuzzParameterPath(f *testing.F) {
	f.Add("ipv4.conf.eth0.log_martians")
	f.Add("..ipv4...")
	f.Fuzz(func(t *testing.T, rest string) {
		got, err := parameterPath("net." + rest)
		if err == nil && !strings.HasPrefix(filepath.Join("/", got), "/net/") {
			t.Errorf("net.%s leads to %s", rest, got)
		}
	})
}
