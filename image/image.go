// Package image owns the images of the engine: their names, manifests,
// configurations and unpacked layers, and how they come from and go to
// registries.
//
// It stands on containerd's libraries in process (content store, overlay
// snapshotter, metadata database, leases), without their plugin registry and
// without gRPC. It knows nothing of containers, networks or HTTP routes: what a
// container needs of an image is in [Image], and which containers use an image
// is told by the caller ([Store.Pin], [RemoveOptions]).
//
//	Root/content/      blobs by digest; ingest/ holds downloads that can be resumed
//	Root/snapshots/    unpacked layers of the overlay snapshotter and its database
//	Root/metadata.db   names, labels, leases, what belongs to what
//	Root/names.json    a second record of the names, read only to rebuild metadata.db
//	Root/boot          the boot in which the databases were last read through
//
// A Store may be used by many goroutines. Lock order: the blob and chain locks
// of a pull, then pins.mu, then names.mu, then the database's own locks, then
// cache.mu. No lock is held while a caller's function runs.
package image

import (
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/distribution/reference"
)

// Image is what a container needs of an image. Its slices, maps and pointers
// are shared between callers and must not be changed.
type Image struct {
	// ID is the digest of the image's target, an index or a manifest: Docker's
	// image ID with the containerd store.
	ID digest.Digest
	// Name is the familiar name that the image was found by, or "" when it was
	// found by ID and has none.
	Name string
	// Target is the descriptor of what the name points to; Manifest that of the
	// manifest chosen for the platform.
	Target, Manifest ocispec.Descriptor
	Platform         ocispec.Platform
	Config           dockerspec.DockerOCIImage
	// Lower holds the directories of the unpacked layers, topmost first, to be
	// used read-only. It is empty for an image without layers.
	Lower []string

	asOf uint64 // the cache's generation when this was true; see Store.Pin
}

// ListOptions narrow and widen what List answers.
type ListOptions struct {
	All        bool // intermediate images too
	SharedSize bool // compute Summary.SharedSize
	Manifests  bool // fill Summary.Manifests
	// Filters are Docker's: reference, dangling, label, label!, before, since,
	// until. Unknown keys are an error of kind InvalidParameter.
	Filters map[string]map[string]bool
	// Containers names the containers made of the given manifest; nil means
	// that nobody counts them.
	Containers func(manifest digest.Digest) []string
}

// InspectOptions choose what Inspect answers.
type InspectOptions struct {
	Manifests  bool              // fill InspectResponse.Manifests
	Platform   *ocispec.Platform // this platform's manifest instead of the host's
	Containers func(manifest digest.Digest) []string
}

// RemoveOptions say how far Remove may go.
type RemoveOptions struct {
	Force bool // remove although names or stopped containers refer to the image
	Prune bool // remove untagged parents too
	// Platforms removes the content of these platforms only; it needs Force.
	Platforms []ocispec.Platform
	// InUse names a container made of the image with this ID, a running one if
	// there is one, or "" when there is none. Nil means that no container exists.
	InUse func(id digest.Digest) (containerID string, running bool)
}

// PullOptions hold what a pull needs beside the name.
type PullOptions struct {
	Platform *ocispec.Platform    // nil: the host's
	Auth     *registry.AuthConfig // nil: anonymous
	// Progress receives Docker's pull messages, one at a time, in the goroutine
	// that called Pull. Nil discards them.
	Progress func(jsonstream.Message)
}

// PushOptions hold what a push needs beside the name.
type PushOptions struct {
	Platform *ocispec.Platform // nil: all that is here
	Auth     *registry.AuthConfig
	Progress func(jsonstream.Message) // as in PullOptions
}

// ImportOptions describe the image that Import makes.
type ImportOptions struct {
	Ref      reference.Named // name and tag; nil leaves the image untagged
	Message  string          // comment of the only history entry
	Changes  []string        // Dockerfile instructions: CMD, ENV, USER, ...
	Platform *ocispec.Platform
}
