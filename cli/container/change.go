package container

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/dialect"
)

// changeOptions are what davit's update changes and docker's does not.
type changeOptions struct {
	env, envFiles, envGone    flags.List
	labels, labelsGone        flags.List
	publish, publishGone      flags.List
	networks                  flags.Networks
	networksGone              flags.List
	volumes, tmpfs, mountGone flags.List
	mounts                    flags.Mounts
	hostname, stopSignal      string
	rate                      string
	stopTimeout               int
	health
}

// changeFlags are the options that make an update a change.
var changeFlags = []string{
	"env", "env-file", "env-rm", "label", "label-rm", "publish", "publish-rm", "network", "network-rm", "network-rate", "volume", "tmpfs", "mount", "mount-rm",
	"hostname", "stop-signal", "stop-timeout", "health-cmd", "health-interval", "health-timeout", "health-start-period", "health-start-interval",
	"health-retries", "health-on-failure", "no-healthcheck",
}

// annotationOnFailure says to the engine what to do with an unhealthy
// container, for which Docker's API has no field.
const annotationOnFailure = "com.davit.health-on-failure"

func (o *changeOptions) addTo(f *pflag.FlagSet) {
	o.env.Check, o.labels.Check = flags.Env(os.LookupEnv), flags.Label
	f.VarP(&o.env, "env", "e", "Set environment variables")
	f.Var(&o.envFiles, "env-file", "Read in a file of environment variables")
	f.Var(&o.envGone, "env-rm", "Take an environment variable away")
	f.VarP(&o.labels, "label", "l", "Set meta data on a container")
	f.Var(&o.labelsGone, "label-rm", "Take a label away")
	f.VarP(&o.publish, "publish", "p", "Publish a container's port(s) to the host")
	f.Var(&o.publishGone, "publish-rm", "Publish a container's port no more (80, 53/udp)")
	f.Var(&o.networks, "network", "Connect a container to a network")
	f.Var(&o.networksGone, "network-rm", "Disconnect a container from a network")
	f.StringVar(&o.rate, "network-rate", "", "Bandwidth on each network, at once (up=10mbit,down=50mbit; none: no limit)")
	f.VarP(&o.volumes, "volume", "v", "Bind mount a volume, in place of what is mounted there")
	f.Var(&o.tmpfs, "tmpfs", "Mount a tmpfs directory")
	f.Var(&o.mounts, "mount", "Attach a filesystem mount to the container")
	f.Var(&o.mountGone, "mount-rm", "Take away what is mounted at a path in the container")
	f.StringVar(&o.hostname, "hostname", "", "Container host name")
	f.StringVar(&o.stopSignal, "stop-signal", "", "Signal to stop the container")
	f.IntVar(&o.stopTimeout, "stop-timeout", 0, "Timeout (in seconds) to stop a container")
	o.health.addTo(f)
}

// fill adds what the options say to a change.
func (o *changeOptions) fill(f *pflag.FlagSet, wish *dialect.Change) (err error) {
	env, err := flags.ReadFiles(o.envFiles.Values, o.env.Values, os.LookupEnv)
	if err != nil {
		return err
	}
	for _, e := range env {
		if !strings.Contains(e, "=") {
			return fmt.Errorf("variable %s has no value here: give it one, or take it away with --env-rm", e)
		}
	}
	if wish.Env, err = named("env", flags.Pairs(env), o.envGone.Values); err != nil {
		return err
	}
	if wish.Labels, err = named("label", flags.Pairs(o.labels.Values), o.labelsGone.Values); err != nil {
		return err
	}
	if f.Changed("hostname") {
		wish.Hostname = &o.hostname
	}
	if f.Changed("stop-signal") {
		wish.StopSignal = &o.stopSignal
	}
	if f.Changed("stop-timeout") {
		wish.StopTimeout = &o.stopTimeout
	}
	if wish.Healthcheck, err = o.health.config(); err != nil {
		return err
	}
	if f.Changed("health-on-failure") {
		wish.Annotations = map[string]*string{annotationOnFailure: &o.onFailure}
	}
	if f.Changed("network-rate") {
		wish.NetworkRate = &o.rate
	}
	if err := o.fillPorts(wish); err != nil {
		return err
	}
	if err := o.fillNetworks(wish); err != nil {
		return err
	}
	return o.fillMounts(wish)
}

// named joins what gets a value and what goes.
func named(what string, set map[string]string, gone []string) (map[string]*string, error) {
	all := make(map[string]*string, len(set)+len(gone))
	for k, v := range set {
		all[k] = &v
	}
	for _, k := range gone {
		if _, both := all[k]; both {
			return nil, fmt.Errorf("conflicting options: --%s and --%s-rm of %s", what, what, k)
		}
		all[k] = nil
	}
	return all, nil
}

