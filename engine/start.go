package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/network"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/wire"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Start runs a container that does not run. Errors: NotModified when it does,
// Conflict in states that cannot start, InvalidParameter when its command,
// user or mounts cannot be had; then nothing is left but the record with the
// error.
func (e *Engine) Start(ctx context.Context, ref string) error {
	c, err := e.find(ref)
	if err != nil {
		return err
	}
	if err := c.own(ctx); err != nil {
		return err
	}
	defer c.disown()
	// From here on a client that goes away changes nothing.
	return e.start(context.WithoutCancel(ctx), c)
}

// start is Start for the owner of c.
func (e *Engine) start(ctx context.Context, c *ctr) (err error) {
	rec, upper := c.snapshot(), filepath.Join(e.store.Dir(c.id), "upper")
	switch rec.State.Status {
	case container.StateRunning:
		return errs.New(errs.NotModified, "container %s is already running", c.id)
	case container.StatePaused:
		return errs.New(errs.Conflict, "cannot start a paused container, try unpause instead")
	case container.StateRemoving, container.StateDead:
		return errs.New(errs.Conflict, "container is marked for removal and cannot be started")
	}
	if rec.HostConfig.AutoRemove {
		// Deferred first, so that it runs when the steps below are undone.
		defer func() {
			if err != nil {
				e.removeOwned(c)
			}
		}()
	}
	defer func() {
		if err != nil {
			err = e.startFailed(c, err)
		}
	}()
	var undo undo
	defer undo.unless(&err)

	c.mu.Lock()
	fresh, pending, cooling := !c.used, c.pending, c.cooling
	c.used, c.pending = true, nil
	c.mu.Unlock()
	defer closeAll(pending) // the shim has its own descriptors by then
	if err := cool(cooling); err != nil {
		return err
	}

	runDir := e.runDir(c.id)
	if err := freshDir(runDir); err != nil {
		return err
	}
	undo.add(func() { _ = os.RemoveAll(runDir) })

	sandbox, err := e.enterNetwork(ctx, &rec)
	if err != nil {
		return err
	}
	undo.add(func() { e.leaveNetwork(&rec) })
	defer sandbox.close()
	if err := e.noteEndpoint(&rec); err != nil {
		return err
	}

	user, err := e.users.lookup(&rec, upper, fresh)
	if err != nil {
		return err
	}
	files, err := e.writeFiles(&rec)
	if err != nil {
		return err
	}
	order, err := e.startOrder(&rec, user, files)
	if err != nil {
		return err
	}
	order.RunDir, order.NetNS = runDir, sandbox.netns != nil
	descriptors := sandbox.files()
	for _, a := range pending {
		order.Attachments = append(order.Attachments, a.order)
		descriptors = append(descriptors, a.socket)
	}

	s, err := e.shims.take()
	if err != nil {
		return err
	}
	state, err := s.client.Start(ctx, order, descriptors...)
	if err != nil {
		_ = s.client.Close()
		return err
	}
	e.begun(c, &rec, s.client, state)
	e.shims.fill()
	return nil
}

// begun records that the container runs, and watches it from now on.
func (e *Engine) begun(c *ctr, rec *record.Container, client *wire.Client, state wire.State) {
	r := newRun(client, state)
	now := *rec
	now.State = record.State{Status: rec.State.Status, Pid: state.Pid, StartedAt: state.StartedAt.UTC(), FinishedAt: rec.State.FinishedAt}
	if err := now.State.To(container.StateRunning); err != nil {
		e.log.Error("a container runs that should not", "container", c.id, "error", err)
		now.State.Status = container.StateRunning
	}
	c.mu.Lock()
	c.rec, c.run, c.used = &now, r, true
	c.mu.Unlock()
	if err := e.save(&now, false); err != nil {
		e.log.Error("recording a start", "container", c.id, "error", err)
	}
	e.publish(&now, events.ActionStart, nil)
	e.work.Add(1)
	go func() { defer e.work.Done(); e.watch(c, r) }()
}

func newRun(client *wire.Client, state wire.State) *run {
	return &run{shim: client, state: state, exited: make(chan struct{}), ended: make(chan struct{})}
}

