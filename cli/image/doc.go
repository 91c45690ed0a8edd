// Package image owns the commands about images: images, pull, push, rmi, tag,
// history, import and their noun forms, one file each.
//
// It speaks to the engine through the API client only and knows nothing of
// containers. Each command runs in one goroutine.
package image
