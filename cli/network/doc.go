// Package network owns the commands about networks: create, ls, connect,
// disconnect, rm and prune, one file each; inspect is with those of other
// kinds.
//
// It speaks to the engine through the API client only and knows of containers
// no more than their names. Each command runs in one goroutine.
package network
