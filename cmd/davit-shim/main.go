// A container's limits are nothing to a shim that mostly sleeps: without these
// the Go runtime reads cgroup files at start, and again every few seconds.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command davit-shim supervises one container. An engine starts it with
// wire.Args and a socket as descriptor 3; it is of no use by hand.
package main

import (
	"fmt"
	"os"

	"github.com/davit-engine/davit/runtime/shim"
	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

func main() {
	if kind, err := unix.GetsockoptInt(wire.ShimFD, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		fmt.Fprintln(os.Stderr, "davit-shim is started by davitd, with a socket as descriptor 3.")
		os.Exit(2)
	}
	unix.CloseOnExec(wire.ShimFD)
	if err := unix.SetNonblock(wire.ShimFD, true); err != nil {
		fmt.Fprintln(os.Stderr, "davit-shim:", err)
		os.Exit(1)
	}
	if err := shim.Prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "davit-shim:", err)
		os.Exit(1)
	}
	os.Exit(shim.Run(os.NewFile(wire.ShimFD, "engine")))
}
