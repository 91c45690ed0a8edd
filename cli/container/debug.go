package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

type debugOptions struct {
	image, pull, user           string
	privileged, fromHost, quiet bool
}

// labelDebug names the container that one with tools stands beside.
const labelDebug = "com.davit.debug"

// NewDebugCmd returns "debug".
func NewDebugCmd(e *env.Env) *cobra.Command {
	o := &debugOptions{}
	cmd := &cobra.Command{
		Use: "debug [OPTIONS] CONTAINER [COMMAND] [ARG...]", Short: "Run a shell with tools beside a container, in its namespaces",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.OneContainer(e, false, container.StateRunning),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args[0], args[1:]) },
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.image, "image", "busybox", "Image with the tools")
	f.StringVar(&o.pull, "pull", "missing", `Pull the image before ("always", "missing", "never")`)
	f.StringVarP(&o.user, "user", "u", "0", "Username or UID of the shell")
	f.BoolVar(&o.privileged, "privileged", false, "Give the shell all capabilities and devices")
	f.BoolVar(&o.fromHost, "from-host", false, "Use this host's static busybox instead of an image")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Print nothing but what the command does")
	_ = cmd.RegisterFlagCompletionFunc("image", complete.Images(e))
	_ = cmd.RegisterFlagCompletionFunc("pull", complete.Words("always", "missing", "never"))
	return cmd
}

func (o *debugOptions) run(cmd *cobra.Command, e *env.Env, name string, command []string) error {
	ctx := cmd.Context()
	api, err := e.Client()
	if err != nil {
		return err
	}
	target, _, err := api.Containers.Inspect(ctx, name, false)
	if err != nil {
		return err
	}
	if target.State == nil || !target.State.Running {
		return fmt.Errorf("container %s does not run, so there are no namespaces to join: start it, or look at its files with `%s cp` and `%s diff`", name, e.Program, e.Program)
	}
	request, err := o.request(e, &target, command)
	if err != nil {
		return err
	}
	run := &runOptions{sigProxy: true}
	run.pull, run.quiet, run.autoRemove = o.pull, o.quiet, true
	if o.fromHost {
		run.pull = "never" // the target's image, which is there
	}
	id, err := run.create(ctx, e, request)
	if err != nil {
		if imageMissing(err) && !o.fromHost {
			err = fmt.Errorf("%w\nThe tools come from the image %s: pull it, name another with --image, or take this host's with --from-host", err, o.image)
		}
		return failed(e, cmd, err)
	}
	if !o.quiet {
		fmt.Fprintf(e.Err, "Beside %s: its processes, its network; its files are below %s\n", name, rootOf(&target))
	}
	return run.foreground(ctx, e, cmd, api, id, request.Config)
}

// request describes a container in the namespaces of target.
func (o *debugOptions) request(e *env.Env, target *container.InspectResponse, command []string) (*client.CreateOptions, error) {
	tty := e.In.IsTerminal() && e.Out.IsTerminal()
	config := &container.Config{
		Image: o.image, User: o.user, Cmd: command, Tty: tty,
		OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
		Labels: map[string]string{labelDebug: strings.TrimPrefix(target.Name, "/")}, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		Env: []string{"TARGET=" + rootOf(target)},
	}
	join := "container:" + target.ID
	host := &container.HostConfig{
		AutoRemove: true, Privileged: o.privileged, PidMode: container.PidMode(join), NetworkMode: container.NetworkMode(join),
		// To see files, memory and system calls of others.
		CapAdd: []string{"SYS_PTRACE"}, LogConfig: container.LogConfig{Type: "none"},
	}
	if their := target.HostConfig; their != nil {
		if their.PidMode.IsHost() {
			host.PidMode = "host"
		}
		switch m := their.IpcMode; {
		case m.IsShareable():
			host.IpcMode = container.IpcMode(join)
		case m.IsHost(), m.IsContainer():
			host.IpcMode = m
		}
		if m := their.UsernsMode; m != "" && m != "host" { // /proc/1/root is for its own root
			host.UsernsMode = container.UsernsMode(join)
		}
	}
	if tty {
		width, height := e.Out.Size()
		host.ConsoleSize = [2]uint{uint(height), uint(width)}
	}
	if o.fromHost {
		if err := o.borrow(e, target, config, host); err != nil {
			return nil, err
		}
	}
	return &client.CreateOptions{CreateRequest: container.CreateRequest{Config: config, HostConfig: host}}, nil
}

// rootOf is where the shell finds the target's files: at the root of its first
// process.
func rootOf(target *container.InspectResponse) string {
	pid := 1
	if target.HostConfig != nil && target.HostConfig.PidMode.IsHost() {
		pid = target.State.Pid
	}
	return fmt.Sprintf("/proc/%d/root", pid)
}

// Where a borrowed busybox stands in the shell's own files.
const (
	borrowed     = "/.davit/busybox"
	borrowedTool = "/.davit/bin"
)

// borrow makes the shell of the target's own image, with the host's busybox
// in it.
func (o *debugOptions) borrow(e *env.Env, target *container.InspectResponse, config *container.Config, host *container.HostConfig) error {
	if !strings.HasPrefix(e.Host(), "unix://") {
		return errors.New("--from-host takes the busybox of the engine's host, which is not this one: use --image")
	}
	path, err := hostBusybox()
	if err != nil {
		return err
	}
	host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: path, Target: borrowed, ReadOnly: true})
	if len(config.Cmd) == 0 {
		config.Cmd = []string{"sh"}
	}
	script := borrowed + " mkdir -p " + borrowedTool + " && " + borrowed + " --install -s " + borrowedTool + ` && PATH=` + borrowedTool + `:$PATH && exec "$@"`
	config.Image, config.WorkingDir = target.Image, "/"
	config.Entrypoint, config.Cmd = []string{borrowed}, append([]string{"sh", "-c", script, "debug"}, config.Cmd...)
	return nil
}

// hostBusybox finds a busybox that needs no libraries.
func hostBusybox() (string, error) {
	for _, path := range []string{"/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/usr/sbin/busybox", "/usr/local/bin/busybox"} {
		if static(path) {
			return path, nil
		}
	}
	return "", errors.New("this host has no static busybox (Debian's package busybox-static has one): use --image")
}

// static reports whether a file is a program that needs no other file to run:
// ELF, for 64 bits, without an interpreter (elf(5)).
func static(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	const header, interpreter = 64, 3
	var h [header]byte
	if _, err := f.ReadAt(h[:], 0); err != nil || string(h[:5]) != "\x7fELF\x02" {
		return false
	}
	le := binary.LittleEndian
	at, size, count := le.Uint64(h[32:]), le.Uint16(h[54:]), le.Uint16(h[56:])
	for i := range count {
		var kind [4]byte
		if _, err := f.ReadAt(kind[:], int64(at)+int64(i)*int64(size)); err != nil || le.Uint32(kind[:]) == interpreter {
			return false
		}
	}
	return true
}
