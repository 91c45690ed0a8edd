package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
)

// stayer is a container of a storm that the engine keeps running: its policy is
// unless-stopped. From its start until it is stopped it runs, or will in a moment,
// whatever is killed; from then on it does not.
type stayer struct {
	box
	runs bool
}

// comeBack is how long a stayer may take until it runs again. The pause before a
// restart doubles with each end that comes soon after a start, up to a minute.
const comeBack = 90 * time.Second

func (c *stormClient) tendStayers() {
	if len(c.stayers) == 0 || len(c.stayers) < 3 && c.random.IntN(10) == 0 {
		c.createStayer()
		return
	}
	s := c.stayers[c.random.IntN(len(c.stayers))]
	switch c.random.IntN(8) {
	case 0, 1, 2:
		c.startStayer(s)
	case 3, 4:
		c.endStayer(s)
	case 5:
		c.stopStayer(s)
	case 6:
		c.removeStayer(s)
	default:
		c.checkStayer(s)
	}
}

func (c *stormClient) createStayer() {
	c.made++
	s := &stayer{box: box{key: fmt.Sprintf("%s-%d", c.name, c.made), code: 9}}
	s.name = s.key
	err, unsure := c.call("create", func(ctx context.Context) error {
		answer, err := c.api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name:   s.name,
			Config: &container.Config{Image: "busybox", Cmd: []string{"/s/box"}, Env: []string{"KEY=" + s.key, "CODE=9"}},
			HostConfig: &container.HostConfig{
				Mounts:        []mount.Mount{{Type: mount.TypeBind, Source: c.dir, Target: "/s"}},
				RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
			},
		})
		s.id = answer.ID
		return err
	})
	if unsure {
		s.id = s.name
		seen := c.look(&s.box)
		if seen == nil {
			return
		}
		s.id = seen.ID
	} else if err != nil {
		c.fault("create: %v", err)
		return
	}
	c.created.Add(1)
	c.stayers = append(c.stayers, s)
}

func (c *stormClient) startStayer(s *stayer) {
	for {
		err, unsure := c.call("start", func(ctx context.Context) error {
			_, err := c.api.ContainerStart(ctx, s.id, client.ContainerStartOptions{})
			return err
		})
		if unsure {
			continue // once more does no harm
		}
		if err != nil {
			c.fault("start %s: %v", s.name, err)
		}
		break
	}
	s.runs = true
	c.starts.Add(1)
}

// endStayer has it end by itself, and sees it come back.
func (c *stormClient) endStayer(s *stayer) {
	if !s.runs {
		return
	}
	before := len(c.startsOf(&s.box))
	end := filepath.Join(c.dir, s.key+".end")
	touch(c.t, end)
	ended := time.NewTimer(60 * time.Millisecond)
	<-ended.C
	if err := os.Remove(end); err != nil {
		c.fault("%v", err)
	}
	if c.checkStayer(s); len(c.startsOf(&s.box)) < before {
		c.fault("%s: fewer starts than before", s.name)
	}
}

func (c *stormClient) stopStayer(s *stayer) {
	for {
		seconds := patience
		err, unsure := c.call("stop", func(ctx context.Context) error {
			_, err := c.api.ContainerStop(ctx, s.id, client.ContainerStopOptions{Timeout: &seconds})
			return err
		})
		if unsure {
			continue
		}
		if err != nil {
			c.fault("stop %s: %v", s.name, err)
		}
		break
	}
	s.runs = false
	c.checkStayer(s)
}

// checkStayer waits until a stayer is what it must be.
func (c *stormClient) checkStayer(s *stayer) {
	late := time.Now().Add(comeBack)
	for {
		seen := c.look(&s.box)
		if seen == nil {
			c.fault("container %s is lost", s.name)
			c.forgetStayer(s)
			return
		}
		status := seen.State.Status
		if !s.runs {
			if status != container.StateExited && status != container.StateCreated {
				c.fault("%s was stopped and is %s\n%s", s.name, status, c.history(s.id))
			}
			return
		}
		if status == container.StateRunning {
			return
		}
		if time.Now().After(late) {
			c.fault("%s should run and is %s: %+v\n%s", s.name, status, *seen.State, c.history(s.id))
			return
		}
		again := time.NewTimer(20 * time.Millisecond)
		<-again.C
	}
}

func (c *stormClient) removeStayer(s *stayer) {
	c.remove(&s.box)
	c.forgetStayer(s)
}

func (c *stormClient) forgetStayer(s *stayer) {
	c.stayers = slices.DeleteFunc(c.stayers, func(other *stayer) bool { return other == s })
}
