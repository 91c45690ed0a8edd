package flags

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
)

// Mounts collects --mount options.
type Mounts struct{ Values []mount.Mount }

// Set implements pflag.Value.
func (m *Mounts) Set(v string) error {
	parsed, err := parseMount(v)
	if err != nil {
		return err
	}
	m.Values = append(m.Values, parsed)
	return nil
}

// Type implements pflag.Value.
func (*Mounts) Type() string     { return "mount" }
func (m *Mounts) String() string { return "" }

func parseMount(v string) (mount.Mount, error) {
	value := strings.TrimSpace(v)
	if value == "" {
		return mount.Mount{}, errors.New("value is empty")
	}
	fields, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return mount.Mount{}, fmt.Errorf("failed to parse CSV: %w", err)
	}
	m := mount.Mount{Type: mount.TypeVolume}
	for _, field := range fields {
		key, value, has := strings.Cut(field, "=")
		key = strings.ToLower(key)
		if !has && key != "readonly" && key != "ro" && key != "volume-nocopy" && key != "bind-nonrecursive" && key != "bind-create-src" {
			return mount.Mount{}, fmt.Errorf("invalid field '%s' must be a key=value pair", field)
		}
		if err := setMount(&m, key, value, has); err != nil {
			return mount.Mount{}, err
		}
	}
	return m, checkMount(&m)
}

func setMount(m *mount.Mount, key, value string, has bool) (err error) {
	switch key {
	case "type":
		m.Type = mount.Type(strings.ToLower(value))
	case "source", "src":
		m.Source = value
		if !filepath.IsAbs(value) && strings.HasPrefix(value, ".") {
			if absolute, err := filepath.Abs(value); err == nil {
				m.Source = absolute
			}
		}
	case "target", "dst", "destination":
		m.Target = value
	case "readonly", "ro":
		m.ReadOnly, err = parseBool(key, value, has)
	case "consistency":
		m.Consistency = mount.Consistency(strings.ToLower(value))
	case "bind-propagation":
		bindOptions(m).Propagation = mount.Propagation(strings.ToLower(value))
	case "bind-nonrecursive":
		return errors.New("bind-nonrecursive is deprecated, use bind-recursive=disabled instead")
	case "bind-recursive":
		switch value {
		case "enabled":
		case "disabled":
			bindOptions(m).NonRecursive = true
		case "writable":
			bindOptions(m).ReadOnlyNonRecursive = true
		case "readonly":
			bindOptions(m).ReadOnlyForceRecursive = true
		default:
			return fmt.Errorf("invalid value for %s: %s (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")", key, value)
		}
	case "bind-create-src":
		bindOptions(m).CreateMountpoint, err = parseBool(key, value, has)
	case "volume-nocopy":
		volumeOptions(m).NoCopy, err = parseBool(key, value, has)
	case "volume-subpath":
		volumeOptions(m).Subpath = value
	case "volume-label":
		setKey(&volumeOptions(m).Labels, value)
	case "volume-driver":
		volumeDriver(m).Name = value
	case "volume-opt":
		setKey(&volumeDriver(m).Options, value)
	case "image-subpath":
		if m.ImageOptions == nil {
			m.ImageOptions = &mount.ImageOptions{}
		}
		m.ImageOptions.Subpath = value
	case "tmpfs-size":
		tmpfsOptions(m).SizeBytes, err = units.RAMInBytes(value)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
	case "tmpfs-mode":
		mode, wrong := strconv.ParseUint(value, 8, 32)
		if wrong != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		tmpfsOptions(m).Mode = os.FileMode(mode)
	default:
		return fmt.Errorf("unknown option '%s' in '%s'", key, key+"="+value)
	}
	return err
}

func checkMount(m *mount.Mount) error {
	for _, c := range [...]struct {
		options string
		set     bool
		of      mount.Type
	}{
		{"volume-*", m.VolumeOptions != nil, mount.TypeVolume},
		{"image-*", m.ImageOptions != nil, mount.TypeImage},
		{"bind-*", m.BindOptions != nil, mount.TypeBind},
		{"tmpfs-*", m.TmpfsOptions != nil, mount.TypeTmpfs},
	} {
		if c.set && m.Type != c.of {
			return fmt.Errorf("cannot mix '%s' options with mount type '%s'", c.options, m.Type)
		}
	}
	if b := m.BindOptions; b != nil {
		switch {
		case b.ReadOnlyNonRecursive && !m.ReadOnly:
			return errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
		case b.ReadOnlyForceRecursive && !m.ReadOnly:
			return errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
		case b.ReadOnlyForceRecursive && b.Propagation != mount.PropagationRPrivate:
			return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
		}
	}
	if m.Target == "" {
		return errors.New("target is required")
	}
	return nil
}

func bindOptions(m *mount.Mount) *mount.BindOptions {
	if m.BindOptions == nil {
		m.BindOptions = &mount.BindOptions{}
	}
	return m.BindOptions
}

func volumeOptions(m *mount.Mount) *mount.VolumeOptions {
	if m.VolumeOptions == nil {
		m.VolumeOptions = &mount.VolumeOptions{}
	}
	return m.VolumeOptions
}

func volumeDriver(m *mount.Mount) *mount.Driver {
	o := volumeOptions(m)
	if o.DriverConfig == nil {
		o.DriverConfig = &mount.Driver{}
	}
	return o.DriverConfig
}

func tmpfsOptions(m *mount.Mount) *mount.TmpfsOptions {
	if m.TmpfsOptions == nil {
		m.TmpfsOptions = &mount.TmpfsOptions{}
	}
	return m.TmpfsOptions
}

func setKey(values *map[string]string, pair string) {
	if *values == nil {
		*values = map[string]string{}
	}
	key, value, _ := strings.Cut(pair, "=")
	(*values)[key] = value
}
