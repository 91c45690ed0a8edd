package container

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/term"
)

type attachOptions struct {
	noStdin, sigProxy bool
	detachKeys        string
}

// NewAttachCmd returns "attach".
func NewAttachCmd(e *env.Env) *cobra.Command {
	o := &attachOptions{}
	cmd := &cobra.Command{
		Use: "attach [OPTIONS] CONTAINER", Short: "Attach local standard input, output, and error streams to a running container",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.OneContainer(e, false),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.noStdin, "no-stdin", false, "Do not attach STDIN")
	f.BoolVar(&o.sigProxy, "sig-proxy", true, "Proxy all received signals to the process")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	return cmd
}

func (o *attachOptions) run(ctx context.Context, e *env.Env, name string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	// The wait comes first: a container that ends in between still has a status.
	end := api.Containers.Wait(ctx, name, "")
	c, _, err := api.Containers.Inspect(ctx, name, false)
	if err != nil {
		return err
	}
	if err := attachable(c.State); err != nil {
		return err
	}
	stdin := !o.noStdin && c.Config.OpenStdin
	if stdin && c.Config.Tty && !e.In.IsTerminal() {
		return errors.New("the input device is not a TTY")
	}
	s, err := attach(ctx, e, c.ID, c.Config.Tty, client.AttachOptions{
		Stdin: stdin, Stdout: true, Stderr: true, DetachKeys: detachKeys(e, o.detachKeys),
	})
	if err != nil {
		return err
	}
	if o.sigProxy && !c.Config.Tty {
		signals := forwardSignals()
		defer signals.stop()
		signals.to(api, c.ID)
	}
	if c.Config.Tty && e.Out.IsTerminal() {
		// A change of size makes the program inside draw itself again.
		resize(ctx, e, api, c.ID, 1)
		followSize(ctx, e, api, c.ID)
	}
	switch err := s.copy(); {
	case errors.Is(err, term.ErrDetached):
		return &env.Exit{Status: env.StatusError, Text: err.Error()}
	case err != nil:
		return err
	}
	return env.Silent(status(e, end))
}

func attachable(s *container.State) error {
	switch {
	case s == nil || !s.Running:
		return errors.New("cannot attach to a stopped container, start it first")
	case s.Paused:
		return errors.New("cannot attach to a paused container, unpause it first")
	case s.Restarting:
		return errors.New("cannot attach to a restarting container, wait until it is running")
	}
	return nil
}
