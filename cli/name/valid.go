package name

import "strings"

func digit(c byte) bool { return c >= '0' && c <= '9' }
func lower(c byte) bool { return c >= 'a' && c <= 'z' }
func upper(c byte) bool { return c >= 'A' && c <= 'Z' }
func hex(c byte) bool   { return digit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// all tells whether text has at least one byte and only such.
func all(text string, is func(byte) bool) bool {
	for i := range len(text) {
		if !is(text[i]) {
			return false
		}
	}
	return text != ""
}

// validComponent checks one part of a path: runs of a-z and 0-9, separated by
// one dot, one or two underscores, or any number of dashes.
func validComponent(text string) bool {
	for {
		n := 0
		for n < len(text) && (lower(text[n]) || digit(text[n])) {
			n++
		}
		if n == 0 {
			return false
		}
		if text = text[n:]; text == "" {
			return true
		}
		switch {
		case strings.HasPrefix(text, "__"):
			text = text[2:]
		case text[0] == '.', text[0] == '_':
			text = text[1:]
		default:
			bare := strings.TrimLeft(text, "-")
			if len(bare) == len(text) {
				return false
			}
			text = bare
		}
	}
}

// validDomain checks a registry's address: a host name or an IPv6 address in
// brackets, and a port.
func validDomain(text string) bool {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		address, port, ok := strings.Cut(inner, "]")
		return ok && all(address, func(c byte) bool { return hex(c) || c == ':' }) && (port == "" || port[0] == ':' && all(port[1:], digit))
	}
	host, port, ok := strings.Cut(text, ":")
	if ok && !all(port, digit) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if !all(label, func(c byte) bool { return lower(c) || upper(c) || digit(c) || c == '-' }) ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func validTag(text string) bool {
	word := func(c byte) bool { return lower(c) || upper(c) || digit(c) || c == '_' }
	return len(text) <= maxTag && all(text, func(c byte) bool { return word(c) || c == '.' || c == '-' }) && word(text[0])
}

// validDigest checks ALGORITHM:HEX as far as the form goes; whether the
// algorithm is known and the length is right is for package digest to say.
func validDigest(text string) bool {
	algorithm, sum, ok := strings.Cut(text, ":")
	if !ok || len(sum) < 32 || !all(sum, hex) {
		return false
	}
	for _, part := range strings.Split(strings.NewReplacer("-", ".", "_", ".", "+", ".").Replace(algorithm), ".") {
		if !all(part, func(c byte) bool { return lower(c) || upper(c) || digit(c) }) || digit(part[0]) {
			return false
		}
	}
	return true
}
