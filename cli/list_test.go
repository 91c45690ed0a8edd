package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/cli/fake"
)

// stage is an engine with something of everything to list.
func stage(t *testing.T) *fake.Engine {
	t.Helper()
	engine := fake.Start(t)
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	raw := func(pattern string, body string) {
		engine.Handle(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		})
	}
	long := strings.Repeat("0123456789abcdef", 4)
	digest := "sha256:" + long
	engine.JSON("GET /containers/json", 200, []any{
		map[string]any{
			"Id": long, "Names": []string{"/web", "/other/alias"}, "Image": "nginx", "ImageID": digest,
			"Command": "nginx -g 'daemon off;' --and-more", "Created": ago(3*time.Hour + time.Minute), "State": "running", "Status": "Up 3 hours",
			"Ports": []any{
				map[string]any{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
				map[string]any{"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
				map[string]any{"PrivatePort": 443, "Type": "tcp"},
				map[string]any{"PrivatePort": 444, "Type": "tcp"},
				map[string]any{"PrivatePort": 53, "Type": "udp"},
			},
			"Labels": map[string]string{"com.example.tier": "front"}, "SizeRw": 2048, "SizeRootFs": 5000000,
			"NetworkSettings": map[string]any{"Networks": map[string]any{"bridge": map[string]any{}}},
			"Mounts":          []any{map[string]any{"Type": "volume", "Name": "a-very-long-volume-name", "Driver": "local"}, map[string]any{"Type": "bind", "Source": "/srv"}},
		},
		map[string]any{
			"Id": "fedcba98" + long[8:], "Names": []string{"/done"}, "Image": digest, "ImageID": digest, "Command": "sh",
			"Created": ago(5*time.Hour + time.Minute), "State": "exited", "Status": "Exited (137) 5 seconds ago", "Ports": []any{}, "Labels": map[string]string{},
			"NetworkSettings": map[string]any{"Networks": map[string]any{}}, "Mounts": []any{},
		},
	})
	engine.JSON("GET /images/json", 200, []any{
		map[string]any{
			"Id": digest, "Created": ago(50 * 24 * time.Hour), "Size": 7654321, "SharedSize": -1, "Containers": -1, "ParentId": "", "Labels": nil,
			"RepoTags": []string{"nginx:latest", "localhost:5000/team/nginx:1.2"}, "RepoDigests": []string{"nginx@" + digest},
		},
		map[string]any{
			"Id": "sha256:1" + long[1:], "Created": ago(2*time.Hour + time.Minute), "Size": 999, "SharedSize": -1, "Containers": -1, "ParentId": "", "Labels": nil,
			"RepoTags": []string{}, "RepoDigests": []string{},
		},
		map[string]any{
			"Id": "sha256:2" + long[1:], "Created": ago(2*time.Hour + time.Minute), "Size": 1500000000, "SharedSize": -1, "Containers": -1, "ParentId": "", "Labels": nil,
			"RepoTags": []string{}, "RepoDigests": []string{"busybox@" + digest},
		},
	})
	engine.JSON("GET /images/{name}/history", 200, []any{
		map[string]any{"Id": digest, "Created": ago(2 * 24 * time.Hour), "CreatedBy": "CMD [\"sh\"] # and a rather long comment that is cut somewhere", "Size": 0, "Comment": "buildkit", "Tags": []string{"x:latest"}},
		map[string]any{"Id": "<missing>", "Created": ago(3 * 24 * time.Hour), "CreatedBy": "ADD rootfs\t/", "Size": 4261234, "Comment": ""},
	})
	raw("GET /containers/web/json", `{"Id":"`+long+`","Name":"/web","Created":"2026-01-02T03:04:05Z","Path":"nginx","Args":["-g"],"State":{"Status":"running","Running":true,"Pid":42},"Image":"`+digest+`","Config":{"Image":"nginx","Labels":{"a":"<b>"},"Tty":false},"HostConfig":{"NetworkMode":"default"},"NetworkSettings":{"Networks":{}},"SomethingNew":{"Deep":1234567890123}}`)
	raw("GET /images/nginx/json", `{"Id":"`+digest+`","RepoTags":["nginx:latest"],"Created":"2026-01-02T03:04:05Z","Architecture":"amd64","Os":"linux","Size":7654321,"Config":{"Cmd":["nginx"]}}`)
	engine.JSON("GET /volumes", 200, map[string]any{"Warnings": nil, "Volumes": []any{
		map[string]any{"Name": "web-data", "Driver": "local", "Mountpoint": "/v/web-data/_data", "Scope": "local", "CreatedAt": "2026-01-02T03:04:05Z", "Labels": map[string]string{"a": "1"}, "Options": nil},
		map[string]any{"Name": long, "Driver": "local", "Mountpoint": "/v/x/_data", "Scope": "local", "Labels": nil, "Options": map[string]string{"type": "tmpfs"}},
	}})
	raw("GET /volumes/web-data", `{"CreatedAt":"2026-01-02T03:04:05Z","Driver":"local","Labels":{"a":"1"},"Mountpoint":"/v/web-data/_data","Name":"web-data","Options":null,"Scope":"local"}`)
	engine.JSON("GET /volumes/{name}", 404, "get nope: no such volume")
	engine.JSON("GET /networks/{name}", 404, "network nope not found")
	engine.JSON("GET /containers/{name}/json", 404, "No such container: nginx")
	engine.JSON("GET /images/{name}/json", 404, "No such image: nope:latest")
	engine.Handle("GET /containers/{name}/stats", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "nope" {
			fake.Reply(w, 404, "No such container: nope")
			return
		}
		id := long
		if strings.HasPrefix(r.PathValue("name"), "fedcba98") {
			id = "fedcba98" + long[8:]
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, strings.ReplaceAll(`{"id":"ID","name":"/web","os_type":"linux","read":"2026-01-02T03:04:05Z","preread":"2026-01-02T03:04:04Z",
			"cpu_stats":{"cpu_usage":{"total_usage":3000000000},"system_cpu_usage":8000000000,"online_cpus":2},"precpu_stats":{"cpu_usage":{"total_usage":2500000000},"system_cpu_usage":6000000000,"online_cpus":2},
			"memory_stats":{"usage":300000000,"limit":1000000000,"stats":{"inactive_file":50000000}},"pids_stats":{"current":7},
			"networks":{"eth0":{"rx_bytes":1234,"tx_bytes":5678}},"blkio_stats":{"io_service_bytes_recursive":[{"major":8,"minor":0,"op":"read","value":4096},{"major":8,"minor":0,"op":"write","value":8192}]},
			"davit_pressure":{"scope":"host","cpu":{"some":1.5,"full":0}}}`, "ID", id)+"\n")
	})
	engine.JSON("GET /containers/{name}/top", 200, map[string]any{
		"Titles": []string{"UID", "PID", "CMD"}, "Processes": [][]string{{"root", "7", "nginx: master process"}, {"nobody", "8", "nginx: worker"}},
	})
	raw("GET /system/df", `{"LayersSize":9000,"Images":[{"Id":"`+digest+`","ParentId":"","RepoTags":["nginx:latest","x:1"],"RepoDigests":[],"Created":1500000000,"Size":6000,"SharedSize":1000,"Labels":null,"Containers":2},{"Id":"sha256:1`+long[1:]+`","ParentId":"","RepoTags":[],"RepoDigests":[],"Created":1500000000,"Size":4000,"SharedSize":1000,"Labels":null,"Containers":0}],"Containers":[{"Id":"`+long+`","Names":["/web"],"Image":"nginx","ImageID":"`+digest+`","Command":"nginx -g 'daemon off;'","Created":0,"State":"running","Status":"Up 3 hours","SizeRw":2000,"SizeRootFs":8000,"Labels":{},"Mounts":[]},{"Id":"f`+long[1:]+`","Names":["/done"],"Image":"nginx","ImageID":"`+digest+`","Command":"sh","Created":0,"State":"exited","Status":"Exited (0) 3 hours ago","SizeRw":500,"SizeRootFs":8000,"Labels":{},"Mounts":[]}],"Volumes":[{"Name":"data","Driver":"local","Mountpoint":"/v","Labels":null,"Options":null,"Scope":"local","UsageData":{"RefCount":1,"Size":700}},{"Name":"old","Driver":"local","Mountpoint":"/w","Labels":null,"Options":null,"Scope":"local","UsageData":{"RefCount":0,"Size":300}}],"BuildCache":[]}`)
	for path, report := range map[string]string{
		"/containers/prune": `{"ContainersDeleted":["a","b"],"SpaceReclaimed":1500}`, "/networks/prune": `{"NetworksDeleted":["n"]}`,
		"/volumes/prune": `{"VolumesDeleted":["v"],"SpaceReclaimed":10}`, "/build/prune": `{"CachesDeleted":[],"SpaceReclaimed":0}`,
		"/images/prune": `{"ImagesDeleted":[{"Untagged":"x:1"},{"Deleted":"sha256:1"}],"SpaceReclaimed":2000000}`,
	} {
		raw("POST "+path, report)
	}
	raw("GET /version", `{"Platform":{"Name":"Davit Engine"},"Version":"1.2.3","ApiVersion":"1.51","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64","GitCommit":"abc1234","GoVersion":"go1.26","KernelVersion":"6.18","BuildTime":"2026-01-02T03:04:05.000000000+00:00","Components":[{"Name":"Engine","Version":"1.2.3","Details":{"ApiVersion":"1.51","Arch":"amd64","BuildTime":"Fri Jan  2 03:04:05 2026","Experimental":"false","GitCommit":"abc1234","GoVersion":"go1.26","KernelVersion":"6.18","MinAPIVersion":"1.24","Os":"linux"}},{"Name":"davit-shim","Version":"1.2.3","Details":{"GitCommit":"abc1234"}}]}`)
	raw("GET /info", `{"ID":"7TRN:IPZB","Containers":3,"ContainersRunning":1,"ContainersPaused":0,"ContainersStopped":2,"Images":2,"Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]],"Plugins":{"Volume":["local"],"Network":["bridge","host","null"],"Authorization":null,"Log":["json-file"]},"MemoryLimit":true,"SwapLimit":true,"CpuCfsPeriod":true,"CpuCfsQuota":true,"CPUShares":true,"CPUSet":true,"PidsLimit":true,"IPv4Forwarding":true,"Debug":false,"OomKillDisable":true,"LoggingDriver":"json-file","CgroupDriver":"cgroupfs","CgroupVersion":"2","KernelVersion":"6.18","OperatingSystem":"Debian","OSVersion":"13","OSType":"linux","Architecture":"x86_64","IndexServerAddress":"https://index.docker.io/v1/","RegistryConfig":{"InsecureRegistryCIDRs":["127.0.0.0/8"],"IndexConfigs":{"docker.io":{"Name":"docker.io","Mirrors":["http://127.0.0.1:5000/"],"Secure":true,"Official":true}},"Mirrors":["http://127.0.0.1:5000/"]},"NCPU":2,"MemTotal":25279787008,"DockerRootDir":"/var/lib/davit","HttpProxy":"","HttpsProxy":"","NoProxy":"","Name":"host","Labels":["a=b"],"ExperimentalBuild":false,"ServerVersion":"1.2.3","Runtimes":{"davit":{"path":"davit-shim"}},"DefaultRuntime":"davit","Swarm":{"LocalNodeState":"inactive"},"LiveRestoreEnabled":true,"InitBinary":"davit-init","ContainerdCommit":{"ID":"v2.4"},"RuncCommit":{"ID":"davit"},"InitCommit":{"ID":""},"SecurityOptions":["name=seccomp,profile=builtin","name=cgroupns"],"Warnings":["WARNING: something is off"]}`)
	return engine
}

