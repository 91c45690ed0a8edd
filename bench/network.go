package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// What the parts of this measurement are called and where they listen.
const (
	netImage  = "davit-bench-network"
	webPort   = "8080"
	iperfPort = "5201"
	hostAddr  = "203.0.113.1" // a documentation address (RFC 5737), the host's own
	probe     = time.Second   // how long each measurement takes
	manyFrom  = 20000         // the first of 10,000 published ports
)

// host is a network namespace that stands for a host, in which one engine
// lives, or for what they are compared with none. So nobody's packet
// filter slows another's traffic down.
//
// What serves and what asks are the same processes for all, which only join
// the network of a container. They go before all else on the machine, so that
// what others do on it is not measured, as far as that can be.
type host struct {
	name    string
	engine  *engine  // nil for what is compared with
	run     []string // options of run that the engine needs on this machine
	inside  []string // what puts a process where the servers are
	beside  []string // where their neighbour is
	outside []string // and where whoever asks from the host is
	address string   // of the servers
	servers []*exec.Cmd
	end     func()
	served  map[string]*sample // by path and tool
	starts  map[string]*sample
}

// paths are the ways to what serves: an address and whether the client is
// beside it on its network, or else on the host.
var paths = []struct{ title, address string }{
	{"127.0.0.1, published", "127.0.0.1"}, {"the host's address, published", hostAddr}, {"container to container", ""},
}

// networks compares what passes between host and containers with two network
// namespaces and a veth, and with other engines, and what published ports cost
// at a start.
func networks(bin, work string, runs int) error {
	for _, program := range []string{"iperf3", "wrk", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Printf("\n## Networks\n\nNot measured: %s is missing; bench/setup.sh installs what networks are measured with.\n", program)
			return nil
		}
	}
	answer, err := buildAnswer(work)
	if err != nil {
		return err
	}
	var hosts []*host
	defer func() {
		for _, h := range slices.Backward(hosts) {
			h.end()
		}
	}()
	fmt.Printf("\n## Networks\n\n")
	for _, make := range []func(bin, work string) (*host, error){boundHost, bridgeHost, davitHost, dockerHost, podmanHost} {
		h, err := make(bin, work)
		if h != nil {
			hosts = append(hosts, h)
		}
		if err == nil {
			err = h.serve(answer)
		}
		if err != nil && len(hosts) <= 3 {
			return err
		}
		if err != nil {
			fmt.Printf("- %v\n", err)
			if h != nil {
				h.end()
				hosts = hosts[:len(hosts)-1]
			}
		}
	}
	if err := traffic(hosts, min(max(runs/3, 1), 10)); err != nil {
		return err
	}
	return startsWithPorts(hosts[2:], runs)
}

// buildAnswer builds the web server, and returns where it is.
func buildAnswer(work string) (string, error) {
	path := filepath.Join(work, "answer")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./bench/answer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building answer: %w\n%s", err, out)
	}
	return path, nil
}

