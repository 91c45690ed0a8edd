package oci

import (
	"errors"
	"os"
	"strconv"
	"syscall"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/seal"
	"golang.org/x/sys/unix"
)

// self is this program, as a container's process is born from it.
const self = "/proc/self/exe"

// sealed executes this program once more from where nobody can write to it,
// unless it is such a place already. On success it does not return then.
func sealed() error {
	if !seal.Writable(self) {
		return nil
	}
	f, err := seal.Mount(self)
	if errors.Is(err, unix.EPERM) { // who may not mount
		f, err = seal.Copy(self)
	}
	if err == nil {
		err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.Args, os.Environ())
	}
	return errs.New(errs.System, "keeping this program safe from its containers: %w", err)
}
