// Package api serves Docker's API over HTTP.
//
// It owns the routes, the decoding of requests, the form of answers (JSON,
// streams of JSON, hijacked connections) and the table from kinds of error to
// status codes. What differs between versions of the API is in package compat.
// It must not know how anything is done: each resource is a small interface,
// declared where it is used, that the engine fulfils.
//
// A Server keeps no state but the channel that ends its streams, so handlers
// run side by side without locks. A handler returns an error and writes nothing
// as long as it may still fail; the error is turned into an answer, and logged,
// in one place.
package api
