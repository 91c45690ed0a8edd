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
	netImage = "davit-bench-network"
	webPort  = "8080"
	iperf    = "5201"
	hostAddr = "203.0.113.1" // a documentation address (RFC 5737), the host's own
	probe    = time.Second   // how long each measurement takes
	manyFrom = 20000         // the first of 10,000 published ports
)

// host is a network namespace that stands for a host, in which one engine
// lives, or for the bound nothing but the end of a veth. So nobody's packet
// filter slows another's traffic down.
type host struct {
	name   string
	engine *engine // nil for the bound
	server string  // address of what serves
	client []string
	run    []string // options of run that the engine needs on this machine
	end    func()
	served map[string]*sample // by path and tool
	starts map[string]*sample
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
	rootfs, err := netRootfs(work)
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
	for _, make := range []func(bin, work, rootfs string) (*host, error){boundHost, davitHost, dockerHost, podmanHost} {
		h, err := make(bin, work, rootfs)
		if h != nil {
			hosts = append(hosts, h)
		}
		if err == nil {
			err = h.serve(rootfs)
		}
		if err != nil && len(hosts) <= 2 {
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
	if err := traffic(hosts, min(max(runs/3, 1), 5)); err != nil {
		return err
	}
	return startsWithPorts(hosts[1:], runs)
}

// netRootfs is a folder with the tools and all that they are linked with.
func netRootfs(work string) (string, error) {
	dir := filepath.Join(work, "network")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("needs busybox (make setup installs it): %w", err)
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "bin", "answer"), "./bench/answer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building answer: %w\n%s", err, out)
	}
	script := `set -euo pipefail
mkdir -p "$1/tmp"
cp "$2" "$1/bin/busybox"
for program in iperf3 wrk; do
  path=$(command -v $program)
  cp "$path" "$1/bin/"
  for file in $(ldd "$path" | grep -o '/[^ ]*'); do
    mkdir -p "$1${file%/*}"
    cp -L "$file" "$1$file"
  done
done`
	if out, err := exec.Command("bash", "-c", script, "bash", dir, busybox).CombinedOutput(); err != nil {
		return "", fmt.Errorf("collecting iperf3 and wrk: %w\n%s", err, out)
	}
	return dir, nil
}

// newHost makes a namespace with an uplink that leads nowhere.
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
ip -n "$1" route add default via 203.0.113.2`
	if out, err := exec.Command("bash", "-c", script, "bash", h.space()).CombinedOutput(); err != nil {
		h.end()
		return nil, fmt.Errorf("%s: making a network namespace: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return h, nil
}

func (h *host) space() string { return "davit-bench-" + strings.Fields(h.name)[0] }

// within is a command in the host's network namespace alone: ip netns exec
// would hide the control groups.
func (h *host) within(args ...string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + h.space(), "--"}, args...)
}

// boundHost is a namespace and one more, with a veth from one to the other.
func boundHost(_, _, rootfs string) (*host, error) {
	h, err := newHost("the bound: two namespaces and a veth")
	if err != nil {
		return nil, err
	}
	other := h.space() + "-2"
	var servers []*exec.Cmd
	end := h.end
	h.end = func() {
		for _, s := range servers {
			_ = s.Process.Kill()
			_ = s.Wait()
		}
		_ = exec.Command("ip", "netns", "del", other).Run()
		end()
	}
	script := `set -e
