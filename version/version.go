// Package version says which Davit this is.
//
// It owns one word, which the linker replaces in a release build, and must not
// know anything else, as every binary links it. It is set before main and only
// read afterwards.
package version

// Version is Davit's version, such as v0.1.0; dev for a build by hand.
var Version = "dev"
