package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// stormTime is how long the storm lasts; DAVIT_CHAOS (10m) makes it longer.
const stormTime = time.Minute

// TestStorm has eight clients create, start, exec, stop, rename and remove
// containers at random, on networks of their own and with published ports, while the engine is killed every few seconds and a shim
// now and then. Each client knows what its containers should be; it must not
// lose one, find one that runs twice, or be told a wrong exit code.
//
// A request that the engine died under may have been carried out or not: the
// client looks, and either is right.
func TestStorm(t *testing.T) {
	lasts := stormTime
	if text := os.Getenv("DAVIT_CHAOS"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		lasts = 10 * time.Second
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	e, _ := start(t)
	s := &storm{t: t, e: e, dir: t.TempDir(), killed: map[string]bool{}}
	buildBox(t, filepath.Join(s.dir, "box"))
	s.over, s.calm = context.WithTimeout(context.Background(), lasts)
	defer s.calm()

	var clients sync.WaitGroup
	for i := range 8 {
		c := &stormClient{storm: s, name: fmt.Sprintf("s%d", i), api: e.Client(t), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		clients.Go(c.work)
	}
	s.strike(rand.New(rand.NewPCG(seed, 99)))
	clients.Wait()

	s.nothingLeft()
	s.noNetworksLeft()
	t.Logf("%v: %d operations, %d containers, %d starts, %d execs, %d visits; %d kills of the engine, %d of shims; %d requests died with the engine; %d faults",
		lasts, s.operations.Load(), s.created.Load(), s.starts.Load(), s.execs.Load(), s.visits.Load(), s.strikes.Load(), len(s.killed), s.cut.Load(), s.faults.Load())
}

func buildBox(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./box")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the box: %v\n%s", err, out)
	}
}

// patience is how long stop and restart wait, in seconds.
const patience = 5

// early tells whether a box was asked to end before it listened for that. A Go
// program then ends with 2, or it is not told at all, as the kernel keeps from
// process 1 what that does not handle: then it was killed when patience ended.
func early(s *container.State) bool {
	started, err1 := time.Parse(time.RFC3339Nano, s.StartedAt)
	finished, err2 := time.Parse(time.RFC3339Nano, s.FinishedAt)
	return err1 == nil && err2 == nil && (s.ExitCode == 2 || s.ExitCode == 137 && finished.Sub(started) >= patience*time.Second)
}

// storm is what the clients share.
type storm struct {
	t    *testing.T
	e    *enginetest.Engine
	dir  string // mounted into each container as /s
	over context.Context
	calm context.CancelFunc

	operations, created, starts, execs, visits, cut, faults atomic.Int64
	strikes                                                 atomic.Int64

	mu     sync.Mutex
	killed map[string]bool // containers whose shim was killed; guarded by mu
}

func (s *storm) fault(format string, args ...any) {
	s.faults.Add(1)
	s.t.Errorf(format, args...)
}