// listings are what both clients have to print alike.
var listings = []string{
	"ps", "ps -a", "ps -q", "ps -q --no-trunc", "ps --no-trunc", "ps -s", "ps -n 5", "ps -l",
	"ps --format {{.ID}}|{{.Names}}|{{.Ports}}|{{.Image}}|{{.Status}}|{{.State}}|{{.RunningFor}}",
	"ps --format {{.Labels}}|{{.LocalVolumes}}|{{.Mounts}}|{{.Networks}}|{{.Size}}|{{.Command}}",
	"ps --format table\u00a0{{.ID}}\\t{{.Label\u00a0\"com.example.tier\"}}\\t{{upper\u00a0.Names}}",
	"ps --format json", "ps --format {{json\u00a0.Names}}",
	"container ls", "container list -a", "container ps",
	"images", "images -a", "images -q", "images --no-trunc", "images --digests", "images -q --no-trunc", "images nginx",
	"images --format {{.Repository}}:{{.Tag}}\u00a0{{.ID}}\u00a0{{.Size}}\u00a0{{.CreatedSince}}",
	"images --format table\u00a0{{.Repository}}\\t{{.Size}}", "images --format json", "image ls",
	"history nginx", "history --no-trunc nginx", "history -q nginx", "history -H=false nginx",
	"history --format {{.ID}}:\u00a0{{.CreatedBy}}\u00a0{{.Size}}\u00a0{{.Comment}} nginx", "history --format json nginx",
	"inspect web", "inspect nginx", "inspect web nginx", "inspect nope", "inspect -f {{.Name}} web", "inspect --type image nginx",
	"inspect -f {{.State.Pid}}/{{json\u00a0.Args}} web", "inspect -f {{.SomethingNew.Deep}} web", "inspect -f json web",
	"inspect -f {{index\u00a0.Args\u00a00}}{{println}}{{len\u00a0.Args}} web", "inspect -f {{range\u00a0$k,$v\u00a0:=\u00a0.Config.Labels}}{{$k}}={{$v}}{{end}} web",
	"inspect -f {{split\u00a0.Path\u00a0\"g\"}}{{join\u00a0.Args\u00a0\"+\"}}{{title\u00a0.Path}}{{pad\u00a0.Path\u00a01\u00a02}}{{truncate\u00a0.Path\u00a02}} web",
	"stats --no-stream", "stats --no-stream -a", "stats --no-stream --no-trunc web", "stats --no-stream web nope", "stats --no-stream nope",
	"stats --no-stream --format {{.Container}}|{{.Name}}|{{.ID}}|{{.CPUPerc}}|{{.MemUsage}}|{{.NetIO}}|{{.BlockIO}}|{{.MemPerc}}|{{.PIDs}}",
	"stats --no-stream --format json web", "container stats --no-stream --format table\u00a0{{.Name}}\\t{{.CPUPerc}}",
	"system df", "system df -v", "system df --format json", "system df --format {{.Type}}={{.Active}}/{{.TotalCount}}\u00a0{{.Size}}\u00a0{{.Reclaimable}}",
	"system df --format table\u00a0{{.Type}}",
	"volume prune", "volume prune -f", "volume prune -af", "volume prune -a", "volume prune -f --filter label!=keep", "volume prune -a --filter all=1",
	"container prune", "container prune -f", "container prune -f --filter until=1h --filter label=x", "image prune -a", "image prune", "image prune -f -a",
	"system prune", "system prune -f", "system prune -a -f --volumes", "system prune -a --volumes --filter label=x --filter label!=y", "system prune --volumes --filter until=1h",
	"top web", "top web -o pid,cmd", "container top web", "top",
	"container inspect web", "container inspect nope", "image inspect nginx", "image inspect nope",
	"volume ls", "volume list", "volume ls -q", "volume ls --cluster", "volume ls --format json", "volume ls --format {{json\u00a0.}}", "volume ls --format table\u00a0{{.Name}}\\t{{.Links}}\\t{{.Size}}",
	"volume ls --format {{.Name}}|{{.Driver}}|{{.Scope}}|{{.Mountpoint}}|{{.Labels}}|{{.Label\u00a0\"a\"}}|{{.Status}}|{{.Group}}|{{.Availability}}", "volume ls -f dangling=true",
	"volume inspect web-data", "volume inspect nope", "volume inspect -f {{.Mountpoint}} web-data", "inspect web-data", "inspect --type volume web-data",
	"version --format {{.Server.Version}}", "info --format {{.Driver}}:{{.NCPU}}",
}

