// Package container owns the commands about containers: run, create, start,
// ps and the others, one file each.
//
// It speaks to the engine through the API client only and knows nothing of
// images except that run pulls what is missing. Each command runs in one
// goroutine; stream copies, waits and signal forwarding are goroutines that end
// before the command does or with the process.
package container
