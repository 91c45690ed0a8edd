package oci

import (
	"slices"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args, rest string
		want       string // values of text, letter's toggle, list, optional
		ends       bool
		fails      string
	}{
		{args: "--text a id", rest: "id", want: "a false [] "},
		{args: "-text a id", rest: "id", want: "a false [] "},
		{args: "--text=a=b id", rest: "id", want: "a=b false [] "},
		{args: "-t a -w id", rest: "id", want: "a true [] "},
		{args: "--switch=false -w --switch=0 id", rest: "id", want: " false [] "},
		{args: "id --text a more -w", rest: "id more", want: "a true [] "},
		{args: "id --text a", ends: true, rest: "id --text a", want: " false [] "},
		{args: "-- --text a", rest: "--text a", want: " false [] "},
		{args: "-w -- -w", ends: true, rest: "-w", want: " true [] "},
		{args: "--list a -l b id", rest: "id", want: " false [a b] "},
		{args: "--optional id", rest: "id", want: " false [] true"},
		{args: "--optional=auto id", rest: "id", want: " false [] auto"},
		{args: "id -9", rest: "id -9", want: " false [] "},
		{args: "id -", rest: "id -", want: " false [] "},
		{args: "--bogus=1 id", fails: "unknown option --bogus"},
		{args: "id --bogus", fails: "unknown option --bogus"},
		{args: "-9", fails: "unknown option -9"},
		{args: "id --text", fails: "option --text needs a value"},
		{args: "--switch=perhaps", fails: "option --switch:"},
	} {
		var text, optional string
		var on bool
		var list []string
		var f flags
		f.text(&text, "text t", "x", "")
		f.toggle(&on, "switch w", "")
		f.list(&list, "list l", "x", "")
		f.optional(&optional, "optional", "x", "")
		rest, err := f.parse(strings.Fields(c.args), c.ends)
		if c.fails != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.fails) {
				t.Errorf("%s: %v, want %s", c.args, err, c.fails)
			}
			continue
		}
		got := text + map[bool]string{true: " true [", false: " false ["}[on] + strings.Join(list, " ") + "] " + optional
		if err != nil || got != c.want || !slices.Equal(rest, strings.Fields(c.rest)) {
			t.Errorf("%s: %q, rest %q, %v; want %q, rest %q", c.args, got, rest, err, c.want, c.rest)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for word, want := range map[string]int{"9": 9, "KILL": 9, "SIGKILL": 9, "kill": 9, "sigterm": 15, "0": 0, "64": 64, "RTMIN": 34, "SIGRTMIN+3": 37,
		"rtmax-1": 63, "RTMAX": 64, "USR1": 10, "SIGSTKFLT": 16} {
		if got, err := parseSignal(word); err != nil || int(got) != want {
			t.Errorf("%s: %d, %v; want %d", word, got, err, want)
		}
	}
	for _, word := range []string{"", "BOGUS", "-1", "65", "SIG", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMIN+", "9 "} {
		if got, err := parseSignal(word); err == nil || !strings.Contains(err.Error(), "unknown signal") {
			t.Errorf("%q: %d, %v; want an error", word, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for word, want := range map[string]int64{"0": 0, "-1": -1, "4096": 4096, "1k": 1024, "512M": 512 << 20, "512mb": 512 << 20, "1.5GiB": 3 << 29,
		"2 t": 2 << 40, "10b": 10, "9223372036854775807": 1<<63 - 1} {
		if got, err := parseSize(word); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", word, got, err, want)
		}
	}
	for _, word := range []string{"", "-2", "m", "1x", "9e18k", "nan", "inf", "1mm", "-1k"} {
		if got, err := parseSize(word); err == nil {
			t.Errorf("%q: %d, want an error", word, got)
		}
	}
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "a.b", "A_b+c-1", "..a", strings.Repeat("x", 1024)} {
		if err := checkID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", "...", "a/b", "/", "a b", "ü", "a\x00", "a\n", strings.Repeat("x", 1025)} {
		if err := checkID(id); err == nil {
			t.Errorf("%q is taken for a name", id)
		}
	}
}
