package program

import (
	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// Failure is a failed step in words.
type Failure struct {
	Kind     errs.Kind
	Text     string // as Docker's clients know it from runc
	ExitCode int    // 127 not found, 126 cannot be run, 128 for the rest
}

// Explain says what it means that step gave e.
func (p *Program) Explain(step int, e unix.Errno) Failure {
	s := &p.Steps[step]
	if s.Message != 0 {
		return Failure{errs.InvalidParameter, p.Messages[s.Message], exitCode(e)}
	}
	return Describe(p.Contexts[s.Context], s.Doing, e)
}

// Describe is Explain for what failed before the first step.
func Describe(context, doing string, e unix.Errno) Failure {
	text := e.Error()
	if e == unix.ENOTDIR {
		// The words by which Docker helps whoever binds a file to a directory.
		text += ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
	}
	if doing != "" {
		text = doing + ": " + text
	}
	if context != "" {
		text = context + ": " + text
	}
	f := Failure{errs.System, text, exitCode(e)}
	if f.ExitCode != exitOther {
		f.Kind = errs.InvalidParameter
	}
	return f
}

// exitOther is Docker's exit code of a container that could not be started for
// a reason of its own.
const exitOther = 128

// exitCode follows dockerd, which looks for the errno's words in the text.
func exitCode(e unix.Errno) int {
	switch e {
	case unix.ENOENT:
		return 127
	case unix.EACCES, unix.ENOTDIR, unix.EISDIR, unix.ENOEXEC:
		return 126
	}
	return exitOther
}