// history is what the engine's log says of a container.
func (s *storm) history(id string) string {
	var lines strings.Builder
	for line := range strings.Lines(s.e.LogTail(1 << 30)) {
		if strings.Contains(line, id) || strings.Contains(line, "listening") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

func (s *storm) struck(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.killed[id]
}

// strike kills until the storm is over. The engine runs when it returns.
func (s *storm) strike(random *rand.Rand) {
	for s.over.Err() == nil {
		next := time.NewTimer(time.Duration(500+random.IntN(2500)) * time.Millisecond)
		select {
		case <-next.C:
		case <-s.over.Done():
			next.Stop()
			return
		}
		if random.IntN(3) == 0 {
			s.killShim(random)
		}
		s.strikes.Add(1)
		s.e.Kill(s.t)
		if random.IntN(3) == 0 {
			s.killShim(random) // while nobody watches
		}
		s.e.Restart(s.t)
	}
}

func (s *storm) killShim(random *rand.Rand) {
	shims := s.e.Shims()
	if len(shims) == 0 {
		return
	}
	victim := shims[random.IntN(len(shims))]
	// Noted first: whoever sees the end must know why.
	s.mu.Lock()
	s.killed[victim.ID] = true
	s.mu.Unlock()
	_ = unix.Kill(victim.ShimPid, unix.SIGKILL) // it may have ended
}

// nothingLeft compares what the engine and the host hold with nothing.
func (s *storm) nothingLeft() {
	api := s.e.Client(s.t)
	list, err := api.ContainerList(context.Background(), client.ContainerListOptions{All: true})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range list.Items {
		s.fault("left behind: %s %v %s", c.ID, c.Names, c.Status)
	}
	enginetest.Eventually(s.t, 20*time.Second, func() error {
		if n := len(s.e.Shims()); n > 0 {
			return fmt.Errorf("%d shims are left", n)
		}
		for _, dir := range []string{filepath.Join(s.e.Data, "containers"), filepath.Join(s.e.Exec, "containers")} {
			entries, err := os.ReadDir(dir)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			for _, d := range entries {
				if len(d.Name()) == 64 {
					return fmt.Errorf("%s is left in %s", d.Name(), dir)
				}
			}
		}
		return nil
	})
	for _, file := range []string{"twice", "strange"} {
		if text, err := os.ReadFile(filepath.Join(s.dir, file)); err == nil {
			s.fault("%s: %s", file, text)
		}
	}
}

// stormClient does one thing after the other to containers of its own.
type stormClient struct {
	*storm
	name   string
	api    *client.Client
	random *rand.Rand
	made   int
	boxes  []*box

	stayers []*stayer
}

// box is a container as its client knows it.
type box struct {
	id, name string
	key      string // of its files below /s
	code     int    // with which it ends by itself, or when it is asked to
	started  int    // starts that were asked for
	mayRun   bool   // it runs, unless its end came by itself
	told     bool   // to end
	asked    bool   // to end, by a signal
	killed   bool   // by its client
	paused   bool

	published bool // its port, on the loopback interface
	joined    bool // to its client's network
}

func (c *stormClient) work() {
	c.ownNetwork()
	for c.over.Err() == nil {
		c.operations.Add(1)
		if c.random.IntN(6) == 0 {
			c.tendStayers()
			continue
		}
		if len(c.boxes) < 2 || len(c.boxes) < 5 && c.random.IntN(6) == 0 {
			c.create()
			continue
		}
		b := c.boxes[c.random.IntN(len(c.boxes))]
		actions := []func(*box){c.start, c.start, c.exec, c.exec, c.stop, c.kill, c.restart, c.end, c.pause, c.rename, c.remove, c.brief, c.visit, c.visit, c.join}
		actions[c.random.IntN(len(actions))](b)
	}
	for len(c.boxes) > 0 {
		c.remove(c.boxes[0])
	}
	for len(c.stayers) > 0 {
		c.removeStayer(c.stayers[0])
	}
	c.dropNetwork()
}

// call makes a request. If the engine died under it, it waits for the next one
// and reports that what became of the request is not known.
func (c *stormClient) call(what string, f func(ctx context.Context) error) (err error, unsure bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = f(ctx)
	switch {
	case ctx.Err() != nil:
		c.fault("%s: no answer within a minute", what)
		return ctx.Err(), true
	case err == nil || !away(err):
		return err, false
	}
	c.cut.Add(1)
	enginetest.Eventually(c.t, 60*time.Second, func() error {
		_, err := c.api.Ping(context.Background(), client.PingOptions{})
		return err
	})
	return err, true
}

// away says that an error is the engine's absence, not its answer.
func away(err error) bool {
	return client.IsErrConnectionFailed(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNREFUSED) ||
		strings.Contains(err.Error(), "EOF") || strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "broken pipe")
}

// look asks for the truth about a box; nil when it is gone.
func (c *stormClient) look(b *box) *container.InspectResponse {
	var answer client.ContainerInspectResult
	for {
		err, unsure := c.call("inspect", func(ctx context.Context) (err error) {
			answer, err = c.api.ContainerInspect(ctx, b.id, client.ContainerInspectOptions{})
			return err
		})
		switch {
		case unsure:
			continue
		case errdefs.IsNotFound(err):
			return nil
		case err != nil:
			c.fault("inspect %s: %v", b.name, err)
			return nil
		}
		return &answer.Container
	}
}

// agrees compares the engine's word with what the client knows.
func (c *stormClient) agrees(b *box, after string) {
	seen := c.look(b)
	if seen == nil {
		c.fault("%s: container %s is lost", after, b.name)
		c.forget(b)
		return
	}
	if name := strings.TrimPrefix(seen.Name, "/"); name != b.name {
		c.fault("%s: %s is called %s", after, b.name, name)
	}
	struck := c.struck(b.id)
	switch seen.State.Status {
	case container.StateRunning, container.StatePaused:
		if !b.mayRun {
			c.fault("%s: %s runs", after, b.name)
		}
	case container.StateExited:
		if b.mayRun && !b.told && !b.killed && !struck {
			c.fault("%s: %s has ended by itself: %+v\n%s", after, b.name, *seen.State, c.history(b.id))
		}
		if code := seen.State.ExitCode; code != b.code && !(code == 137 && (b.killed || struck)) && !(b.asked && early(seen.State)) {
			c.fault("%s: exit code %d of %s, want %d: %+v\n%s", after, code, b.name, b.code, *seen.State, c.history(b.id))
		}
		b.mayRun, b.paused = false, false
	case container.StateCreated:
		if b.started > 0 && b.mayRun && !struck {
			c.fault("%s: %s was started and is %s", after, b.name, seen.State.Status)
		}
	default:
		c.fault("%s: %s is %s", after, b.name, seen.State.Status)
	}
	if starts, err := os.ReadFile(filepath.Join(c.dir, b.key+".starts")); err == nil && len(starts) > b.started {
		c.fault("%s: %s was started %d times instead of %d", after, b.name, len(starts), b.started)
	}
}

func (c *stormClient) create() {
	c.made++
	b := &box{key: fmt.Sprintf("%s-%d", c.name, c.made), code: 3 + c.random.IntN(99)}
	b.name = b.key
	options := client.ContainerCreateOptions{
		Name: b.name,
		Config: &container.Config{Image: "busybox", Cmd: []string{"/s/box"},
			Env: []string{"KEY=" + b.key, fmt.Sprintf("CODE=%d", b.code)}},
		HostConfig: &container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: c.dir, Target: "/s"}}},
	}
	c.onNetwork(b, &options)
	err, unsure := c.call("create", func(ctx context.Context) error {
		answer, err := c.api.ContainerCreate(ctx, options)
		b.id = answer.ID
		return err
	})
	if unsure {
		b.id = b.name
		seen := c.look(b)
		if seen == nil {
			return
		}
		b.id = seen.ID
	} else if err != nil {
		c.fault("create: %v", err)
		return
	}
	c.created.Add(1)
	c.boxes = append(c.boxes, b)
}

