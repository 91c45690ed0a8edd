package container

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
)

// credentialsDir is where a container with --use-api-socket finds the user's
// credentials; docker's client has them there too.
const credentialsDir = "/run/secrets/docker"

// userCredentials are those that a container is given, by registry.
type userCredentials map[string]registry.AuthConfig

// addAPISocket gives the container the engine's socket and, unless it has a
// configuration of its own, what the user is logged in to.
func (c *creation) addAPISocket(e *env.Env) error {
	c.volumes.Values = append(c.volumes.Values, apiSocket(e)+":/var/run/docker.sock")
	if slices.ContainsFunc(c.env.Values, func(v string) bool { return strings.HasPrefix(v, "DOCKER_CONFIG=") }) {
		return nil
	}
	all, err := e.Config().All()
	if err != nil {
		return fmt.Errorf("--use-api-socket: %w", err)
	}
	if len(all) > 0 {
		c.credentials = all
		c.env.Values = append(c.env.Values, "DOCKER_CONFIG="+credentialsDir)
	}
	return nil
}

func apiSocket(e *env.Env) string {
	if _, err := e.Client(); err == nil {
		if path, ok := strings.CutPrefix(e.Host(), "unix://"); ok {
			return path
		}
	}
	return env.DockerSocket
}

// give copies the credentials into a container that was not started yet.
func (u userCredentials) give(ctx context.Context, api *client.Client, id string) error {
	if len(u) == 0 {
		return nil
	}
	config, err := json.Marshal(map[string]any{"auths": u})
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: path.Join(credentialsDir, "config.json")[1:], Mode: 0o600, Size: int64(len(config)), ModTime: time.Now()}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if _, err := w.Write(config); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := api.Containers.CopyTo(ctx, id, "/", &archive, false); err != nil {
		return fmt.Errorf("--use-api-socket: copying credentials into the container: %w", err)
	}
	return nil
}