ip netns add "$2"
ip -n "$2" link set lo up
ip -n "$1" link add v0 type veth peer name v1 netns "$2"
ip -n "$1" address add 198.51.100.1/24 dev v0
ip -n "$2" address add 198.51.100.2/24 dev v1
ip -n "$1" link set v0 up
ip -n "$2" link set v1 up`
	if out, err := exec.Command("bash", "-c", script, "bash", h.space(), other).CombinedOutput(); err != nil {
		return h, fmt.Errorf("making the bound: %w: %s", err, bytes.TrimSpace(out))
	}
	h.server, h.client = "198.51.100.2", h.within()
	for _, args := range [][]string{{filepath.Join(rootfs, "bin", "answer"), ":" + webPort}, {"iperf3", "-s", "-p", iperf}} {
		s := exec.Command("nsenter", append([]string{"--net=/run/netns/" + other, "--"}, args...)...)
		if err := s.Start(); err != nil {
			return h, err
		}
		servers = append(servers, s)
	}
	return h, nil
}

func davitHost(bin, _, _ string) (*host, error) {
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

func dockerHost(_, _, _ string) (*host, error) {
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

func podmanHost(_, work, _ string) (*host, error) {
	if _, err := exec.LookPath("podman"); err != nil {
		return nil, errors.New("podman: not on this machine")
	}
	h, err := newHost("podman")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(work, "podman")
	argv := h.within("podman", "--root", dir+"/root", "--runroot", dir+"/run", "--cgroup-manager", "cgroupfs", "--events-backend", "none")
	if _, err := exec.LookPath("runc"); err == nil {
		argv = append(argv, "--runtime", "runc") // crun refuses hosts with both versions of cgroups
	}
	h.engine, h.run = &engine{name: "podman", argv: argv, env: os.Environ()}, []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	return h, nil
}

// serve runs the containers of a host.
func (h *host) serve(rootfs string) error {
	if h.engine == nil {
		return h.answers(h.client, h.server)
	}
	end := h.end
	h.end = func() {
		h.engine.removeContainers()
		end()
	}
	load := exec.Command("bash", append([]string{"-c", `set -euo pipefail; tar -C "$1" -c . | "${@:3}" import -c 'CMD ["/bin/busybox", "sleep", "100000"]' - "$2" >/dev/null`, "bash", rootfs, netImage}, h.engine.argv...)...)
	load.Env = h.engine.env
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: not measured: importing an image: %w: %s", h.name, err, bytes.TrimSpace(out))
	}
	for _, c := range [][]string{
		{"web", "-p", webPort + ":" + webPort, netImage, "/bin/answer", ":" + webPort},
		{"iperf", "-p", iperf + ":" + iperf, netImage, "/bin/iperf3", "-s", "-p", iperf},
		{"client", netImage},
	} {
		if out, err := h.engine.command(slices.Concat([]string{"run", "-d", "--label", label, "--name", "davit-bench-" + c[0]}, h.run, c[1:])...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: not measured: %w: %s", h.name, err, bytes.TrimSpace(out))
		}
	}
	h.client = append(slices.Clone(h.engine.argv), "exec", "davit-bench-client")
	for _, p := range paths {
		client, at, err := h.way(p.address, "davit-bench-web")
		if err == nil {
			err = h.answers(client, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// way is who asks on a path, and whom.
func (h *host) way(address, container string) (client []string, at string, err error) {
	switch {
	case h.engine == nil:
		return h.client, h.server, nil
	case address != "":
		return h.within(), address, nil
	}
	out, err := h.engine.command("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", container).Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) == 0 {
		return nil, "", fmt.Errorf("%s: the address of %s: %w %s", h.name, container, err, out)
	}
	return h.client, fields[0], nil
}

// command is a program that a client runs.
func (h *host) command(client []string, args ...string) *exec.Cmd {
	argv := slices.Concat(client, args)
	cmd := exec.Command(argv[0], argv[1:]...)
	if h.engine != nil {
		cmd.Env = h.engine.env
	}
	return cmd
}

// answers waits until a server does.
func (h *host) answers(client []string, at string) (err error) {
	var out []byte
	for range 50 {
		if out, err = h.command(client, "busybox", "wget", "-q", "-O", "/dev/null", "http://"+at+":"+webPort+"/").CombinedOutput(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%s: not measured: nobody answers at %s: %w: %s", h.name, at, err, bytes.TrimSpace(out))
}

// requests measures how many a second are answered.
func (h *host) requests(client []string, at string) (float64, error) {
	out, err := h.command(client, "wrk", "-t1", "-c32", fmt.Sprintf("-d%ds", int(probe.Seconds())), "http://"+at+":"+webPort+"/").CombinedOutput()
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
	out, err := h.command(client, "iperf3", "-c", at, "-p", iperf, "-J", "-t", strconv.Itoa(int(probe.Seconds()))).Output()
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
					client, at, err := h.way(p.address, "davit-bench-"+tool)
					if err != nil {
						return err
					}
					n, err := measure(client, at)
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
