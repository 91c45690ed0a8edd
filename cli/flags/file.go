package flags

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ReadFiles reads files of KEY=VALUE lines and appends the values given on the
// command line, which therefore win. A line that names a key alone takes its
// value from lookup, and is dropped where lookup is set but knows none.
func ReadFiles(files, given []string, lookup func(string) (string, bool)) ([]string, error) {
	var out []string
	for _, name := range files {
		lines, err := readFile(name, lookup)
		if err != nil {
			return nil, err
		}
		out = append(out, lines...)
	}
	return append(out, given...), nil
}

func readFile(name string, lookup func(string) (string, bool)) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var out []string
	scanner := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	scanner.Buffer(nil, len(data)+1)
	for number := 1; scanner.Scan(); number++ {
		if !utf8.Valid(scanner.Bytes()) {
			return nil, fmt.Errorf("env file %s contains invalid utf8 bytes at line %d: %v", name, number, scanner.Bytes())
		}
		line := strings.TrimLeftFunc(scanner.Text(), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, hasValue := strings.Cut(line, "=")
		if key == "" {
			return nil, fmt.Errorf("invalid env file (%s): no variable name on line '%s'", name, line)
		}
		if strings.ContainsFunc(key, unicode.IsSpace) {
			return nil, fmt.Errorf("invalid env file (%s): variable '%s' contains whitespaces", name, key)
		}
		switch {
		case hasValue:
			out = append(out, key+"="+value)
		case lookup == nil:
			out = append(out, strings.TrimSpace(key))
		default:
			if value, ok := lookup(key); ok {
				out = append(out, key+"="+value)
			}
		}
	}
	return out, scanner.Err()
}

// Pairs turns KEY=VALUE lines into a map; a key alone has an empty value.
func Pairs(lines []string) map[string]string {
	m := make(map[string]string, len(lines))
	for _, line := range lines {
		key, value, _ := strings.Cut(line, "=")
		m[key] = value
	}
	return m
}
