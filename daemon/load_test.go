package daemon

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// load writes daemon.json, if there is one, and loads it with the flags.
func load(t *testing.T, file string, args ...string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.json")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config-file", path)
	} else if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--config-file") }) {
		args = append(args, "--config-file=")
	}
	for _, name := range []string{"DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_MIN_API_VERSION"} {
		t.Setenv(name, os.Getenv(name))
		os.Unsetenv(name)
	}
	return Load("davitd", args)
}

// dockerFlags are the flags of Docker 29's dockerd, each with a value.
const dockerFlags = `--add-runtime=x=/bin/x --allow-direct-routing --authorization-plugin= --bip=10.9.0.1/16 --bip6=fd00::1/64 -b=br0 --bridge-accept-fwmark=0x1/0x3
--cdi-spec-dir=/etc/cdi --cgroup-parent=/x --config-file= --containerd=/run/containerd.sock --containerd-namespace=moby --containerd-plugins-namespace=plugins.moby
--cpu-rt-period=1 --cpu-rt-runtime=1 --cri-containerd -D --default-address-pool=base=10.10.0.0/16,size=24 --default-cgroupns-mode=host --default-gateway=10.9.0.2
--default-gateway-v6=fd00::2 --default-ipc-mode=shareable --default-network-opt=bridge=a=b --default-runtime=runc --default-shm-size=64M --default-ulimit=nofile=1:2 --dns=1.1.1.1
--dns-opt=ndots:1 --dns-search=example.com --exec-opt=native.cgroupdriver=cgroupfs --exec-root=/x/e --experimental --feature=containerd-snapshotter=true --firewall-backend=nftables
--fixed-cidr=10.9.1.0/24 --fixed-cidr-v6=fd00::/80 -G=root --host-gateway-ip=10.9.0.1 -H=unix:///x/s --http-proxy=http://p --https-proxy=http://p --icc=false --init
--init-path=/x/init --insecure-registry=r:5000 --ip=127.0.0.1 --ip-forward=false --ip-forward-no-drop --ip-masq=false --ip6tables=false --iptables=false --ipv6
--label=a=b --live-restore --log-driver=json-file --log-format=json -l=debug --log-opt=max-size=1m --max-concurrent-downloads=1 --max-concurrent-uploads=1
--max-download-attempts=1 --metrics-addr=127.0.0.1:1 --min-api-version=1.24 --mtu=1400 --network-control-plane-mtu=1500 --network-diagnostic-port=0 --no-new-privileges --no-proxy=x
--node-generic-resource=a=b --nri-opts=enable=false -p=/x/pid --raw-logs --registry-mirror=http://m --restart=false --rootless=false --data-root=/x/d --seccomp-profile=unconfined
--selinux-enabled --shutdown-timeout=5 -s=overlay2 --storage-opt=a=b --swarm-default-advertise-addr=x --tls=false --tlscacert=/x/ca --tlscert=/x/c --tlskey=/x/k
--userland-proxy=false --userland-proxy-path=/x/p --userns-remap= --validate`

// TestEveryDockerFlag: a unit file written for dockerd starts davitd.
func TestEveryDockerFlag(t *testing.T) {
	flags := strings.Fields(dockerFlags)
	for _, f := range flags {
		if strings.HasPrefix(f, "--authorization-plugin") {
			continue // refused by design; see TestRefused
		}
		if _, err := load(t, "", f); err != nil && !strings.Contains(f, "--fixed-cidr") {
			t.Errorf("%s: %v", f, err)
		}
	}
	all := slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return strings.HasPrefix(f, "--authorization-plugin") })
	c, err := load(t, "", all...)
	if err != nil {
		t.Fatal(err)
	}
	if c.Network.Bridge != "br0" || c.Network.BIP != netip.MustParsePrefix("10.9.0.1/16") || c.Network.ICC || c.Network.Masquerade || c.Network.Filter ||
		c.Network.MTU != 1400 || c.Containers.ShmSize != 64<<20 || c.Containers.Ulimits["nofile"].Hard != 2 || c.Listen.Group != "root" ||
		c.Paths.DataRoot != "/x/d" || !c.Log.Debug || fmt.Sprint(c.Images.Mirrors, c.Containers.DNS.Servers) != "[http://m] [1.1.1.1]" {
		t.Errorf("%+v", c)
	}
	for _, o := range options(Defaults("davitd")) {
		if o.inert != "" && o.flag != "" && o.flag != "help" && !slices.ContainsFunc(c.Notes(), func(n Note) bool { return n.Option == o.key || n.Option == o.flag }) {
			t.Errorf("--%s changes nothing and the log does not say so", o.flag)
		}
	}
}

