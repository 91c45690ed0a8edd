// Package system owns the commands about the engine as a whole: version, info,
// events, and inspect, which finds objects of any kind.
//
// It speaks to the engine through the API client only. Each command runs in
// one goroutine.
package system
