package multiplex

import (
	"bytes"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
)

func TestDockerReadsIt(t *testing.T) {
	var wire, out, err bytes.Buffer
	for _, f := range []struct {
		stream byte
		text   string
	}{{Stdout, "one\n"}, {Stderr, "two\n"}, {Stdout, ""}, {Stdout, "three"}} {
		if n, e := (Writer{&wire, f.stream}).Write([]byte(f.text)); n != len(f.text) || e != nil {
			t.Fatalf("%q: %d, %v", f.text, n, e)
		}
	}
	if _, e := stdcopy.StdCopy(&out, &err, &wire); e != nil {
		t.Fatal(e)
	}
	if out.String() != "one\nthree" || err.String() != "two\n" {
		t.Errorf("out %q, err %q", out.String(), err.String())
	}
}
