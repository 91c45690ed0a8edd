package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// openLoopback lets the host's own connections to 127/8 be translated to
// containers on a bridge: the kernel drops packets with such addresses on all
// other interfaces. Only to be called while the chain raw is in place, which
// drops what a wire brings of them. The setting ends with the bridge.
func (n Network) openLoopback() error {
	if n.Internal || n.Mode4 != NAT && n.Mode4 != NATUnprotected {
		return nil
	}
	path := "/proc/sys/net/ipv4/conf/" + n.Bridge + "/route_localnet"
	now, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is no bridge yet
	}
	if err == nil && now[0] == '0' {
		err = os.WriteFile(path, []byte("1"), 0)
	}
	if err != nil {
		return explain(err, fmt.Sprintf("setting net.ipv4.conf.%s.route_localnet", n.Bridge))
	}
	return nil
}
