package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/davit-engine/davit/cli/fake"
)

// wired is an engine with networks to list and to change.
func wired(t *testing.T) *fake.Engine {
	t.Helper()
	engine := fake.Start(t)
	long := strings.Repeat("0123456789abcdef", 4)
	web := `{"Name":"web10","Id":"` + long + `","Created":"2026-01-02T03:04:05.000000006Z","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":true,` +
		`"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"172.30.0.0/24","Gateway":"172.30.0.1"},{"Subnet":"fd00:1::/64"}]},` +
		`"Internal":true,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{},"Labels":{"com.example.tier":"front"}}`
	other := strings.NewReplacer(`"web10"`, `"web9"`, long, "fedcba98"+long[8:], `"Labels":{"com.example.tier":"front"}`, `"Labels":null`, `"EnableIPv6":true`, `"EnableIPv6":false`, `"Internal":true`, `"Internal":false`)
	raw := func(pattern string, status int, body string) {
		engine.Handle(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
	raw("GET /networks", 200, "["+web+","+other.Replace(web)+"]")
	raw("GET /networks/web10", 200, strings.Replace(web, `"Containers":{}`, `"Containers":{"c1":{"Name":"db","EndpointID":"e","MacAddress":"02:42:ac:1e:00:02","IPv4Address":"172.30.0.2/24","IPv6Address":""}}`, 1))
	engine.JSON("GET /networks/{name}", 404, "network nope not found")
	engine.JSON("GET /containers/json", 200, []any{map[string]any{"Id": long, "Names": []string{"/web"}, "Image": "nginx", "Status": "Up"}})
	raw("POST /networks/create", 201, `{"Id":"`+long+`","Warning":""}`)
	raw("POST /networks/prune", 200, `{"NetworksDeleted":["web9","web10"]}`)
	raw("POST /networks/{name}/connect", 200, "")
	raw("POST /networks/{name}/disconnect", 200, "")
	engine.Handle("DELETE /networks/{name}", func(w http.ResponseWriter, r *http.Request) {
		switch name := r.PathValue("name"); name {
		case "nope":
			fake.Reply(w, 404, "network nope not found")
		case "bridge":
			fake.Reply(w, 403, "bridge is a pre-defined network and cannot be removed")
		default:
			w.WriteHeader(204)
		}
	})
	return engine
}

// TestNetworksAsDocker types command lines into docker's client and into ours,
// and compares what is printed, how they end, and what the engine is asked.
func TestNetworksAsDocker(t *testing.T) {
	engine := wired(t)
	for _, line := range []string{
		"network ls", "network list", "network ls -q", "network ls --no-trunc", "network ls -q --no-trunc", "network ls -f driver=bridge -f name=x",
		"network ls --format json", "network ls --format {{json\u00a0.}}", "network ls --format table\u00a0{{.Name}}\\t{{.IPv4}}\\t{{.IPv6}}\\t{{.Internal}}\\t{{.CreatedAt}}\\t{{.Labels}}",
		"network ls --format {{.ID}}|{{.Name}}|{{.Driver}}|{{.Scope}}|{{.Labels}}|{{.Label\u00a0\"com.example.tier\"}}", "network ls x",
		"network inspect web10", "network inspect web10 nope", "network inspect nope", "network inspect -v -f {{.Name}}:{{range\u00a0.Containers}}{{.Name}}{{end}} web10",
		"network inspect -f {{json\u00a0.IPAM.Config}} web10", "network inspect", "inspect web10", "inspect --type network web10", "inspect --type network nope", "inspect -f {{.Scope}} web10",
		"network create", "network create a b", "network create mine",
		"network create -d macvlan --driver bridge -o parent=eth0 --opt a=b=c -o bare mine", "network create --label a=b --label c mine", "network create --label =x mine",
		"network create --internal --attachable --ingress --scope local mine", "network create --config-only --subnet 10.1.0.0/16 conf", "network create --config-from conf mine",
		"network create --ipv6 mine", "network create --ipv6=false --ipv4=false mine", "network create --ipv4 mine",
		"network create --subnet 10.1.0.0/16 --gateway 10.1.0.9 --ip-range 10.1.2.0/24 --aux-address a=10.1.0.5 --aux-address b=10.1.0.6 mine",
		"network create --ipam-driver other --ipam-opt k=v mine", "network create --subnet 10.1.0.5/16 mine",
		"network create --subnet fd00::/64 --gateway fd00::1 mine",
		"network create --gateway 10.1.0.1 mine", "network create --ip-range 10.1.0.0/24 mine", "network create --subnet 10.1.0.0/16 --subnet 10.1.2.0/24 mine",
		"network create --subnet 10.1.0.0/16 --gateway 10.2.0.1 mine", "network create --subnet 10.1.0.0/16 --ip-range 10.2.0.0/24 mine",
		"network create --subnet 10.1.0.0/16 --subnet 10.2.0.0/16 --gateway 10.1.0.1,10.1.0.2 mine", "network create --subnet 10.1.0.0/16,10.2.0.0/16 --ip-range 10.1.0.0/24 --ip-range 10.1.1.0/24 mine",
		"network create --subnet 10.1.0.0/16 --aux-address a=10.2.0.1 mine", "network create --subnet 10.1.0.0/16 --gateway nonsense mine",
		"network create --ipv4=maybe mine", "network create --bogus mine",
		"network connect", "network connect web10", "network connect web10 web", "network connect --ip 172.30.0.7 --ip6 fd00:1::7 --link-local-ip 169.254.8.8 --link-local-ip 169.254.8.9,fe80::9 web10 web",
		"network connect --alias a --alias b,c --link db:x --link db --driver-opt k=v --driver-opt com.x=y=z --gw-priority -5 web10 web", "network connect --driver-opt k web10 web", "network connect --driver-opt =k web10 web",
		"network connect --link a:b:c web10 web", "network connect --gw-priority x web10 web",
		"network disconnect web10", "network disconnect web10 web", "network disconnect -f web10 web",
		"network rm", "network rm web10", "network remove web9 nope bridge web10", "network rm -f nope web9", "network rm -f bridge",
		"network prune", "network prune -f", "network prune -f --filter until=1h --filter label!=x", "network prune x",
		"network inspect \u00a0", "network rm \u00a0", "network connect \u00a0 web",
	} {
		t.Run(line, func(t *testing.T) {
			words := strings.Fields(strings.ReplaceAll(line, "\u00a0", "\x00"))
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "\x00", " ")
			}
			before := len(engine.Requests())
			want := docker(t, engine, words...)
			between := len(engine.Requests())
			got := invocation{engine: engine}.run(t, words...)
			theirs, ours := engine.Requests()[before:between], engine.Requests()[between:]
			if sameJSON(line, got.stdout, want.stdout) {
				got.stdout = want.stdout
			}
			// Docker's own pages disagree on "See" and "Run"; its rm ends with a line that says nothing.
			want.stderr = strings.TrimSuffix(strings.NewReplacer("docker:", "davit:", "'docker ", "'davit ", "  docker ", "  davit ", "\nSee 'docker ", "\nRun 'davit ").Replace(want.stderr), "exit status 1\n")
			if got.stdout != want.stdout || got.status != want.status || strings.TrimSpace(got.stderr) != strings.TrimSpace(want.stderr) {
				t.Errorf("davit (%d)\n%s%s\ndocker (%d)\n%s%s", got.status, got.stdout, got.stderr, want.status, want.stdout, want.stderr)
			}
			if len(ours) > 0 && ours[len(ours)-1].Method == "POST" {
				a, b := ours[len(ours)-1], theirs[len(theirs)-1]
				if a.Method != b.Method || a.Path != b.Path || a.Query.Encode() != b.Query.Encode() {
					t.Errorf("davit asks %s %s %s, docker %s %s %s", a.Method, a.Path, a.Query, b.Method, b.Path, b.Query)
				}
				for _, difference := range differences("", meaning(t, a.Body), meaning(t, b.Body)) {
					t.Error(difference)
				}
			}
		})
	}
}