// TestEveryKey gives each key a value of its own type, and one of another.
func TestEveryKey(t *testing.T) {
	values := map[string]string{
		"bip": `"10.9.0.1/16"`, "firewall-mode": `"respect"`, "bridge-accept-fwmark": `"0x1/0x3"`, "fixed-cidr": `"10.9.0.0/24"`, "log-level": `"debug"`, "log-format": `"json"`, "default-cgroupns-mode": `"host"`, "default-ipc-mode": `"private"`,
		"default-shm-size": `"64M"`, "default-ulimits": `{"nofile":{"Name":"nofile","Soft":1,"Hard":2}}`, "features": `{"a":true}`, "min-api-version": `"1.24"`,
		"labels": `["a=b"]`, "hosts": `["unix:///x"]`, "registry-mirrors": `["http://m"]`, "exec-opts": `["native.cgroupdriver=systemd"]`, "dns": `["1.1.1.1"]`,
		"runtimes": `{"x":{"path":"/x"}}`, "userns-remap": `""`, "default-userns": `"host"`, "authorization-plugins": `[]`, "log-opts": `{"max-size":"1m"}`, "log-driver": `"local"`, "default-gateway": `"10.0.0.1"`, "default-gateway-v6": `"fd00::1"`,
		"ip": `"10.0.0.1"`, "firewall-backend": `"nftables"`, "host-gateway-ips": `["10.0.0.1"]`, "default-runtime": `"runc"`, "bip6": `"fd00:9::1/64"`, "fixed-cidr-v6": `"fd00:9::/80"`, "rootless": `false`, "default-address-pools": `[{"base":"10.10.0.0/16","size":24},{"base":"fd00::/48","size":64}]`,
	}
	byType := map[string][2]string{ // a value that fits, one that does not
		"bool": {"true", `"yes"`}, "int": {"5", `"5"`}, "string": {`"x"`, "5"}, "list": {`["x"]`, `"x"`}, "map": {`{}`, `[]`}, "bytes": {"5", "[]"}, "prefix": {`"10.0.0.0/8"`, "5"}, "address": {`"10.0.0.1"`, "5"}, "mark": {`"1"`, `"x"`}, "pools": {`[]`, `[{"base":"10.10.0.0/16","size":8}]`},
	}
	for _, o := range options(Defaults("davitd")) {
		if o.key == "" || o.key == "api-cors-header" {
			continue
		}
		pair := byType[o.value.Type()]
		good := values[o.key]
		if good == "" {
			good = pair[0]
		}
		if c, err := load(t, `{"`+o.key+`":`+good+`}`); err != nil {
			t.Errorf("%s: %s: %v", o.key, good, err)
		} else if !c.Given(o.key) {
			t.Errorf("%s is not known to be given", o.key)
		}
		if _, any := o.value.(anything); any {
			continue
		}
		if _, err := load(t, `{"`+o.key+`":`+pair[1]+`}`); err == nil || !strings.Contains(err.Error(), o.key) {
			t.Errorf("%s: %s: %v", o.key, pair[1], err)
		}
	}
	for _, key := range []string{"default-init", "host-gateway-ip", "containerd-plugin-namespace"} { // older names
		if _, err := load(t, `{"`+key+`":"10.0.0.1"}`); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		file string
		args []string
		want string
	}{
		{`{"nonsense":1,"also-nonsense":2}`, nil, "the following directives don't match any configuration option: also-nonsense, nonsense"},
		{`{"tls-options":{"tlscert":"x"}}`, nil, "the following directives don't match any configuration option: tls-options"},
		{`{"proxies":{"ftp-proxy":"x"}}`, nil, "the following directives don't match any configuration option: proxies.ftp-proxy"},
		{`{"debug":true,"hosts":["unix:///a"]}`, []string{"-D", "-H", "unix:///b"},
			"the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: true), hosts: (from flag: [unix:///b], from file: [unix:///a])"},
		{`{"http-proxy":"http://u:secret@h"}`, []string{"--http-proxy=http://u:hidden@h"}, "http-proxy: (from flag: http://u:xxxxx@h, from file: http://u:xxxxx@h)"},
		{`{"host-gateway-ip":"1.1.1.1","host-gateway-ips":["1.1.1.1"]}`, nil, "host-gateway-ip and host-gateway-ips must not both be specified in the config file"},
		{"{\n\n\"debug\": tru }", nil, "line 3: invalid character ' ' in literal true"},
		{`[]`, nil, "the file must hold one JSON object"},
		{"{\"labels\":[\"a=\xff\"]}", nil, "the file is not UTF-8"},
		{`{"debug":"true"}`, nil, "debug: must be a bool, not a string"},
		{`{"mtu":1.5}`, nil, `mtu: must be a whole number: "1.5"`},
		{`{"dns":["x"]}`, nil, "dns: "},
		{"", []string{"--nope"}, "unknown flag: --nope\nSee 'davitd --help'"},
		{"", []string{"run"}, `"davitd" accepts no arguments, but got "run"`},
		{"", []string{"--config-file=/nothing/there"}, "unable to configure the daemon with file /nothing/there: open /nothing/there: no such file or directory"},
		{"", []string{"--userns-remap=a:"}, "write USER, USER:GROUP or default"},
		{"", []string{"--userns-remap=default", "--default-userns=auto"}, "remove one of them"},
		{`{"default-userns":"private"}`, nil, "invalid default user namespace (private)"},
		{"", []string{"--default-address-pool=base=10.0.0.0/16"}, "subnets of the size 0 are larger than the pool"},
		{"", []string{"--default-address-pool=base=10.0.0.0,size=24"}, `invalid field "base=10.0.0.0": write base=10.10.0.0/16,size=24`},
		{"", []string{"--default-address-pool=base=10.0.0.0/16,size=24,x"}, `invalid field "x": write base=10.10.0.0/16,size=24`},
		{`{"default-address-pools":[{"base":"10.0.0.0/16","size":31}]}`, nil, "default-address-pools: address pool 10.0.0.0/16: subnets of the size 31 have no room for containers"},
		{"", []string{"--rootless"}, "rootless mode is not supported yet"},
		{"", []string{"--authorization-plugin=x"}, "authorization plugins are not supported yet"},
		{`{"api-cors-header":"*"}`, nil, "api-cors-header was removed from Docker"},
		{"", []string{"--label=a=b", "--label=a=c"}, "conflict labels for a=c and a=b"},
		{"", []string{"--label=a"}, "bad attribute format: a"},
		{"", []string{"--log-level=loud"}, "invalid logging level: loud"},
		{"", []string{"--log-format=xml"}, "invalid log format (xml)"},
		{"", []string{"--default-runtime=gvisor"}, "specified default runtime 'gvisor' does not exist"},
		{"", []string{"--exec-opt=a=b"}, "unknown option: 'a'"},
		{"", []string{"--exec-opt=isolation=x"}, "option 'isolation' is only supported on windows"},
		{"", []string{"-H", "npipe:////./pipe/x"}, "named pipes are Windows'"},
		{"", []string{"-H", "ftp://x"}, "unsupported proto 'ftp'"},
		{"", []string{"-H", "tcp://h:0"}, "invalid port: 0"},
		{"", []string{"-H", "tcp://h:1/path"}, "should not contain a path element"},
		{"", []string{"-H", "unix://rel"}, "must begin with /"},
		{"", []string{"--registry-mirror=ftp://m"}, "unsupported scheme"},
		{"", []string{"--registry-mirror=http://u:p@m"}, "username/password not allowed in URI \"http://u:xxxxx@m\""},
		{"", []string{"--insecure-registry=http://m"}, "should not contain '://'"},
		{"", []string{"--bip=10.0.0.1"}, "invalid CIDR address: 10.0.0.1"},
		{"", []string{"--bip=fd00::1/64"}, "write an IPv4 network"},
		{"", []string{"--bip=10.0.0.1/24", "--fixed-cidr=10.0.1.0/25"}, "fixed-cidr 10.0.1.0/25 is not part of the bridge's network 10.0.0.0/24 (bip)"},
		{"", []string{"--bridge=none", "--bip=10.0.0.1/24"}, "bridge is none"},
		{"", []string{"--bridge=a-name-that-is-too-long"}, "the kernel allows 15 characters"},
		{"", []string{"--mtu=-1"}, "must be at least 0: -1"},
		{"", []string{"--min-api-version=1.20"}, "API versions are from 1.24 to 1.56: 1.20"},
		{"", []string{"--min-api-version=v1.40"}, `without "v" prefix`},
		{"", []string{"--default-ulimit=nofile"}, "invalid ulimit argument"},
		{"", []string{"--dns-search=-x"}, "-x is not a valid domain"},
		{"", []string{"--data-root="}, "must not be empty"},
	} {
		_, err := load(t, tc.file, tc.args...)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %q: %v, want %q", tc.file, tc.args, err, tc.want)
		}
	}
}

