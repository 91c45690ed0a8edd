package shim

import (
	"errors"
	"io/fs"
	"os/exec"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/wire"
)

func TestLastError(t *testing.T) {
	for log, want := range map[string]string{
		"": "",
		`{"level":"warning","msg":"a"}` + "\n" + `{"level":"error","msg":"b"}` + "\n" + `{"level":"error","msg":"c"}` + "\n" + `{"level":"info","msg":"d"}`: "c",
		"no JSON\n" + `{"msg":"of crun","level":"error","time":"x"}`:                                                                                        "of crun",
	} {
		if got := lastError([]byte(log)); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}

// TestForeignFailure finds the exit code that clients expect in the words of a
// runtime.
func TestForeignFailure(t *testing.T) {
	f := &foreign{Runtime: wire.Runtime{Name: "x"}}
	ended := errors.New("exit status 1")
	for _, c := range []struct {
		err          error
		logged, said string
		code         int
		kind         errs.Kind
		text         string
	}{
		{ended, `exec: "a": executable file not found in $PATH`, "noise", 127, errs.InvalidParameter, `x create failed: exec: "a": executable file not found in $PATH`},
		{ended, "", "open `/a`: No such file or directory\n", 127, errs.InvalidParameter, "x create failed: open `/a`: No such file or directory"},
		{ended, `exec: "/a": permission denied`, "", 126, errs.InvalidParameter, `x create failed: exec: "/a": permission denied`},
		{ended, "", "", 128, errs.System, "x create failed: exit status 1"},
		{&fs.PathError{Op: "fork/exec", Path: "/x", Err: fs.ErrNotExist}, "", "", 128, errs.InvalidParameter, "runtime x cannot be run: fork/exec /x: file does not exist"},
		{exec.ErrNotFound, "", "", 128, errs.InvalidParameter, "runtime x cannot be run: executable file not found in $PATH"},
	} {
		var e *wire.Error
		if err := f.failure("create", c.err, c.logged, c.said); !errors.As(err, &e) || e.ExitCode != c.code || e.Kind != c.kind || e.Message != c.text {
			t.Errorf("%v, %q, %q: %+v", c.err, c.logged, c.said, err)
		}
	}
}
