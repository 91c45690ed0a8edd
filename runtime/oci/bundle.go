package oci

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/hook"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bundle is a bundle's spec as it was read, with all paths made absolute.
type bundle struct {
	dir  string
	raw  []byte
	spec *specs.Spec
}

// readBundle reads the bundle in dir; "" is the working directory.
func readBundle(dir string) (*bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, errs.Wrap(errs.System, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, configName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "bundle %s has no %s: %w", dir, configName, err)
	}
	if err != nil {
		return nil, errs.New(errs.System, "reading the bundle: %w", err)
	}
	return parseBundle(dir, raw)
}

func parseBundle(dir string, raw []byte) (*bundle, error) {
	b := &bundle{dir: dir, raw: raw, spec: new(specs.Spec)}
	bad := func(format string, args ...any) error {
		return errs.New(errs.InvalidParameter, configName+": "+format, args...)
	}
	s := b.spec
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, bad("%w", err)
	}
	switch {
	case !strings.HasPrefix(s.Version, "1."):
		return nil, bad("ociVersion: %q is not a version 1 of the runtime spec", s.Version)
	case s.Process == nil:
		return nil, bad("process is missing")
	case s.Root == nil || s.Root.Path == "":
		return nil, bad("root.path is missing")
	case s.Linux == nil:
		s.Linux = &specs.Linux{}
	}
	s.Root.Path = b.absolute(s.Root.Path)
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
			m.Source = b.absolute(m.Source)
		}
	}
	for _, k := range hookKinds {
		for _, h := range k.of(s.Hooks) {
			if err := hook.Check(h); err != nil {
				return nil, bad("hooks.%s: %w", k.name, err)
			}
		}
	}
	return b, nil
}

func (b *bundle) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(b.dir, path)
}

// config reads the spec that the container was created with.
func (c *container) config() (*bundle, error) {
	raw, err := os.ReadFile(filepath.Join(c.dir, configName))
	if err != nil {
		return nil, errs.New(errs.System, "reading the container's spec: %w", err)
	}
	return parseBundle(c.Bundle, raw)
}

// root is what the container's root filesystem is made of.
func (b *bundle) root() (program.Root, error) {
	var st unix.Stat_t
	if err := unix.Stat(b.spec.Root.Path, &st); err != nil {
		return program.Root{}, errs.New(errs.InvalidParameter, "root.path: %w", &fs.PathError{Op: "stat", Path: b.spec.Root.Path, Err: err})
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return program.Root{}, errs.New(errs.InvalidParameter, "root.path: %s is not a directory", b.spec.Root.Path)
	}
	return program.Root{Dir: b.spec.Root.Path}, nil
}