// newHost makes a namespace with an uplink that leads nowhere. What is bridged
// does not pass the packet filter of IP, as on all hosts but those where
// somebody has loaded br_netfilter, as Docker does.
func newHost(name string) (*host, error) {
	h := &host{name: name, served: map[string]*sample{}, starts: map[string]*sample{}}
	h.end = func() { _ = exec.Command("ip", "netns", "del", h.space()).Run() } // what stays, the kernel keeps for processes that ip names
	script := `set -e
ip netns add "$1"
ip -n "$1" link set lo up
ip -n "$1" link add up0 type veth peer name up1
ip -n "$1" link set up1 up
ip -n "$1" link set up0 up
ip -n "$1" address add ` + hostAddr + `/24 dev up0
ip -n "$1" route add default via 203.0.113.2
for f in /proc/sys/net/bridge/bridge-nf-call-{iptables,ip6tables}; do
  [[ ! -e $f ]] || nsenter --net=/run/netns/"$1" -- sh -c "echo 0 >$f"
done`
	if out, err := exec.Command("bash", "-c", script, "bash", h.space()).CombinedOutput(); err != nil {
		h.end()
		return nil, fmt.Errorf("%s: making a network namespace: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return h, nil
}

func (h *host) space() string {
	return "davit-bench-" + strings.TrimSuffix(strings.Fields(h.name)[0], ":")
}

// in is what puts a process into a network namespace and nowhere else: ip netns
// exec would hide the control groups.
func in(path string) []string { return []string{"nsenter", "--net=" + path, "--"} }

// within is in for the host itself.
func (h *host) within() []string { return in("/run/netns/" + h.space()) }

// boundHost is a namespace and one more, with a veth from one to the other.
func boundHost(_, _ string) (*host, error) {
	h, err := newHost("bound: two namespaces and a veth")
	if err != nil {
		return nil, err
	}
	err = h.bare(`ip netns add "$1-b"
ip -n "$1" link add v0 type veth peer name eth0 netns "$1-b"
ip -n "$1" address add 198.51.100.1/24 dev v0
ip -n "$1" link set v0 up`, "-b")
	h.outside = h.within()
	h.beside = h.outside
	return h, err
}

// bridgeHost is two namespaces on a bridge, which is what engines make.
func bridgeHost(_, _ string) (*host, error) {
	h, err := newHost("bridge: two namespaces on a bridge")
	if err != nil {
		return nil, err
	}
	err = h.bare(`ip -n "$1" link add br0 type bridge
ip -n "$1" address add 198.51.100.1/24 dev br0
ip -n "$1" link set br0 up
for n in a b; do
  ip netns add "$1-$n"
  ip -n "$1" link add v$n type veth peer name eth0 netns "$1-$n"
  ip -n "$1" link set v$n master br0 up
done
ip -n "$1-a" address add 198.51.100.3/24 dev eth0
ip -n "$1-a" link set eth0 up`, "-a", "-b")
	h.outside, h.beside = h.within(), in("/run/netns/"+h.space()+"-a")
	return h, err
}

// bare is a host without an engine. The last of its other namespaces, by the
// ends of their names, is where the servers are.
func (h *host) bare(script string, others ...string) error {
	end := h.end
	h.end = func() {
		for _, o := range others {
			_ = exec.Command("ip", "netns", "del", h.space()+o).Run() // where it was not made
		}
		end()
	}
	script = "set -e\n" + script + `
ip -n "$1-b" address add 198.51.100.2/24 dev eth0
ip -n "$1-b" link set eth0 up`
	if out, err := exec.Command("bash", "-c", script, "bash", h.space()).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", h.name, err, bytes.TrimSpace(out))
	}
	h.address, h.inside = "198.51.100.2", in("/run/netns/"+h.space()+"-b")
	return nil
}

func davitHost(bin, _ string) (*host, error) {
	h, err := newHost("davit")
	if err != nil {
		return nil, err
	}
	e, err := enginetest.New(bin, enginetest.Config{Quiet: true, NoRegistry: true, NetNS: "/run/netns/" + h.space()})
	if err != nil {
		return h, err
	}
	end := h.end
	h.end = func() {
		for _, left := range e.Close() {
			fmt.Fprintln(os.Stderr, "left behind:", left)
		}
		end()
	}
	h.engine = &engine{name: "davit", argv: []string{filepath.Join(e.Bin, "davit")}, env: e.Davit().Env, own: e.Processes}
	return h, nil
}

func dockerHost(_, _ string) (*host, error) {
	h, err := newHost("docker")
	if err != nil {
		return nil, err
	}
	socket, stop, err := startDockerd(h.within(), "--bip", "172.31.0.1/16")
	if err != nil {
		h.end()
		return nil, fmt.Errorf("docker: not measured: %w", err)
	}
	end := h.end
	h.end = func() { stop(); end() }
	h.engine = &engine{name: "docker", argv: []string{"docker", "-H", socket}, env: os.Environ()}
	return h, nil
}

func podmanHost(_, work string) (*host, error) {
	if _, err := exec.LookPath("podman"); err != nil {
		return nil, errors.New("podman: not on this machine")
	}
	h, err := newHost("podman")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(work, "podman")
	argv := append(h.within(), "podman", "--root", dir+"/root", "--runroot", dir+"/run", "--cgroup-manager", "cgroupfs", "--events-backend", "none")
	if _, err := exec.LookPath("runc"); err == nil {
		argv = append(argv, "--runtime", "runc") // crun refuses hosts with both versions of cgroups
	}
	h.engine, h.run = &engine{name: "podman", argv: argv, env: os.Environ()}, []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	return h, nil
}

// serve runs the containers of a host, and the servers.
func (h *host) serve(answer string) error {
	if h.engine != nil {
		if err := h.contain(); err != nil {
			return fmt.Errorf("%s: not measured: %w", h.name, err)
		}
	}
	end := h.end
	h.end = func() {
		for _, s := range h.servers {
			_ = s.Process.Kill()
			_ = s.Wait()
		}
		end()
	}
	for _, args := range [][]string{{answer, ":" + webPort}, {"iperf3", "-s", "-p", iperfPort}} {
		s := first(h.inside, args...)
		if err := s.Start(); err != nil {
			return err
		}
		h.servers = append(h.servers, s)
	}
	for _, p := range paths {
		if err := h.answers(p.address); err != nil {
			return fmt.Errorf("%s: not measured: %w", h.name, err)
		}
	}
	return nil
}

// contain runs two containers that do nothing, and learns of their networks.
func (h *host) contain() error {
	end := h.end
	h.end = func() {
		h.engine.removeContainers()
		end()
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("needs busybox (make setup installs it): %w", err)
	}
	load := exec.Command("bash", append([]string{"-c", `set -euo pipefail
tar -C "$(dirname "$1")" --transform 's|^|bin/|' -c busybox | "${@:3}" import -c 'CMD ["/bin/busybox", "sleep", "100000"]' - "$2" >/dev/null`, "bash", busybox, netImage}, h.engine.argv...)...)
	load.Env = h.engine.env
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("importing an image: %w: %s", err, bytes.TrimSpace(out))
	}
	for _, c := range [][]string{{"beside", netImage}, {"server", "-p", webPort + ":" + webPort, "-p", iperfPort + ":" + iperfPort, netImage}} {
		name := "davit-bench-" + c[0]
		if out, err := h.engine.command(slices.Concat([]string{"run", "-d", "--label", label, "--name", name}, h.run, c[1:])...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
		}
		out, err := h.engine.command("inspect", "-f", "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name).Output()
		fields := strings.Fields(string(out))
		if err != nil || len(fields) != 2 {
			return fmt.Errorf("where %s is: %w: %q", name, err, out)
		}
		h.outside, h.beside = h.within(), h.inside
		h.inside, h.address = in("/proc/"+fields[0]+"/ns/net"), fields[1]
	}
	return nil
}

// way is who asks on a path, and whom.
func (h *host) way(address string) (client []string, at string) {
	switch {
	case address == "":
		return h.beside, h.address
	case h.engine == nil: // where nothing is published
		address = h.address
	}
	return h.outside, address
}

// first is a program that goes before all else on the machine.
func first(where []string, args ...string) *exec.Cmd {
	return exec.Command("nice", slices.Concat([]string{"-n", "-20"}, where, args)...)
}

// answers waits until the web server does.
func (h *host) answers(address string) (err error) {
	client, at := h.way(address)
	var out []byte
	for range 50 {
		if out, err = first(client, "busybox", "wget", "-q", "-O", "/dev/null", "http://"+at+":"+webPort+"/").CombinedOutput(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("nobody answers at %s: %w: %s", at, err, bytes.TrimSpace(out))
}

// requests measures how many a second are answered.
func (h *host) requests(client []string, at string) (float64, error) {
	out, err := first(client, "wrk", "-t1", "-c32", fmt.Sprintf("-d%ds", int(probe.Seconds())), "http://"+at+":"+webPort+"/").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: wrk: %w: %s", h.name, err, bytes.TrimSpace(out))
	}
	for line := range strings.Lines(string(out)) {
		if n, ok := strings.CutPrefix(line, "Requests/sec:"); ok {
			return strconv.ParseFloat(strings.TrimSpace(n), 64)
		}
	}
	return 0, fmt.Errorf("%s: wrk: %s", h.name, bytes.TrimSpace(out))
}

// stream measures what one connection carries, in Gbit/s.
func (h *host) stream(client []string, at string) (float64, error) {
	out, err := first(client, "iperf3", "-c", at, "-p", iperfPort, "-C", "cubic", "-J", "-t", strconv.Itoa(int(probe.Seconds()))).Output()
	if err != nil {
		return 0, fmt.Errorf("%s: iperf3: %w: %s", h.name, err, bytes.TrimSpace(out))
	}
	var report struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	err = json.Unmarshal(out, &report)
	return report.End.Received.Rate / 1e9, err
}

// traffic measures all hosts in turn. What others do on the machine only makes
// things slower, so it is the best figures that are compared.
func traffic(hosts []*host, rounds int) error {
	for range rounds {
		for _, p := range paths {
			for _, h := range hosts {
				for tool, measure := range map[string]func([]string, string) (float64, error){"web": h.requests, "iperf": h.stream} {
					n, err := measure(h.way(p.address))
					if err != nil {
						return err
					}
					key := p.title + tool
					if h.served[key] == nil {
						h.served[key] = &sample{}
					}
					*h.served[key] = append(*h.served[key], n)
				}
			}
		}
	}
	for _, tool := range []struct{ name, title, format string }{{"iperf", "iperf3, one connection, Gbit/s", "%.1f"}, {"web", "wrk, 32 connections, requests a second", "%.0f"}} {
		fmt.Printf("| %s: median of %d, best (share of the bound's) ", tool.title, rounds)
		for _, p := range paths {
			fmt.Printf("| %s ", p.title)
		}
		fmt.Printf("|\n|---%s|\n", strings.Repeat("|---", len(paths)))
		for _, h := range hosts {
			fmt.Printf("| %s ", h.name)
			for _, p := range paths {
				all := *h.served[p.title+tool.name]
				best, bound := slices.Max(all), slices.Max(*hosts[0].served[p.title+tool.name])
				fmt.Printf("| "+tool.format+", "+tool.format+" (%.0f %%) ", all.median(), best, 100*best/bound)
			}
			fmt.Printf("|\n")
		}
		fmt.Println()
	}
	return nil
}

// startsWithPorts compares starts without ports, with one, and for Davit with
// 10,000; another engine would take a process for each, or minutes.
func startsWithPorts(hosts []*host, runs int) error {
	kinds := []struct {
		title string
		args  []string
	}{
		{"run --rm", nil}, {"-p 8081:80", []string{"-p", "8081:80"}},
		{"-p 20000-29999:20000-29999", []string{"-p", fmt.Sprintf("%d-%d:%[1]d-%[2]d", manyFrom, manyFrom+9999)}},
	}
	for round := -1; round < runs; round++ {
		for _, h := range hosts {
			for _, k := range kinds {
				if k.title == kinds[2].title && h.name != "davit" {
					continue
				}
				took, err := timed(h.engine.command(slices.Concat([]string{"run", "--rm", "--label", label}, h.run, k.args, []string{netImage, "/bin/busybox", "true"})...))
				if err != nil {
					return err
				}
				if h.starts[k.title] == nil {
					h.starts[k.title] = &sample{}
				}
				if round >= 0 {
					h.starts[k.title].add(took)
				}
			}
		}
	}
	fmt.Printf("| | %s | %s | %s |\n|---|---|---|---|\n", kinds[0].title, kinds[1].title, kinds[2].title)
	for _, h := range hosts {
		fmt.Printf("| %s ", h.name)
		for _, k := range kinds {
			text := "-"
			if s := h.starts[k.title]; s != nil {
				text = s.String()
			}
			fmt.Printf("| %s ", text)
		}
		fmt.Printf("|\n")
	}
	return nil
}
