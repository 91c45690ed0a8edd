package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// foreignNetNS makes a network namespace with one address of its own and
// returns its path.
func foreignNetNS(t *testing.T, address string) string {
	t.Helper()
	enginetest.NeedProgram(t, "ip")
	name := "davit-test-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	path := "/run/netns/" + name
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "delete", name) })
	ip("-n", name, "address", "add", address+"/32", "dev", "lo")
	ip("-n", name, "link", "set", "lo", "up")
	return path
}

// TestForeignNetworkNamespace: a container lives in a network namespace that
// somebody else has made, alone or beside others, and leaves it as it was.
func TestForeignNetworkNamespace(t *testing.T) {
	engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		path := foreignNetNS(t, "198.51.100.7")
		n := name(t, cli)
		if got := cli.OK(t, "run", "--rm", "--network", "ns:"+path, "--hostname", "guest", "busybox", "sh", "-c", "ip -4 -o address; hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /sys/class/net"); !strings.Contains(got, "inet 198.51.100.7/32") ||
			!strings.HasSuffix(got, "\nguest\n1024\nlo") {
			t.Errorf("in the namespace: %s", got)
		}
		cli.OK(t, "run", "-d", "--name", n, "--network", "ns:"+path, "busybox", "sh", "-c", "echo hello >/tmp/x; exec httpd -f -p 198.51.100.7:80 -h /tmp")
		enginetest.Eventually(t, 20*time.Second, func() error {
			return exec.Command("ip", "netns", "exec", filepath.Base(path), "busybox", "wget", "-q", "-O", "/dev/null", "http://198.51.100.7/x").Run()
		})
		if got := cli.OK(t, "run", "--rm", "--network", "container:"+n, "busybox", "wget", "-q", "-O", "-", "http://198.51.100.7/x"); got != "hello" {
			t.Errorf("from a third container in it: %q", got)
		}
		if got := cli.OK(t, "inspect", "-f", "{{.HostConfig.NetworkMode}} {{len .NetworkSettings.Networks}}", n); got != "ns:"+path+" 0" {
			t.Errorf("inspect says %q", got)
		}
		cli.Fails(t, 1, "cannot be connected to any other network", "network", "connect", "bridge", n)
		cli.OK(t, "restart", "-t", "0", n)
		cli.OK(t, "rm", "-f", n)
		if err := exec.Command("ip", "-n", filepath.Base(path), "-4", "address", "show", "to", "198.51.100.7").Run(); err != nil {
			t.Errorf("after the container: %v", err)
		}
	})
}

func TestForeignNetworkNamespaceRefused(t *testing.T) {
	e := engine(t)
	path := foreignNetNS(t, "198.51.100.8")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cli := e.Davit()
	for _, c := range []struct {
		want string
		args []string
	}{
		{"joining network namespace /run/netns/nothing-there: ", []string{"ns:/run/netns/nothing-there"}},
		{"this is no network namespace: name one as ip netns makes them", []string{"ns:" + file}},
		{"this is no network namespace", []string{"ns:/proc/self/ns/mnt"}},
		{"invalid network mode ns:foo: it takes the absolute path of a network namespace", []string{"ns:foo"}},
		{"conflicting options: port publishing and network mode ns:", []string{"ns:" + path, "-p", "80"}},
		{"conflicting options: links and network mode ns:", []string{"ns:" + path, "--link", "x"}},
	} {
		n := name(t, cli)
		args := append([]string{"run", "--rm", "--name", n, "--network"}, append(c.args, "busybox", "true")...)
		if r := cli.Run(t, args...); r.Code == 0 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%s: exit code %d, %s", strings.Join(args, " "), r.Code, r.Stderr)
		}
	}
	// In a user namespace of its own a container has no rights over it, but lives there.
	if got := cli.OK(t, "run", "--rm", "--userns", "auto", "--network", "ns:"+path, "busybox", "ip", "-4", "-o", "address"); !strings.Contains(got, "198.51.100.8") {
		t.Errorf("with a user namespace: %s", got)
	}
}