// TestListingsAsDocker compares what is printed with the real client.
func TestListingsAsDocker(t *testing.T) {
	engine := stage(t)
	for _, line := range listings {
		t.Run(line, func(t *testing.T) {
			words := strings.Fields(strings.ReplaceAll(line, "\u00a0", "\x00"))
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "\x00", " ")
			}
			want := docker(t, engine, words...)
			got := invocation{engine: engine}.run(t, words...)
			if strings.HasPrefix(line, "image") { // the order of an image's names is not defined
				got.stdout, want.stdout = sorted(got.stdout), sorted(want.stdout)
			}
			if sameJSON(line, got.stdout, want.stdout) {
				got.stdout = want.stdout
			}
			if got.stdout != want.stdout || got.status != want.status {
				t.Errorf("davit (%d)\n%s%s\ndocker (%d)\n%s%s", got.status, got.stdout, got.stderr, want.status, want.stdout, want.stderr)
			}
		})
	}
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// sameJSON compares JSON lines without the fields that only newer clients
// have.
func sameJSON(line, ours, theirs string) bool {
	if !strings.HasSuffix(line, "json") && !strings.HasSuffix(line, "{{json\u00a0.}}") && !strings.Contains(line, "json nginx") {
		return false
	}
	a, b := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] == "" && b[i] == "" {
			continue
		}
		var x, y map[string]any
		if json.Unmarshal([]byte(a[i]), &x) != nil || json.Unmarshal([]byte(b[i]), &y) != nil {
			return ours == theirs
		}
		for k, v := range y {
			if x[k] != v {
				return false
			}
		}
	}
	return true
}

