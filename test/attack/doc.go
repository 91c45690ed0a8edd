// Package attack holds hostile images and hostile containers, as tests: each
// is a way by which somebody once left a container or got more than it was
// given, and each must fail here. A test names its class, and the CVEs by which
// the class is known.
//
// The tests drive what users drive: a private engine through its own client,
// and the runtime's packages where an attacker must share a root filesystem
// with what is being started. The program that attacks from inside is
// hostile/. They make nothing outside of temporary folders and their engine, and
// share one engine, so a test that wants to break it starts its own.
package attack
