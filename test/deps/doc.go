// Package deps holds the rules about the shape of the source tree, as tests:
// which folder may import which, what each binary must never link, and what
// each package has to say about itself.
//
// It owns no code that runs. It reads the tree through `go list` and go/parser
// and must not import any of it. Its tests only read, so they may run at any
// time beside others.
package deps
