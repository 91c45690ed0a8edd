package engine

import (
	"context"
	"io"
	"maps"
	"strings"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
)

// CommitOptions describe the image to be made of a container.
type CommitOptions struct {
	Ref             reference.NamedTagged // nil: no name
	Author, Comment string
	Changes         []string          // Dockerfile instructions
	Config          *container.Config // in place of the container's own, which fills in what it leaves open; nil: the container's own
	Pause           bool              // hold the container still while its files are read
}

// Commit makes an image of a container's configuration and files, without what
// is mounted in it, and returns its ID.
func (f *Files) Commit(ctx context.Context, ref string, o CommitOptions) (digest.Digest, error) {
	c, err := f.table.find(ref)
	if err != nil {
		return "", err
	}
	rec := c.snapshot()
	if err := notGoing(&rec, "commit"); err != nil {
		return "", err
	}
	if rec.Image.Manifest == nil {
		return "", errs.New(errs.System, "container %s does not say which image it is made of", rec.ID)
	}
	own := imageConfig(rec.Config)
	config := own
	if o.Config != nil {
		config = imageConfig(o.Config)
	}
	if err := image.ApplyChanges(&config, o.Changes); err != nil {
		return "", err
	}
	if o.Config != nil {
		config = inherit(config, own)
	}
	options := image.CommitOptions{
		Author: o.Author, Comment: o.Comment, CreatedBy: strings.Join(rec.Config.Cmd, " "), Config: config,
		Layer: func(ctx context.Context) (io.ReadCloser, error) { return f.layer(ctx, c, &rec, o.Pause) },
	}
	name := ""
	if o.Ref != nil {
		options.Ref, name = o.Ref, reference.FamiliarString(o.Ref)
	}
	id, err := image.Committer{Store: f.cfg.Images}.Commit(ctx, ocispec.Descriptor{Digest: digest.Digest(rec.Image.ID)}, *rec.Image.Manifest, options)
	if err != nil {
		return "", err
	}
	f.publish(&rec, events.ActionCommit, map[string]string{"comment": o.Comment, "imageID": id.String(), "imageRef": name})
	return id, nil
}

// layer opens the archive of what the container changed. With still it is
// paused until the archive has been read.
func (f *Files) layer(ctx context.Context, c *ctr, rec *record.Container, still bool) (io.ReadCloser, error) {
	resume := func() {}
	if still && c.current() != nil {
		if err := c.own(ctx); err != nil {
			return nil, err
		}
		// One that ends, or is paused already, stands still without us.
		if s := c.snapshot().State; s.Running() && s.Status != container.StatePaused {
			if err := f.still(context.WithoutCancel(ctx), c); err != nil {
				c.disown()
				return nil, err
			}
			resume = func() { f.resume(c) }
		}
		c.disown()
	}
	return stream(ctx, 0, f.layers(rec).Diff, resume), nil
}

// still pauses a container for a moment, for its owner. That it is no more than
// that is on record first, for an engine that comes after this one.
func (f *Files) still(ctx context.Context, c *ctr) error {
	rec := c.snapshot()
	rec.State.Thaw = true
	c.replace(&rec)
	if err := f.keeper.persist(c, false); err != nil {
		return err
	}
	return f.keeper.pause(ctx, c)
}

// resume takes back the pause of a commit. The container may have ended, or
// somebody else may have done it.
func (f *Files) resume(c *ctr) {
	ctx := context.Background()
	if c.own(ctx) != nil {
		return
	}
	defer c.disown()
	if c.current() == nil || c.snapshot().State.Status != container.StatePaused {
		return
	}
	if err := f.keeper.unpause(ctx, c); err != nil {
		f.log.Error("resuming a container after a commit", "container", c.id, "error", err)
	}
}

// imageConfig is the part of a container's configuration that an image has.
func imageConfig(c *container.Config) dockerspec.DockerOCIImageConfig {
	var ports map[string]struct{}
	if len(c.ExposedPorts) > 0 {
		ports = make(map[string]struct{}, len(c.ExposedPorts))
		for p := range c.ExposedPorts {
			ports[p.String()] = struct{}{}
		}
	}
	out := dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{
			User: c.User, ExposedPorts: ports, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: maps.Clone(c.Volumes),
			WorkingDir: c.WorkingDir, Labels: maps.Clone(c.Labels), StopSignal: c.StopSignal,
		},
	}
	out.OnBuild, out.Shell = c.OnBuild, c.Shell
	if h := c.Healthcheck; h != nil {
		out.Healthcheck = &dockerspec.HealthcheckConfig{
			Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
		}
	}
	return out
}

// inherit fills in what config leaves open from own, by the rules of a
// container that is made of an image.
func inherit(config, own dockerspec.DockerOCIImageConfig) dockerspec.DockerOCIImageConfig {
	c := &container.Config{
		User: config.User, Env: config.Env, Entrypoint: config.Entrypoint, Cmd: config.Cmd, Volumes: config.Volumes,
		WorkingDir: config.WorkingDir, Labels: config.Labels, StopSignal: config.StopSignal, ExposedPorts: network.PortSet{},
	}
	for p := range config.ExposedPorts {
		if port, err := network.ParsePort(p); err == nil {
			c.ExposedPorts[port] = struct{}{}
		}
	}
	mergeImage(c, own)
	out := imageConfig(c)
	out.OnBuild, out.Shell, out.Healthcheck = config.OnBuild, config.Shell, config.Healthcheck
	if out.Healthcheck == nil {
		out.Healthcheck = own.Healthcheck
	}
	return out
}
