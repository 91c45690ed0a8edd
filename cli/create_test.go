package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"

	"github.com/davit-engine/davit/cli/fake"
)

// TestCreateBody sends the same command line through the real docker client
// and through ours, and compares what the engine is asked for.
func TestCreateBody(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	envFile := write("env", "# comment\nA=1\n  B=two words\n\nHOME\nNOT_SET_ANYWHERE\n")
	labelFile := write("labels", "from.file=yes\nbare\n")
	profile := write("seccomp.json", "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n")
	engine := fake.Start(t)
	engine.Program("img", func(*fake.Process) int { return 0 })

	for _, args := range []string{
		"img",
		"img cmd -x --rm y",
		"-it img sh",
		"-i img",
		"-a stdin -a stdout img",
		"-a STDERR img",
		"--name n --hostname h --domainname d -u 1:2 -w /w img",
		"-h h img",
		"-e A=1 -e B= -e HOME -e NOT_SET_ANYWHERE img",
		"--env-file " + envFile + " -e A=9 img",
		"-l a=b -l c --label-file " + labelFile + " img",
		"--annotation x=y --annotation z img",
		"--entrypoint /e img a",
		"--entrypoint= img a",
		"--rm img",
		"--init img",
		"--init=false img",
		"--restart always img",
		"--restart on-failure:3 img",
		"--restart unless-stopped img",
		"--network none img",
		"--net host img",
		"--network mynet --network-alias x --ip 10.1.2.3 --ip6 fd00::3 img",
		"--network name=mynet,alias=a,alias=b,ip=10.1.2.3,driver-opt=k=v img",
		"--network one --network two img",
		"--network name=one,ip=10.1.2.3,ip6=fd00::3,mac-address=92:d0:c6:0a:29:33,gw-priority=-2,link-local-ip=169.254.1.1,link-local-ip=fe80::1 --network name=two,alias=x,gw-priority=7 img",
		"--network NAME=mynet,Alias=web,driver-opt=com.x.y=z=1 img",
		"--network name=one,alias=a --network name=two,driver-opt=k=v,driver-opt=l=w --ip 10.1.2.3 --mac-address 92:d0:c6:0a:29:33 --link-local-ip fe80::1 --link db:x img",
		"--network bridge --ip 10.1.2.3 img",
		"--network name=bridge,link-local-ip=fe80::1 --link a:b img",
		"--network host --link a img",
		"--network n --link-local-ip fe80::1 --link-local-ip fe80::2 img",
		"--network container:x --ip 10.1.2.3 img",
		"--ip6 fd00::3 img",
		"--net-alias x --net n img",
		"--network container:abc img",
		"--mac-address 92:d0:c6:0a:29:33 img",
		"--link-local-ip 169.254.1.1 --network n img",
		"--link other:alias img",
		"--network n --link other:alias img",
		"--dns 1.1.1.1 --dns 8.8.8.8 --dns 1.1.1.1 --dns-search example.com --dns-search . --dns-option ndots:2 img",
		"--add-host a:1.2.3.4 --add-host b=::1 --add-host c:host-gateway --add-host d:[fe80::1] img",
		"-p 80 img",
		"-p 8080:80 -p 127.0.0.1:53:53/udp img",
		"-p 8000-8002:9000-9002 img",
		"-p [::1]:80:80 img",
		"-p published=8080,target=80,protocol=udp img",
		"-P --expose 80 --expose 90-91/udp img",
		"-p 127.0.0.1::80 -p 0:81 -p :82 -p 127.0.0.1:8000-8010:83 img",
		"-p 8000-8002:80-82/udp -p 80:80/sctp -p [fe80::1]:80:80 -p 10.0.0.1:80:80 img",
		"-p target=80-81,published=90-91,protocol=UDP -p target=99,mode=host img",
		"--expose 53/udp --expose 1000-1003/sctp -p 53 img",
		"-v /a:/b img",
		"-v /a:/b:ro,z -v named:/c img",
		"-v /anonymous img",
		"-v ./rel:/r img",
		"--volumes-from x:ro --volume-driver local img",
		"--tmpfs /t --tmpfs /u:size=1m,ro img",
		"--mount type=bind,src=/a,dst=/b,readonly img",
		"--mount type=bind,source=/a,target=/b,bind-propagation=rshared,bind-recursive=disabled img",
		"--mount type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770 img",
		"--mount type=volume,src=v,dst=/v,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=o=p,volume-subpath=s img",
		"--mount type=image,src=i,dst=/i,image-subpath=x img",
		"--read-only --privileged --cap-add net_admin --cap-add SYS_TIME --cap-drop ALL img",
		"--security-opt no-new-privileges --security-opt apparmor=unconfined --security-opt label:disable img",
		"--security-opt seccomp=" + profile + " img",
		"--security-opt seccomp=unconfined --security-opt systempaths=unconfined img",
		"-m 512m --memory-swap -1 --memory-reservation 256m --memory-swappiness 10 --shm-size 1g img",
		"--cpus 1.5 -c 512 --cpu-period 1000 --cpu-quota 2000 --cpuset-cpus 0-1 --cpuset-mems 0 img",
		"--cpu-rt-period 1000 --cpu-rt-runtime 100 img",
		"--pids-limit 100 --oom-kill-disable --oom-score-adj 500 img",
		"--pids-limit -1 img",
		"--blkio-weight 300 --blkio-weight-device /dev/sda:200 --device-read-bps /dev/sda:1mb --device-write-iops /dev/sda:100 img",
		"--device-read-iops /dev/sda:5 --device-write-bps /dev/sda:5 img",
		"--ulimit nofile=1024:2048 --ulimit core=0 --ulimit nofile=1:2 img",
		"--device /dev/null --device /dev/zero:/dev/z:r --device /dev/full:rw img",
		"--device vendor.com/class=dev img",
		"--device-cgroup-rule=c\x0042:*\x00rwm img",
		"--gpus all img",
		"--gpus count=2,capabilities=utility img",
		"--group-add 5 --group-add audio img",
		"--sysctl net.ipv4.ip_forward=1 img",
		"--stop-signal SIGUSR1 --stop-timeout 3 img",
		"--pid host --ipc host --uts host --userns host --cgroupns host img",
		"--pid container:x --ipc shareable --cgroupns private img",
		"--platform linux/arm64/v8 img",
		"--platform linux/amd64 img",
		"--platform linux/arm/v7 img",
		"--platform arm64 img",
		"--platform linux/arm img",
		"--platform linux/x86_64 img",
		"--log-driver json-file --log-opt max-size=1m --log-opt max-file=2 img",
		"--runtime r --isolation default --cgroup-parent /p --storage-opt size=1G img",
		"--health-cmd true --health-interval 5s --health-timeout 1s --health-retries 2 --health-start-period 3s --health-start-interval 1s img",
		"--no-healthcheck img",
	} {
		t.Run(args, func(t *testing.T) {
			words := append([]string{"create"}, strings.Fields(args)...)
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "\x00", " ")
			}
			want := docker(t, engine, words...)
			got := invocation{engine: engine}.run(t, words...)
			if got.status != want.status || got.status != 0 {
				t.Fatalf("davit ended with %d (%s), docker with %d (%s)", got.status, got.stderr, want.status, want.stderr)
			}
			all := engine.Requests()
			theirs, ours := all[len(all)-2], all[len(all)-1]
			for _, query := range []string{"name", "platform"} {
				if a, b := ours.Query.Get(query), theirs.Query.Get(query); a != b {
					t.Errorf("%s: davit asks %q, docker %q", query, a, b)
				}
			}
			a, b := normal(t, ours.Body), normal(t, theirs.Body)
			for _, difference := range differences("", a, b) {
				t.Error(difference)
			}
		})
	}
}