func (c *stormClient) start(b *box) {
	if b.told || b.paused {
		return
	}
	if c.struck(b.id) && b.mayRun { // it may have ended since
		seen := c.look(b)
		b.mayRun = seen != nil && seen.State.Running
	}
	running, killed, asked := b.mayRun, b.killed, b.asked
	if !running {
		b.started++
		b.killed, b.asked = false, false
		c.mu.Lock()
		delete(c.storm.killed, b.id)
		c.mu.Unlock()
	}
	err, unsure := c.call("start", func(ctx context.Context) error {
		_, err := c.api.ContainerStart(ctx, b.id, client.ContainerStartOptions{})
		return err
	})
	switch {
	case unsure && running:
	case unsure:
		seen := c.look(b)
		b.mayRun = seen != nil && seen.State.Running
		if !b.mayRun && seen != nil && seen.State.Status == container.StateExited && len(c.startsOf(b)) < b.started {
			b.killed, b.asked = killed, asked // its last end is that of the life before
			return
		}
	case err != nil && !c.struck(b.id):
		c.fault("start %s: %v", b.name, err)
	default:
		b.mayRun = true
		c.starts.Add(1)
	}
	c.agrees(b, "start")
}

func (c *stormClient) startsOf(b *box) string {
	text, err := os.ReadFile(filepath.Join(c.dir, b.key+".starts"))
	if err != nil {
		return ""
	}
	return string(text)
}

