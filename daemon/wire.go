package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/davit-engine/davit/api"
	"github.com/davit-engine/davit/api/compat"
	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/engine/idrange"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/event"
	"github.com/davit-engine/davit/image"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/network/firewall"
	"github.com/davit-engine/davit/version"
	"github.com/davit-engine/davit/volume"
	"github.com/moby/moby/api/types/container"
)

// New makes an engine that listens; Run serves.
func New(ctx context.Context, c *Config, log *slog.Logger) (*Daemon, error) {
	level := new(slog.LevelVar)
	level.Set(c.Log.level())
	return newDaemon(ctx, c, log, level, wire)
}

// wire opens the parts, each on top of those before it.
func wire(ctx context.Context, c *Config, log *slog.Logger) (_ parts, err error) {
	var undo []func(context.Context)
	closeAll := func(ctx context.Context) {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i](ctx)
		}
	}
	defer func() {
		if err != nil {
			closeAll(ctx)
		}
	}()
	closing := func(name string, f func(context.Context) error) {
		undo = append(undo, func(ctx context.Context) {
			if err := f(ctx); err != nil {
				log.Warn("closing "+name, "error", err)
			}
		})
	}
	conf, err := engineConfig(c, log)
	if err != nil {
		return parts{}, err
	}
	conf.Images, err = image.Open(ctx, image.Config{
		Root: filepath.Join(c.Paths.DataRoot, "images"), Mirrors: c.Images.Mirrors, InsecureRegistries: c.Images.Insecure,
		MaxDownloads: c.Images.Downloads, MaxUploads: c.Images.Uploads, DownloadAttempts: c.Images.PullAttempts,
		CertsDirs: []string{"/etc/davit/certs.d", "/etc/docker/certs.d"}, Log: log.With("part", "image"),
	})
	if err != nil {
		return parts{}, rootError(c.Paths.DataRoot, err)
	}
	closing("images", func(context.Context) error { return conf.Images.Close() })
	conf.Volumes, err = volume.Open(filepath.Join(c.Paths.DataRoot, "volumes"), log.With("part", "volume"))
	if err != nil {
		return parts{}, rootError(c.Paths.DataRoot, err)
	}
	closing("volumes", func(context.Context) error { conf.Volumes.Close(); return nil })
	conf.Network, err = network.Open(ctx, networkConfig(c, log))
	if err != nil {
		return parts{}, err
	}
	closing("network", func(context.Context) error { return conf.Network.Close(false) })
	conf.Events = event.Open(filepath.Join(c.Paths.DataRoot, "events.jsonl"), log.With("part", "event"))
	closing("the history of events", func(context.Context) error { return conf.Events.Close() })
	e, err := engine.Open(ctx, conf)
	if err != nil {
		return parts{}, rootError(c.Paths.DataRoot, err)
	}
	closing("engine", e.Close)
	return parts{
		offered: api.Parts{
			Lifecycle: e, Freezer: e, Streams: e, Catalog: e, System: e,
			Transfer: e.Images(), Images: e.Images(),
			Volumes:  e.Volumes(),
			Changes:  e.Changes(),
			Networks: e.Networks(), Usage: e.Usage(), Space: e.Space(), Archives: e.Images(),
			Execs: e.Execs(), Checkpoints: e.Checkpoints(),
			Explainer: engine.NewExplainer(e),
			Files:     e.Files(), Committer: e.Files(),
			Registry: login{insecure: c.Images.Insecure, agent: "davit/" + conf.About.Version},
		},
		publish: conf.Events.Publish,
		begin:   e.Begin,
		close:   closeAll,
	}, nil
}

func networkConfig(c *Config, log *slog.Logger) network.Config {
	n := c.Network
	conf := network.Config{
		Bridge: n.Bridge, BIP: n.BIP, FixedCIDR: n.FixedCIDR, MTU: n.MTU, Forward: n.Forward, ForwardNoDrop: n.NoDrop,
		Masquerade: n.Masquerade && n.Filter, NoInterconnect: !n.ICC, PoolSize: n.Pool,
		IPv6: n.IPv6, BIP6: n.BIP6, FixedCIDR6: n.FixedCIDR6, Gateway4: n.Gateway, Gateway6: n.Gateway6,
		PublishOn: n.Publish, BridgePublishOn: n.BridgePublish, NoProxy: !n.Proxy, Options: n.Options,
		Pools:    n.Ranges,
		Firewall: firewall.Config{Respect: n.Firewall == "respect", DirectRouting: n.Direct, Accept: n.Mark},
		StateDir: filepath.Join(c.Paths.DataRoot, "network"), Log: log.With("part", "network"),
	}
	if n.Bridge != "" && n.Bridge != "none" && n.Bridge != "davit0" {
		conf.Table = n.Bridge // two engines on one host must not share a table
	}
	return conf
}

