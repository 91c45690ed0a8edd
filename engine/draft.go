package engine

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/health"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
)

// drafter turns a request into the record of a container.
type drafter struct {
	*core
	filter *filterCache
}

// newRecord merges what was asked for with what the image says.
func (d *drafter) newRecord(req container.CreateRequest, img image.Image) (*record.Container, []string, error) {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, nil, errs.Wrap(errs.System, err)
	}
	c, h := *req.Config, *req.HostConfig
	h.LogConfig.Config = maps.Clone(h.LogConfig.Config)
	mergeImage(&c, img.Config.Config)
	rec := &record.Container{
		ID:         hex.EncodeToString(raw[:]),
		Created:    time.Now().UTC(),
		Config:     &c,
		HostConfig: &h,
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
	var warnings []string
	var err error
	if rec.NetworkingConfig, err = d.networking(&h, req.NetworkingConfig); err != nil {
		return nil, nil, err
	}
	d.wholeID(&h)
	if rec.Links, warnings, err = d.links(&h); err != nil {
		return nil, nil, err
	}
	warnings = append(warnings, d.unpublished(rec)...)
	d.nameHost(&c, &h, rec.ID)
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = d.cfg.LogDriver
	}
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	for k, v := range d.cfg.LogOpts {
		_, set := h.LogConfig.Config[k]
		if !set && (h.LogConfig.Type == d.cfg.LogDriver || strings.HasPrefix(k, "cache-")) {
			h.LogConfig.Config[k] = v
		}
	}
	if h.ShmSize == 0 && !h.IpcMode.IsHost() {
		h.ShmSize = d.cfg.Defaults.ShmSize
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.Runtime == "" {
		h.Runtime = d.runtimes.preferred
	}
	rec.Origin = record.Trace(&req, rec)
	return rec, warnings, nil
}

// nameHost chooses a host name for a container whose user did not.
func (d *drafter) nameHost(c *container.Config, h *container.HostConfig, id string) {
	switch {
	case c.Hostname != "":
		return
	case h.UTSMode.IsHost() || h.NetworkMode.IsHost():
		c.Hostname = d.host.name()
		return
	case h.NetworkMode.IsContainer(): // a name belongs to an address
		if of, err := d.table.find(h.NetworkMode.ConnectedContainer()); err == nil {
			theirs := of.snapshot().Config
			c.Hostname, c.Domainname = theirs.Hostname, theirs.Domainname
			return
		}
	}
	c.Hostname = id[:12]
}

// mergeImage fills in what the user left to the image (moby
// daemon/commit.go: merge).
func mergeImage(c *container.Config, i dockerspec.DockerOCIImageConfig) {
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
	c.Healthcheck = health.Merge(c.Healthcheck, i.Healthcheck)
	if len(c.Shell) == 0 {
		c.Shell = i.Shell // health checks use it
	}
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
