package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// result is what one program of the suite says of a runtime.
type result struct {
	checks  map[string]count // by what is checked
	skipped int
	ended   string // why it did not end well; empty if it did
	output  string
}

type count struct{ ok, bad int }

// number is what differs in a check's words from run to run: ids, inodes.
var number = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+`)

// parse reads the lines of the test anything protocol. A few programs say only
// by a diagnostic that something went wrong: with no check at all, an error in
// one counts as a check that failed.
func parse(output, ended string) result {
	r := result{checks: map[string]count{}, ended: ended, output: output}
	errors := []string{}
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		text, bad := strings.CutPrefix(line, "not ok ")
		text, ok := strings.CutPrefix(text, "ok ")
		switch {
		case (ok || bad) && strings.Contains(line, "# SKIP"), strings.HasPrefix(line, "1..0 # SKIP"):
			r.skipped++
		case ok || bad:
			if n, words, found := strings.Cut(text, " - "); found && !strings.Contains(n, " ") {
				text = words
			}
			r.count(text, ok)
		case strings.HasPrefix(line, `"error": "`):
			text, _, _ := strings.Cut(strings.TrimPrefix(line, `"error": "`), `\n`)
			errors = append(errors, strings.TrimSuffix(text, `"`))
		}
	}
	if len(r.checks) == 0 {
		for _, e := range errors {
			r.count(e, false)
		}
	}
	return r
}

func (r *result) count(check string, ok bool) {
	check = number.ReplaceAllString(check, "#")
	c := r.checks[check]
	if ok {
		c.ok++
	} else {
		c.bad++
	}
	r.checks[check] = c
}

func (r result) total() (c count) {
	for _, each := range r.checks {
		c.ok += each.ok
		c.bad += each.bad
	}
	return c
}

func (r result) good() bool { return r.ended == "" && r.total().bad == 0 }

func (r result) String() string {
	switch c := r.total(); {
	case r.good() && c.ok == 0 && r.skipped > 0:
		return "skipped"
	case r.good() && c.ok == 0:
		return "pass"
	case r.good():
		return fmt.Sprintf("pass %d", c.ok)
	case c.bad == 0:
		return "FAIL " + r.ended
	default:
		return fmt.Sprintf("FAIL %d of %d", c.bad, c.ok+c.bad)
	}
}

// worse lists what the mark does and r does not.
func (r result) worse(mark result) []string {
	var list []string
	for check, m := range mark.checks {
		switch c := r.checks[check]; {
		case c.bad > m.bad:
			list = append(list, fmt.Sprintf("fails %d times, not %d: %s", c.bad, m.bad, check))
		case c.ok < m.ok:
			list = append(list, fmt.Sprintf("passes %d times, not %d: %s", c.ok, m.ok, check))
		}
	}
	slices.Sort(list)
	if mark.good() && !r.good() {
		for check, c := range r.checks {
			if _, known := mark.checks[check]; c.bad > 0 && !known {
				list = append(list, "fails: "+check)
			}
		}
		if r.ended != "" {
			list = append(list, "the program ends with "+r.ended)
		}
	}
	return list
}
