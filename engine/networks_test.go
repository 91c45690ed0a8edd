package engine

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	davitnet "github.com/davit-engine/davit/network"
)

func TestNetworking(t *testing.T) {
	d := bare().drafter
	for _, c := range []struct {
		name, mode, asked string
		want              string // the networks, or what the error says
		kind              errs.Kind
	}{
		{name: "nothing", want: "bridge"},
		{name: "a mode", mode: "mine", asked: `{}`, want: "mine"},
		{name: "several", mode: "a", asked: `{"a":{"GwPriority":1},"b":{"Aliases":["x"],"Links":["db:store"]}}`, want: "a b"},
		{name: "another than the mode", mode: "default", asked: `{"mine":null}`, want: "mine"},
		{name: "another container's", mode: "container:x", asked: `{"container:x":{}}`, want: "container:x"},
		{name: "both families", mode: "mine", asked: `{"mine":{"IPAMConfig":{"IPv4Address":"10.0.0.2","IPv6Address":"fd00::2","LinkLocalIPs":["169.254.3.4"]}}}`, want: "mine"},
		{name: "the host's beside another", mode: "host", asked: `{"host":{},"a":{}}`, want: "container sharing network namespace with another container or host cannot be", kind: errs.InvalidParameter},
		{name: "none beside another", mode: "none", asked: `{"none":{},"a":{}}`, want: "networks in private (none) mode", kind: errs.InvalidParameter},
		{name: "an alias on the bridge", asked: `{"bridge":{"Aliases":["x"]}}`, want: "invalid endpoint settings:\nnetwork-scoped alias is supported only for", kind: errs.InvalidParameter},
		{name: "an odd alias", mode: "a", asked: `{"a":{"Aliases":["x y"]}}`, want: `invalid alias "x y"`, kind: errs.InvalidParameter},
		{name: "an address on the host's", mode: "host", asked: `{"host":{"IPAMConfig":{"IPv4Address":"10.0.0.2"}}}`, want: "user specified IP address is supported on user defined networks only", kind: errs.InvalidParameter},
		{name: "a MAC on none", mode: "none", asked: `{"none":{"MacAddress":"02:00:00:00:00:01"}}`, want: "mac-address and the network mode", kind: errs.InvalidParameter},
		{name: "the families swapped", mode: "a", asked: `{"a":{"IPAMConfig":{"IPv4Address":"fd00::2"}}}`, want: "invalid IPv4 address: fd00::2", kind: errs.InvalidParameter},
		{name: "an IPv4 address as IPv6", mode: "a", asked: `{"a":{"IPAMConfig":{"IPv6Address":"::ffff:10.0.0.2"}}}`, want: "invalid IPv6 address", kind: errs.InvalidParameter},
		{name: "an empty link-local address", mode: "a", asked: `{"a":{"IPAMConfig":{"LinkLocalIPs":["0.0.0.0"]}}}`, want: "invalid link-local IP address", kind: errs.InvalidParameter},
		{name: "a bad link", mode: "a", asked: `{"a":{"Links":["a:b:c"]}}`, want: "bad format for links", kind: errs.InvalidParameter},
		{name: "an interface's name", mode: "a", asked: `{"a":{"DriverOpts":{"com.docker.network.endpoint.ifname":"a/b"}}}`, want: "invalid interface name", kind: errs.InvalidParameter},
		{name: "a parameter of no interface", mode: "a", asked: `{"a":{"DriverOpts":{"com.docker.network.endpoint.sysctls":"net.ipv4.ip_forward=1"}}}`, want: "unable to parse driver option", kind: errs.InvalidParameter},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc := &network.NetworkingConfig{}
			if c.asked != "" {
				if err := json.Unmarshal([]byte(c.asked), &nc.EndpointsConfig); err != nil {
					t.Fatal(err)
				}
			}
			got, err := d.networking(&container.HostConfig{NetworkMode: container.NetworkMode(c.mode)}, nc)
			if c.kind != errs.Unknown {
				if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if names := strings.Join(slices.Sorted(maps.Keys(got.EndpointsConfig)), " "); names != c.want {
				t.Errorf("on %q, want %q", names, c.want)
			}
		})
	}
}

