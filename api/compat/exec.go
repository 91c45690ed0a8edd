package compat

import "github.com/moby/moby/api/types/container"

// ExecCreate brings a request to prepare an exec into what the newest version
// would say. Sizes of terminals came with 1.42. (Env came with 1.25 and
// WorkingDir with 1.35, and like Docker's engine this one reads them always:
// clients refuse to send them.)
func ExecCreate(v Version, r *container.ExecCreateRequest) {
	if v.Before(42) || !r.Tty {
		r.ConsoleSize = nil
	}
}

// ExecStart is ExecCreate for the request to start one.
func ExecStart(v Version, r *container.ExecStartRequest) {
	if v.Before(42) || !r.Tty {
		r.ConsoleSize = nil
	}
}
