package etc

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// header begins each file that is written here.
const header = "# Made by Davit. Once somebody has changed this file it stays as it is.\n\n"

// Resolv is a resolv.conf, from what the host's says to what a container's is
// to say.
type Resolv struct {
	Servers                []netip.Addr
	Search, Options, Other []string // Other: lines that mean something else

	path       string   // of the host's file
	invalid    []string // name servers of it that are no addresses
	overridden []string // what of it does not count
	transform  string   // what was made of the host's servers, in Docker's word
	upstream   []string // whom the container's resolver asks, if Servers is that
	ndots      string   // where that option comes from
}

// ParseResolv reads the host's resolv.conf.
func ParseResolv(path string, text []byte) *Resolv {
	r := &Resolv{path: path}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0][0] == '#' || f[0][0] == ';':
			continue
		case f[0] == "nameserver" && len(f) > 1:
			if a, err := netip.ParseAddr(f[1]); err == nil {
				r.Servers = append(r.Servers, a)
			} else {
				r.invalid = append(r.invalid, f[1])
			}
		case (f[0] == "search" || f[0] == "domain") && len(f) > 1:
			r.Search = f[1:]
		case f[0] == "options":
			r.Options = append(r.Options, f[1:]...)
		case f[0] != "nameserver" && f[0] != "search" && f[0] != "domain":
			r.Other = append(r.Other, strings.TrimSpace(line))
		}
	}
	if r.hasOption("ndots") {
		r.ndots = "host"
	}
	return r
}

// Override replaces what is not empty. A search domain "." alone means none.
func (r *Resolv) Override(servers []netip.Addr, search, options []string) {
	if len(servers) > 0 {
		r.Servers = servers
		r.overridden = append(r.overridden, "nameservers")
	}
	if len(search) > 0 {
		r.Search = slices.DeleteFunc(slices.Clone(search), func(s string) bool { return s == "." })
		r.overridden = append(r.overridden, "search")
	}
	if len(options) > 0 {
		r.Options = slices.Clone(options)
		r.overridden = append(r.overridden, "options")
		if r.ndots = ""; r.hasOption("ndots") {
			r.ndots = "override"
		}
	}
}

// Own reports whether the name servers are not the host's.
func (r *Resolv) Own() bool { return slices.Contains(r.overridden, "nameservers") }

// Stub reports whether the host asks nobody but systemd-resolved, at its address
// on the loopback interface.
func (r *Resolv) Stub() bool { return !r.Own() && len(r.Servers) == 1 && r.Servers[0] == stub }

var stub = netip.AddrFrom4([4]byte{127, 0, 0, 53})

// Direct is r without those of the host's servers that a network namespace of
// its own cannot reach: on the host's loopback interface and, without IPv6, on
// that. It reports whether any server is left.
func (r *Resolv) Direct(ipv6 bool) (*Resolv, bool) {
	direct := *r
	direct.transform = "legacy"
	if !r.Own() {
		direct.Servers = slices.DeleteFunc(slices.Clone(r.Servers), func(a netip.Addr) bool { return a.IsLoopback() || a.Is6() && !a.Is4In6() && !ipv6 })
	}
	return &direct, len(direct.Servers) > 0
}

// Dotted reports whether somebody has said how many dots a name has that is
// looked up as it is.
func (r *Resolv) Dotted() bool { return r.ndots != "" }

// Through has the container ask its resolver, who asks the servers that stand
// there so far. Names without a dot are looked up as they are, unless somebody
// has said otherwise.
func (r *Resolv) Through(resolver netip.Addr) {
	r.transform = "internal resolver"
	for _, s := range r.Servers {
		if r.Own() {
			r.upstream = append(r.upstream, s.String())
		} else {
			r.upstream = append(r.upstream, "host("+s.String()+")")
		}
	}
	r.Servers = []netip.Addr{resolver}
	r.Options = slices.DeleteFunc(r.Options, func(o string) bool {
		n, ok := strings.CutPrefix(o, "ndots:")
		dots, err := strconv.Atoi(n)
		return ok && (err != nil || dots < 0) || o == "ndots"
	})
	if !r.hasOption("ndots") {
		r.Options = append(r.Options, "ndots:0")
		r.ndots = "internal"
	}
}

func (r *Resolv) hasOption(name string) bool {
	return slices.ContainsFunc(r.Options, func(o string) bool { return o == name || strings.HasPrefix(o, name+":") })
}

// Text is the file.
func (r *Resolv) Text() []byte {
	b := bytes.NewBufferString(header)
	for _, s := range r.Servers {
		fmt.Fprintf(b, "nameserver %s\n", s)
	}
	if len(r.Search) > 0 {
		fmt.Fprintf(b, "search %s\n", strings.Join(r.Search, " "))
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(b, "options %s\n", strings.Join(r.Options, " "))
	}
	for _, o := range r.Other {
		fmt.Fprintln(b, o)
	}
	fmt.Fprintf(b, "\n# Based on host file: '%s'", r.path)
	if r.transform != "" {
		fmt.Fprintf(b, " (%s)", r.transform)
	}
	b.WriteByte('\n')
	if len(r.upstream) > 0 {
		fmt.Fprintf(b, "# ExtServers: %s\n", r.upstream)
	}
	if len(r.invalid) > 0 {
		fmt.Fprintf(b, "# Invalid nameservers: %s\n", r.invalid)
	}
	fmt.Fprintf(b, "# Overrides: %s\n", r.overridden)
	if r.ndots != "" {
		fmt.Fprintf(b, "# Option ndots from: %s\n", r.ndots)
	}
	return b.Bytes()
}
