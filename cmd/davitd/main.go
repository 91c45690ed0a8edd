// Command davitd is the engine: it serves Docker's API on a socket.
//
// It owns nothing but the way from the command line into package daemon, which
// is everything it knows. It runs once per data root; a lock sees to that.
package main

import (
	"os"

	"github.com/davit-engine/davit/daemon"
	"github.com/davit-engine/davit/version"
)

func main() {
	os.Exit(daemon.Main(daemon.Program{Args: os.Args, Stdout: os.Stdout, Stderr: os.Stderr, Version: version.Version}))
}
