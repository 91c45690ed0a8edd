// A container's limits are nothing to a shim that mostly sleeps: without these
// the Go runtime reads cgroup files at start, and again every few seconds.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command davit-shim supervises one container: it is the parent of the
// container's first process and owns its streams, its log and its exit record.
// An engine starts it with wire.Args, wire.Env and a socket as descriptor 3,
// on which all the rest is asked for; it is of no use by hand. It must not know
// flags, configuration or other containers. Everything it does is in package
// shim, whose rules of concurrency hold; main is the one goroutine before that.
//
// Called by the name davit-runtime, it is an OCI runtime's command line
// instead, which is package oci.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/davit-engine/davit/runtime/oci"
	"github.com/davit-engine/davit/runtime/shim"
	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

func main() {
	if self := os.Args[0]; self[strings.LastIndexByte(self, '/')+1:] == oci.Name {
		os.Exit(oci.Main(os.Args[1:]))
	}
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
