// Package errs holds the kinds of error that Davit tells apart.
//
// A kind is attached where the fact is known and read where it matters: the
// API maps it to an HTTP status, the command line to an exit code. The text of
// an error is for people and is never parsed. The package knows nothing of
// what it classifies, imports the standard library only, and keeps no state.
package errs

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what sort of failure an error is.
type Kind uint8

// The kinds. Their order means nothing; the zero value is an unclassified error.
const (
	Unknown          Kind = iota
	InvalidParameter      // the caller's input makes no sense
	NotFound              // the thing named does not exist
	Conflict              // the request contradicts the present state
	NotModified           // the state asked for already holds
	Unauthorized          // credentials are missing or refused
	Forbidden             // the caller may not do this
	NotImplemented        // not supported by this engine
	Unavailable           // something we depend on does not answer
	Exhausted             // a disk, an address range or a limit is full
	Cancelled             // the caller went away
	Deadline              // it took longer than allowed
	System                // a fault of the engine or the host
)

var names = [...]string{"unknown", "invalid parameter", "not found", "conflict", "not modified", "unauthorized", "forbidden",
	"not implemented", "unavailable", "exhausted", "cancelled", "deadline exceeded", "system"}

// String returns the kind in words, for logs.
func (k Kind) String() string {
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText writes the kind as its words, so that it may cross a process
// boundary between versions.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote; unknown words give Unknown.
func (k *Kind) UnmarshalText(text []byte) error {
	*k = Unknown
	for i, n := range names {
		if n == string(text) {
			*k = Kind(i)
		}
	}
	return nil
}

type kinded struct {
	kind Kind
	err  error
}

func (e *kinded) Error() string { return e.err.Error() }
func (e *kinded) Unwrap() error { return e.err }

// New returns an error of the given kind; format and args are as for
// fmt.Errorf, so %w wraps.
func New(kind Kind, format string, args ...any) error {
	return &kinded{kind, fmt.Errorf(format, args...)}
}

// Wrap gives err a kind without changing its text. It returns nil for nil.
func Wrap(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &kinded{kind, err}
}

// KindOf returns the outermost kind in err's chain. Errors of package context
// count as Cancelled and Deadline, everything unclassified as Unknown.
func KindOf(err error) Kind {
	var k *kinded
	switch {
	case errors.As(err, &k):
		return k.kind
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	}
	return Unknown
}

// Is reports whether err is of the given kind.
func Is(err error, kind Kind) bool { return KindOf(err) == kind }
