package engine

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/spec"
)

// What becomes of a field of a request: it is honoured, or
const (
	honoured = "honoured"
	// followed by a request that is refused, and the word that names the field
	refused = "refused: "
	// followed by why it changes nothing
	idle = "idle: "
)

// fields says of each field of the types that describe a container what this
// engine does with it.
var fields = map[string]string{
	"Config.Hostname": honoured, "Config.Domainname": honoured, "Config.User": honoured,
	"Config.AttachStdin": honoured, "Config.AttachStdout": honoured, "Config.AttachStderr": honoured,
	"Config.ExposedPorts": honoured, "Config.Tty": honoured, "Config.OpenStdin": honoured, "Config.StdinOnce": honoured,
	"Config.Env": honoured, "Config.Cmd": honoured, "Config.Healthcheck": honoured, "Config.Image": honoured, "Config.Volumes": honoured,
	"Config.WorkingDir": honoured, "Config.Entrypoint": honoured, "Config.NetworkDisabled": honoured, "Config.Labels": honoured,
	"Config.StopSignal": honoured, "Config.StopTimeout": honoured,
	"Config.Shell":       honoured, // of health checks
	"Config.ArgsEscaped": idle + "a matter of Windows' command lines",
	"Config.OnBuild":     idle + "for builds; shown by inspect",

	"HealthcheckConfig.Test": honoured, "HealthcheckConfig.Interval": honoured, "HealthcheckConfig.Timeout": honoured, "HealthcheckConfig.StartPeriod": honoured,
	"HealthcheckConfig.StartInterval": honoured, "HealthcheckConfig.Retries": honoured,

	"HostConfig.Binds": honoured, "HostConfig.LogConfig": honoured, "HostConfig.NetworkMode": honoured, "HostConfig.RestartPolicy": honoured,
	"HostConfig.AutoRemove": honoured, "HostConfig.VolumeDriver": honoured, "HostConfig.VolumesFrom": honoured, "HostConfig.ConsoleSize": honoured,
	"HostConfig.Annotations": honoured, "HostConfig.CapAdd": honoured, "HostConfig.CapDrop": honoured, "HostConfig.CgroupnsMode": honoured,
	"HostConfig.DNS": honoured, "HostConfig.DNSOptions": honoured, "HostConfig.DNSSearch": honoured, "HostConfig.ExtraHosts": honoured,
	"HostConfig.GroupAdd": honoured, "HostConfig.IpcMode": honoured, "HostConfig.Links": honoured, "HostConfig.OomScoreAdj": honoured,
	"HostConfig.PidMode": honoured, "HostConfig.Privileged": honoured, "HostConfig.ReadonlyRootfs": honoured, "HostConfig.SecurityOpt": honoured,
	"HostConfig.StorageOpt": honoured, "HostConfig.Tmpfs": honoured, "HostConfig.UTSMode": honoured, "HostConfig.UsernsMode": honoured,
	"HostConfig.ShmSize": honoured, "HostConfig.Sysctls": honoured, "HostConfig.Runtime": honoured, "HostConfig.Umask": honoured,
	"HostConfig.Mounts": honoured, "HostConfig.MaskedPaths": honoured, "HostConfig.ReadonlyPaths": honoured, "HostConfig.Init": honoured,
	"HostConfig.ContainerIDFile": idle + "the client writes that file; shown by inspect",
	"HostConfig.PortBindings":    honoured,
	"HostConfig.PublishAllPorts": honoured,
	"HostConfig.Cgroup":          refused + `{"HostConfig":{"Cgroup":"container:x"}} HostConfig.Cgroup`,
	"HostConfig.Isolation":       refused + `{"HostConfig":{"Isolation":"hyperv"}} isolation`,

	"Resources.CPUShares": honoured, "Resources.Memory": honoured, "Resources.NanoCPUs": honoured, "Resources.CgroupParent": honoured,
	"Resources.BlkioWeight": honoured, "Resources.BlkioWeightDevice": honoured, "Resources.BlkioDeviceReadBps": honoured,
	"Resources.BlkioDeviceWriteBps": honoured, "Resources.BlkioDeviceReadIOps": honoured, "Resources.BlkioDeviceWriteIOps": honoured,
	"Resources.CPUPeriod": honoured, "Resources.CPUQuota": honoured, "Resources.CPURealtimePeriod": honoured, "Resources.CPURealtimeRuntime": honoured,
	"Resources.CpusetCpus": honoured, "Resources.CpusetMems": honoured, "Resources.Devices": honoured, "Resources.DeviceCgroupRules": honoured,
	"Resources.DeviceRequests": honoured, "Resources.MemoryReservation": honoured, "Resources.MemorySwap": honoured,
	"Resources.MemorySwappiness": honoured, "Resources.OomKillDisable": honoured, "Resources.PidsLimit": honoured, "Resources.Ulimits": honoured,
	"Resources.CPUCount":           idle + "for Windows, as in Docker",
	"Resources.CPUPercent":         idle + "for Windows, as in Docker",
	"Resources.IOMaximumIOps":      refused + `{"HostConfig":{"IOMaximumIOps":1}} IO IOps`,
	"Resources.IOMaximumBandwidth": refused + `{"HostConfig":{"IOMaximumBandwidth":1}} IO Bandwidth`,

	"LogConfig.Type": honoured, "LogConfig.Config": honoured,
	"RestartPolicy.Name": honoured, "RestartPolicy.MaximumRetryCount": honoured,
	"DeviceMapping.PathOnHost": honoured, "DeviceMapping.PathInContainer": honoured, "DeviceMapping.CgroupPermissions": honoured,
	"DeviceRequest.Driver": honoured, "DeviceRequest.Count": honoured, "DeviceRequest.DeviceIDs": honoured, "DeviceRequest.Capabilities": honoured,
	"DeviceRequest.Options": honoured, // refused with driver cdi; drivers for GPUs have none

	"NetworkingConfig.EndpointsConfig": honoured,

	"EndpointSettings.IPAMConfig": honoured, "EndpointSettings.MacAddress": honoured, "EndpointSettings.DriverOpts": honoured,
	"EndpointSettings.Links":               honoured, // on networks that users have made
	"EndpointSettings.Aliases":             honoured, // there too
	"EndpointSettings.GwPriority":          honoured,
	"EndpointSettings.NetworkID":           idle + "for answers",
	"EndpointSettings.EndpointID":          idle + "for answers",
	"EndpointSettings.Gateway":             idle + "for answers",
	"EndpointSettings.IPAddress":           idle + "for answers",
	"EndpointSettings.IPPrefixLen":         idle + "for answers",
	"EndpointSettings.IPv6Gateway":         idle + "for answers",
	"EndpointSettings.GlobalIPv6Address":   idle + "for answers",
	"EndpointSettings.GlobalIPv6PrefixLen": idle + "for answers",
	"EndpointSettings.DNSNames":            idle + "for answers",

	"EndpointIPAMConfig.IPv4Address":  honoured,
	"EndpointIPAMConfig.IPv6Address":  honoured,
	"EndpointIPAMConfig.LinkLocalIPs": honoured,
}