func engineConfig(c *Config, log *slog.Logger) (engine.Config, error) {
	shim, err := findProgram("davit-shim", "shim-path", c.Paths.Shim)
	if err != nil {
		return engine.Config{}, err
	}
	initPath, err := findProgram("davit-init", "init-path", c.Containers.InitPath)
	if err != nil {
		return engine.Config{}, err
	}
	profile, err := seccompProfile(c.Containers.Seccomp)
	if err != nil {
		return engine.Config{}, err
	}
	name, err := os.Hostname()
	if err != nil {
		return engine.Config{}, errors.Join(errors.New("asking the kernel for the host's name"), err)
	}
	d := c.Containers
	conf := engine.Config{
		DataRoot: c.Paths.DataRoot, ExecRoot: c.Paths.ExecRoot, ShimPath: shim, WarmShims: d.WarmShims,
		Log: log.With("part", "engine"),
		Defaults: spec.Defaults{
			CgroupParent: d.CgroupParent, ShmSize: d.ShmSize, Init: d.Init, InitPath: initPath,
			NoNewPrivileges: d.NoNewPrivileges, CgroupNS: container.CgroupnsMode(d.CgroupNS), IPC: container.IpcMode(d.IPC),
		},
		LogDriver: d.LogDriver, LogOpts: d.LogOpts,
		CDIDirs:       cdiDirs(c),
		LinkVariables: truth(os.Getenv("DOCKER_KEEP_DEPRECATED_LEGACY_LINKS_ENV_VARS")),
		DNS:           d.DNS.Servers, DNSSearch: d.DNS.Search, DNSOptions: d.DNS.Options, HostGateways: d.HostGateways, SeccompProfile: profile, Given: c.Given,
		About: engine.About{
			Version: c.Version, Commit: version.Commit, BuildTime: version.Time,
			APIVersion: compat.Max.String(), MinAPIVersion: minAPI(c), Name: name, Labels: c.Labels, Debug: c.Log.Debug,
			Mirrors: c.Images.Mirrors, Insecure: c.Images.Insecure,
			AddressPools: c.Network.apiPools(),
			HTTPProxy:    redacted(c.Proxy.HTTP), HTTPSProxy: redacted(c.Proxy.HTTPS), NoProxy: c.Proxy.No,
		},
	}
	conf.UserNS.Auto = d.UserNS == "auto"
	if d.UserNSRemap != "" {
		if conf.UserNS.Remap, err = remap(d.UserNSRemap); err != nil {
			return engine.Config{}, err
		}
	}
	if conf.Defaults.CgroupNS == "" {
		conf.Defaults.CgroupNS = container.CgroupnsModeHost
		if cgroupUnified() {
			conf.Defaults.CgroupNS = container.CgroupnsModePrivate
		}
	}
	if conf.Runtimes, err = c.runtimes(); err != nil {
		return engine.Config{}, err
	}
	conf.DefaultRuntime = d.Runtime
	for _, u := range d.Ulimits {
		conf.Defaults.Ulimits = append(conf.Defaults.Ulimits, u)
	}
	return conf, nil
}

func truth(text string) bool {
	on, err := strconv.ParseBool(text)
	return err == nil && on
}

// cdiDirs are the directories of descriptions of devices, none where the feature
// is off.
func cdiDirs(c *Config) []string {
	if on, set := c.API.Features["cdi"]; set && !on {
		return nil
	}
	if c.Given("cdi-spec-dirs") {
		return c.Containers.CDIDirs
	}
	return []string{"/etc/cdi", "/var/run/cdi"}
}

// remap looks up the ids that userns-remap names.
func remap(setting string) (*engine.Remap, error) {
	user, group, err := idrange.ParseUser(setting)
	if err != nil {
		return nil, err
	}
	uids, gids, err := idrange.MapsOf("", user, group)
	if err != nil {
		return nil, errs.New(errs.InvalidParameter, "userns-remap %s: %w", setting, err)
	}
	return &engine.Remap{UIDs: uids, GIDs: gids}, nil
}

func minAPI(c *Config) string {
	if c.API.MinVersion == "" {
		return compat.Min.String()
	}
	return c.API.MinVersion
}
