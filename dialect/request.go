package dialect

import "github.com/moby/moby/api/types/container"

// Request answers GET /containers/{id}/request: what to ask for to get such a
// container again. It holds what its users said, at its creation and since, and
// nothing that the image or the engine added; anonymous volumes stand in it by
// name, so that another container goes on with them.
type Request struct {
	Name     string
	Platform string // of the image, such as linux/arm64/v8
	container.CreateRequest
}
