package e2e

import (
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestSharedNamespaces has containers join the namespaces of another one, and
// looks at what becomes of them when that one starts again.
func TestSharedNamespaces(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		donor, guest := name(t, cli)+"-donor", name(t, cli)+"-guest"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", donor, guest) })
		cli.OK(t, "run", "-d", "--name", donor, "-h", "donorhost", "busybox", "sleep", "1000")
		out := cli.OK(t, "run", "--rm", "--network", "container:"+donor, "--pid", "container:"+donor, "busybox", "sh", "-c", "hostname; cat /proc/1/comm; ip -4 -o addr show eth0 | wc -l; grep -c donorhost /etc/hosts")
		if out != "donorhost\nsleep\n1\n1" {
			t.Errorf("a guest prints %q", out)
		}

		// In another's pid namespace a container ends with it, and cannot start without it.
		cli.OK(t, "run", "-d", "--name", guest, "--pid", "container:"+donor, "busybox", "sleep", "1000")
		cli.OK(t, "restart", "-t", "0", donor)
		enginetest.Eventually(t, 10*time.Second, func() error {
			return expect(cli.OK(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", guest), "exited 137")
		})
		cli.OK(t, "start", guest)
		cli.OK(t, "stop", "-t", "0", donor)
		enginetest.Eventually(t, 10*time.Second, func() error {
			return expect(cli.OK(t, "inspect", "-f", "{{.State.Status}}", guest), "exited")
		})
		cli.Fails(t, 1, "non running container", "start", guest)
		cli.OK(t, "rm", guest)
		cli.OK(t, "start", donor)

		// What lives on in another's network has lost it, so that nobody else's
		// traffic can reach it once the address is given away.
		cli.OK(t, "run", "-d", "--name", guest, "--network", "container:"+donor, "busybox", "sh", "-c", "while :; do ip -4 -o addr show eth0 2>/dev/null | grep -c inet >/count.new; mv /count.new /count; sleep 0.02; done")
		path := cli.OK(t, "inspect", "-f", "{{.HostsPath}}", donor)
		if own := cli.OK(t, "inspect", "-f", "{{.HostsPath}}", guest); own == "" || path == "" {
			t.Errorf("inspect shows hosts files %q and %q", own, path)
		}
		count := func() string { return strings.TrimSpace(cli.Run(t, "exec", guest, "cat", "/count").Stdout) }
		enginetest.Eventually(t, 10*time.Second, func() error { return expect(count(), "1") })
		cli.OK(t, "restart", "-t", "0", donor)
		enginetest.Eventually(t, 10*time.Second, func() error { return expect(count(), "0") })
		cli.OK(t, "restart", "-t", "0", guest)
		enginetest.Eventually(t, 10*time.Second, func() error { return expect(count(), "1") })
	})
}

func expect(got, want string) error {
	if got == want {
		return nil
	}
	return &mismatch{got, want}
}

type mismatch struct{ got, want string }

func (m *mismatch) Error() string { return "got " + m.got + ", want " + m.want }
