package daemon

import (
	"strings"
	"testing"
)

func TestRuntimes(t *testing.T) {
	c, err := load(t, `{"default-runtime":"a","runtimes":{"a":{"path":"/bin/a","runtimeArgs":["--debug"]},"b":{"runtimeType":"io.containerd.runc.v2"},
		"c":{"runtimeType":"io.containerd.runc.v2","options":{"BinaryName":"crun"}},"d":{"runtimeType":"io.containerd.kata.v2"}}}`, "--add-runtime=e=/bin/e")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.runtimes()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || got["a"].Path != "/bin/a" || got["a"].Args[0] != "--debug" || got["b"].Path != "runc" || got["c"].Path != "crun" || got["e"].Path != "/bin/e" ||
		!strings.Contains(got["d"].Unfit, "io.containerd.kata.v2 is a program for containerd") {
		t.Errorf("got %+v", got)
	}
	for text, want := range map[string]string{
		`{"runtimes":{"a":{}}}`:                                      "runtimes: a: either path or runtimeType is required",
		`{"runtimes":{"a":{"path":"/a","runtimeType":"b"}}}`:         "runtimes: a: cannot configure both path and runtimeType",
		`{"runtimes":{"a":{"runtimeArgs":["x"],"runtimeType":"b"}}}`: "runtimes: a: runtimeArgs cannot be used with runtimeType",
		`{"runtimes":{"a":{"path":"/a","options":{"x":1}}}}`:         "runtimes: a: options cannot be used with path",
		`{"runtimes":{"a":{"path":"/a","colour":"red"}}}`:            "unknown field",
		`{"runtimes":{"a":"/a"}}`:                                    "runtimes: a: ",
		`{"default-runtime":"nobody"}`:                               "specified default runtime 'nobody' does not exist",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
