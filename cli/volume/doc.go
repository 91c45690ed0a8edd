// Package volume owns the commands about volumes: create, ls, rm and prune,
// one file each; inspect is with those of other kinds.
//
// It speaks to the engine through the API client only and knows nothing of
// containers. Each command runs in one goroutine.
package volume