// TestGoldens holds the pages that are Davit's own.
func TestGoldens(t *testing.T) {
	engine := stage(t)
	versions := regexp.MustCompile(`(go1\.\d+(\.\d+)?)`)
	for name, args := range map[string]string{
		"help.txt": "", "help-run.txt": "run --help", "help-container.txt": "container", "help-ps.txt": "help ps",
		"help-network.txt": "network", "help-network-create.txt": "network create --help", "help-network-connect.txt": "network connect --help",
		"ps.txt": "ps -a", "images.txt": "images --digests", "history.txt": "history nginx", "inspect.txt": "inspect web",
		"version.txt": "version", "version-client.txt": "version --client", "info.txt": "info",
	} {
		i := invocation{engine: engine, config: "/config"}
		got := i.run(t, strings.Fields(args)...)
		if got.status != 0 {
			t.Errorf("%s: %+v", args, got)
		}
		golden(t, name, versions.ReplaceAllString(got.stdout, "GOVERSION")+got.stderr)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		args, stderr string
		status       int
	}{
		{"rnu", "davit: unknown command: davit rnu\n\nDid you mean this?\n  davit run\n", 1},
		{"imagse", "davit: unknown command: davit imagse\n\nDid you mean this?\n  davit image\n  davit images\n", 1},
		{"container strat", "davit: unknown command: davit container strat\n\nDid you mean this?\n  davit container start\n", 1},
		{"xyzzy", "davit: unknown command: davit xyzzy\n\nRun 'davit --help' for more information\n", 1},
		{"run", "davit: 'davit run' requires at least 1 argument\n\nUsage:  davit run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'davit run --help' for more information\n", 1},
		{"ps x", "davit: 'davit ps' accepts no arguments\n", 1},
		{"images a b", "davit: 'davit images' requires at most 1 argument\n", 1},
		{"tag a", "davit: 'davit tag' requires 2 arguments\n", 1},
		{"--bogus", "unknown flag: --bogus\n\nUsage:  davit [OPTIONS] COMMAND\n\nRun 'davit --help' for more information\n", 125},
		{"ps --bogus", "unknown flag: --bogus\n\nUsage:  davit ps [OPTIONS]\n", 125},
		{"-H a -H b ps", "Specify only one -H\n", 1},
		{"-H a -c b ps", "conflicting options: cannot specify both --host and --context\n", 1},
		{"-c nowhere ps", `context "nowhere": context not found`, 1},
		{"-l loud ps", "unable to parse logging level: loud\n", 1},
		{"-H gopher://x ps", `invalid host "gopher://x": the scheme must be`, 1},
		{"inspect --type cow x", `unknown type: "cow"`, 1},
		{"ps --format {{.Nope}}", "can't evaluate field Nope", 1},
		{"ps --format {{", "template parsing error", 1},
		{"ps -f nothing", "invalid filter 'nothing'", 125},
		{"help nothing", "unknown help topic: nothing\n", 1},
		{"pull UPPER", "must be lowercase", 1},
		{"pull -a x:1", "tag can't be used with --all-tags/-a", 1},
	} {
		got := invocation{engine: stage(t)}.run(t, strings.Fields(c.args)...)
		if got.status != c.status || !strings.Contains(got.stderr, c.stderr) {
			t.Errorf("%s: %+v", c.args, got)
		}
	}
}

