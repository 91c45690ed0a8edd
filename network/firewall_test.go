package network

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// TestEdition fails when rules change: an engine takes over a table of its own
// edition as it is, so whoever changes a rule raises edition, and then sets the
// digest here.
func TestEdition(t *testing.T) {
	var text strings.Builder
	for _, drop := range []bool{false, true} {
		f := &firewall{table: "davit", drop: drop, guards: []guarded{{"davit0", netip.MustParsePrefix("172.17.0.0/16"), true, true}}}
		for _, c := range f.chains(f.handle()) {
			fmt.Fprintf(&text, "chain %s %s\n", c.chain.Name, c.chain.Type)
			for _, r := range c.rules {
				fmt.Fprintf(&text, "\t%s:", r.comment)
				for _, e := range r.exprs {
					fmt.Fprintf(&text, " %T%+v", e, e)
				}
				text.WriteString("\n")
			}
		}
	}
	const want = "1 437ceea4"
	if got := fmt.Sprintf("%d %.4x", edition, sha256.Sum256([]byte(text.String()))); got != want {
		t.Errorf("edition and digest %s, want %s, of\n%s", got, want, text.String())
	}
}

func TestSameElements(t *testing.T) {
	one, two, end := nftables.SetElement{Key: []byte{1}}, nftables.SetElement{Key: []byte{2}}, nftables.SetElement{Key: []byte{2}, IntervalEnd: true}
	zero := nftables.SetElement{Key: []byte{0}, IntervalEnd: true}
	for _, c := range []struct {
		have, want []nftables.SetElement
		same       bool
	}{
		{nil, nil, true},
		{[]nftables.SetElement{two, one}, []nftables.SetElement{one, two}, true},
		{[]nftables.SetElement{zero, one, end}, []nftables.SetElement{one, end}, true},
		{[]nftables.SetElement{one}, []nftables.SetElement{one, two}, false},
		{[]nftables.SetElement{one, end}, []nftables.SetElement{one, two}, false},
	} {
		if got := sameElements(c.have, c.want); got != c.same {
			t.Errorf("%v and %v: %v", c.have, c.want, got)
		}
	}
}
