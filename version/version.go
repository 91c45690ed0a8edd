// Package version says which Davit this is.
//
// It owns a few words, which the linker replaces, and must not know anything
// else, as every binary links it. They are set before main and only read
// afterwards.
package version

// Version is Davit's version, such as v0.1.0; dev for a build by hand.
var Version = "dev"

// Commit and Time say what it was built from: the short hash and the time of the
// commit in RFC 3339. They are empty for a build by hand.
var Commit, Time string