// TestNetworkHelpAsDocker holds that each option in docker's help stands in
// ours, with the same shorthand and in the same words.
func TestNetworkHelpAsDocker(t *testing.T) {
	engine := fake.Start(t)
	for _, command := range []string{"network", "network create", "network ls", "network inspect", "network connect", "network disconnect", "network rm", "network prune", "port"} {
		words := append(strings.Fields(command), "--help")
		theirs := described(docker(t, engine, words...).stdout)
		ours := described(invocation{engine: engine}.run(t, words...).stdout)
		if len(theirs) < 4 {
			t.Fatalf("docker %s --help has little to say: %v", command, theirs)
		}
		for name, text := range theirs {
			if ours[name] != text {
				t.Errorf("%s: %s is %q, with docker %q", command, name, ours[name], text)
			}
		}
	}
}

// described are the entries of a help page by name: commands, options without
// their type, and what stands outside of lists by its first word.
func described(page string) map[string]string {
	option := regexp.MustCompile(`^ {2,}((?:-\w, )?--[\w-]+)(?: [A-Za-z]\w*)? {2,}(.*)$`)
	command := regexp.MustCompile(`^  ([a-z]+) {2,}(.*)$`)
	entries := map[string]string{}
	last := ""
	for line := range strings.Lines(strings.ReplaceAll(page, "docker", "davit")) {
		line = strings.TrimRight(line, "\n")
		m := option.FindStringSubmatch(line)
		if m == nil {
			m = command.FindStringSubmatch(line)
		}
		switch {
		case m != nil:
			last = m[1]
			entries[last] = m[2]
		case strings.HasPrefix(line, "          ") && last != "":
			entries[last] += " " + line
		case line != "":
			last, _, _ = strings.Cut(strings.TrimSpace(line), " ")
			entries[last] = line
		}
	}
	for name, text := range entries {
		entries[name] = strings.TrimSuffix(strings.Join(strings.Fields(text), " "), " (default map[])")
	}
	return entries
}

