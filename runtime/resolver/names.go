package resolver

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A names file lists who is on one network: a line for each endpoint with its
// addresses and then its names, of which the first is what an address is
// turned back into:
//
//	172.18.0.2,fd00:1::2 db 4c01db0b339c postgres
//
// It is read anew for each question, so that a new file counts from the moment
// in which it was renamed over the old one, and no shim holds a copy. Lines are
// shorter than lineSize; who has more names has more lines.
const lineSize = 4096

// Entry is an endpoint in a names file.
type Entry struct {
	Addresses []netip.Addr
	Names     []string // the first is what the addresses are turned back into
}

// NamesFile is the text of a names file. Names that nobody can ask for are left
// out.
func NamesFile(entries []Entry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		if len(e.Addresses) == 0 {
			continue
		}
		var addresses strings.Builder
		for i, a := range e.Addresses {
			if i > 0 {
				addresses.WriteByte(',')
			}
			addresses.WriteString(a.Unmap().WithZone("").String())
		}
		names := slices.DeleteFunc(slices.Clone(e.Names), func(n string) bool { return !Askable(n) })
		for len(names) > 0 {
			start := b.Len()
			b.WriteString(addresses.String())
			for len(names) > 0 && b.Len()-start+len(names[0]) < lineSize-2 {
				b.WriteByte(' ')
				b.WriteString(names[0])
				names = names[1:]
			}
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// Askable reports whether a name can be asked for: whether it fits into a
// question, and into a line of a names file.
func Askable(name string) bool {
	if len(name)+2 > maxName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return true
}

var buffers = sync.Pool{New: func() any { return new([lineSize]byte) }}

// scan calls each with the addresses and the names of the lines of a names
// file, until that says no. What it gets is valid during the call.
func scan(path string, each func(addresses, names []byte) bool) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening names: %w", err)
	}
	defer unix.Close(fd)
	buf := buffers.Get().(*[lineSize]byte)
	defer buffers.Put(buf)
	held := 0
	for {
		n, err := unix.Read(fd, buf[held:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading names: %w", err)
		}
		if n == 0 { // a last line without an end is none, and a line too long for us neither
			return nil
		}
		held += n
		rest := buf[:held]
		for {
			line, after, ok := bytes.Cut(rest, newline)
			if !ok {
				break
			}
			rest = after
			if addresses, names, ok := bytes.Cut(line, space); ok && !each(addresses, names) {
				return nil
			}
		}
		held = copy(buf[:], rest)
	}
}

var newline, space, comma = []byte("\n"), []byte(" "), []byte(",")

// find appends to list the addresses that have a name in a names file. It
// reports whether any line has it, whatever its addresses are.
func find(list []netip.Addr, path, name string) ([]netip.Addr, bool) {
	known := false
	_ = scan(path, func(addresses, names []byte) bool {
		if !has(names, name) {
			return true
		}
		known = true
		for len(addresses) > 0 {
			var text []byte
			text, addresses, _ = bytes.Cut(addresses, comma)
			if a, err := netip.ParseAddr(string(text)); err == nil && !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
		return true
	})
	return list, known
}

// has reports whether a name is one of names.
func has(names []byte, name string) bool {
	for len(names) > 0 {
		var one []byte
		one, names, _ = bytes.Cut(names, space)
		if equal(one, name) {
			return true
		}
	}
	return false
}

// equal compares a name of a file with one that is in lower case.
func equal(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != b[i] {
			return false
		}
	}
	return true
}

// nameOf returns the first name of an address in a names file, "" for none.
func nameOf(path, address string) (name string) {
	_ = scan(path, func(addresses, names []byte) bool {
		for len(addresses) > 0 {
			var one []byte
			one, addresses, _ = bytes.Cut(addresses, comma)
			if string(one) == address {
				first, _, _ := bytes.Cut(names, space)
				name = string(first)
				return false
			}
		}
		return true
	})
	return name
}

// reversed turns the name of a PTR question, such as 2.0.18.172.in-addr.arpa,
// into the address it stands for.
func reversed(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(digits, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	nibbles, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(nibbles) != 63 {
		return netip.Addr{}, false
	}
	var b strings.Builder
	for i := 62; i >= 0; i -= 2 {
		if i > 0 && nibbles[i-1] != '.' {
			return netip.Addr{}, false
		}
		b.WriteByte(nibbles[i])
		if i%8 == 0 && i > 0 {
			b.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}
