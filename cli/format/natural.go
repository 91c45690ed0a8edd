package format

import "strings"

// Natural compares names as people order them: a number within counts by its
// value, so that net2 comes before net10.
func Natural(a, b string) int {
	const digits = "0123456789"
	for a != "" && b != "" {
		m, n := len(a)-len(strings.TrimLeft(a, digits)), len(b)-len(strings.TrimLeft(b, digits))
		if m == 0 || n == 0 {
			if a[0] != b[0] {
				return int(a[0]) - int(b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		x, y := strings.TrimLeft(a[:m], "0"), strings.TrimLeft(b[:n], "0")
		switch {
		case len(x) != len(y):
			return len(x) - len(y)
		case x != y:
			return strings.Compare(x, y)
		case m != n: // 1 before 01
			return m - n
		}
		a, b = a[m:], b[n:]
	}
	return len(a) - len(b)
}
