// Package swagger checks answers of an engine against Docker's own description
// of its API, the swagger files that moby/moby/api ships for each version.
//
// It owns the reading of those files, the list of what is wrong in them, and
// two places to stand in: a Middleware around a handler, and a Proxy in front of
// a real engine. It must not import anything of the engine. A Checker may be
// used by many goroutines at once; mu guards the documents it has read.
package swagger
