package container

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// displayPorts shows ports as docker ps does: consecutive ports that are
// exposed only, or published under their own number, become a range; those
// published under another number follow one by one.
func displayPorts(ports []container.PortSummary) string {
	sorted := slices.Clone(ports)
	slices.SortFunc(sorted, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), a.IP.Compare(b.IP), cmp.Compare(a.PublicPort, b.PublicPort), cmp.Compare(a.Type, b.Type))
	})
	var done, mapped []string
	var open []*portRange // at most one per address and protocol
	for _, p := range sorted {
		host := ""
		if p.IP.IsValid() {
			host = p.IP.String()
			if p.PublicPort != p.PrivatePort {
				mapped = append(mapped, net.JoinHostPort(host, port(p.PublicPort))+"->"+port(p.PrivatePort)+"/"+p.Type)
				continue
			}
		}
		i := slices.IndexFunc(open, func(r *portRange) bool { return r.host == host && r.protocol == p.Type })
		switch {
		case i < 0:
			open = append(open, &portRange{host, p.Type, p.PrivatePort, p.PrivatePort})
		case open[i].last+1 == p.PrivatePort:
			open[i].last++
		default:
			done = append(done, open[i].String())
			open[i].first, open[i].last = p.PrivatePort, p.PrivatePort
		}
	}
	for _, r := range open {
		done = append(done, r.String())
	}
	return strings.Join(append(done, mapped...), ", ")
}

type portRange struct {
	host, protocol string // host is "" for ports that are not published
	first, last    uint16
}

func (r *portRange) String() string {
	ports := port(r.first)
	if r.last > r.first {
		ports += "-" + port(r.last)
	}
	if r.host != "" {
		ports = net.JoinHostPort(r.host, ports) + "->" + ports
	}
	return ports + "/" + r.protocol
}

func port(n uint16) string { return strconv.Itoa(int(n)) }