// cool waits until the shim of the run before has let go of the cgroup.
func cool(ended <-chan struct{}) error {
	if ended == nil {
		return nil
	}
	t := time.NewTimer(killPatience)
	defer t.Stop()
	select {
	case <-ended:
		return nil
	case <-t.C:
		return errs.New(errs.System, "the container's last run has not been cleared up yet: try again")
	}
}

// startFailed keeps the reason in the record and gives the error Docker's
// words, which clients read to find the exit code.
func (e *Engine) startFailed(c *ctr, err error) error {
	code := 128
	var refused *wire.Error
	if errors.As(err, &refused) {
		if refused.ExitCode != 0 {
			code = refused.ExitCode
		}
		kind := refused.Kind
		if kind == errs.Unknown {
			kind = errs.System
		}
		err = errs.New(kind, "failed to create task for container: failed to create shim task: OCI runtime create failed: unable to start container process: %w", refused)
	}
	c.mu.Lock()
	rec := *c.rec
	rec.State.Error, rec.State.ExitCode = err.Error(), code
	c.rec = &rec
	c.mu.Unlock()
	if err := e.save(&rec, false); err != nil {
		e.log.Error("recording a failed start", "container", c.id, "error", err)
	}
	return err
}

// freshDir makes an empty directory for the shim. What an earlier life left
// there was dealt with before.
func freshDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		if err = os.RemoveAll(dir); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("making the shim's directory: %w", err)
	}
	return nil
}

// startOrder is everything that the shim must know.
func (e *Engine) startOrder(rec *record.Container, user spec.User, files spec.Files) (*wire.Start, error) {
	h := rec.HostConfig
	sec, err := spec.ParseSecurity(h.SecurityOpt, e.cfg.Defaults.NoNewPrivileges)
	if err != nil {
		return nil, err
	}
	in := spec.Input{
		Container: rec, User: user, Files: files, Security: sec, Defaults: e.cfg.Defaults,
		Host: spec.Host{CgroupV2: e.host.cgroupV2, Capabilities: e.host.capabilities, Nofile: e.host.nofile, Thermal: e.host.thermal},
	}
	if in.Join, err = e.joins(h); err != nil {
		return nil, err
	}
	if err := hostDevices(&in); err != nil {
		return nil, err
	}
	if err := makeSources(rec); err != nil {
		return nil, err
	}
	s, err := spec.Build(in)
	if err != nil {
		return nil, err
	}
	log, err := logSettings(h.LogConfig)
	if err != nil {
		return nil, err
	}
	log.Path = e.logPath(rec)
	log.Attrs = logAttrs(rec)
	dir := e.store.Dir(rec.ID)
	order := &wire.Start{
		ID: rec.ID, Spec: s, Log: log, MakeCwd: true,
		Root: program.Root{Overlay: &program.Overlay{
			Lower: rec.Image.Lower, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Volatile: h.AutoRemove,
		}},
		Stdio: wire.Stdio{Stdin: rec.Config.OpenStdin, StdinOnce: rec.Config.StdinOnce},
	}
	if !h.Privileged {
		caps, err := spec.Capabilities(in)
		if err != nil {
			return nil, err
		}
		if order.Seccomp, order.SeccompFlags, err = e.filter.get(sec, caps); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// joins finds the namespaces of other containers that h asks for.
func (e *Engine) joins(h *container.HostConfig) (spec.Join, error) {
	var j spec.Join
	if h.PidMode.IsContainer() {
		pid, err := e.pidOf(h.PidMode.Container())
		if err != nil {
			return j, err
		}
		j.PID = fmt.Sprintf("/proc/%d/ns/pid", pid)
	}
	return j, nil
}

// pidOf returns the first process of a container that runs.
func (e *Engine) pidOf(ref string) (int, error) {
	c, err := e.find(ref)
	if err != nil {
		return 0, err
	}
	r := c.current()
	if r == nil {
		return 0, errs.New(errs.Conflict, "cannot join namespace of a non running container: %s", ref)
	}
	return r.state.Pid, nil
}

// hostDevices looks up the device nodes that the container is given.
func hostDevices(in *spec.Input) error {
	h := in.Container.HostConfig
	if h.Privileged {
		in.Host.Devices = devicesBelow("/dev", "/dev")
	}
	for _, m := range h.Devices {
		found, err := mapDevice(m)
		if err != nil {
			return err
		}
		access := m.CgroupPermissions
		if access == "" {
			access = "rwm"
		}
		for _, d := range found {
			in.Host.Mapped = append(in.Host.Mapped, d)
			in.Host.MappedAccess = append(in.Host.MappedAccess, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: access})
		}
	}
	if h.Privileged {
		in.Host.Devices = append(in.Host.Devices, in.Host.Mapped...)
	}
	for _, r := range h.DeviceCgroupRules {
		rule, err := spec.ParseDeviceRule(r)
		if err != nil {
			return err
		}
		in.Host.MappedAccess = append(in.Host.MappedAccess, rule)
	}
	return nil
}

// makeSources creates missing directories that -v names on the host, as
// Docker does; --mount wants them to exist.
func makeSources(rec *record.Container) error {
	mounts, err := spec.UserMounts(rec.Config, rec.HostConfig)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.Type != "bind" {
			continue
		}
		_, err := os.Stat(m.Source)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrNotExist) && m.CreateSource:
			if err := os.MkdirAll(m.Source, 0o755); err != nil {
				return errs.New(errs.InvalidParameter, "error while creating mount source path '%s': %w", m.Source, err)
			}
		case errors.Is(err, os.ErrNotExist):
			return errs.New(errs.InvalidParameter, "invalid mount config for type \"bind\": bind source path does not exist: %s", m.Source)
		default:
			return errs.New(errs.InvalidParameter, "invalid mount config for type \"bind\": %w", err)
		}
	}
	return nil
}

