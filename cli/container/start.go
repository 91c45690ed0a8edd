package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/term"
)

type startOptions struct {
	attach, stdin             bool
	detachKeys                string
	checkpoint, checkpointDir string
}

// NewStartCmd returns "start".
func NewStartCmd(e *env.Env) *cobra.Command {
	o := &startOptions{}
	cmd := &cobra.Command{
		Use: "start [OPTIONS] CONTAINER [CONTAINER...]", Short: "Start one or more stopped containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, true, container.StateExited, container.StateCreated),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.attach, "attach", "a", false, "Attach STDOUT/STDERR and forward signals")
	f.BoolVarP(&o.stdin, "interactive", "i", false, "Attach container's STDIN")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	f.StringVar(&o.checkpoint, "checkpoint", "", "Restore from this checkpoint")
	f.StringVar(&o.checkpointDir, "checkpoint-dir", "", "Use a custom checkpoint storage directory")
	return cmd
}

func (o *startOptions) run(ctx context.Context, e *env.Env, names []string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	request := client.StartOptions{Checkpoint: o.checkpoint, CheckpointDir: o.checkpointDir}
	if o.attach || o.stdin {
		if len(names) > 1 {
			return errors.New("you cannot start and attach multiple containers at once")
		}
		return o.foreground(ctx, e, api, names[0], request)
	}
	var failed []string
	for _, name := range names {
		if err := api.Containers.Start(ctx, name, request); err != nil {
			fmt.Fprintln(e.Err, err)
			failed = append(failed, name)
			continue
		}
		fmt.Fprintln(e.Out, name)
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed to start containers: %s", strings.Join(failed, ", "))
	}
	return nil
}

func (o *startOptions) foreground(ctx context.Context, e *env.Env, api *client.Client, name string, request client.StartOptions) error {
	c, _, err := api.Containers.Inspect(ctx, name, false)
	if err != nil {
		return err
	}
	stdin := o.stdin && c.Config.OpenStdin
	if stdin && c.Config.Tty && !e.In.IsTerminal() {
		return errors.New("the input device is not a TTY")
	}
	s, err := attach(ctx, e, c.ID, c.Config.Tty, client.AttachOptions{
		Stdin: stdin, Stdout: true, Stderr: true, DetachKeys: detachKeys(e, o.detachKeys),
	})
	if err != nil {
		return err
	}
	if !c.Config.Tty {
		signals := forwardSignals()
		defer signals.stop()
		signals.to(api, c.ID)
	}
	defer s.close()
	condition := container.WaitConditionNextExit
	if c.HostConfig != nil && c.HostConfig.AutoRemove {
		condition = container.WaitConditionRemoved
	}
	end := api.Containers.Wait(ctx, c.ID, condition)
	if err := api.Containers.Start(ctx, c.ID, request); err != nil {
		return err
	}
	if c.Config.Tty && e.Out.IsTerminal() {
		followSize(ctx, e, api, c.ID)
	}
	switch err := s.copy(); {
	case errors.Is(err, term.ErrDetached):
		return nil
	case err != nil:
		return err
	}
	return env.Silent(status(e, end))
}