// TestGlobalOptions holds that the quick choice of one command does not lose
// options before it.
func TestGlobalOptions(t *testing.T) {
	engine := stage(t)
	for _, args := range []string{
		"-H unix://%s ps -q", "--host unix://%s ps -q", "--host=unix://%s ps -q", "-Hunix://%s ps -q", "-D -H unix://%s -l debug ps -q",
		"--config /nowhere -H unix://%s ps -q", "-H unix://%s container ls -q", "-H %s ps -q",
	} {
		got := invocation{}.run(t, strings.Fields(strings.ReplaceAll(args, "%s", engine.Socket))...)
		if got.status != 0 || !strings.HasPrefix(got.stdout, "0123456789ab\n") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := (invocation{}).run(t, "--version"); got.stdout != "Davit version 1.2.3, build abc1234\n" {
		t.Errorf("--version: %+v", got)
	}
}

func TestVersionNegotiation(t *testing.T) {
	engine := stage(t)
	invocation{engine: engine}.run(t, "ps")
	if v := engine.Last(t, "GET", "/containers/json").Version; v != fake.APIVersion {
		t.Errorf("spoke %s to an engine of %s", v, fake.APIVersion)
	}
}

func TestEvents(t *testing.T) {
	engine := fake.Start(t)
	engine.Handle("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"web","image":"nginx"}},"scope":"local","time":1767322845,"timeNano":1767322845000000001}`+"\n")
	})
	at := time.Unix(0, 1767322845000000001).Format("2006-01-02T15:04:05.000000000Z07:00")
	for args, want := range map[string]string{
		"events":                                at + " container start abc (image=nginx, name=web)\n",
		"system events --until 1":               at + " container start abc (image=nginx, name=web)\n",
		"events --format {{.Actor.ID}}":         "abc\n",
		"events --filter type=container":        at + " container start abc (image=nginx, name=web)\n",
		"events --format {{json\u00a0.Action}}": "\"start\"\n",
	} {
		words := strings.Fields(strings.ReplaceAll(args, "\u00a0", "\x00"))
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "\x00", " ")
		}
		if got := (invocation{engine: engine}).run(t, words...); got.stdout != want || got.status != 0 {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// TestOurOwnColumns holds what docker's client does not show.
func TestOurOwnColumns(t *testing.T) {
	engine := stage(t)
	for args, want := range map[string]string{
		"stats --no-stream --pressure --format {{.CPUPressure}}|{{.MemPressure}}|{{.IOPressure}} web": "1.50% (host)|-|-\n",
		"top --json web": `{"CMD":"nginx: master process","PID":"7","UID":"root"}` + "\n" + `{"CMD":"nginx: worker","PID":"8","UID":"nobody"}` + "\n",
	} {
		if got := (invocation{engine: engine}).run(t, strings.Fields(args)...); got.stdout != want || got.status != 0 {
			t.Errorf("%s: %+v", args, got)
		}
	}
	for args, want := range map[string]string{
		"stats --plot": "--plot draws in a terminal, and standard output is none\n", "stats --plot --no-stream": "--plot draws what happens over time: leave out --no-stream\n",
		"stats --plot --json": "conflicting options: --plot and --format\n",
	} {
		if got := (invocation{engine: engine}).run(t, strings.Fields(args)...); got.stderr != want || got.status != 1 {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

// TestJSON holds that --json is --format json wherever there is a list.
func TestJSON(t *testing.T) {
	engine := stage(t)
	for _, args := range []string{"ps -a", "images", "history nginx", "stats --no-stream web", "info", "version"} {
		short := invocation{engine: engine}.run(t, strings.Fields(args+" --json")...)
		long := invocation{engine: engine}.run(t, strings.Fields(args+" --format json")...)
		if short != long || short.status != 0 || !json.Valid([]byte(strings.SplitN(short.stdout, "\n", 2)[0])) {
			t.Errorf("%s: %+v, with --format json %+v", args, short, long)
		}
	}
}

// TestStatsStream follows containers until they are gone.
func TestStatsStream(t *testing.T) {
	engine := stage(t)
	got := invocation{engine: engine}.run(t, "stats", "--format", "{{.Name}}", "web")
	if !strings.HasPrefix(got.stdout, "web\n") && got.stdout != "" || got.status != 0 || got.stderr != "" {
		t.Errorf("%+v", got)
	}
	if got := (invocation{engine: engine}).run(t, "stats", "nope"); got.status != 1 || got.stderr != "Error response from daemon: No such container: nope\n" {
		t.Errorf("%+v", got)
	}
}

func TestLogs(t *testing.T) {
	const stamp = "2026-01-02T03:04:05.000000006Z "
	engine := fake.Start(t)
	engine.Handle("GET /containers/{id}/logs", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "\x01\x00\x00\x00\x00\x00\x00\x23"+stamp+"out\n\x02\x00\x00\x00\x00\x00\x00\x04err\n")
	})
	engine.JSON("GET /containers/{id}/json", 200, map[string]any{"Id": "abc", "Config": map[string]any{"Tty": false}})
	got := invocation{engine: engine}.run(t, "logs", "-f", "-n", "5", "--since", "10m", "-t", "--details", "web")
	if got != (result{stamp + "out\n", "err\n", 0}) {
		t.Errorf("got %+v", got)
	}
	q := engine.Last(t, "GET", "/containers/abc/logs").Query
	if q.Get("follow") != "1" || q.Get("tail") != "5" || q.Get("since") == "" || q.Get("timestamps") != "1" || q.Get("details") != "1" {
		t.Errorf("asked %v", q)
	}
}
