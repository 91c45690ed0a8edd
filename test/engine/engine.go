package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// Config says how an engine of a test differs from the usual one. The zero
// value is an engine with an empty root and a registry that stands in for
// docker.io.
type Config struct {
	Root       string   // folder to live in; "": a temporary one, removed with the test
	Args       []string // more arguments for davitd
	Env        []string // more environment for davitd
	NoRegistry bool     // no registry and no mirror
	Quiet      bool     // no debug lines in the log: for measurements

	NetNS string // path of the network namespace to live in; "": that of the tests

	// Etc is what the engine, and nobody else, reads in files of /etc, by name.
	// The files exist on the host.
	Etc map[string]string
}

// Engine is a running davitd with all that it needs. Its fields do not change.
type Engine struct {
	Root     string // the folder: data/, x/ (exec-root), davit.sock, davitd.log
	Socket   string // path of the unix socket
	Data     string // data-root
	Exec     string // exec-root
	Bridge   string // name of its bridge
	Cgroup   string // parent of its containers' groups, below each hierarchy
	Bin      string // folder of the binaries
	Registry string // host:port of its registry, "" if none

	config   Config
	registry *exec.Cmd
	daemon   *exec.Cmd     // nil when it does not run
	exited   chan struct{} // closed when daemon has been reaped
}

// ready is how long davitd may take until it answers. It takes some 50 ms;
// a busy machine gets more.
const ready = 30 * time.Second

// Start runs an engine for the time of a test, and fails the test if the
// engine leaves anything behind.
func Start(t testing.TB, config Config) *Engine {
	t.Helper()
	NeedRoot(t)
	e, err := New(Binaries(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine's log:\n%s", e.LogTail(60))
		}
		for _, left := range e.Close() {
			t.Errorf("left behind: %s", left)
		}
	})
	return e
}