func TestFile(t *testing.T) {
	c, err := load(t, "\xef\xbb\xbf"+`{"data-root":"/x","debug":false,"iptables":false,"proxies":{"http-proxy":"http://p","no-proxy":"h"},
		"registry-mirrors":["http://a","https://b/c"],"default-ulimits":{"core":{"Soft":0,"Hard":-1}},"runtimes":{"gvisor":{"path":"/x"}},"default-runtime":"gvisor","log-driver":"journald","log-opts":{"tag":"x"}}`,
		"--add-runtime=other=/y")
	if err != nil {
		t.Fatal(err)
	}
	if c.Paths.DataRoot != "/x" || c.Network.Filter || c.Proxy.HTTP != "http://p" || c.Proxy.No != "h" || len(c.Images.Mirrors) != 2 ||
		c.Containers.Ulimits["core"].Hard != -1 || len(c.Containers.Runtimes) != 2 || c.Containers.LogDriver != "journald" || c.Containers.LogOpts["tag"] != "x" {
		t.Errorf("%+v", c)
	}
	var noted []string
	for _, n := range c.Notes() {
		noted = append(noted, n.Option)
	}
	if slices.Sort(noted); len(noted) != 0 {
		t.Errorf("noted %v", noted)
	}
	if c, err := load(t, " \n"); err != nil || c.Paths.DataRoot != "/var/lib/davit" {
		t.Errorf("empty file: %v", err)
	}
	if c := Defaults("/usr/bin/dockerd"); c.File != "/etc/docker/daemon.json" || c.Paths.DataRoot != "/var/lib/davit" {
		t.Errorf("as dockerd: %+v", c)
	}
}

