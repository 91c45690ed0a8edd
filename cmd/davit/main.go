// Command davit is the client of the Davit engine, and of any other that
// speaks Docker's API.
//
// It only wires: the command line is package cli. The variables are set by the
// linker.
package main

import (
	"os"

	"github.com/davit-engine/davit/cli"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/system"
)

var (
	version   = "0.1.0-dev"
	commit    string
	buildTime string
)

func main() {
	build := system.Build{Version: version, Commit: commit, Time: buildTime}
	os.Exit(cli.Main(env.New("davit"), build, os.Args[1:]))
}
