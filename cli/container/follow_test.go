package container

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestPlace breaks a log at every byte and lets it come again from the time that
// was reached: nothing is missing and nothing is there twice.
func TestPlace(t *testing.T) {
	var log, bare strings.Builder
	for i := range 12 {
		stamp := fmt.Sprintf("2026-01-02T03:04:%02d.000000000Z ", i/3) // three lines each
		text := strings.Repeat("word ", i%4) + fmt.Sprint(i) + "\n"
		log.WriteString(stamp + text)
		bare.WriteString(text)
	}
	whole := log.String()
	for _, show := range []bool{false, true} {
		want := bare.String()
		if show {
			want = whole
		}
		for first := range len(whole) + 1 {
			var out bytes.Buffer
			p := &place{w: &out, show: show}
			rest := whole
			for _, cut := range []int{first, rand.IntN(len(whole) + 1), len(whole)} {
				cut = min(cut, len(rest))
				for _, piece := range pieces(rest[:cut]) {
					if n, err := p.Write([]byte(piece)); err != nil || n != len(piece) {
						t.Fatal(n, err)
					}
				}
				rest = since(whole, p.resume())
			}
			if _, err := p.Write([]byte(rest)); err != nil {
				t.Fatal(err)
			}
			if out.String() != want {
				t.Fatalf("broken at %d, times shown %v:\n%s\nwant\n%s", first, show, &out, want)
			}
		}
	}
}

// since is what the engine sends of a log.
func since(log, stamp string) string {
	if stamp == "" {
		return log
	}
	return log[strings.Index(log, stamp):]
}

// pieces cuts a text at random.
func pieces(s string) (list []string) {
	for len(s) > 0 {
		n := 1 + rand.IntN(min(len(s), 20))
		list = append(list, s[:n])
		s = s[n:]
	}
	return list
}

// TestPlaceWithoutTimes passes on what is no line of the log.
func TestPlaceWithoutTimes(t *testing.T) {
	var out bytes.Buffer
	p := &place{w: &out}
	for _, s := range []string{"Error ", "x\n20", "26-what\n2026-01-02T03:04:05.000000000Z a b\n", "2026"} {
		if _, err := p.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.String(); got != "Error x\n2026-what\na b\n" {
		t.Errorf("%q", got)
	}
}

func TestEarlier(t *testing.T) {
	for _, c := range [][3]string{{"", "", ""}, {"a", "", "a"}, {"", "b", "b"}, {"a", "b", "a"}, {"b", "a", "a"}} {
		if got := earlier(c[0], c[1]); got != c[2] {
			t.Errorf("%q, %q: %q", c[0], c[1], got)
		}
	}
}
