package engine

import (
	"context"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/storage"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/engine/spec"
)

// Inspect tells everything about a container; with size also how many bytes it
// takes on disk.
func (e *Engine) Inspect(_ context.Context, ref string, size bool) (container.InspectResponse, error) {
	c, err := e.table.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	rec := c.snapshot()
	dir := e.store.Dir(rec.ID)
	h := *rec.HostConfig
	masked, readonly := spec.GuardedPaths(h.Privileged)
	if h.MaskedPaths == nil {
		h.MaskedPaths = masked
	}
	if h.ReadonlyPaths == nil {
		h.ReadonlyPaths = readonly
	}
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() {
		h.NetworkMode = networkBridge
	}
	if h.IpcMode.IsEmpty() {
		h.IpcMode = e.cfg.Defaults.IPC
	}
	if h.CgroupnsMode.IsEmpty() {
		h.CgroupnsMode = spec.CgroupNS(&rec, e.cfg.Defaults)
	}
	if u := rec.UserNS; h.UsernsMode == "" && u != nil { // with userns-remap Docker shows nothing
		switch {
		case u.Of != "":
			h.UsernsMode = container.UsernsMode("container:" + u.Of)
		case u.Range != nil:
			h.UsernsMode = "auto"
		}
	}
	if len(rec.Links) > 0 || len(h.Links) > 0 {
		h.Links = e.table.shownLinks(&rec)
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	out := container.InspectResponse{
		ID: rec.ID, Created: rec.Created.Format(time.RFC3339Nano), Path: rec.Path, Args: rec.Args, State: state(&rec.State),
		Image: rec.Image.ID, ImageManifestDescriptor: rec.Image.Manifest,
		RestartCount: rec.State.RestartCount, Name: "/" + rec.Name, Driver: storageDriver, Platform: rec.Image.Platform.OS,
		HostnamePath: filepath.Join(dir, "hostname"), HostsPath: filepath.Join(dir, "hosts"), ResolvConfPath: filepath.Join(dir, "resolv.conf"),
		LogPath: shownLogPath(e.logging.path(&rec)), HostConfig: &h, Config: rec.Config, ExecIDs: e.execIDs(c), Mounts: mountPoints(&rec),
		NetworkSettings: &container.NetworkSettings{Ports: shownPorts(&rec), Networks: e.nets.shown(&rec)},
		Storage:         &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: storageDriver}}},
	}
	if out.Args == nil {
		out.Args = []string{}
	}
	if rec.State.Running() && !h.NetworkMode.IsHost() {
		out.NetworkSettings.SandboxID = rec.ID
		if !record.ForeignNet(h.NetworkMode) {
			out.NetworkSettings.SandboxKey = netNSPath(rec.State.Pid) // what tools for networks enter
		}
	}
	if size {
		own, all := e.lister.sizes(&rec)
		out.SizeRw, out.SizeRootFs = &own, &all
	}
	return out, nil
}

// storageDriver is the name of what keeps layers, as Docker calls it.
const storageDriver = "overlayfs"

func state(s *record.State) *container.State {
	return &container.State{
		Status: s.Status, Running: s.Active(), Paused: s.Status == container.StatePaused, Restarting: s.Status == container.StateRestarting,
		Dead: s.Status == container.StateDead, OOMKilled: s.OOMKilled, Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		Health: s.Health, StartedAt: s.StartedAt.Format(time.RFC3339Nano), FinishedAt: s.FinishedAt.Format(time.RFC3339Nano),
	}
}
