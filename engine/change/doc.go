// Package change decides what becomes of a container whose settings are to
// change: what they are afterwards, and what it takes.
//
// It owns the rules; it is pure, and knows nothing of processes, files or the
// kernel. Its functions may be called from anywhere at once.
package change