// TestCreateMore are networks as docker's client does not take them.
func TestCreateMore(t *testing.T) {
	engine := fake.Start(t)
	engine.Program("img", func(*fake.Process) int { return 0 })
	for args, want := range map[string]string{
		"--network bridge --network name=one,ip=10.1.2.3":                         `{"bridge":{},"one":{"IPAMConfig":{"IPv4Address":"10.1.2.3"}}}`,
		"--network one --network bridge":                                          `{"bridge":{},"one":{}}`,
		"--network name=MyNet,driver-opt=com.x.Y=Z":                               `{"MyNet":{"DriverOpts":{"com.x.Y":"Z"}}}`,
		"--network-rate up=1mbit,down=2mbit":                                      `{"default":{"DriverOpts":{"davit.rate":"up=1mbit,down=2mbit"}}}`,
		"--network-rate up=1mbit --network one --network name=two,driver-opt=k=v": `{"one":{"DriverOpts":{"davit.rate":"up=1mbit"}},"two":{"DriverOpts":{"davit.rate":"up=1mbit","k":"v"}}}`,
		"--network ns:/run/netns/x":                                               `{"ns:/run/netns/x":{}}`,
	} {
		got := invocation{engine: engine}.run(t, append(append([]string{"create"}, strings.Fields(args)...), "img")...)
		if got.status != 0 {
			t.Errorf("%s: %+v", args, got)
			continue
		}
		var asked, wanted struct{ NetworkingConfig network.NetworkingConfig }
		for body, into := range map[string]any{
			string(engine.Last(t, "POST", "/containers/create").Body): &asked,
			`{"NetworkingConfig":{"EndpointsConfig":` + want + `}}`:   &wanted,
		} {
			if err := json.Unmarshal([]byte(body), into); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(asked, wanted) {
			t.Errorf("%s asks for %s, want %s", args, engine.Last(t, "POST", "/containers/create").Body, want)
		}
	}
}

// normal decodes a create body and takes away what does not differ in meaning:
// empty against absent, the order of sets, and fields of older APIs.
func normal(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	delete(m, "MacAddress") // moved to the endpoint with API 1.44
	host := m["HostConfig"].(map[string]any)
	delete(host, "KernelMemory")
	delete(host, "KernelMemoryTCP")
	if reflect.DeepEqual(host["ConsoleSize"], []any{0.0, 0.0}) {
		delete(host, "ConsoleSize")
	}
	for _, caps := range []string{"CapAdd", "CapDrop"} {
		if list, ok := host[caps].([]any); ok {
			for i, c := range list {
				// Each client spells capabilities in its own way; the engine takes all.
				list[i] = strings.TrimPrefix(strings.ToUpper(c.(string)), "CAP_")
			}
		}
	}
	if env, ok := m["Env"].([]any); ok {
		slices.SortFunc(env, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	}
	for _, set := range []string{"Binds", "CapAdd", "CapDrop"} {
		if list, ok := host[set].([]any); ok {
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
	}
	return prune(m).(map[string]any)
}

// prune drops empty values, except lists that are empty on purpose.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range v {
			inner = prune(inner)
			empty := inner == nil || inner == "" || inner == false || inner == float64(0)
			if m, ok := inner.(map[string]any); ok && len(m) == 0 && k != "EndpointsConfig" {
				empty = true
			}
			if l, ok := inner.([]any); ok && len(l) == 0 && k != "MaskedPaths" && k != "ReadonlyPaths" {
				empty = true
			}
			if !empty {
				out[k] = inner
			}
		}
		return out
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}

func differences(at string, ours, theirs any) []string {
	a, aok := ours.(map[string]any)
	b, bok := theirs.(map[string]any)
	if !aok || !bok {
		if !reflect.DeepEqual(ours, theirs) {
			x, _ := json.Marshal(ours)
			y, _ := json.Marshal(theirs)
			return []string{at + ": davit sends " + string(x) + ", docker " + string(y)}
		}
		return nil
	}
	var out []string
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	for k := range keys {
		out = append(out, differences(at+"."+k, a[k], b[k])...)
	}
	return out
}

// TestCreateRefusals are command lines that must not reach the engine.
func TestCreateRefusals(t *testing.T) {
	for _, c := range []struct{ args, text string }{
		{"--restart always --rm img", "conflicting options: cannot specify both --restart and --rm"},
		{"--no-healthcheck --health-cmd x img", "--no-healthcheck conflicts with --health-* options"},
		{"--memory-swappiness 101 img", "invalid value: 101. Valid memory swappiness range is 0-100"},
		{"--pid x img", "--pid: invalid PID mode"},
		{"--security-opt nonsense img", `invalid --security-opt: "nonsense"`},
		{"--mount type=bind,src=/a img", "target is required"},
		{"--mount type=bind,dst=/a,tmpfs-size=1 img", "cannot mix 'tmpfs-*' options with mount type 'bind'"},
		{"--ulimit nofile img", "invalid ulimit argument"},
		{"-v a::b img", "empty section between colons"},
		{"--device c:x:q img", "bad mode specified"},
		{"-a nothing img", "valid streams are STDIN, STDOUT and STDERR"},
		{"--pull sometimes img", "invalid pull option"},
		{"--env-file /does/not/exist img", "no such file"},
		{"--log-driver none --log-opt a=b img", "invalid logging opts for driver none"},
		{"--platform linux/ img", "invalid platform"},
		{"--sysctl kernel.shmx=1 img", "is not allowed"},
		{"--bogus img", "unknown flag: --bogus"},
		{"--network name= img", "network name/id is not specified"},
		{"--network name=n,ip=x img", `invalid value for 'ip': failed to parse IP: "x"`},
		{"--network name=n,mac-address=x img", "x is not a valid mac address"},
		{"--network host --network-rate up=1mbit img", "takes a network of the container's own"},
		{"--network container:x --network-rate up=1mbit img", "takes a network of the container's own"},
		{"--network name=n,driver-opt=davit.rate=up=1mbit --network-rate up=2mbit img", "driver-opt=davit.rate of network n"},
		{"--network ns:/run/netns/x --network n img", "cannot attach both user-defined and non-user-defined"},
		{"--network ns:/run/netns/x --network-alias a img", "aliases are only supported for user-defined networks"},
		{"--ip 1.2.3 img", `invalid argument "1.2.3" for "--ip" flag: failed to parse IP: "1.2.3"`},
		{"--ip6 fe80::1%eth0 img", `failed to parse IP: "fe80::1%eth0"`},
		{"--link-local-ip fe80::1,x img", `failed to parse IP: "x"`},
		{"--mac-address 02:42 img", `invalid argument "02:42" for "--mac-address" flag: 02:42 is not a valid mac address`},
		{"-p target=80,bogus=1 img", "invalid field key: bogus"},
		{"--expose x img", "invalid range format for --expose: x"},
		{"--expose 90-80 img", "invalid range format for --expose: 90-80"},
	} {
		t.Run(c.args, func(t *testing.T) {
			engine := fake.Start(t)
			got := invocation{engine: engine}.run(t, append([]string{"create"}, strings.Fields(c.args)...)...)
			if got.status != 125 || !strings.Contains(got.stderr, c.text) || got.stdout != "" {
				t.Errorf("status %d, stdout %q, stderr %q", got.status, got.stdout, got.stderr)
			}
			if n := len(engine.Requests()); n != 0 {
				t.Errorf("the engine was asked: %v", engine.Paths())
			}
		})
	}
}

// TestNetworkRefusalsAsDocker are command lines about networks that docker's
// client refuses too, in these words.
func TestNetworkRefusalsAsDocker(t *testing.T) {
	engine := fake.Start(t)
	for _, args := range []string{
		"--network alias=x", "--network name=n,bogus=1", "--network name=n,driver-opt=x", "--network name=n,driver-opt==x", "--network name=n,gw-priority=x",
		"--network name=n,nothing", "--network one --network one", "--network host --network one", "--network one --network none", "--network name=a,x",
		"--network name=n,ip=1.2.3.4 --ip 1.2.3.5", "--network name=n,ip6=fd00::1 --ip6 fd00::2", "--network name=n,alias=x --network-alias y",
		"--network name=n,mac-address=02:42:ac:11:00:02 --mac-address 02:42:ac:11:00:03", "--network name=n,link-local-ip=fe80::1 --link-local-ip fe80::2",
		"--network-alias x", "--network bridge --network-alias x", "--network name=host,alias=x", "--network one --network name=container:y,alias=x",
		"--link a:b:c", "--dns x", "--dns 1.1.1.1,2.2.2.2", "--dns-search -x", "--add-host x", "--add-host x:y", "--add-host a=[::1", "--add-host =1.2.3.4", "--add-host a:1.2.3.4:5",
		"-p x:y", "-p 80:90-91", "-p 80-81:90-92", "-p 1.2.3.4.5:80:80", "-p 70000:80", "-p 80:70000", "-p 80/foo", "-p 80:", "-p :", "-p 90-80:90-80", "-p host:80:80", "-p 80:80:80:80",
		"-p protocol=tcp,published", "--expose 80:81",
	} {
		t.Run(args, func(t *testing.T) {
			words := append(append([]string{"create"}, strings.Fields(args)...), "img")
			before := len(engine.Requests())
			want := docker(t, engine, words...)
			got := invocation{engine: engine}.run(t, words...)
			want.stderr = strings.NewReplacer("docker:", "davit:", "'docker ", "'davit ", "  docker ", "  davit ").Replace(want.stderr)
			if got.status != want.status || strings.TrimSpace(got.stderr) != strings.TrimSpace(want.stderr) || got.stdout != "" {
				t.Errorf("davit (%d)\n%s%s\ndocker (%d)\n%s%s", got.status, got.stdout, got.stderr, want.status, want.stdout, want.stderr)
			}
			if n := len(engine.Requests()); n != before {
				t.Errorf("the engine was asked: %v", engine.Paths())
			}
		})
	}
}
