// Package chaos does to an engine what bad days do: kill -9 of the engine and
// of shims at awkward moments, full disks, slow and broken registries, clients
// that hang up.
//
// Each test owns an engine; none imports the engine's code. What they all ask:
// nothing that a user was told is lost, nothing runs twice, nothing is left
// behind. Without root all tests skip.
package chaos
