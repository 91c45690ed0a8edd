package seal

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Both ways give a program that runs and that root cannot write to.
func TestSealed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes a mount: needs root")
	}
	program := filepath.Join(t.TempDir(), "true")
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skip("needs a program to seal: ", err)
	}
	if err := os.WriteFile(program, data, 0o777); err != nil {
		t.Fatal(err)
	}
	if !Writable(program) {
		t.Error("an ordinary file of root's is not writable")
	}
	for name, seal := range map[string]func(string) (*os.File, error){"mount": Mount, "copy": Copy} {
		t.Run(name, func(t *testing.T) {
			f, err := seal(program)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			path := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(f.Fd()))
			if Writable(path) {
				t.Error("it is writable")
			}
			cmd := exec.Cmd{Path: path, Args: []string{"true"}} // which may be one of busybox's programs
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("it does not run: %v %s", err, out)
			}
			w, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = w.Write([]byte("x"))
				w.Close()
			}
			if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EPERM) {
				t.Errorf("writing to it: %v", err)
			}
		})
	}
}
