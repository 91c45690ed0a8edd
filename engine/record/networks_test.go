package record

import (
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	apinet "github.com/moby/moby/api/types/network"
)

func TestMemberships(t *testing.T) {
	none := &apinet.EndpointSettings{}
	for _, c := range []struct {
		mode string
		on   map[string]*apinet.EndpointSettings
		want string
	}{
		{"", nil, "bridge"},
		{"default", map[string]*apinet.EndpointSettings{}, "bridge"},
		{"default", map[string]*apinet.EndpointSettings{"default": nil}, "bridge"},
		{"host", nil, "host"},
		{"none", map[string]*apinet.EndpointSettings{"none": none}, "none"},
		{"container:x", map[string]*apinet.EndpointSettings{"container:x": none}, ""},
		{"ns:/run/netns/x", map[string]*apinet.EndpointSettings{"ns:/run/netns/x": none}, ""},
		{"m", map[string]*apinet.EndpointSettings{"z": none, "m": none, "a": nil}, "m a z"},
		{"default", map[string]*apinet.EndpointSettings{"mine": none}, "mine"},
		{"mine", Detach().EndpointsConfig, ""},
		{"none", Detach().EndpointsConfig, ""},
	} {
		var names []string
		for _, a := range Memberships(&container.HostConfig{NetworkMode: container.NetworkMode(c.mode)}, &apinet.NetworkingConfig{EndpointsConfig: c.on}) {
			if a.Settings == nil {
				t.Errorf("mode %q: %s has no settings", c.mode, a.Network)
			}
			names = append(names, a.Network)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("mode %q on %v: %q, want %q", c.mode, c.on, got, c.want)
		}
	}
	disabled := &Container{Config: &container.Config{NetworkDisabled: true}, HostConfig: &container.HostConfig{}}
	if got := disabled.Memberships(); got != nil {
		t.Errorf("without a network: %v", got)
	}
}