// place is the network namespace that a container starts in, and the file
// that holds it until the shim has it.
type place struct{ netns *os.File }

func (p place) close() {
	if p.netns != nil {
		_ = p.netns.Close()
	}
}

func (p place) files() []syscall.Conn {
	if p.netns == nil {
		return nil
	}
	return []syscall.Conn{p.netns}
}

// enterNetwork gets the container's network namespace and notes its endpoint
// in rec.
func (e *Engine) enterNetwork(ctx context.Context, rec *record.Container) (place, error) {
	h := rec.HostConfig
	rec.Endpoint = nil
	switch {
	case h.NetworkMode.IsHost():
		return place{}, nil
	case h.NetworkMode.IsContainer():
		pid, err := e.pidOf(h.NetworkMode.ConnectedContainer())
		if err != nil {
			return place{}, err
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return place{}, errs.New(errs.Conflict, "joining the network of container %s: %w", h.NetworkMode.ConnectedContainer(), err)
		}
		return place{f}, nil
	case h.NetworkMode.IsNone() || rec.Config.NetworkDisabled:
		s, err := e.cfg.Network.AcquireNone(ctx)
		if err != nil {
			return place{}, err
		}
		return place{s.NetNS}, nil
	}
	s, err := e.cfg.Network.Acquire(ctx, wish(rec))
	if err != nil {
		return place{}, err
	}
	p := s.Endpoint
	rec.Endpoint = &record.Endpoint{
		NetworkID: networkBridge, ID: p.ID, HostVeth: p.HostVeth, MAC: p.MAC.String(), Address: p.Address.String(), Gateway: p.Gateway.String(),
	}
	return place{s.NetNS}, nil
}

// wish reads the address and MAC that the user wants on the bridge.
func wish(rec *record.Container) network.Wish {
	var w network.Wish
	if rec.NetworkingConfig == nil {
		return w
	}
	for _, s := range rec.NetworkingConfig.EndpointsConfig {
		if s == nil {
			continue
		}
		w.MAC = net.HardwareAddr(slices.Clone(s.MacAddress))
		if s.IPAMConfig != nil {
			w.Address = s.IPAMConfig.IPv4Address
		}
	}
	return w
}