func (c *stormClient) exec(b *box) {
	if !b.mayRun || b.paused {
		return
	}
	code, strikes := c.random.IntN(100), c.strikes.Load()
	var id string
	var out []byte
	err, unsure := c.call("exec", func(ctx context.Context) error {
		made, err := c.api.ExecCreate(ctx, b.id, client.ExecCreateOptions{
			Cmd: []string{"sh", "-c", fmt.Sprintf("echo out; sleep 0.%d; exit %d", c.random.IntN(3), code)}, AttachStdout: true, AttachStderr: true,
		})
		if err != nil {
			return err
		}
		id = made.ID
		session, err := c.api.ExecAttach(ctx, id, client.ExecAttachOptions{})
		if err != nil {
			return err
		}
		defer session.Close()
		out, err = io.ReadAll(session.Reader)
		return err
	})
	switch {
	case unsure || c.struck(b.id):
		return
	case err != nil:
		c.fault("exec in %s: %v", b.name, err)
		return
	}
	c.execs.Add(1)
	// An engine that dies before it has passed the exec on leaves one that never ran.
	neverRan := len(out) == 0 && c.strikes.Load() != strikes
	if !neverRan && !c.struck(b.id) && !strings.Contains(string(out), "out") {
		c.fault("exec in %s: output %q", b.name, out)
	}
	for {
		var seen client.ExecInspectResult
		err, unsure = c.call("exec inspect", func(ctx context.Context) (err error) {
			seen, err = c.api.ExecInspect(ctx, id, client.ExecInspectOptions{})
			return err
		})
		if unsure {
			continue // the next engine knows it too
		}
		switch {
		case c.struck(b.id):
		case neverRan && errdefs.IsNotFound(err):
		case err != nil:
			c.fault("exec inspect in %s: %v", b.name, err)
		case seen.Running:
			c.fault("exec in %s has ended and is said to run", b.name)
		case seen.ExitCode != code && !(neverRan && seen.ExitCode == 137):
			c.fault("exec in %s: exit code %d, want %d", b.name, seen.ExitCode, code)
		}
		return
	}
}

// settle ends with b not running, after a request that does that.
func (c *stormClient) settle(b *box, what string, err error, unsure bool) {
	if err != nil && !unsure && !c.struck(b.id) {
		c.fault("%s %s: %v", what, b.name, err)
	}
	if unsure { // it may run on, ended or not
		if seen := c.look(b); seen != nil && seen.State.Running {
			return
		}
	}
	b.mayRun, b.paused = false, false
	c.agrees(b, what)
}

func (c *stormClient) stop(b *box) {
	if !b.mayRun {
		return
	}
	seconds := patience
	was := b.paused
	b.paused, b.asked = false, true
	err, unsure := c.call("stop", func(ctx context.Context) error {
		_, err := c.api.ContainerStop(ctx, b.id, client.ContainerStopOptions{Timeout: &seconds})
		return err
	})
	if unsure { // the signal may be on its way
		c.drain(b, was)
		return
	}
	c.settle(b, "stop", err, false)
}

// drain brings a box to its end whatever became of a request to end it.
func (c *stormClient) drain(b *box, paused bool) {
	b.killed = true
	for {
		if paused {
			_, _ = c.call("unpause", func(ctx context.Context) error {
				_, err := c.api.ContainerUnpause(ctx, b.id, client.ContainerUnpauseOptions{})
				return err
			})
		}
		err, unsure := c.call("kill", func(ctx context.Context) error {
			_, err := c.api.ContainerKill(ctx, b.id, client.ContainerKillOptions{Signal: "KILL"})
			return err
		})
		if unsure {
			continue
		}
		if err != nil && !errdefs.IsConflict(err) {
			c.fault("kill %s: %v", b.name, err)
		}
		b.mayRun, b.paused = false, false
		c.agrees(b, "end")
		return
	}
}

func (c *stormClient) kill(b *box) {
	if !b.mayRun {
		return
	}
	c.drain(b, b.paused)
}

func (c *stormClient) restart(b *box) {
	if b.told || b.paused {
		return
	}
	seconds := patience
	b.started++
	b.asked = true
	err, unsure := c.call("restart", func(ctx context.Context) error {
		_, err := c.api.ContainerRestart(ctx, b.id, client.ContainerRestartOptions{Timeout: &seconds})
		return err
	})
	if unsure {
		c.drain(b, false)
		return
	}
	if err != nil && !c.struck(b.id) {
		c.fault("restart %s: %v", b.name, err)
		return
	}
	b.mayRun = err == nil
	if b.mayRun {
		c.starts.Add(1)
	}
	c.agrees(b, "restart")
}

