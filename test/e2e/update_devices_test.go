package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// TestUpdateDeviceLimits changes limits on a block device of a container that
// runs, and takes them away again.
func TestUpdateDeviceLimits(t *testing.T) {
	dev, number := blockDevice(t)
	e := engine(t)
	cli, api := e.Davit(), e.Client(t)
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "--device-read-bps", dev+":1mb", "busybox", "sleep", "1000")
	id := cli.OK(t, "inspect", "-f", "{{.Id}}", n)
	file := filepath.Join("/sys/fs/cgroup/blkio", e.Cgroup, id, "blkio.throttle.read_bps_device")
	if !exists(file) {
		file = filepath.Join("/sys/fs/cgroup", e.Cgroup, id, "io.max")
	}
	for _, c := range []struct {
		list []*blkiodev.ThrottleDevice
		want string
	}{
		{[]*blkiodev.ThrottleDevice{{Path: dev, Rate: 2 << 20}}, "2097152"}, {nil, "2097152"}, {[]*blkiodev.ThrottleDevice{}, ""},
	} {
		r := container.Resources{BlkioDeviceReadBps: c.list, CPUShares: 512}
		if _, err := api.ContainerUpdate(context.Background(), n, client.ContainerUpdateOptions{Resources: &r}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if limited := strings.Contains(string(text), number); limited != (c.want != "") || !strings.Contains(string(text), c.want) {
			t.Errorf("%v: %s holds %q, want %q", c.list, file, text, c.want)
		}
	}
	r := container.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{{Path: "/dev/null", Rate: 1}}}
	if _, err := api.ContainerUpdate(context.Background(), n, client.ContainerUpdateOptions{Resources: &r}); err == nil || !strings.Contains(err.Error(), "is not a block device") {
		t.Errorf("a limit on /dev/null: %v", err)
	}
}
