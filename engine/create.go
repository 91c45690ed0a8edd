package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
)

// Create makes a container of an image, without starting it. Errors: NotFound
// for the image, Conflict for a name in use, InvalidParameter and
// NotImplemented for the configuration.
func (e *Engine) Create(ctx context.Context, o CreateOptions) (container.CreateResponse, error) {
	req := o.Request
	if req.Config == nil {
		return container.CreateResponse{}, errs.New(errs.InvalidParameter, "config cannot be empty in order to create a container")
	}
	if req.HostConfig == nil {
		req.HostConfig = &container.HostConfig{}
	}
	warnings, err := e.validate(req)
	if err != nil {
		return container.CreateResponse{}, err
	}
	img, err := e.cfg.Images.Get(ctx, req.Config.Image, o.Platform)
	if err != nil {
		return container.CreateResponse{}, err
	}
	rec, more, err := e.newRecord(req, img)
	if err != nil {
		return container.CreateResponse{}, err
	}
	if rec.Name, err = e.reserveName(o.Name, rec.ID); err != nil {
		return container.CreateResponse{}, err
	}
	release := func() { e.releaseName(rec.Name, rec.ID) }
	if err := e.cfg.Images.Pin(ctx, rec.ID, img); err != nil {
		release()
		return container.CreateResponse{}, err
	}
	if err := e.store.Create(rec, !rec.HostConfig.AutoRemove); err != nil {
		_ = e.cfg.Images.Unpin(context.WithoutCancel(ctx), rec.ID, img.Manifest.Digest)
		release()
		return container.CreateResponse{}, err
	}
	e.mu.Lock()
	e.byID[rec.ID] = newCtr(rec)
	e.mu.Unlock()
	e.publish(rec, events.ActionCreate, nil)
	return container.CreateResponse{ID: rec.ID, Warnings: append(warnings, more...)}, nil
}

// newRecord merges what was asked for with what the image says.
func (e *Engine) newRecord(req container.CreateRequest, img image.Image) (*record.Container, []string, error) {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, nil, errs.Wrap(errs.System, err)
	}
	c, h := *req.Config, *req.HostConfig
	warnings := mergeImage(&c, img.Config.Config)
	rec := &record.Container{
		ID:               hex.EncodeToString(raw[:]),
		Created:          time.Now().UTC(),
		Config:           &c,
		HostConfig:       &h,
		NetworkingConfig: req.NetworkingConfig,
		Image: record.Image{
			ID: string(img.ID), Name: c.Image, Manifest: &img.Manifest, Platform: img.Platform, Lower: img.Lower,
		},
	}
	rec.State.Status = container.StateCreated
	command := slices.Concat(c.Entrypoint, c.Cmd)
	if len(command) == 0 || command[0] == "" {
		return nil, nil, errs.New(errs.InvalidParameter, "no command specified")
	}
	rec.Path, rec.Args = command[0], command[1:]
	if c.Hostname == "" {
		switch {
		case h.UTSMode.IsHost() || h.NetworkMode.IsHost():
			c.Hostname = e.host.name()
		default:
			c.Hostname = rec.ID[:12]
		}
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = e.cfg.LogDriver
	}
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	if h.LogConfig.Type == e.cfg.LogDriver {
		for k, v := range e.cfg.LogOpts {
			if _, set := h.LogConfig.Config[k]; !set {
				h.LogConfig.Config[k] = v
			}
		}
	}
	if h.ShmSize == 0 && !h.IpcMode.IsHost() {
		h.ShmSize = e.cfg.Defaults.ShmSize
	}
	if h.Runtime == "" {
		h.Runtime = runtimeName
	}
	return rec, warnings, nil
}

// runtimeName is what inspect shows as the container's runtime.
const runtimeName = "davit"

// mergeImage fills in what the user left to the image (moby
// daemon/commit.go: merge).
func mergeImage(c *container.Config, i dockerspec.DockerOCIImageConfig) (warnings []string) {
	if c.User == "" {
		c.User = i.User
	}
	c.Env = mergeEnv(c.Env, i.Env)
	c.Labels = mergeMaps(c.Labels, i.Labels)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = i.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = i.Entrypoint
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		// How a user takes the image's entrypoint away.
		c.Entrypoint = nil
	}
	if c.WorkingDir == "" {
		c.WorkingDir = i.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = i.StopSignal
	}
	if len(i.Volumes) > 0 {
		c.Volumes = mergeMaps(c.Volumes, i.Volumes)
	}
	if len(i.ExposedPorts) > 0 {
		c.ExposedPorts = mergePorts(c.ExposedPorts, i.ExposedPorts)
	}
	if c.Healthcheck == nil && i.Healthcheck != nil && len(i.Healthcheck.Test) > 0 && i.Healthcheck.Test[0] != "NONE" {
		warnings = append(warnings, "the image's health check is not run: health checks are not supported yet")
	}
	return warnings
}

// mergeEnv appends those of the image's variables that the user did not set
// or unset.
func mergeEnv(user, img []string) []string {
	set := make(map[string]bool, len(user))
	for _, e := range user {
		name, _, _ := strings.Cut(e, "=")
		set[name] = true
	}
	out := slices.Clone(user)
	for _, e := range img {
		if name, _, _ := strings.Cut(e, "="); !set[name] {
			out = append(out, e)
		}
	}
	return out
}

// mergePorts adds the image's ports; one that cannot be read says nothing.
func mergePorts(user network.PortSet, img map[string]struct{}) network.PortSet {
	out := maps.Clone(user)
	if out == nil {
		out = network.PortSet{}
	}
	for text := range img {
		if p, err := network.ParsePort(text); err == nil {
			out[p] = struct{}{}
		}
	}
	return out
}

func mergeMaps[V any](user, img map[string]V) map[string]V {
	if len(img) == 0 {
		return user
	}
	out := maps.Clone(img)
	maps.Copy(out, user)
	return out
}

// reserveName takes name, or chooses a free one, for container id.
func (e *Engine) reserveName(name, id string) (string, error) {
	if name != "" {
		if err := validName(name); err != nil {
			return "", err
		}
		name = strings.TrimPrefix(name, "/")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if name == "" {
		name = randomName(func(n string) bool { _, taken := e.names[n]; return taken })
	}
	if holder, taken := e.names[name]; taken {
		return "", errs.New(errs.Conflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder)
	}
	e.names[name] = id
	return name, nil
}

func (e *Engine) releaseName(name, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.names[name] == id {
		delete(e.names, name)
	}
}
