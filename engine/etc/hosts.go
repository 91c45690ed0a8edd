package etc

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
)

// Host is a line of /etc/hosts: an address, and its names with blanks between.
type Host struct {
	Address netip.Addr
	Names   string
}

func (h Host) line() string { return h.Address.String() + "\t" + h.Names + "\n" }

// localhost are the lines that each container's file begins with.
const localhost = "127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\n" +
	"ff02::1\tip6-allnodes\n" +
	"ff02::2\tip6-allrouters\n"

// Hosts is the file with these lines behind those of localhost.
func Hosts(lines []Host) []byte { return AddHosts([]byte(localhost), lines) }

// AddHosts adds lines to a file.
func AddHosts(text []byte, lines []Host) []byte {
	out := bytes.NewBuffer(slices.Clip(text))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		out.WriteByte('\n')
	}
	for _, h := range lines {
		out.WriteString(h.line())
	}
	return out.Bytes()
}

// DeleteHosts takes lines out of a file, each once; what else is in it stays.
func DeleteHosts(text []byte, lines []Host) []byte {
	lines = slices.Clone(lines)
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		i := slices.IndexFunc(lines, func(h Host) bool { return h.line() == string(line) })
		if i < 0 {
			out.Write(line)
			continue
		}
		lines = slices.Delete(lines, i, i+1)
	}
	return out.Bytes()
}

// HostNames are the names of a container's own addresses: its host name with
// the domain, if it has one, and without.
func HostNames(hostname, domain string) string {
	if domain != "" {
		hostname += "." + domain
	}
	if short, _, ok := strings.Cut(hostname, "."); ok && short != "" {
		return hostname + " " + short
	}
	return hostname
}
