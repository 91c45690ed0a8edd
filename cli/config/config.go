// Package config owns the user's client configuration: Docker's config.json,
// contexts and registry credentials, read as the docker command writes them.
//
// It knows nothing of commands or of the engine's API beyond the type of a
// credential, and never writes. A File is read-only once loaded and may be used
// by several goroutines.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is what Davit uses of config.json; other keys are left to others.
type File struct {
	dir string

	Auths             map[string]auth   `json:"auths"`
	HTTPHeaders       map[string]string `json:"HttpHeaders"`
	PsFormat          string            `json:"psFormat"`
	StatsFormat       string            `json:"statsFormat"`
	PruneFilters      []string          `json:"pruneFilters"`
	ImagesFormat      string            `json:"imagesFormat"`
	VolumesFormat     string            `json:"volumesFormat"`
	NetworksFormat    string            `json:"networksFormat"`
	DetachKeys        string            `json:"detachKeys"`
	CredentialsStore  string            `json:"credsStore"`
	CredentialHelpers map[string]string `json:"credHelpers"`
	CurrentContext    string            `json:"currentContext"`
	Proxies           map[string]Proxy  `json:"proxies"`
}

// Proxy are the settings that containers get as environment variables, per
// engine host or for "default".
type Proxy struct {
	HTTPProxy  string `json:"httpProxy"`
	HTTPSProxy string `json:"httpsProxy"`
	NoProxy    string `json:"noProxy"`
	FTPProxy   string `json:"ftpProxy"`
	AllProxy   string `json:"allProxy"`
}

// Dir returns the configuration directory: DOCKER_CONFIG, or .docker in the
// home directory.
func Dir(getenv func(string) string) string {
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home := getenv("HOME")
	if home == "" {
		home, _ = os.UserHomeDir()
	}
	return filepath.Join(home, ".docker")
}

// Load reads config.json in dir. A missing file is an empty configuration.
func Load(dir string) (*File, error) {
	f := &File{dir: dir}
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("loading config file: %w", err)
	}
	if err := json.Unmarshal(data, f); err != nil {
		return &File{dir: dir}, fmt.Errorf("loading config file: %s: %w", path, err)
	}
	return f, nil
}

// ProxyEnv returns the proxy variables for containers on the engine at host,
// both in upper and in lower case, as name to value.
func (f *File) ProxyEnv(host string) map[string]string {
	p, ok := f.Proxies[host]
	if !ok {
		p = f.Proxies["default"]
	}
	env := map[string]string{}
	for _, v := range [...]struct{ upper, lower, value string }{
		{"HTTP_PROXY", "http_proxy", p.HTTPProxy},
		{"HTTPS_PROXY", "https_proxy", p.HTTPSProxy},
		{"NO_PROXY", "no_proxy", p.NoProxy},
		{"FTP_PROXY", "ftp_proxy", p.FTPProxy},
		{"ALL_PROXY", "all_proxy", p.AllProxy},
	} {
		if v.value != "" {
			env[v.upper], env[v.lower] = v.value, v.value
		}
	}
	return env
}