// leaveNetwork gives the container's address back. Interfaces go with the
// namespace, when its last process does.
func (e *Engine) leaveNetwork(rec *record.Container) {
	if p, ok := endpointOf(rec); ok {
		e.cfg.Network.Release(p)
	}
	rec.Endpoint = nil
}

// noteEndpoint writes the container's endpoint beside the shim's state, for an
// engine that must take the container over before this one recorded its start.
func (e *Engine) noteEndpoint(rec *record.Container) error {
	if rec.Endpoint == nil {
		return nil
	}
	data, err := json.Marshal(rec.Endpoint)
	if err == nil {
		err = os.WriteFile(filepath.Join(e.runDir(rec.ID), "endpoint.json"), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting the container's endpoint: %w", err)
	}
	return nil
}

// lastEndpoint reads what noteEndpoint wrote.
func (e *Engine) lastEndpoint(id string) *record.Endpoint {
	p := new(record.Endpoint)
	if err := readJSON(filepath.Join(e.runDir(id), "endpoint.json"), p); err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			e.log.Error("reading a container's endpoint", "container", id, "error", err)
		}
		return nil
	}
	return p
}

// endpointOf turns the recorded endpoint into the network's terms.
func endpointOf(rec *record.Container) (network.Endpoint, bool) {
	if rec.Endpoint == nil {
		return network.Endpoint{}, false
	}
	address, err := netip.ParsePrefix(rec.Endpoint.Address)
	if err != nil {
		return network.Endpoint{}, false
	}
	gateway, _ := netip.ParseAddr(rec.Endpoint.Gateway)
	mac, err := net.ParseMAC(rec.Endpoint.MAC)
	if err != nil {
		return network.Endpoint{}, false
	}
	return network.Endpoint{ID: rec.Endpoint.ID, HostVeth: rec.Endpoint.HostVeth, MAC: mac, Address: address, Gateway: gateway}, true
}

// logSettings reads a container's log configuration.
func logSettings(c container.LogConfig) (wire.Log, error) {
	l := wire.Log{Driver: c.Type}
	switch c.Type {
	case "none":
		return l, nil
	case "", "json-file":
		l.Driver = "json-file"
	default:
		return l, errs.New(errs.InvalidParameter, "logger: no log driver named '%s' is registered: Davit has json-file and none", c.Type)
	}
	for k, v := range c.Config {
		var err error
		switch k {
		case "max-size":
			if v != "-1" {
				l.MaxSize, err = units.RAMInBytes(v)
			}
		case "max-file":
			if l.MaxFile, err = strconv.Atoi(v); err == nil && l.MaxFile < 1 {
				err = errors.New("max-file cannot be less than 1")
			}
		case "compress":
			l.Compress, err = strconv.ParseBool(v)
		case "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size":
		default:
			return l, errs.New(errs.InvalidParameter, "unknown log opt '%s' for json-file log driver", k)
		}
		if err != nil {
			return l, errs.New(errs.InvalidParameter, "invalid log opt %s=%s: %w", k, v, err)
		}
	}
	if l.MaxFile > 1 && l.MaxSize == 0 {
		return l, errs.New(errs.InvalidParameter, "invalid log opts: max-file needs max-size")
	}
	return l, nil
}

// logAttrs are the labels and variables that the log options ask to have in
// each line.
func logAttrs(rec *record.Container) map[string]string {
	opts := rec.HostConfig.LogConfig.Config
	attrs := map[string]string{}
	for _, k := range strings.FieldsFunc(opts["labels"], func(r rune) bool { return r == ',' }) {
		if v, ok := rec.Config.Labels[k]; ok {
			attrs[k] = v
		}
	}
	for _, k := range strings.FieldsFunc(opts["env"], func(r rune) bool { return r == ',' }) {
		for _, v := range rec.Config.Env {
			if name, value, _ := strings.Cut(v, "="); name == k {
				attrs[k] = value
			}
		}
	}
	if len(attrs) == 0 {
		return nil
	}
	return attrs
}

func (e *Engine) logPath(rec *record.Container) string {
	if rec.HostConfig.LogConfig.Type == "none" {
		return ""
	}
	return filepath.Join(e.store.Dir(rec.ID), rec.ID+"-json.log")
}