func TestTLSOptions(t *testing.T) {
	for _, tc := range []struct {
		args        []string
		tls, verify bool
	}{
		{nil, false, false},
		{[]string{"--tls"}, true, true},
		{[]string{"--tlsverify"}, true, true},
		{[]string{"--tlsverify=false"}, true, false},
		{[]string{"--tls", "--tlsverify=false"}, true, false},
	} {
		c, err := load(t, "", tc.args...)
		if err != nil || c.Listen.TLS != tc.tls || c.Listen.Verify != tc.verify {
			t.Errorf("%v: %+v, %v", tc.args, c.Listen, err)
		}
	}
}

func TestParseHost(t *testing.T) {
	for _, tc := range []struct {
		host string
		tls  bool
		want string
	}{
		{"", false, "unix:///s"}, {"unix://", false, "unix:///s"}, {"unix:///a b", false, "unix:///a b"}, {"fd://", false, "fd://"}, {"fd://x", false, "fd://x"},
		{"tcp://", false, "tcp://localhost:2375"}, {"tcp://", true, "tcp://localhost:2376"}, {":5", false, "tcp://localhost:5"}, {"h", false, "tcp://h:2375"},
		{"tcp://[::1]:5", false, "tcp://[::1]:5"}, {"tcp://0.0.0.0", true, "tcp://0.0.0.0:2376"},
	} {
		if got, err := parseHost(tc.host, "/s", tc.tls); err != nil || got.String() != tc.want {
			t.Errorf("%q: %v, %v, want %s", tc.host, got, err, tc.want)
		}
	}
}

func TestChanges(t *testing.T) {
	a, err := load(t, "", "-D", "--label=a=b")
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(t, "", "--shutdown-timeout=9", "--label=a=c", "--bip=10.0.0.1/8")
	if err != nil {
		t.Fatal(err)
	}
	now, later := changes(a, b)
	if strings.Join(now, " ") != "debug shutdown-timeout" || strings.Join(later, " ") != "bip labels" {
		t.Errorf("now %v, later %v", now, later)
	}
}

func TestUsage(t *testing.T) {
	u := Usage("davitd")
	for _, want := range []string{"--network-pool", "-H, --host", "Every option of dockerd is accepted", "/etc/davit/daemon.json"} {
		if !strings.Contains(u, want) {
			t.Errorf("%q is not in the help", want)
		}
	}
	if strings.Contains(u, "invalid Prefix") || strings.Contains(u, "--storage-driver") {
		t.Errorf("the help says too much:\n%s", u)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"debug":true,"proxies":{"http-proxy":"x"},"default-ulimits":{"a":{"Soft":1}}}`))
	f.Add([]byte("\xef\xbb\xbf{}"))
	f.Add([]byte(`{"host-gateway-ip":"1.1.1.1","runtimes":null,"labels":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := Defaults("davitd")
		table := options(c)
		if err := c.decode(raw, table, flagSet("davitd", table)); err != nil {
			return
		}
		var given map[string]json.RawMessage
		if trimmed := strings.TrimSpace(strings.TrimPrefix(string(raw), "\xef\xbb\xbf")); trimmed != "" {
			if err := json.Unmarshal([]byte(trimmed), &given); err != nil {
				t.Errorf("accepted what is no JSON object: %v", err)
			}
		}
		// What is left must not crash either.
		_ = c.finish(table)
	})
}
