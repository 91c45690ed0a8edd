// Package link decides what one container is told of another that it is linked
// to (--link, on the default bridge): names in /etc/hosts, and variables where
// the engine still gives them.
//
// It is pure: it reads and writes no file, and knows neither records nor
// networks. What Docker does is the rule (moby daemon/links, and package
// etchosts of its libnetwork).
package link

import (
	"bytes"
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/errs"
)

// Parse reads NAME or NAME:ALIAS of --link, or what inspect shows of a link,
// /NAME:/PARENT/ALIAS.
func Parse(text string) (name, alias string, err error) {
	parts := strings.Split(text, ":")
	switch {
	case text == "":
		return "", "", errs.New(errs.InvalidParameter, "empty string specified for links")
	case len(parts) > 2:
		return "", "", errs.New(errs.InvalidParameter, "bad format for links: %s", text)
	case len(parts) == 1:
		return text, text, nil
	case strings.HasPrefix(parts[0], "/"):
		parts[0], parts[1] = parts[0][1:], path.Base(parts[1])
	}
	if parts[0] == "" || !valid(parts[1]) {
		return "", "", errs.New(errs.InvalidParameter, "bad format for links: %s", text)
	}
	return parts[0], parts[1], nil
}

// valid reports whether an alias can stand in a line of /etc/hosts, and as the
// second half of a name.
func valid(alias string) bool {
	return alias != "" && alias != "." && !strings.ContainsAny(alias, "/#") && !strings.ContainsFunc(alias, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// Hosts are the names of a linked container: its alias first, by which its
// line is found again.
func Hosts(alias, hostname, name string) string {
	list := alias + " " + hostname
	if alias != name {
		list += " " + name
	}
	return list
}

// Rewrite gives the lines of a hosts file whose first name is alias another
// address, or removes them if that is the zero Addr. It reports whether anything has changed; what else the container
// wrote there stays.
func Rewrite(hosts []byte, alias string, address netip.Addr) ([]byte, bool) {
	var out bytes.Buffer
	changed := false
	for line := range bytes.Lines(hosts) {
		old, rest, ok := bytes.Cut(line, []byte("\t"))
		names := bytes.Fields(rest)
		if _, err := netip.ParseAddr(string(old)); !ok || err != nil || len(names) == 0 || string(names[0]) != alias || string(old) == address.String() {
			out.Write(line)
			continue
		}
		changed = true
		if address.IsValid() {
			out.WriteString(address.String() + "\t")
			out.Write(rest)
		}
	}
	return out.Bytes(), changed
}

// Variables are what Docker up to 28 told a container of another one that it
// knows as name, /PARENT/ALIAS. env is the other's own configuration.
func Variables(name string, address netip.Addr, exposed network.PortSet, env []string) []string {
	prefix := strings.ReplaceAll(strings.ToUpper(path.Base(name)), "-", "_")
	ports := make([]network.Port, 0, len(exposed))
	for p := range exposed {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Num(), b.Num()), cmp.Compare(a.Proto(), b.Proto()))
	})
	var out []string
	url := func(p network.Port) string {
		return string(p.Proto()) + "://" + netip.AddrPortFrom(address, p.Num()).String()
	}
	number := func(p network.Port) string { return strconv.Itoa(int(p.Num())) }
	if len(ports) > 0 {
		out = append(out, prefix+"_PORT="+url(ports[0]))
	}
	for start := 0; start < len(ports); {
		end := start
		for end+1 < len(ports) && ports[end+1].Proto() == ports[start].Proto() && ports[end+1].Num() == ports[end].Num()+1 {
			end++
		}
		if end > start {
			first, last := ports[start], ports[end]
			key := prefix + "_PORT_" + number(first) + "_" + strings.ToUpper(string(first.Proto()))
			out = append(out, key+"_START="+url(first), key+"_ADDR="+address.String(), key+"_PROTO="+string(first.Proto()),
				key+"_PORT_START="+number(first), key+"_END="+url(last), key+"_PORT_END="+number(last))
		}
		for _, p := range ports[start : end+1] {
			key := prefix + "_PORT_" + number(p) + "_" + strings.ToUpper(string(p.Proto()))
			out = append(out, key+"="+url(p), key+"_ADDR="+address.String(), key+"_PORT="+number(p), key+"_PROTO="+string(p.Proto()))
		}
		start = end + 1
	}
	out = append(out, prefix+"_NAME="+name)
	for _, e := range env {
		if key, _, ok := strings.Cut(e, "="); ok && key != "HOME" && key != "PATH" {
			out = append(out, prefix+"_ENV_"+e)
		}
	}
	return out
}

// rank puts TCP before the rest.
func rank(p network.Port) int {
	if p.Proto() == network.TCP {
		return 0
	}
	return 1
}
