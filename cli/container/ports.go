package container

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// displayPorts shows ports as docker ps does: "0.0.0.0:8080->80/tcp,
// 6379-6380/tcp"; consecutive ports with the same distance become a range.
func displayPorts(ports []container.PortSummary) string {
	sorted := slices.Clone(ports)
	slices.SortFunc(sorted, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), a.IP.Compare(b.IP), cmp.Compare(a.PublicPort, b.PublicPort), cmp.Compare(a.Type, b.Type))
	})
	type group struct {
		prefix, protocol string
		published        bool
		private, public  uint16 // first
		count            uint16
	}
	var groups []*group
	for _, p := range sorted {
		host := ""
		if p.IP.IsValid() {
			host = p.IP.String()
			if p.IP.Is6() {
				host = "[" + host + "]"
			}
		}
		joined := false
		for _, g := range groups {
			if g.prefix == host && g.protocol == p.Type && g.published == (p.PublicPort != 0) &&
				g.private+g.count == p.PrivatePort && (!g.published || g.public+g.count == p.PublicPort) {
				g.count++
				joined = true
				break
			}
		}
		if !joined {
			groups = append(groups, &group{host, p.Type, p.PublicPort != 0, p.PrivatePort, p.PublicPort, 1})
		}
	}
	texts := make([]string, len(groups))
	for i, g := range groups {
		text := span(g.private, g.count) + "/" + g.protocol
		if g.published {
			text = span(g.public, g.count) + "->" + text
			if g.prefix != "" {
				text = g.prefix + ":" + text
			}
		}
		texts[i] = text
	}
	return strings.Join(texts, ", ")
}

func span(first, count uint16) string {
	if count == 1 {
		return strconv.Itoa(int(first))
	}
	return fmt.Sprintf("%d-%d", first, first+count-1)
}