func (o *changeOptions) fillPorts(wish *dialect.Change) error {
	var config container.Config
	var host container.HostConfig
	if err := (&networking{publish: o.publish}).addPorts(&config, &host); err != nil {
		return err
	}
	wish.PortBindings = host.PortBindings
	for _, text := range o.publishGone.Values {
		port, err := network.ParsePort(text)
		if err != nil {
			return fmt.Errorf("invalid port %q for --publish-rm: name the container's port, such as 80 or 53/udp", text)
		}
		if wish.PortBindings[port] != nil {
			return fmt.Errorf("conflicting options: --publish and --publish-rm of %s", port)
		}
		wish.PortBindings[port] = nil
	}
	return nil
}

func (o *changeOptions) fillNetworks(wish *dialect.Change) error {
	wish.Networks = map[string]*network.EndpointSettings{}
	for _, a := range o.networks.Values {
		wish.Networks[a.Target] = endpoint(a)
	}
	for _, name := range o.networksGone.Values {
		if wish.Networks[name] != nil {
			return fmt.Errorf("conflicting options: --network and --network-rm of %s", name)
		}
		wish.Networks[name] = nil
	}
	return nil
}

func (o *changeOptions) fillMounts(wish *dialect.Change) error {
	all := slices.Clone(o.mounts.Values)
	for _, v := range o.volumes.Values {
		m, err := volumeMount(v)
		if err != nil {
			return err
		}
		all = append(all, m)
	}
	for _, t := range o.tmpfs.Values {
		target, options, _ := strings.Cut(t, ":")
		m := mount.Mount{Type: mount.TypeTmpfs, Target: target}
		if options != "" {
			return fmt.Errorf("--tmpfs %s: options are for --mount type=tmpfs here, such as tmpfs-size", t)
		}
		all = append(all, m)
	}
	wish.Mounts = map[string]*mount.Mount{}
	for _, m := range all {
		target := path.Clean(m.Target)
		if wish.Mounts[target] != nil {
			return fmt.Errorf("conflicting options: two mounts at %s", target)
		}
		wish.Mounts[target] = &m
	}
	for _, target := range o.mountGone.Values {
		target = path.Clean(target)
		if wish.Mounts[target] != nil {
			return fmt.Errorf("conflicting options: a mount at %s and --mount-rm of it", target)
		}
		wish.Mounts[target] = nil
	}
	return nil
}

// volumeMount reads a value of -v as a mount.
func volumeMount(spec string) (mount.Mount, error) {
	parts := strings.Split(spec, ":")
	if slices.Contains(parts, "") || len(parts) > 3 {
		return mount.Mount{}, fmt.Errorf("invalid spec: %s: want [SOURCE:]TARGET[:OPTIONS]", spec)
	}
	if len(parts) == 1 {
		return mount.Mount{Type: mount.TypeVolume, Target: spec}, nil
	}
	m := mount.Mount{Type: mount.TypeVolume, Source: parts[0], Target: parts[1]}
	if strings.HasPrefix(m.Source, ".") {
		var err error
		if m.Source, err = filepath.Abs(m.Source); err != nil {
			return m, err
		}
	}
	if filepath.IsAbs(m.Source) {
		m.Type, m.BindOptions = mount.TypeBind, &mount.BindOptions{CreateMountpoint: true}
	}
	if len(parts) < 3 {
		return m, nil
	}
	for option := range strings.SplitSeq(parts[2], ",") {
		switch {
		case option == "ro":
			m.ReadOnly = true
		case option == "rw":
		case option == "nocopy" && m.Type == mount.TypeVolume:
			m.VolumeOptions = &mount.VolumeOptions{NoCopy: true}
		case m.BindOptions != nil && slices.Contains(mount.Propagations, mount.Propagation(option)):
			m.BindOptions.Propagation = mount.Propagation(option)
		default:
			return m, fmt.Errorf("invalid spec: %s: option %s is not known here; --mount has more", spec, option)
		}
	}
	return m, nil
}

// planText says for people what becomes of a container.
func planText(name string, plan dialect.Plan) string {
	if len(plan.Settings) == 0 {
		return name + ": all is so already\n"
	}
	var b strings.Builder
	orNone := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	for _, s := range plan.Settings {
		when := map[dialect.When]string{
			dialect.WhenLive: "at once", dialect.WhenRestart: "by a restart", dialect.WhenStart: "from the next start",
		}[s.When]
		fmt.Fprintf(&b, "%s: %s: %s -> %s (%s)\n", name, s.Name, orNone(s.From), orNone(s.To), when)
	}
	if plan.Restarts {
		fmt.Fprintf(&b, "%s: its process is ended and started again; its files, ID, name and log stay\n", name)
	}
	return b.String()
}
