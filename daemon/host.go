package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/api/compat"
	"golang.org/x/sys/unix"
)

// cgroupUnified reports whether the host has cgroup v2 alone.
func cgroupUnified() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// monotonic returns the clock as systemd wants it beside RELOADING=1.
func monotonic() string {
	var t unix.Timespec
	// The clock is always there.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return fmt.Sprintf("MONOTONIC_USEC=%d", t.Nano()/1000)
}

// requireRoot returns an error that says what to do.
func requireRoot(name string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return fmt.Errorf("%s needs to be started as root: use sudo %s, or systemctl start davit", name, name)
}

func makeExecRoot(path string) error {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return fmt.Errorf("making the exec root %s: %w: choose another --exec-root", path, err)
	}
	return nil
}

// setProxy hands the proxies to everything in this process that speaks HTTP.
func setProxy(p Proxy) {
	for name, v := range map[string]string{"HTTP_PROXY": p.HTTP, "HTTPS_PROXY": p.HTTPS, "NO_PROXY": p.No} {
		if v != "" {
			os.Setenv(name, v)
			os.Setenv(strings.ToLower(name), v)
		}
	}
}

// findProgram returns the path of one of Davit's own programs: the one that
// option names, else the one beside davitd, in PATH, or in a libexec folder.
func findProgram(name, option, given string) (string, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("%s: %w", option, err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return path, nil
		}
	}
	for _, place := range []string{name, "/usr/local/libexec/davit/" + name, "/usr/libexec/davit/" + name} {
		if path, err := exec.LookPath(place); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%s was not found beside davitd nor in PATH: install it, or name it with --%s", name, option)
}

// seccompProfile returns what the engine takes: "" for the built-in profile,
// "unconfined", or the JSON of a file.
func seccompProfile(given string) (string, error) {
	switch given {
	case "", "builtin", "default":
		return "", nil
	case "unconfined":
		return given, nil
	}
	raw, err := os.ReadFile(given)
	if err != nil {
		return "", fmt.Errorf("seccomp-profile: %w", err)
	}
	return string(raw), nil
}

func minVersion(c *Config) compat.Version {
	// Load has checked it; empty gives zero, which is the oldest.
	v, _ := compat.Parse(c.API.MinVersion)
	return v
}

// builder is what clients are told to build with: the old builder, as there is
// no BuildKit, unless the features say otherwise.
func builder(c *Config) string {
	if c.API.Features["buildkit"] {
		return "2"
	}
	return "1"
}
