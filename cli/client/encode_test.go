package client

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// TestSparse compares what is decoded of the short form with what is decoded
// of encoding/json's.
func TestSparse(t *testing.T) {
	yes, zero, none := true, 0, int64(0)
	for name, r := range map[string]container.CreateRequest{
		"empty":      {},
		"almost":     {Config: &container.Config{Image: "x"}, HostConfig: &container.HostConfig{}, NetworkingConfig: &network.NetworkingConfig{}},
		"hello":      {Config: &container.Config{Image: "hello"}, HostConfig: &container.HostConfig{AutoRemove: true, NetworkMode: "default"}},
		"empty list": {Config: &container.Config{Entrypoint: []string{""}, Cmd: []string{}, Env: []string{}}, HostConfig: &container.HostConfig{MaskedPaths: []string{}}},
		"texts": {Config: &container.Config{
			Image: "<a & b>", Cmd: []string{"\"", "\\", "\n", "ä", "\xff", "\u2028", ""}, Labels: map[string]string{"k \"\n": "v", "": "", "ü": "\x7f"},
		}},
		"much": {
			Config: &container.Config{
				Tty: true, StopTimeout: &zero, Volumes: map[string]struct{}{"/v": {}, "/a": {}}, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}, Interval: 5},
				ExposedPorts: network.PortSet{network.MustParsePort("80/tcp"): {}},
			},
			HostConfig: &container.HostConfig{
				ConsoleSize: [2]uint{40, 120}, Init: &yes, DNS: []netip.Addr{netip.MustParseAddr("::1")}, LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{}},
				PortBindings: network.PortMap{network.MustParsePort("80/tcp"): {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: "8080"}, {}}},
				Mounts:       []mount.Mount{{Type: mount.TypeTmpfs, Target: "/t", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1, Mode: 0o1777}}},
				Resources: container.Resources{
					Memory: -1, MemorySwappiness: &none, PidsLimit: &none, OomKillDisable: &yes, BlkioWeight: 300,
					BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{{Path: "/dev/sda", Rate: 1 << 63}, nil},
					DeviceRequests:     []container.DeviceRequest{{Count: -1, Capabilities: [][]string{{"gpu"}, nil}}},
				},
			},
			NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
				"a": {}, "b": nil,
				"n": {MacAddress: network.HardwareAddr{1, 2, 3, 4, 5, 6}, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.0.0.1")}},
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			long, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			short, err := sparse(r)
			if err != nil {
				t.Fatal(err)
			}
			var want, got container.CreateRequest
			if err := json.Unmarshal(long, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(short, &got); err != nil {
				t.Fatalf("%v in %s", err, short)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s\nhas not the meaning of\n%s", short, long)
			}
			if len(short) > len(long) {
				t.Errorf("%d bytes instead of %d", len(short), len(long))
			}
		})
	}
}

// TestNoPointerMarshalers holds what sparse relies on: that types which encode
// themselves do so as values, not only through pointers to them.
func TestNoPointerMarshalers(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(v reflect.Type) {
		if seen[v] {
			return
		}
		seen[v] = true
		for _, m := range []reflect.Type{jsonMarshaler, textMarshaler} {
			if reflect.PointerTo(v).Implements(m) && !v.Implements(m) {
				t.Errorf("%v encodes itself through a pointer only", v)
			}
		}
		switch v.Kind() {
		case reflect.Map, reflect.Slice, reflect.Array, reflect.Pointer:
			visit(v.Elem())
		case reflect.Struct:
			for f := range v.Fields() {
				if f.IsExported() {
					visit(f.Type)
				}
			}
		}
	}
	visit(reflect.TypeFor[container.CreateRequest]())
	if len(seen) < 50 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}
