package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// chunk is how many elements go into one message: its list may have 64 KB.
const chunk = 256

// buffers of the socket, in bytes: a transaction is one message to the kernel,
// and 100,000 elements are some 10 MB.
const sendBuffer, receiveBuffer = 64 << 20, 4 << 20

// link is a socket to nftables, in the network namespace of the thread that
// opened it. Not safe for concurrent use.
type link struct {
	conn   *nftables.Conn
	number uint32 // of the socket; the kernel names it in events about what the link wrote
}

func dial() (*link, error) {
	l := &link{}
	return l, l.open()
}

func (l *link) open() error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) // without the right: as it is
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
			var name unix.Sockaddr
			if name, failed = unix.Getsockname(int(fd)); failed == nil {
				l.number = name.(*unix.SockaddrNetlink).Pid
			}
		})
		if err == nil {
			err = failed
		}
		return err
	}))
	if err != nil {
		return explain(err, "opening nftables")
	}
	l.conn = conn
	return nil
}

func (l *link) close() { l.conn.CloseLasting() }

// flush sends a transaction. After one that failed answers may be waiting, so
// the next gets a socket of its own.
func (l *link) flush(doing string) error {
	err := l.conn.Flush()
	if err != nil {
		l.close()
		err = errors.Join(explain(err, doing), l.open())
	}
	return err
}

// write changes elements of the table in one transaction. On error nothing is
// changed.
func (l *link) write(r ruleset, d difference) error {
	removed, added := bySet(d.remove), bySet(d.add)
	for _, s := range r.sets {
		for part := range slices.Chunk(removed[s.Name], chunk) {
			if err := l.conn.SetDeleteElements(s, part); err != nil {
				return fmt.Errorf("composing set %s: %w", s.Name, err)
			}
		}
	}
	if err := l.add(r, added); err != nil {
		return err
	}
	return l.flush("writing the nftables table inet " + r.table.Name)
}

func (l *link) add(r ruleset, added map[string][]nftables.SetElement) error {
	for _, s := range r.sets {
		for part := range slices.Chunk(added[s.Name], chunk) {
			if err := l.conn.SetAddElements(s, part); err != nil {
				return fmt.Errorf("composing set %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// replace writes the whole table in one transaction: no packet sees it half
// done. The kernel waits some 10 ms for the packets that still see an old one;
// where there is none it takes 1 to 2 ms.
func (l *link) replace(r ruleset, elements []element) error {
	if _, err := l.conn.ListTableOfFamily(r.table.Name, r.table.Family); err == nil {
		l.conn.DelTable(r.table)
	}
	l.conn.AddTable(r.table)
	// The IDs are those of the transaction. Left to the library they come from a
	// counter of the whole process, without a lock.
	for i, s := range r.sets {
		s.ID = uint32(i + 1)
		if err := l.conn.AddSet(s, nil); err != nil {
			return fmt.Errorf("composing set %s: %w", s.Name, err)
		}
	}
	for i, f := range r.frozen {
		f.set.ID = uint32(len(r.sets) + i + 1)
		if err := l.conn.AddSet(f.set, nil); err != nil {
			return fmt.Errorf("composing set %s: %w", f.set.Name, err)
		}
		for part := range slices.Chunk(f.elements, chunk) {
			if err := l.conn.SetAddElements(f.set, part); err != nil {
				return fmt.Errorf("composing set %s: %w", f.set.Name, err)
			}
		}
	}
	if err := l.add(r, bySet(elements)); err != nil {
		return err
	}
	for i := range r.chains {
		l.conn.AddChain(&r.chains[i].Chain)
	}
	for i := range r.chains {
		for _, rule := range r.chains[i].rules {
			l.conn.AddRule(&nftables.Rule{Table: r.table, Chain: &r.chains[i].Chain, Exprs: rule.exprs,
				UserData: userdata.AppendString(nil, userdata.TypeComment, rule.comment)})
		}
	}
	return l.flush("writing the nftables table inet " + r.table.Name)
}

func (l *link) remove(table string) error {
	t := &nftables.Table{Name: table, Family: nftables.TableFamilyINet}
	l.conn.AddTable(t)
	l.conn.DelTable(t)
	return l.flush("removing the nftables table inet " + table)
}

// sameRules compares chains with their policies, and rules by their comments.
func (l *link) sameRules(r ruleset) bool {
	list, err := l.conn.ListChainsOfTableFamily(r.table.Family)
	if err != nil {
		return false
	}
	there := map[string]*nftables.Chain{}
	for _, c := range list {
		if c.Table.Name == r.table.Name {
			there[c.Name] = c
		}
	}
	if len(there) != len(r.chains) {
		return false
	}
	for i := range r.chains {
		want := &r.chains[i]
		c := there[want.Name]
		if c == nil || (c.Policy == nil) != (want.Policy == nil) || c.Policy != nil && *c.Policy != *want.Policy {
			return false
		}
		have, err := l.conn.GetRules(r.table, &want.Chain)
		if err != nil || !slices.EqualFunc(have, want.rules, func(h *nftables.Rule, w rule) bool {
			comment, _ := userdata.GetString(h.UserData, userdata.TypeComment)
			return comment == w.comment
		}) {
			return false
		}
	}
	return true
}

// compare lists what is missing in the table's sets and what is too much; ok is
// false if a set cannot be read.
func (l *link) compare(r ruleset, want map[slot]*content) (d difference, ok bool) {
	same := make(map[slot]bool, len(want))
	for _, s := range r.sets {
		have, err := l.conn.GetSetElements(s)
		if err != nil {
			return d, false
		}
		for _, h := range have {
			e := element{slot{s.Name, string(h.Key), string(h.KeyEnd)}, string(h.Val)}
			if c := want[e.slot]; c != nil && c.value == e.value {
				same[e.slot] = true
			} else {
				d.remove = append(d.remove, e)
			}
		}
	}
	for s, c := range want {
		if !same[s] {
			d.add = append(d.add, element{s, c.value})
		}
	}
	return d, true
}

func bySet(all []element) map[string][]nftables.SetElement {
	sets := map[string][]nftables.SetElement{}
	for _, e := range all {
		sets[e.set] = append(sets[e.set], nftables.SetElement{Key: []byte(e.key), KeyEnd: []byte(e.end), Val: []byte(e.value)})
	}
	return sets
}