// TestNetworkCompletion asks what the shells' scripts ask.
func TestNetworkCompletion(t *testing.T) {
	engine := wired(t)
	for words, want := range map[string]string{
		"network rm \u00a0":               "web10\tbridge\nweb9\tbridge\n:4\n",
		"network rm web9 \u00a0":          "web10\tbridge\n:4\n",
		"network connect \u00a0":          "web10\tbridge\nweb9\tbridge\n:4\n",
		"network connect web9 \u00a0":     "web\tnginx, Up\n:4\n",
		"network connect web9 web \u00a0": ":4\n",
		"network disconnect web10 \u00a0": "db\n:4\n",
		"network create -d \u00a0":        "bridge\nmacvlan\nipvlan\ncni:\n:4\n",
		"network ls --filter \u00a0":      "dangling=\ndriver=\nid=\nlabel=\nname=\nscope=\ntype=\n:6\n",
		"run --network \u00a0":            "web10\tbridge\nweb9\tbridge\ncontainer:\n:4\n",
		"run --network container:":        "container:web\tnginx, Up\n:4\n",
		"update --network \u00a0":         "web10\tbridge\nweb9\tbridge\ncontainer:\n:4\n",
		"inspect --type \u00a0":           "container\nimage\nnetwork\nvolume\n:4\n",
	} {
		args := append([]string{"__complete"}, strings.Split(strings.ReplaceAll(words, "\u00a0", ""), " ")...)
		if got := (invocation{engine: engine}).run(t, args...); got.stdout != want {
			t.Errorf("%s: %q, want %q", words, got.stdout, want)
		}
	}
	if got := engine.Last(t, "GET", "/networks").Query.Get("filters"); got != "" && got != `{"type":{"custom":true}}` {
		t.Errorf("asked %s", got)
	}
}

// TestNetworkNames holds that a name reaches the engine as it is, and asks for
// nothing but a network.
func TestNetworkNames(t *testing.T) {
	engine := wired(t)
	for _, name := range []string{"a b", "ünï?x=1", "50%", "#1", "a+b"} {
		if got := (invocation{engine: engine}).run(t, "network", "rm", name); got.status != 0 {
			t.Errorf("%s: %+v", name, got)
		}
		engine.Last(t, "DELETE", "/networks/"+name)
	}
	before := len(engine.Requests())
	for _, name := range []string{"../containers/web", ".", "..", "a/../b", "a//b", "/a", "a/"} {
		if got := (invocation{engine: engine}).run(t, "network", "rm", name); got.status != 1 || !strings.Contains(got.stderr, "network "+name+" not found") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if all := engine.Paths(); len(all) != before {
		t.Errorf("asked for %v", all[before:])
	}
}

// TestNetworkSubnets holds a column that docker does not have.
func TestNetworkSubnets(t *testing.T) {
	got := invocation{engine: wired(t)}.run(t, "network", "ls", "--format", `table {{.Name}}\t{{.Subnets}}`)
	if want := "NAME      SUBNETS\nweb9      172.30.0.0/24,fd00:1::/64\nweb10     172.30.0.0/24,fd00:1::/64\n"; got.stdout != want {
		t.Errorf("%q", got.stdout)
	}
}

// meaning is a body without what is empty.
func meaning(t *testing.T, body []byte) any {
	t.Helper()
	if len(body) == 0 {
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return prune(m)
}
