package change

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

// Outcome is what a container's settings become.
type Outcome struct {
	Config     *container.Config // Hostname "": the engine is to choose one
	HostConfig *container.HostConfig
	Networking *network.NetworkingConfig
	Origin     *record.Origin
	Unmounted  []string      // targets of mounts that are not what they were
	Mounted    []mount.Mount // those that are new
	Plan       dialect.Plan
}

// Make decides what a wish makes of a container. Of imageEnv, the variables of
// its image, one that is taken away is noted as unset, so that it does not come
// back with another image. rec is not changed.
func Make(rec *record.Container, imageEnv []string, wish *dialect.Change) (*Outcome, error) {
	p := planner{rec: rec, out: newOutcome(rec), running: rec.State.Running()}
	for _, step := range []func(*dialect.Change) error{
		p.limits, p.restart, func(w *dialect.Change) error { return p.env(w, imageEnv) }, p.labels, p.annotations, p.hostname, p.stop, p.health, p.ports, p.networks, p.rate, p.mounts,
	} {
		if err := step(wish); err != nil {
			return nil, err
		}
	}
	for _, s := range p.out.Plan.Settings {
		if s.When != dialect.WhenRestart {
			continue
		}
		p.out.Plan.Restarts = true
		if rec.HostConfig.AutoRemove {
			return nil, errs.New(errs.Conflict, "%s cannot change while the container runs, which is removed when it ends (--rm): make a new one with run --replace", s.Name)
		}
	}
	return p.out, nil
}

// Deep reports whether a wish is about more than what stands for itself:
// whether the outcome has to be checked as a whole.
func Deep(wish *dialect.Change) bool {
	rest := *wish
	rest.Resources, rest.RestartPolicy, rest.Labels = nil, nil, nil
	return !reflect.ValueOf(rest).IsZero()
}

// newOutcome copies what a plan may change.
func newOutcome(rec *record.Container) *Outcome {
	c, h := *rec.Config, *rec.HostConfig
	c.Env, c.Labels, c.ExposedPorts, c.Volumes = slices.Clone(c.Env), maps.Clone(c.Labels), maps.Clone(c.ExposedPorts), maps.Clone(c.Volumes)
	h.Binds, h.Mounts, h.Tmpfs, h.PortBindings = slices.Clone(h.Binds), slices.Clone(h.Mounts), maps.Clone(h.Tmpfs), maps.Clone(h.PortBindings)
	h.Annotations = maps.Clone(h.Annotations)
	out := &Outcome{Config: &c, HostConfig: &h, Networking: rec.NetworkingConfig, Plan: dialect.Plan{Settings: []dialect.Setting{}, Warnings: []string{}}}
	if rec.Origin != nil {
		o := *rec.Origin
		out.Origin = &o
	}
	return out
}

type planner struct {
	rec     *record.Container
	out     *Outcome
	running bool
}

// note adds a setting to the plan if it becomes another; live says that a
// process that runs learns of it.
func (p *planner) note(name, from, to string, live bool) {
	if from == to {
		return
	}
	when := dialect.WhenStart
	switch {
	case live:
		when = dialect.WhenLive
	case p.running:
		when = dialect.WhenRestart
	}
	p.out.Plan.Settings = append(p.out.Plan.Settings, dialect.Setting{Name: name, From: from, To: to, When: when})
}

func (p *planner) own(name string) {
	if p.out.Origin != nil {
		p.out.Origin.Own(name)
	}
}

func invalid(format string, args ...any) error {
	return errs.New(errs.InvalidParameter, format, args...)
}

func (p *planner) limits(wish *dialect.Change) error {
	if wish.Resources == nil {
		return nil
	}
	old := &p.rec.HostConfig.Resources
	now, err := Limits(old, wish.Resources)
	if err != nil {
		return err
	}
	p.out.HostConfig.Resources = now
	if now.Memory != old.Memory || now.MemorySwap != swapOf(old) {
		p.own("MemorySwap")
	}
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	size := func(n int64) string {
		switch {
		case n == 0:
			return ""
		case n < 0:
			return "unlimited"
		}
		return units.BytesSize(float64(n))
	}
	cpus := func(nano int64) string {
		if nano == 0 {
			return ""
		}
		return strconv.FormatFloat(float64(nano)/1e9, 'g', -1, 64)
	}
	pids := func(n *int64) string {
		if n == nil {
			return ""
		}
		return number(*n)
	}
	for _, l := range []struct{ name, from, to string }{
		{"blkio-weight", number(int64(old.BlkioWeight)), number(int64(now.BlkioWeight))},
		{"cpu-period", number(old.CPUPeriod), number(now.CPUPeriod)},
		{"cpu-quota", number(old.CPUQuota), number(now.CPUQuota)},
		{"cpu-rt-period", number(old.CPURealtimePeriod), number(now.CPURealtimePeriod)},
		{"cpu-rt-runtime", number(old.CPURealtimeRuntime), number(now.CPURealtimeRuntime)},
		{"cpu-shares", number(old.CPUShares), number(now.CPUShares)},
		{"cpus", cpus(old.NanoCPUs), cpus(now.NanoCPUs)},
		{"cpuset-cpus", old.CpusetCpus, now.CpusetCpus},
		{"cpuset-mems", old.CpusetMems, now.CpusetMems},
		{"memory", size(old.Memory), size(now.Memory)},
		{"memory-reservation", size(old.MemoryReservation), size(now.MemoryReservation)},
		{"memory-swap", size(swapOf(old)), size(now.MemorySwap)},
		{"pids-limit", pids(old.PidsLimit), pids(now.PidsLimit)},
	} {
		p.note(l.name, l.from, l.to, true)
	}
	for _, field := range Ignored(wish.Resources) {
		return invalid("Resources.%s of a container cannot be changed: make a new one with davit replace", field)
	}
	return nil
}

