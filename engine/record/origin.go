package record

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Origin says which settings of a container are not its user's own. They are
// named as inspect names the fields, with the key behind a dot in maps and
// variables: "Cmd", "Env.PATH", "ExposedPorts.80/tcp", "LogConfig.Type".
type Origin struct {
	Image  []string `json:",omitempty"` // the image gave them
	Engine []string `json:",omitempty"` // the engine chose them
}

// Trace compares what was asked for with what the container got.
func Trace(asked *container.CreateRequest, got *Container) *Origin {
	a, g := asked.Config, got.Config
	var o Origin
	image := func(name string, given bool) {
		if given {
			o.Image = append(o.Image, name)
		}
	}
	image("User", a.User != g.User)
	// Also where the image has none: what is nil then was not taken away.
	image("Entrypoint", a.Entrypoint == nil)
	image("Cmd", len(a.Cmd) == 0 && len(g.Cmd) > 0)
	image("WorkingDir", a.WorkingDir == "" && g.WorkingDir != "")
	image("StopSignal", a.StopSignal != g.StopSignal)
	mine := names(a.Env)
	for _, e := range g.Env {
		name, _, _ := strings.Cut(e, "=")
		image("Env."+name, !mine[name])
	}
	for _, k := range added(a.Labels, g.Labels) {
		image("Labels."+k, true)
	}
	for _, k := range added(a.Volumes, g.Volumes) {
		image("Volumes."+k, true)
	}
	for p := range g.ExposedPorts {
		_, own := a.ExposedPorts[p]
		image("ExposedPorts."+p.String(), !own)
	}
	for _, f := range healthFields(a.Healthcheck, g.Healthcheck) {
		image(f, true)
	}
	slices.Sort(o.Image)

	ah, gh := asked.HostConfig, got.HostConfig
	engine := func(name string, given bool) {
		if given {
			o.Engine = append(o.Engine, name)
		}
	}
	engine("Hostname", a.Hostname != g.Hostname)
	engine("Domainname", a.Domainname != g.Domainname)
	engine("LogConfig.Type", ah.LogConfig.Type != gh.LogConfig.Type)
	for _, k := range added(ah.LogConfig.Config, gh.LogConfig.Config) {
		engine("LogConfig.Config."+k, true)
	}
	engine("MemorySwap", ah.MemorySwap != gh.MemorySwap)
	engine("Runtime", ah.Runtime != gh.Runtime)
	engine("ShmSize", ah.ShmSize != gh.ShmSize)
	return &o
}

// Asked returns what its user asked for when a container with these settings
// was made: the other direction of Trace.
func (o *Origin) Asked(c *container.Config, h *container.HostConfig) (*container.Config, *container.HostConfig) {
	config, host := *c, *h
	config.Env = slices.Clone(c.Env)
	config.Labels, config.Volumes, config.ExposedPorts = maps.Clone(c.Labels), maps.Clone(c.Volumes), maps.Clone(c.ExposedPorts)
	host.LogConfig.Config = maps.Clone(h.LogConfig.Config)
	if c.Healthcheck != nil {
		health := *c.Healthcheck
		config.Healthcheck = &health
	}
	if c.Entrypoint == nil && !slices.Contains(o.Image, "Entrypoint") {
		config.Entrypoint = []string{""} // how the user took the image's away
	}
	for _, name := range o.Image {
		forgetImage(&config, name)
	}
	if config.Healthcheck != nil && reflect.ValueOf(*config.Healthcheck).IsZero() {
		config.Healthcheck = nil
	}
	for _, name := range o.Engine {
		field, key, _ := strings.Cut(name, ".")
		switch {
		case field == "Hostname":
			config.Hostname = ""
		case field == "Domainname":
			config.Domainname = ""
		case name == "LogConfig.Type":
			host.LogConfig.Type = ""
		case field == "LogConfig":
			delete(host.LogConfig.Config, strings.TrimPrefix(key, "Config."))
		case field == "MemorySwap":
			host.MemorySwap = 0
		case field == "Runtime":
			host.Runtime = ""
		case field == "ShmSize":
			host.ShmSize = 0
		}
	}
	return &config, &host
}

// forgetImage takes out of c what the image gave it.
func forgetImage(c *container.Config, name string) {
	field, key, _ := strings.Cut(name, ".")
	switch field {
	case "User":
		c.User = ""
	case "Entrypoint":
		c.Entrypoint = nil
	case "Cmd":
		c.Cmd = nil
	case "WorkingDir":
		c.WorkingDir = ""
	case "StopSignal":
		c.StopSignal = ""
	case "Env":
		c.Env = slices.DeleteFunc(c.Env, func(e string) bool { n, _, _ := strings.Cut(e, "="); return n == key })
	case "Labels":
		delete(c.Labels, key)
	case "Volumes":
		delete(c.Volumes, key)
	case "ExposedPorts":
		if p, err := network.ParsePort(key); err == nil {
			delete(c.ExposedPorts, p)
		}
	case "Healthcheck":
		if h := c.Healthcheck; h != nil {
			v := reflect.ValueOf(h).Elem().FieldByName(key)
			if v.IsValid() {
				v.SetZero()
			}
		}
	}
}

// Own notes that a setting is the user's from now on.
func (o *Origin) Own(name string) {
	is := func(n string) bool { return n == name }
	o.Image, o.Engine = slices.DeleteFunc(slices.Clone(o.Image), is), slices.DeleteFunc(slices.Clone(o.Engine), is)
}

func names(env []string) map[string]bool {
	set := make(map[string]bool, len(env))
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		set[name] = true
	}
	return set
}

// added lists the keys of got that asked has not, in order.
func added[V any](asked, got map[string]V) (keys []string) {
	for k := range got {
		if _, own := asked[k]; !own {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// healthFields names the fields of a health check that the image gave.
func healthFields(asked, got *container.HealthConfig) (fields []string) {
	if got == nil {
		return nil
	}
	if asked == nil {
		asked = &container.HealthConfig{}
	}
	a, g := reflect.ValueOf(*asked), reflect.ValueOf(*got)
	for i := range g.NumField() {
		if a.Field(i).IsZero() && !g.Field(i).IsZero() {
			fields = append(fields, "Healthcheck."+g.Type().Field(i).Name)
		}
	}
	return fields
}
