package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// DefaultContext is the context that stands for the environment and flags
// rather than for something stored.
const DefaultContext = "default"

// Endpoint is where a context's engine listens, and how to speak TLS to it.
type Endpoint struct {
	Host          string
	SkipTLSVerify bool
	// Paths of PEM files, "" for those that the context does not have.
	CA, Cert, Key string
}

// Context returns the engine endpoint of a stored context.
//
// Docker keeps contexts below the directory named by the SHA-256 of their
// name: contexts/meta/<digest>/meta.json and contexts/tls/<digest>/docker.
func (f *File) Context(name string) (Endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	data, err := os.ReadFile(filepath.Join(f.dir, "contexts", "meta", id, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Endpoint{}, fmt.Errorf("context %q: context not found: open %s: no such file or directory", name,
			filepath.Join(f.dir, "contexts", "meta", id, "meta.json"))
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("context %q: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(data, &meta); err != nil {
		return Endpoint{}, fmt.Errorf("context %q: %w", name, err)
	}
	stored, ok := meta.Endpoints["docker"]
	if !ok {
		return Endpoint{}, fmt.Errorf("context %q: no docker endpoint", name)
	}
	e := Endpoint{Host: stored.Host, SkipTLSVerify: stored.SkipTLSVerify}
	dir := filepath.Join(f.dir, "contexts", "tls", id, "docker")
	for file, at := range map[string]*string{"ca.pem": &e.CA, "cert.pem": &e.Cert, "key.pem": &e.Key} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			*at = filepath.Join(dir, file)
		}
	}
	return e, nil
}
