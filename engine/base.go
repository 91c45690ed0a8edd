package engine

import (
	"fmt"
	"os"
	"path/filepath"
)

// makeBase makes the layer that lies below all of each container's others. It
// holds nothing but the places where something is mounted in every container:
// an image that lacks them, as small ones do, would otherwise have each of them
// made in the container's own layer, at 0.2 ms a piece. Whatever an image has
// in a place hides what is here.
func makeBase(dataRoot string) (string, error) {
	base := filepath.Join(dataRoot, "base")
	for _, d := range []string{"", "proc", "dev", "sys", "etc"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			return "", fmt.Errorf("making the base layer: %w", err)
		}
	}
	for _, f := range []string{"etc/hostname", "etc/hosts", "etc/resolv.conf"} {
		file, err := os.OpenFile(filepath.Join(base, f), os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return "", fmt.Errorf("making the base layer: %w", err)
		}
		_ = file.Close()
	}
	return base, nil
}
