// Package env owns what every command of the davit client is handed: streams,
// global options, the user's configuration and a connection to the engine.
//
// It knows no command. Configuration and connection are made on first use, so
// that a command that needs neither pays for neither. An Env belongs to the
// goroutine that runs the command; the client it returns is safe for many.
package env

import (
	"os"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/config"
	"github.com/davit-engine/davit/cli/term"
)

// Global are the options that stand before the command's name.
type Global struct {
	Hosts     []string
	Context   string
	ConfigDir string
	Debug     bool
	LogLevel  string
	TLS       bool
	TLSVerify bool
	TLSCA     string
	TLSCert   string
	TLSKey    string
}

// Env is one invocation of the client.
type Env struct {
	*term.Streams
	Program string // the name it was called by, "davit" for people
	Global  Global
	Getenv  func(string) string

	file *config.File
	api  *client.Client
	host string
}

// New returns the environment of this process.
func New(program string) *Env {
	return &Env{
		Streams: term.Standard(os.Getenv("NO_COLOR") == ""), Program: program, Getenv: os.Getenv,
		Global: Global{ConfigDir: config.Dir(os.Getenv)},
	}
}

// Config returns the user's configuration. A file that cannot be read is
// reported once on stderr and counts as empty, as with Docker.
func (e *Env) Config() *config.File {
	if e.file == nil {
		f, err := config.Load(e.Global.ConfigDir)
		if err != nil {
			e.Warn(err.Error())
		}
		e.file = f
	}
	return e.file
}

// Warn tells the user what does not stop the command.
func (e *Env) Warn(text string) {
	_, _ = e.Err.Write([]byte(e.Err.Paint("33", "WARNING:") + " " + text + "\n"))
}
