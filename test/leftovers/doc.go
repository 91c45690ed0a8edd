// Package leftovers holds one test that `make test` runs before all others and
// once more after them: nothing that the tests made may be left on the host.
//
// It owns no state but the snapshot in the file that $DAVIT_LEFTOVERS names.
// It must run alone: it sees the whole host, so whatever starts or ends an
// engine at the same time shows up as a difference.
package leftovers