// end has the container end by itself, and waits for its exit code.
func (c *stormClient) end(b *box) {
	if !b.mayRun || b.paused || b.told {
		return
	}
	touch(c.t, filepath.Join(c.dir, b.key+".end"))
	b.told = true
	for {
		var status int64
		err, unsure := c.call("wait", func(ctx context.Context) error {
			wait := c.api.ContainerWait(ctx, b.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
			select {
			case answer := <-wait.Result:
				status = answer.StatusCode
				return nil
			case err := <-wait.Error:
				return err
			}
		})
		if unsure {
			continue
		}
		if err != nil {
			c.fault("wait for %s: %v", b.name, err)
		} else if status != int64(b.code) && !(status == 137 && (c.struck(b.id) || b.killed)) {
			c.fault("wait for %s: %d, want %d", b.name, status, b.code)
		}
		break
	}
	b.mayRun = false
	c.agrees(b, "end")
	if err := os.Remove(filepath.Join(c.dir, b.key+".end")); err != nil {
		c.fault("%v", err)
	}
	b.told = false
}

func (c *stormClient) pause(b *box) {
	if !b.mayRun {
		return
	}
	err, unsure := c.call("pause", func(ctx context.Context) (err error) {
		if b.paused {
			_, err = c.api.ContainerUnpause(ctx, b.id, client.ContainerUnpauseOptions{})
		} else {
			_, err = c.api.ContainerPause(ctx, b.id, client.ContainerPauseOptions{})
		}
		return err
	})
	if err != nil && !unsure && !c.struck(b.id) {
		c.fault("pause %s: %v", b.name, err)
	}
	seen := c.look(b)
	if seen == nil {
		c.fault("pause: container %s is lost", b.name)
		c.forget(b)
		return
	}
	if paused := seen.State.Paused; !unsure && !c.struck(b.id) && paused == b.paused {
		c.fault("pause %s: it is %s", b.name, seen.State.Status)
	} else {
		b.paused = paused
	}
	c.agrees(b, "pause")
}

func (c *stormClient) rename(b *box) {
	c.made++
	name := fmt.Sprintf("%s-%d", c.name, c.made)
	err, unsure := c.call("rename", func(ctx context.Context) error {
		_, err := c.api.ContainerRename(ctx, b.id, client.ContainerRenameOptions{NewName: name})
		return err
	})
	switch {
	case unsure:
		if seen := c.look(b); seen != nil && strings.TrimPrefix(seen.Name, "/") == name {
			b.name = name
		}
	case err != nil:
		c.fault("rename %s: %v", b.name, err)
	default:
		b.name = name
	}
	c.agrees(b, "rename")
}

func (c *stormClient) remove(b *box) { c.away(b, false) }

// away removes a box; mayBeGone says that the engine may be removing it, too.
func (c *stormClient) away(b *box, mayBeGone bool) {
	for ; ; mayBeGone = true {
		err, unsure := c.call("remove", func(ctx context.Context) error {
			_, err := c.api.ContainerRemove(ctx, b.id, client.ContainerRemoveOptions{Force: true})
			return err
		})
		if unsure {
			if c.look(b) == nil {
				break
			}
			continue
		}
		if err != nil && !(mayBeGone && (errdefs.IsNotFound(err) || errdefs.IsConflict(err))) {
			c.fault("remove %s: %v", b.name, err)
		}
		break
	}
	if c.look(b) != nil {
		c.fault("%s was removed and is there", b.name)
	}
	c.forget(b)
}

func (c *stormClient) forget(b *box) {
	c.boxes = slices.DeleteFunc(c.boxes, func(other *box) bool { return other == b })
}

// brief runs a container that ends at once and is removed by the engine.
func (c *stormClient) brief(*box) {
	code := int64(c.random.IntN(100))
	c.made++
	name := fmt.Sprintf("%s-%d", c.name, c.made)
	id := name
	var status int64
	err, unsure := c.call("run", func(ctx context.Context) error {
		made, err := c.api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name: name, Config: &container.Config{Image: "busybox", Cmd: []string{"sh", "-c", fmt.Sprintf("exit %d", code)}},
			HostConfig: &container.HostConfig{AutoRemove: true},
		})
		if err != nil {
			return err
		}
		id = made.ID
		wait := c.api.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
		if _, err := c.api.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
			return err
		}
		select {
		case answer := <-wait.Result:
			status = answer.StatusCode
			return nil
		case err := <-wait.Error:
			return err
		}
	})
	switch {
	case unsure: // it is gone, will be, or never started
		c.away(&box{id: id, name: name}, true)
	case c.struck(id):
	case err != nil:
		c.fault("run %s: %v", name, err)
	case status != code:
		c.fault("run %s: exit code %d, want %d", name, status, code)
	default:
		c.starts.Add(1)
	}
}