func (p *planner) restart(wish *dialect.Change) error {
	if wish.RestartPolicy == nil {
		return nil
	}
	if err := container.ValidateRestartPolicy(*wish.RestartPolicy); err != nil {
		return errs.Wrap(errs.InvalidParameter, err)
	}
	h := p.out.HostConfig
	if h.AutoRemove && !wish.RestartPolicy.IsNone() {
		return errs.New(errs.Conflict, "Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	text := func(r container.RestartPolicy) string {
		switch {
		case r.Name == "":
			return string(container.RestartPolicyDisabled)
		case r.MaximumRetryCount > 0:
			return string(r.Name) + ":" + strconv.Itoa(r.MaximumRetryCount)
		}
		return string(r.Name)
	}
	p.note("restart", text(h.RestartPolicy), text(*wish.RestartPolicy), true)
	h.RestartPolicy = *wish.RestartPolicy
	return nil
}

func (p *planner) env(wish *dialect.Change, imageEnv []string) error {
	c := p.out.Config
	find := func(env []string, name string) (value string, ok bool) {
		for _, e := range env {
			if n, v, set := strings.Cut(e, "="); n == name && set {
				value, ok = v, true
			}
		}
		return value, ok
	}
	for _, name := range slices.Sorted(maps.Keys(wish.Env)) {
		to := wish.Env[name]
		if name == "" || strings.ContainsAny(name, "=\x00") || to != nil && strings.Contains(*to, "\x00") {
			return invalid("invalid environment variable: %q", name)
		}
		from, set := find(c.Env, name)
		switch {
		case to == nil && !set:
			return invalid("the container has no variable %s that could be taken away (Env)", name)
		case to != nil && set && *to == from:
			continue
		}
		c.Env = slices.DeleteFunc(c.Env, func(e string) bool { n, _, _ := strings.Cut(e, "="); return n == name })
		p.own("Env." + name)
		if to != nil {
			// The user's come before the image's.
			c.Env = slices.Insert(c.Env, p.ownEnv(), name+"="+*to)
			p.note("env "+name, quoted(from, set), quoted(*to, true), false)
			continue
		}
		if _, image := find(imageEnv, name); image {
			c.Env = slices.Insert(c.Env, p.ownEnv(), name) // without a value: unset
		}
		p.note("env "+name, quoted(from, set), "", false)
	}
	return nil
}

// ownEnv counts the variables that are the user's.
func (p *planner) ownEnv() int {
	if p.out.Origin == nil {
		return 0
	}
	return slices.IndexFunc(append(slices.Clone(p.out.Config.Env), ""), func(e string) bool {
		n, _, _ := strings.Cut(e, "=")
		return n == "" || slices.Contains(p.out.Origin.Image, "Env."+n)
	})
}

// quoted tells an empty value from none.
func quoted(v string, set bool) string {
	if set && v == "" {
		return `""`
	}
	return v
}

func (p *planner) labels(wish *dialect.Change) error {
	c := p.out.Config
	for _, name := range slices.Sorted(maps.Keys(wish.Labels)) {
		to := wish.Labels[name]
		from, set := c.Labels[name]
		switch {
		case name == "":
			return invalid("invalid label: its name is empty")
		case to == nil && !set:
			return invalid("the container has no label %s that could be taken away (Labels)", name)
		case to == nil:
			delete(c.Labels, name)
			p.note("label "+name, quoted(from, set), "", true)
		default:
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			c.Labels[name] = *to
			p.note("label "+name, quoted(from, set), quoted(*to, true), true)
		}
		p.own("Labels." + name)
	}
	return nil
}

// ownAnnotations begin the names of those that the engine looks at when they
// matter; all others are handed to the runtime at the start.
const ownAnnotations = "com.davit."

func (p *planner) annotations(wish *dialect.Change) error {
	h := p.out.HostConfig
	for _, name := range slices.Sorted(maps.Keys(wish.Annotations)) {
		to := wish.Annotations[name]
		from, set := h.Annotations[name]
		live := strings.HasPrefix(name, ownAnnotations)
		switch {
		case name == "":
			return invalid("invalid annotation: its name is empty")
		case to == nil && !set:
			return invalid("the container has no annotation %s that could be taken away (Annotations)", name)
		case to == nil:
			delete(h.Annotations, name)
			p.note("annotation "+name, quoted(from, set), "", live)
		default:
			if h.Annotations == nil {
				h.Annotations = map[string]string{}
			}
			h.Annotations[name] = *to
			p.note("annotation "+name, quoted(from, set), quoted(*to, true), live)
		}
	}
	return nil
}

func (p *planner) hostname(wish *dialect.Change) error {
	if wish.Hostname == nil {
		return nil
	}
	c := p.out.Config
	if *wish.Hostname == "" {
		if p.out.Origin == nil || !slices.Contains(p.out.Origin.Engine, "Hostname") {
			p.chooseHostname()
		}
		return nil
	}
	p.note("hostname", c.Hostname, *wish.Hostname, false)
	c.Hostname = *wish.Hostname
	p.own("Hostname")
	return nil
}

// chooseHostname leaves the host name to the engine.
func (p *planner) chooseHostname() {
	p.own("Hostname")
	if o := p.out.Origin; o != nil {
		if slices.Contains(o.Engine, "Domainname") {
			p.out.Config.Domainname = ""
		}
		o.Engine = append(o.Engine, "Hostname")
	}
	p.note("hostname", p.out.Config.Hostname, "the engine's choice", false)
	p.out.Config.Hostname = ""
}

func (p *planner) stop(wish *dialect.Change) error {
	c := p.out.Config
	if s := wish.StopSignal; s != nil {
		p.note("stop-signal", c.StopSignal, *s, true)
		c.StopSignal = *s
		p.own("StopSignal")
	}
	if s := wish.StopTimeout; s != nil {
		from := ""
		if c.StopTimeout != nil {
			from = seconds(*c.StopTimeout)
		}
		p.note("stop-timeout", from, seconds(*s), true)
		c.StopTimeout = s
	}
	return nil
}

func seconds(n int) string { return strconv.Itoa(n) + "s" }

func (p *planner) health(wish *dialect.Change) error {
	if wish.Healthcheck == nil {
		return nil
	}
	var old, now container.HealthConfig
	if h := p.out.Config.Healthcheck; h != nil {
		old = *h
	}
	if off := slices.Equal(wish.Healthcheck.Test, []string{"NONE"}); off || !slices.Equal(old.Test, []string{"NONE"}) {
		now = old
		if off {
			now = container.HealthConfig{}
		}
	}
	to, from := reflect.ValueOf(&now).Elem(), reflect.ValueOf(*wish.Healthcheck)
	for i := range to.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
			p.own("Healthcheck." + to.Type().Field(i).Name)
		}
	}
	if len(now.Test) == 0 {
		return invalid("the container has no health check of which something could change: give its command (Healthcheck.Test)")
	}
	duration := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	for _, f := range []struct{ name, from, to string }{
		{"health-cmd", strings.Join(old.Test, " "), strings.Join(now.Test, " ")},
		{"health-interval", duration(old.Interval), duration(now.Interval)},
		{"health-timeout", duration(old.Timeout), duration(now.Timeout)},
		{"health-start-period", duration(old.StartPeriod), duration(now.StartPeriod)},
		{"health-start-interval", duration(old.StartInterval), duration(now.StartInterval)},
		{"health-retries", strings.TrimPrefix(strconv.Itoa(old.Retries), "0"), strings.TrimPrefix(strconv.Itoa(now.Retries), "0")},
	} {
		p.note(f.name, f.from, f.to, true)
	}
	p.out.Config.Healthcheck = &now
	return nil
}