func TestStaticAddressInItsNetwork(t *testing.T) {
	var n network.Network
	if err := json.Unmarshal([]byte(`{"Name":"mine","Id":"1","IPAM":{"Config":[{"Subnet":"10.1.0.0/24"},{"Subnet":"fd01::/64"}]}}`), &n); err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{
		`{"IPv4Address":"10.1.0.9"}`: true, `{"IPv4Address":"10.1.1.9"}`: false, `{"IPv6Address":"fd01::9"}`: true, `{"IPv6Address":"fd02::9"}`: false,
	} {
		ep := &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{}}
		if err := json.Unmarshal([]byte(text), ep.IPAMConfig); err != nil {
			t.Fatal(err)
		}
		if err := validateEndpoint(&n, ep); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestMovingBetweenNetworks(t *testing.T) {
	on := func(r *record.Container) string {
		var names []string
		for _, m := range r.Memberships() {
			names = append(names, m.Network)
		}
		return strings.Join(names, " ")
	}
	r := rec("ab", "x", func(r *record.Container) { r.HostConfig.NetworkMode = "one" })
	two, err := withNetwork(r, &network.Network{Name: "two"}, &network.EndpointSettings{})
	if err != nil || on(two) != "one two" || on(r) != "one" {
		t.Fatalf("on %q, %v", on(two), err)
	}
	two.NetworkingConfig = withoutNetwork(two, "one")
	if on(two) != "two" {
		t.Errorf("on %q, want two", on(two))
	}
	two.NetworkingConfig = withoutNetwork(two, "two")
	if on(two) != "" {
		t.Errorf("on %q, want nothing", on(two))
	}
	if again, err := withNetwork(two, &network.Network{Name: "three"}, &network.EndpointSettings{}); err != nil || on(again) != "three" {
		t.Errorf("on %q, %v", on(again), err)
	}
	for mode, to := range map[string]string{"container:y": "one", "host": "one", "none": "one", "bridge": "host", "two": "none"} {
		r.HostConfig.NetworkMode = container.NetworkMode(mode)
		if _, err := withNetwork(r, &network.Network{Name: to}, &network.EndpointSettings{}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("from %s to %s: %v", mode, to, err)
		}
	}
	r.HostConfig.NetworkMode = "one"
	if _, err := withNetwork(r, &network.Network{Name: "c", ConfigOnly: true}, &network.EndpointSettings{}); !errs.Is(err, errs.Forbidden) {
		t.Errorf("to a configuration: %v", err)
	}
}

func TestNetworkCreateRequests(t *testing.T) {
	from := &network.Network{Name: "conf", ConfigOnly: true, EnableIPv4: true, EnableIPv6: true, Options: map[string]string{"o": "1"}, Labels: map[string]string{"l": "2"},
		IPAM: network.IPAM{Driver: "default", Options: map[string]string{"i": "3"}}}
	for text, want := range map[string]string{
		`{"Name":"mine","Attachable":true,"Scope":"local"}`:              "",
		`{"Name":"conf","ConfigOnly":true}`:                              "",
		`{"Name":" "}`:                                                   "invalid name: name is empty",
		`{"Name":"bridge"}`:                                              "operation is not permitted on predefined bridge network ",
		`{"Name":"default"}`:                                             "operation is not permitted on predefined default network ",
		`{"Name":"container:x"}`:                                         "stands for the network of something else",
		`{"Name":"a\u001bb"}`:                                            "control characters",
		`{"Name":"o","Driver":"overlay"}`:                                "This node is not a swarm manager",
		`{"Name":"o","Ingress":true}`:                                    "Ingress network",
		`{"Name":"o","Scope":"global"}`:                                  "invalid scope",
		`{"Name":"o","ConfigOnly":true,"Internal":true}`:                 "configuration network can only contain network specific fields",
		`{"Name":"o","ConfigOnly":true,"ConfigFrom":{"Network":"conf"}}`: "a configuration network cannot depend on another",
	} {
		var req network.CreateRequest
		if err := json.Unmarshal([]byte(text), &req); err != nil {
			t.Fatal(err)
		}
		err := validateNetworkCreate(&req)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, ok := range map[string]bool{
		`{"Internal":true,"IPAM":{"Driver":"default","Options":{}}}`: true,
		`{"EnableIPv4":true,"EnableIPv6":false}`:                     true,
		`{"EnableIPv6":true}`:                                        false,
		`{"Labels":{"a":"b"}}`:                                       false,
		`{"Options":{"a":"b"}}`:                                      false,
		`{"IPAM":{"Config":[{"Subnet":"10.0.0.0/24"}]}}`:             false,
	} {
		var req network.CreateRequest
		if err := json.Unmarshal([]byte(text), &req); err != nil {
			t.Fatal(err)
		}
		got, err := configured(req, from)
		if (err == nil) != ok || err != nil && !errs.Is(err, errs.Forbidden) {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && (!*got.EnableIPv6 || got.Options["o"] != "1" || got.Labels["l"] != "2" || got.IPAM.Options["i"] != "3" || got.Internal != req.Internal) {
			t.Errorf("%s becomes %+v", text, got)
		}
	}
}

func TestNetworkFilters(t *testing.T) {
	list := []network.Inspect{
		{Network: network.Network{Name: "bridge", Driver: "bridge", Scope: "local", ID: "b1"}},
		{Network: network.Network{Name: "web", Driver: "bridge", Scope: "local", ID: "c2", Labels: map[string]string{"a": "1"}}, Containers: map[string]network.EndpointResource{"x": {}}},
		{Network: network.Network{Name: "web2", Driver: "macvlan", Scope: "local", ID: "d3"}},
	}
	for text, want := range map[string]string{
		"name=web": "web web2", "name=^web$": "web", "name=(": "", "id=d": "web2", "driver=macvlan": "web2", "label=a=1": "web", "label=a=2": "",
		"type=builtin": "bridge", "type=custom": "web web2", "dangling=true": "web2", "dangling=0": "bridge web", "scope=swarm": "",
	} {
		key, value, _ := strings.Cut(text, "=")
		test, err := networkFilter(key, map[string]bool{value: true})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var names []string
		for i := range list {
			if test(&list[i]) {
				names = append(names, list[i].Name)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for _, bad := range []string{"type=mine", "dangling=perhaps", "colour=red"} {
		key, value, _ := strings.Cut(bad, "=")
		if _, err := networkFilter(key, map[string]bool{value: true}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestNamesOnNetworks(t *testing.T) {
	r := rec("abcdef", "web", func(r *record.Container) { r.Config.Hostname = "box" })
	got := dnsNames(r, &network.EndpointSettings{Aliases: []string{"www", "box", "web"}})
	if want := []string{"web", "www", "box", "abcdefabcdef"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEndpointsOfAnEarlierEngine(t *testing.T) {
	e := bare()
	e.cfg.ExecRoot = t.TempDir()
	dir := e.runDir("ab")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := e.nets.last("ab"); got != nil {
		t.Errorf("without a file: %v", got)
	}
	old := `{"NetworkID":"bridge","ID":"e1","HostVeth":"dvac110002","MAC":"02:00:00:00:00:01","Address":"172.17.0.2/16","Gateway":"172.17.0.1"}`
	if err := os.WriteFile(filepath.Join(dir, "endpoint.json"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	got := e.nets.last("ab")
	if len(got) != 1 || got[0].ID != "e1" || got[0].HostVeth != "dvac110002" || got[0].MAC.String() != "02:00:00:00:00:01" || got[0].Address4.String() != "172.17.0.2/16" || got[0].Gateway4.String() != "172.17.0.1" {
		t.Errorf("got %+v", got)
	}
	now := rec("ab", "x", func(r *record.Container) {
		r.ID, r.Endpoints = "ab", append(got, davitnet.Endpoint{ID: "e2", Network: "n"})
	})
	if err := e.nets.note(now); err != nil {
		t.Fatal(err)
	}
	if again := e.nets.last("ab"); len(again) != 2 || again[1].ID != "e2" || again[0].Address4 != got[0].Address4 {
		t.Errorf("got %+v", again)
	}
}
