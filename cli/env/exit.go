package env

import (
	"strings"
)

// Exit statuses that Docker gives a meaning.
const (
	StatusError         = 1   // a command failed
	StatusEngine        = 125 // the engine refused, or the command line is wrong
	StatusCannotExecute = 126
	StatusNotFound      = 127
)

// Exit is an error that asks for a certain exit status. An empty text prints
// nothing: everything was said, or it is a container's own status.
type Exit struct {
	Status int
	Text   string
}

// Error implements error.
func (e *Exit) Error() string { return e.Text }

// Silent returns an error that only sets the exit status, nil for 0.
func Silent(status int) error {
	if status == 0 {
		return nil
	}
	return &Exit{Status: status}
}

// StartError gives an engine's error at the start of a container the exit
// status that shells use for a command that cannot be run. The engine has only
// words for it, so the words decide, as in Docker's client.
func StartError(err error) *Exit {
	text := err.Error()
	status := StatusEngine
	switch {
	case containsAny(text, "executable file not found", "no such file or directory", "system cannot find the file specified"):
		status = StatusNotFound
	case containsAny(text, "permission denied", "is a directory"):
		status = StatusCannotExecute
	}
	return &Exit{Status: status, Text: text}
}

func containsAny(text string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}

// Hint returns what to do about an error with this text, "" if nothing is
// known.
func (e *Env) Hint(text string) string {
	switch {
	case strings.Contains(text, "permission denied while trying to connect"):
		return "The socket belongs to root and to the group that davitd's --group names: use sudo, or join that group."
	case !strings.Contains(strings.ToLower(text), "cannot connect to the docker daemon"):
		return ""
	case strings.HasPrefix(e.host, "unix://"):
		return "Start an engine with 'davitd &' or 'systemctl start davit', in a source tree with 'make up'. -H names another socket."
	}
	return "Is the address right? It comes from -H, DAVIT_HOST, DOCKER_HOST or the current context."
}
