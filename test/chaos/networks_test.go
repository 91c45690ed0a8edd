package chaos

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// boxPort is where each box says its key to whoever connects.
var boxPort = network.MustParsePort("8080/tcp")

// ownNetwork makes the client's network, or finds it after a request that the
// engine died under.
func (c *stormClient) ownNetwork() {
	err, unsure := c.call("network create", func(ctx context.Context) error {
		_, err := c.api.NetworkCreate(ctx, c.name, client.NetworkCreateOptions{})
		return err
	})
	if unsure {
		err, _ = c.call("network create", func(ctx context.Context) error {
			_, err := c.api.NetworkCreate(ctx, c.name, client.NetworkCreateOptions{})
			return err
		})
	}
	if err != nil && !errdefs.IsConflict(err) {
		c.fault("network create: %v", err)
	}
}

// dropNetwork removes it. No box is on it any more.
func (c *stormClient) dropNetwork() {
	for again := 0; again < 5; again++ {
		err, unsure := c.call("network rm", func(ctx context.Context) error {
			_, err := c.api.NetworkRemove(ctx, c.name, client.NetworkRemoveOptions{})
			return err
		})
		if unsure {
			continue
		}
		if err != nil && !(again > 0 && errdefs.IsNotFound(err)) {
			c.fault("network rm %s: %v", c.name, err)
		}
		return
	}
	c.fault("network rm %s: the engine died under it each time", c.name)
}

// onNetwork chooses the network of a box that is to be made, and whether its port is
// published.
func (c *stormClient) onNetwork(b *box, o *client.ContainerCreateOptions) {
	if c.random.IntN(2) == 0 {
		o.HostConfig.NetworkMode = container.NetworkMode(c.name)
		b.joined = true
	}
	if b.published = c.random.IntN(2) == 0; b.published {
		o.Config.ExposedPorts = network.PortSet{boxPort: {}}
		o.HostConfig.PortBindings = network.PortMap{boxPort: {{HostIP: netip.MustParseAddr("127.0.0.1")}}}
	}
}

// visit connects to a box by its published port, whether an engine lives or not.
func (c *stormClient) visit(b *box) {
	if !b.published || !b.mayRun || b.paused {
		return
	}
	before := c.look(b)
	if before == nil || !before.State.Running || len(before.NetworkSettings.Networks) == 0 {
		return
	}
	bindings := before.NetworkSettings.Ports[boxPort]
	if len(bindings) == 0 {
		c.fault("%s runs and has no published port: %v\n%s", b.name, before.NetworkSettings.Ports, c.history(b.id))
		return
	}
	address := net.JoinHostPort("127.0.0.1", bindings[0].HostPort)
	var err error
	// The first connection may come before the box listens.
	for late := time.Now().Add(5 * time.Second); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		if err = says(address, b.key); err == nil {
			c.visits.Add(1)
			return
		}
		if c.struck(b.id) {
			return
		}
	}
	if after := c.look(b); after != nil && after.State.Running && after.State.StartedAt == before.State.StartedAt {
		c.fault("visiting %s at %s: %v\n%s", b.name, address, err, c.history(b.id))
	}
}

// says connects to an address and compares what it says.
func says(address, want string) error {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	text, err := io.ReadAll(conn)
	if err == nil && string(text) != want {
		err = fmt.Errorf("%q answers instead of %q", text, want)
	}
	return err
}

// join puts a box on the client's network, or takes it off.
func (c *stormClient) join(b *box) {
	if b.paused {
		return
	}
	want := !b.joined
	change := func(ctx context.Context) (err error) {
		if want {
			_, err = c.api.NetworkConnect(ctx, c.name, client.NetworkConnectOptions{Container: b.id})
		} else {
			_, err = c.api.NetworkDisconnect(ctx, c.name, client.NetworkDisconnectOptions{Container: b.id})
		}
		return err
	}
	err, unsure := c.call("network connect", change)
	seen := c.look(b)
	if seen == nil {
		c.fault("network connect: container %s is lost", b.name)
		return
	}
	_, on := seen.NetworkSettings.Networks[c.name]
	if err != nil && !unsure && !c.struck(b.id) {
		c.fault("network connect %s (%v): %v\n%s", b.name, want, err, c.history(b.id))
	} else if on != want && !unsure && err == nil {
		c.fault("%s is on its network: %v, want %v\n%s", b.name, on, want, c.history(b.id))
	}
	b.joined = on
}

// noNetworksLeft compares the networks and the host with what they were before.
func (s *storm) noNetworksLeft() {
	list, err := s.e.Client(s.t).NetworkList(context.Background(), client.NetworkListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, n := range list.Items {
		if n.Name != "bridge" && n.Name != "host" && n.Name != "none" {
			s.fault("left behind: network %s", n.Name)
		}
	}
	enginetest.Eventually(s.t, 20*time.Second, func() error {
		list, err := s.e.Client(s.t).NetworkInspect(context.Background(), "bridge", client.NetworkInspectOptions{})
		if err != nil {
			return err
		}
		if n := len(list.Network.Containers); n > 0 {
			return fmt.Errorf("%d containers are left on the bridge", n)
		}
		return nil
	})
}