func (p *planner) ports(wish *dialect.Change) error {
	c, h := p.out.Config, p.out.HostConfig
	for _, port := range slices.SortedFunc(maps.Keys(wish.PortBindings), comparePorts) {
		bindings := wish.PortBindings[port]
		from, published := h.PortBindings[port]
		if bindings == nil {
			if !published {
				return invalid("port %s of the container is not published (PortBindings)", port)
			}
			delete(h.PortBindings, port)
			p.note("publish "+port.String(), bindingText(from), "", true)
			continue
		}
		if h.PortBindings == nil {
			h.PortBindings = network.PortMap{}
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		h.PortBindings[port], c.ExposedPorts[port] = bindings, struct{}{}
		p.own("ExposedPorts." + port.String())
		p.note("publish "+port.String(), bindingText(from), bindingText(bindings), true)
	}
	return nil
}

func comparePorts(a, b network.Port) int {
	if a.Num() != b.Num() {
		return int(a.Num()) - int(b.Num())
	}
	return strings.Compare(string(a.Proto()), string(b.Proto()))
}

func bindingText(bindings []network.PortBinding) string {
	var list []string
	for _, b := range bindings {
		port := b.HostPort
		if port == "" {
			port = "any"
		}
		if b.HostIP.IsValid() {
			port = fmt.Sprintf("%s:%s", b.HostIP, port)
		}
		list = append(list, port)
	}
	return strings.Join(list, ", ")
}
