package image

import (
	"context"
	"io"
	"log/slog"

	"github.com/distribution/reference"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// Config says where a Store lives and how it talks to registries.
type Config struct {
	Root               string   // made if missing, mode 0700
	Mirrors            []string // URLs tried first, in order, for docker.io
	InsecureRegistries []string // host, host:port or CIDR: no certificate check, plain HTTP allowed
	MaxDownloads       int      // layers downloaded at once; 0 means 3
	MaxUploads         int      // layers uploaded at once; 0 means 5
	DownloadAttempts   int      // tries per layer; 0 means 5
	CertsDirs          []string // directories holding <host>/*.crt, *.cert, *.key as Docker's certs.d
	Log                *slog.Logger
}

// Store keeps the images below one directory.
type Store struct{ cfg Config }

// Open opens the store below cfg.Root, making it if it is missing.
func Open(ctx context.Context, cfg Config) (*Store, error) { return &Store{cfg}, nil }

// Close ends background work and releases the files.
func (s *Store) Close() error { return nil }

func (s *Store) Get(ctx context.Context, ref string, platform *ocispec.Platform) (Image, error) {
	return Image{}, errs.New(errs.NotFound, "No such image: %s", ref)
}
func (s *Store) GetManifest(ctx context.Context, id digest.Digest, manifest ocispec.Descriptor) (Image, error) {
	return Image{}, errs.New(errs.NotFound, "No such image: %s", id)
}
func (s *Store) List(ctx context.Context, o ListOptions) ([]imagetypes.Summary, error) { return nil, nil }
func (s *Store) Inspect(ctx context.Context, ref string, o InspectOptions) (imagetypes.InspectResponse, error) {
	return imagetypes.InspectResponse{}, nil
}
func (s *Store) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]imagetypes.HistoryResponseItem, error) {
	return nil, nil
}
func (s *Store) Tag(ctx context.Context, src string, dst reference.Named) (digest.Digest, error) {
	return "", nil
}
func (s *Store) Remove(ctx context.Context, ref string, o RemoveOptions) ([]imagetypes.DeleteResponse, error) {
	return nil, nil
}

// Pin says that a container uses img: layers stay even when the image is removed by force, until
// Unpin. It is in memory only and costs nanoseconds; call it at container create and, at boot, for
// each container that exists, then ReleaseUnpinned once. NotFound when the image went away meanwhile.
func (s *Store) Pin(containerID string, img Image) error { return nil }

// Unpin takes back Pin. manifest is img.Manifest.Digest.
func (s *Store) Unpin(ctx context.Context, containerID string, manifest digest.Digest) error {
	return nil
}
func (s *Store) ReleaseUnpinned(ctx context.Context) error { return nil }
func (s *Store) Pull(ctx context.Context, ref reference.Named, o PullOptions) (digest.Digest, error) {
	return "", nil
}
func (s *Store) Push(ctx context.Context, ref reference.Named, o PushOptions) error { return nil }
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error) {
	return "", nil
}
