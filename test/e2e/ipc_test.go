package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestIPCContainer has one container join the IPC namespace and the shared
// memory of another.
func TestIPCContainer(t *testing.T) {
	joining := func(t *testing.T, cli enginetest.CLI) {
		donor := name(t, cli)
		cli.OK(t, "run", "-d", "--name", donor, "--ipc", "shareable", "--shm-size", "1m", "busybox", "sh", "-c", "echo from the donor >/dev/shm/file; readlink /proc/self/ns/ipc; exec sleep 1000")
		enginetest.Eventually(t, 10*time.Second, func() error {
			if out := cli.OK(t, "logs", donor); !strings.Contains(out, "ipc:") {
				return fmt.Errorf("the donor has said %q", out)
			}
			return nil
		})
		namespace := strings.TrimSpace(cli.OK(t, "logs", donor))
		out := cli.OK(t, "run", "--rm", "--ipc", "container:"+donor, "busybox", "sh", "-c",
			"cat /dev/shm/file; readlink /proc/self/ns/ipc; echo back >/dev/shm/answer; df -k /dev/shm | tail -n 1 | awk '{print $2}'; grep ' /dev/mqueue ' /proc/mounts | wc -l; grep -c ' /dev/shm .*nosuid.*nodev.*noexec' /proc/mounts")
		if want := "from the donor\n" + namespace + "\n1024\n1\n1"; out != want {
			t.Errorf("the second container sees %q, want %q", out, want)
		}
		out = cli.OK(t, "run", "--rm", "--ipc", "container:"+donor, "busybox", "cat", "/dev/shm/answer")
		if out != "back" {
			t.Errorf("the third container reads %q", out)
		}
		id := strings.TrimSpace(cli.OK(t, "inspect", "-f", "{{.Id}}", donor))
		joined := donor + "-joined"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", joined) })
		cli.OK(t, "create", "--name", joined, "--ipc", "container:"+donor, "busybox", "true")
		if got := cli.OK(t, "inspect", "-f", "{{.HostConfig.IpcMode}}", joined); got != "container:"+id {
			t.Errorf("inspect shows IpcMode %q", got)
		}
		cli.OK(t, "stop", "-t", "0", donor)
		cli.Fails(t, 1, "non running container", "start", joined)
	}
	each(t, func(t *testing.T, cli enginetest.CLI) {
		joining(t, cli)
		closed := name(t, cli) + "-closed"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", closed) })
		cli.OK(t, "run", "-d", "--name", closed, "--ipc", "private", "busybox", "sleep", "1000")
		cli.Fails(t, 125, "non-shareable IPC (hint: use IpcMode:shareable for the donor container)", "run", "--rm", "--ipc", "container:"+closed, "busybox", "true")
		cli.Fails(t, 125, "No such container", "run", "--rm", "--ipc", "container:nobody-there", "busybox", "true")
	})
	t.Run("user namespaces", func(t *testing.T) { joining(t, private.get(t).Davit()) })
}