// TestEveryField finds fields that nobody has thought of: a new version of the
// types brings some.
func TestEveryField(t *testing.T) {
	known := maps.Clone(fields)
	for _, v := range []any{
		container.Config{}, container.HealthConfig{}, container.HostConfig{}, container.Resources{}, container.LogConfig{}, container.RestartPolicy{},
		container.DeviceMapping{}, container.DeviceRequest{}, network.NetworkingConfig{}, network.EndpointSettings{}, network.EndpointIPAMConfig{},
	} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Anonymous || !f.IsExported() {
				continue
			}
			name := typ.Name() + "." + f.Name
			if fields[name] == "" {
				t.Errorf("%s: say what the engine does with it", name)
			}
			delete(known, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		t.Errorf("%s is no field any more", name)
	}
	e := bare()
	for name, what := range fields {
		text, ok := strings.CutPrefix(what, refused)
		if !ok {
			continue
		}
		end := strings.LastIndex(text, "} ") + 1
		var req container.CreateRequest
		if err := json.Unmarshal([]byte(text[:end]), &req); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		req.Config = &container.Config{Image: "x"}
		_, err := e.Create(context.Background(), CreateOptions{Request: req})
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(strings.TrimSpace(text[end:]))) {
			t.Errorf("%s: %v does not name it", name, err)
		}
	}
}

// TestHonouredFieldsReachTheSpec fills every field of Resources that the
// specification has a place for, and looks for what is missing there.
func TestHonouredFieldsReachTheSpec(t *testing.T) {
	seven, yes := int64(7), true
	r := container.Resources{
		CPUShares: 512, Memory: 64 << 20, MemorySwap: 96 << 20, MemoryReservation: 32 << 20, MemorySwappiness: &seven, OomKillDisable: &yes, PidsLimit: &seven,
		CPUPeriod: 5000, CPUQuota: 6000, CPURealtimePeriod: 7000, CPURealtimeRuntime: 1000, CpusetCpus: "0", CpusetMems: "0", BlkioWeight: 10,
	}
	got := spec.Limits(&r, nil)
	m, c := got.Memory, got.CPU
	if m == nil || m.Limit == nil || m.Swap == nil || m.Reservation == nil || m.Swappiness == nil || m.DisableOOMKiller == nil ||
		c == nil || c.Shares == nil || c.Period == nil || c.Quota == nil || c.RealtimePeriod == nil || c.RealtimeRuntime == nil || c.Cpus == "" || c.Mems == "" ||
		got.Pids == nil || got.BlockIO == nil || got.BlockIO.Weight == nil {
		t.Errorf("something is missing in %+v", got)
	}
}
