package main

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, output, ended string
		want                string
		good                bool
	}{
		{"all well", "TAP version 13\nok 1 - hostname\nok 2 - a \"b\"\n1..2\n", "", "pass 2", true},
		{"one fails", "ok 1 - a\nnot ok 2 - b\n", "", "FAIL 1 of 2", false},
		{"skipped", "1..1\nok 1 # SKIP no such thing\n", "", "skipped", true},
		{"an error that was asked for", "ok 1 - delete fails\n  ---\n  {\n    \"error\": \"exit status 1\",\n", "", "pass 1", true},
		{"nothing but an error", "TAP version 13\n  ---\n  {\n    \"error\": \"hooks MUST be called\\nRefer to\"\n  }\n  ...\n1..0\n", "", "FAIL 1 of 1", false},
		{"nothing to say", "TAP version 13\n1..0\n", "", "pass", true},
		{"ended badly", "TAP version 13\n", "exit status 1", "FAIL exit status 1", false},
		{"ended badly after checks", "ok 1 - a\n", "time-out", "FAIL time-out", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := parse(c.output, c.ended); r.String() != c.want || r.good() != c.good {
				t.Errorf("got %q, %v; want %q, %v", r, r.good(), c.want, c.good)
			}
		})
	}
}

func TestWorse(t *testing.T) {
	mark := parse("ok 1 - process 17 is there\nok 2 - limit\nnot ok 3 - leaf weight\n", "")
	for _, c := range []struct {
		name, output, ended string
		want                []string
	}{
		{"the same, other ids", "ok 1 - process 99 is there\nok 2 - limit\nnot ok 3 - leaf weight\n", "", nil},
		{"better", "ok 1 - process 99 is there\nok 2 - limit\nok 3 - leaf weight\n", "", nil},
		{"a check fails", "ok 1 - process 3 is there\nnot ok 2 - limit\nok 3 - leaf weight\n", "", []string{"fails 1 times, not 0: limit"}},
		{"a check is missing", "ok 1 - limit\n", "exit status 1", []string{"passes 0 times, not 1: process # is there"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parse(c.output, c.ended).worse(mark); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	good := parse("ok 1 - limit\n", "")
	if got := parse("ok 1 - limit\nnot ok 2 - create\n", "exit status 1").worse(good); !slices.Equal(got, []string{"fails: create", "the program ends with exit status 1"}) {
		t.Errorf("got %q", got)
	}
}
