package container

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/errs"
)

type execOptions struct {
	detach, interactive, privileged, tty, dieWithClient bool
	detachKeys, user, workdir                           string
	env, envFiles                                       flags.List
}

const execLong = `Execute a command in a running container

  davit exec ls [CONTAINER...]     lists the execs of containers
  davit exec kill EXEC [EXEC...]   ends them, or sends another signal

These two stand for themselves unless a container has that name.
--die-with-client ends the command when this client goes away: SIGHUP, then
SIGKILL after two seconds. Without it the command goes on, as with Docker.`

// NewExecCmd returns "exec".
func NewExecCmd(e *env.Env) *cobra.Command {
	o := &execOptions{env: flags.List{Check: flags.Env(os.LookupEnv)}}
	cmd := &cobra.Command{
		Use: "exec [OPTIONS] CONTAINER COMMAND [ARG...]", Short: "Execute a command in a running container", Long: execLong,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && execVerb(e, args[0]) != nil { // checks its own
				return nil
			}
			return env.Arguments(2, -1)(cmd, args)
		},
		ValidArgsFunction: complete.OneContainer(e, false, container.StateRunning),
		RunE: func(cmd *cobra.Command, args []string) error {
			if verb := execVerb(e, args[0]); verb != nil && cmd.Flags().NFlag() == 0 && !isContainer(cmd.Context(), e, args[0]) {
				return delegate(cmd, verb, args[1:])
			}
			if err := env.Arguments(2, -1)(cmd, args); err != nil {
				return err
			}
			return o.run(cmd.Context(), e, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&o.detach, "detach", "d", false, "Detached mode: run command in the background")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	f.BoolVar(&o.dieWithClient, "die-with-client", false, "End the command when this client goes away")
	f.VarP(&o.env, "env", "e", "Set environment variables")
	f.Var(&o.envFiles, "env-file", "Read in a file of environment variables")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.BoolVar(&o.privileged, "privileged", false, "Give extended privileges to the command")
	f.BoolVarP(&o.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	f.StringVarP(&o.user, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	f.StringVarP(&o.workdir, "workdir", "w", "", "Working directory inside the container")
	return cmd
}

// execVerb returns a command about execs by its name, nil for any other word.
func execVerb(e *env.Env, word string) *cobra.Command {
	switch word {
	case "kill":
		return newExecKillCmd(e)
	case "ls":
		return newExecLsCmd(e)
	}
	return nil
}

// isContainer reports whether a container has that name. An engine that cannot
// be asked is reported by whatever asks it next.
func isContainer(ctx context.Context, e *env.Env, name string) bool {
	api, err := e.Client()
	if err != nil {
		return false
	}
	_, _, err = api.Containers.Inspect(ctx, name, false)
	return err == nil
}

// delegate runs verb as a command below cmd.
func delegate(cmd, verb *cobra.Command, args []string) error {
	verb.DisableFlagsInUseLine = true
	cmd.AddCommand(verb)
	if err := verb.ParseFlags(args); err != nil {
		return env.UsageError(verb, env.StatusEngine, err.Error())
	}
	if help, err := verb.Flags().GetBool("help"); err == nil && help {
		return verb.Help()
	}
	args = verb.Flags().Args()
	if err := verb.ValidateArgs(args); err != nil {
		return err
	}
	verb.SetContext(cmd.Context())
	return verb.RunE(verb, args)
}

func (o *execOptions) run(ctx context.Context, e *env.Env, name string, command []string) error {
	variables, err := flags.ReadFiles(o.envFiles.Values, o.env.Values, os.LookupEnv)
	if err != nil {
		return err
	}
	if o.detach && o.dieWithClient {
		return errors.New("conflicting options: --detach and --die-with-client: a detached command has no client")
	}
	request := container.ExecCreateRequest{
		User: o.user, Privileged: o.privileged, Tty: o.tty, DetachKeys: detachKeys(e, o.detachKeys), Env: variables, WorkingDir: o.workdir, Cmd: command,
	}
	if !o.detach {
		request.AttachStdin, request.AttachStdout, request.AttachStderr = o.interactive, true, true
		if o.interactive && o.tty && !e.In.IsTerminal() {
			return errors.New("the input device is not a TTY")
		}
		if width, height := e.Out.Size(); o.tty && width != 0 && height != 0 {
			request.ConsoleSize = &[2]uint{uint(height), uint(width)}
		}
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	id, err := api.Execs.Create(ctx, name, request)
	if err != nil {
		return err
	}
	if o.detach {
		return api.Execs.Start(ctx, id)
	}
	return o.foreground(ctx, e, api, id, request)
}

func (o *execOptions) foreground(ctx context.Context, e *env.Env, api *client.Client, id string, r container.ExecCreateRequest) error {
	s, err := open(e, r.Tty, client.AttachOptions{Stdin: r.AttachStdin, Stdout: true, Stderr: true, DetachKeys: r.DetachKeys}, func() (*client.Stream, error) {
		return api.Execs.Attach(ctx, id, r.Tty, o.dieWithClient)
	})
	if err != nil {
		return err
	}
	if r.Tty {
		if e.Out.IsTerminal() {
			follow(ctx, e, func(width, height int) error { return api.Execs.Resize(ctx, id, width, height) })
		}
	} else {
		signals := forwardSignals()
		defer signals.stop()
		signals.pass(func(got os.Signal, name string) {
			// Docker's engine cannot do it; then the signal is for us alone.
			if err := api.Execs.Kill(ctx, id, name); errs.Is(err, errs.NotFound) {
				signal.Reset(got)
				_ = unix.Kill(os.Getpid(), got.(syscall.Signal))
			}
		})
	}
	if err := s.copy(); err != nil {
		return err
	}
	return execStatus(ctx, api, id)
}

// execPatience is how long an engine that is being restarted is waited for: the
// command went on without it.
const execPatience = 10 * time.Second

func execStatus(ctx context.Context, api *client.Client, id string) error {
	for end := time.Now().Add(execPatience); ; {
		x, err := api.Execs.Inspect(ctx, id)
		switch {
		case errs.Is(err, errs.Unavailable) && time.Now().Before(end):
			time.Sleep(100 * time.Millisecond)
		case err != nil:
			return err
		case x.ExitCode == nil: // it has closed its output and goes on
			return nil
		default:
			return env.Silent(*x.ExitCode)
		}
	}
}
