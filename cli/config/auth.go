package config

import (
	"encoding/base64"
	"fmt"
	"strings"

	helper "github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/moby/moby/api/types/registry"
)

// DockerHub is the key of Docker Hub's credentials, an address of the past.
const DockerHub = "https://index.docker.io/v1/"

// auth is one entry of config.json's auths.
type auth struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// AuthFor returns the credentials for a registry, named by its domain as in an
// image reference ("docker.io", "localhost:5000"). No credentials are an empty
// AuthConfig; an error means that a helper or the file is at fault.
func (f *File) AuthFor(domain string) (registry.AuthConfig, error) {
	key := domain
	if domain == "docker.io" || domain == "index.docker.io" {
		key = DockerHub
	}
	name := f.CredentialsStore
	if own := f.CredentialHelpers[hostname(key)]; own != "" {
		name = own
	}
	if own := f.CredentialHelpers[key]; own != "" {
		name = own
	}
	if name != "" {
		return fromHelper(name, key)
	}
	entry, ok := f.Auths[key]
	if !ok {
		for stored, a := range f.Auths {
			if hostname(stored) == hostname(key) {
				entry, ok = a, true
			}
		}
	}
	if !ok {
		return registry.AuthConfig{}, nil
	}
	return entry.decode(key)
}

// All returns the credentials for every registry that the user has logged in to,
// by the keys of config.json, fetched from where they are kept.
func (f *File) All() (map[string]registry.AuthConfig, error) {
	keys := map[string]bool{}
	for key := range f.Auths {
		keys[key] = true
	}
	for key := range f.CredentialHelpers {
		keys[key] = true
	}
	if f.CredentialsStore != "" {
		stored, err := helper.List(helper.NewShellProgramFunc("docker-credential-" + f.CredentialsStore))
		if err != nil {
			return nil, fmt.Errorf("asking credential helper %s what it has: %w", f.CredentialsStore, err)
		}
		for key := range stored {
			keys[key] = true
		}
	}
	all := map[string]registry.AuthConfig{}
	for key := range keys {
		one, err := f.AuthFor(key)
		if err != nil {
			return nil, err
		}
		if one.Username != "" || one.IdentityToken != "" || one.RegistryToken != "" {
			all[key] = one
		}
	}
	return all, nil
}

func (a auth) decode(server string) (registry.AuthConfig, error) {
	c := registry.AuthConfig{
		Username: a.Username, Password: a.Password, ServerAddress: server,
		IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}
	if a.Auth == "" {
		return c, nil
	}
	raw, err := base64.StdEncoding.DecodeString(a.Auth)
	if err != nil {
		return registry.AuthConfig{}, fmt.Errorf("reading credentials for %s: %w", server, err)
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok || user == "" {
		return registry.AuthConfig{}, fmt.Errorf("reading credentials for %s: invalid auth configuration file", server)
	}
	c.Username, c.Password = user, strings.Trim(password, "\x00")
	return c, nil
}

// fromHelper asks docker-credential-<name>. The user name "<token>" says that
// the secret is an identity token.
func fromHelper(name, server string) (registry.AuthConfig, error) {
	got, err := helper.Get(helper.NewShellProgramFunc("docker-credential-"+name), server)
	switch {
	case credentials.IsErrCredentialsNotFound(err):
		return registry.AuthConfig{}, nil
	case err != nil:
		return registry.AuthConfig{}, fmt.Errorf("asking credential helper %s for %s: %w", name, server, err)
	}
	c := registry.AuthConfig{Username: got.Username, Password: got.Secret, ServerAddress: server}
	if got.Username == "<token>" {
		c.Username, c.Password, c.IdentityToken = "", "", got.Secret
	}
	return c, nil
}

// hostname strips the scheme and path that old entries have.
func hostname(server string) string {
	if _, rest, ok := strings.Cut(server, "://"); ok {
		server = rest
	}
	host, _, _ := strings.Cut(server, "/")
	return host
}