// New runs an engine that the caller ends with Close. bin is the folder of the
// binaries.
func New(bin string, config Config) (*Engine, error) {
	root := config.Root
	if root == "" {
		// Not t.TempDir: its path is as long as the test's name, and a unix
		// socket's address holds 107 bytes.
		var err error
		if root, err = os.MkdirTemp("/tmp", "dv"); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256([]byte(root))
	tag := hex.EncodeToString(sum[:5])
	e := &Engine{
		Root: root, Socket: filepath.Join(root, "davit.sock"), Data: filepath.Join(root, "data"), Exec: filepath.Join(root, "x"),
		Bridge: "dv" + tag, Cgroup: "/davit-" + tag, Bin: bin, config: config,
	}
	if err := e.boot(); err != nil {
		err = fmt.Errorf("%w\n%s", err, e.LogTail(20))
		e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Engine) boot() error {
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if !e.config.NoRegistry {
		if err := e.startRegistry(); err != nil {
			return fmt.Errorf("starting the registry: %w", err)
		}
	}
	if err := e.startDaemon(); err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	return nil
}

// lock lets one engine start at a time on this host, so that no two choose the
// same address range. scripts/up.sh takes the same lock.
func lock() (func(), error) {
	f, err := os.OpenFile("/run/lock/davit-up.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile("/tmp/davit-up.lock", os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func (e *Engine) startDaemon() error {
	args := []string{
		"--data-root", e.Data, "--exec-root", e.Exec, "--pidfile", filepath.Join(e.Root, "davitd.pid"),
		"--host", "unix://" + e.Socket, "--bridge", e.Bridge, "--cgroup-parent", e.Cgroup,
	}
	if !e.config.Quiet {
		args = append(args, "--debug")
	}
	if e.Registry != "" {
		args = append(args, "--registry-mirror", "http://"+e.Registry)
	}
	// So that all tests can be run on engines with other settings.
	args = append(args, strings.Fields(os.Getenv("DAVIT_TEST_ARGS"))...)
	cmd := exec.Command(filepath.Join(e.Bin, "davitd"), append(args, e.config.Args...)...)
	cmd.Env = append(os.Environ(), e.config.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal ends the tests, not the engine under them
	if err := coverEtc(cmd, e.Root, e.config.Etc); err != nil {
		return err
	}
	log, err := os.OpenFile(e.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := startIn(cmd, e.config.NetNS); err != nil {
		return err
	}
	e.daemon, e.exited = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // how it ended does not matter; that it did is told by done
		close(done)
	}(e.exited)
	api, err := e.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	return poll(ready, func() error {
		select {
		case <-e.exited:
			return permanent{errors.New("davitd ended by itself")}
		default:
		}
		_, err := api.Ping(context.Background(), client.PingOptions{})
		return err
	})
}

// startIn starts cmd in a network namespace, "" being this one.
func startIn(cmd *exec.Cmd, netns string) error {
	if netns == "" {
		return cmd.Start()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends in the other namespace
		ns, err := os.Open(netns)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// coverEtc has cmd run in a mount namespace with these files of /etc, which it
// keeps in dir.
func coverEtc(cmd *exec.Cmd, dir string, etc map[string]string) error {
	if len(etc) == 0 {
		return nil
	}
	script := "set -e; "
	for name, text := range etc {
		path := filepath.Join(dir, "etc-"+name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		script += "mount --bind " + path + " /etc/" + name + "; "
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		return err
	}
	cmd.Args = append([]string{sh, "-c", script + `exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = sh
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS // which package syscall makes private
	return nil
}

func (e *Engine) log() string { return filepath.Join(e.Root, "davitd.log") }

// LogTail returns the last lines of the engine's log.
func (e *Engine) LogTail(lines int) string {
	b, err := os.ReadFile(e.log())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Pid is the engine's process, 0 when it does not run.
func (e *Engine) Pid() int {
	if e.daemon == nil {
		return 0
	}
	return e.daemon.Process.Pid
}

// Kill ends the engine with SIGKILL, as a crash would. Containers go on.
func (e *Engine) Kill(t testing.TB) {
	t.Helper()
	if err := e.end(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// Stop ends the engine with SIGTERM and waits for it. Containers go on.
func (e *Engine) Stop(t testing.TB) {
	t.Helper()
	if err := e.end(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// Restart starts the engine again on the same folder after Kill or Stop.
func (e *Engine) Restart(t testing.TB) {
	t.Helper()
	if e.daemon != nil {
		t.Fatal("Restart while the engine runs")
	}
	if err := e.startDaemon(); err != nil {
		t.Fatalf("restarting the engine: %v\n%s", err, e.LogTail(20))
	}
}

func (e *Engine) end(signal unix.Signal) error {
	if e.daemon == nil {
		return nil
	}
	defer func() { e.daemon = nil }()
	return endProcess(e.daemon, e.exited, signal)
}

// endProcess signals a child and waits until it has been reaped; one that
// ignores the signal is killed, and that is an error.
func endProcess(cmd *exec.Cmd, exited <-chan struct{}, signal unix.Signal) error {
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-exited:
		return nil
	case <-time.After(20 * time.Second):
	}
	_ = cmd.Process.Kill() // it may have ended just now
	<-exited
	return fmt.Errorf("%s ignored %v for 20 s", filepath.Base(cmd.Path), signal)
}

// Close ends containers, engine and registry, removes the folder if New made
// it, and returns what was left in the kernel that should have gone by itself.
func (e *Engine) Close() []string {
	var left []string
	pids := e.supervised()
	if e.daemon != nil {
		if err := e.clear(); err != nil {
			left = append(left, fmt.Sprintf("containers and networks: %v", err))
		}
		if err := e.end(unix.SIGTERM); err != nil {
			left = append(left, err.Error())
		}
	} else {
		for _, s := range e.Shims() { // a killed engine's: a shim takes its container along
			_ = unix.Kill(s.ShimPid, unix.SIGKILL)
		}
	}
	e.stopRegistry()
	left = append(left, e.leftovers(pids)...)
	if e.config.Root == "" {
		if err := os.RemoveAll(e.Root); err != nil {
			left = append(left, err.Error())
		}
	}
	return left
}

// clear removes what an engine that ends leaves running: containers, and the
// networks that were made for them.
func (e *Engine) clear() error {
	api, err := e.dial()
	if err != nil {
		return err
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := api.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list.Items {
		_, err := api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		errs = append(errs, err)
	}
	_, err = api.NetworkPrune(ctx, client.NetworkPruneOptions{})
	return errors.Join(append(errs, err)...)
}

// Host is the engine's address as -H, DOCKER_HOST and DAVIT_HOST take it.
func (e *Engine) Host() string { return "unix://" + e.Socket }

func (e *Engine) dial() (*client.Client, error) { return client.New(client.WithHost(e.Host())) }

// Client returns moby's client, connected to the engine.
func (e *Engine) Client(t testing.TB) *client.Client {
	t.Helper()
	api, err := e.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	return api
}

// Shim is what a shim says of itself on disk.
type Shim struct {
	ID      string `json:"id"`      // of the container
	ShimPid int    `json:"shimPid"` // the shim's own process
	Pid     int    `json:"pid"`     // the container's first process
}

// Shims lists the shims of the containers that run, by their records below the
// exec-root, so that it works while the engine is dead.
func (e *Engine) Shims() []Shim {
	files, err := filepath.Glob(filepath.Join(e.Exec, "containers", "*", "state.json"))
	if err != nil {
		return nil
	}
	var shims []Shim
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended just now
		}
		var s Shim
		if json.Unmarshal(b, &s) == nil && comm(s.ShimPid) == "davit-shim" {
			shims = append(shims, s)
		}
	}
	slices.SortFunc(shims, func(a, b Shim) int { return strings.Compare(a.ID, b.ID) })
	return shims
}

// comm is the name of the program that runs under a pid, "" if none does.
func comm(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}
