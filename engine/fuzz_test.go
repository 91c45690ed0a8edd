package engine

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// FuzzValidate gives any request to create a container to the checks that come
// before its image is looked for: what they refuse is the client's fault.
func FuzzValidate(f *testing.F) {
	for _, text := range []string{
		`{"Image":"a","Env":["A=1","B"],"Healthcheck":{"Test":["CMD","x"],"Interval":1}}`,
		`{"HostConfig":{"Ulimits":[null,{"Name":"nofile","Soft":1,"Hard":2}],"Binds":["/a:/b:ro","v:/c"],"Mounts":[{"Type":"volume","Target":"/t"}],"Tmpfs":{"/r":"size=1k"}}}`,
		`{"HostConfig":{"Links":["a:b"],"NetworkMode":"container:one","PidMode":"container:one","IpcMode":"container:none","UsernsMode":"auto","SecurityOpt":["seccomp={}","label=disable"]}}`,
		`{"HostConfig":{"BlkioWeightDevice":[null],"BlkioDeviceReadBps":[{"Path":"/dev/null","Rate":1}],"CpusetCpus":"0-","Memory":1,"DeviceCgroupRules":["c 1:1 r"],"Devices":[{"PathOnHost":"/dev/null"}]}}`,
		`{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"DriverOpts":{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.x=1"}},"x":null}}}`,
		`{"HostConfig":{"NetworkMode":"a"},"NetworkingConfig":{"EndpointsConfig":{"a":{"Aliases":["x"],"Links":["c:d"],"MacAddress":"02:00:00:00:00:01","GwPriority":-1},"b":{"IPAMConfig":{"IPv4Address":"10.0.0.2","IPv6Address":"fd00::2","LinkLocalIPs":["169.254.0.1"]}},"none":null}}}`,
		`{"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-size":"x"}},"StorageOpt":{"size":"1g"},"ExtraHosts":["a","b:c"],"Annotations":{"":""},"CapAdd":["ALL"],"DeviceRequests":[{"Count":-1}]}}`,
	} {
		f.Add([]byte(text))
	}
	e := bare(rec("ab", "one", nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		var req container.CreateRequest
		if json.Unmarshal(text, &req) != nil {
			return
		}
		if req.Config == nil {
			req.Config = &container.Config{}
		}
		if req.HostConfig == nil {
			req.HostConfig = &container.HostConfig{}
		}
		_, err := e.drafter.validate(req)
		switch errs.KindOf(err) {
		case errs.Unknown, errs.System:
			if err != nil {
				t.Errorf("%s: %v has no kind that says whose fault it is", text, err)
			}
		}
		if nc, err := e.drafter.networking(req.HostConfig, req.NetworkingConfig); err == nil {
			if again, err := e.drafter.networking(req.HostConfig, nc); err != nil || !reflect.DeepEqual(again, nc) {
				t.Errorf("%s: the networks %v become %v, %v the second time", text, nc, again, err)
			}
		}
		if _, _, err := e.drafter.links(req.HostConfig); err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: links: %v", text, err)
		}
	})
}
