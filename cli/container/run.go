package container

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/term"
)

type runOptions struct {
	creation
	detach     bool
	sigProxy   bool
	detachKeys string
	replace    bool
	swap       *swap // with the container that is replaced; nil if there is none
}

// NewRunCmd returns "run".
func NewRunCmd(e *env.Env) *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use: "run [OPTIONS] IMAGE [COMMAND] [ARG...]", Short: "Create and run a new container from an image",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.FirstImage(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.detach, "detach", "d", false, "Run container in background and print container ID")
	f.BoolVar(&o.sigProxy, "sig-proxy", true, "Proxy received signals to the process")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	f.BoolVar(&o.replace, "replace", false, "Replace the container that has the name, which comes back if the new one does not start")
	o.register(cmd, e)
	return cmd
}

// run is create, attach and wait, start. The attachment and the wait are asked
// for side by side, on connections of their own, and both stand before the
// container starts: no output and no exit is missed.
func (o *runOptions) run(cmd *cobra.Command, e *env.Env, args []string) error {
	ctx := cmd.Context()
	request, err := o.prepare(e, cmd.Flags(), args)
	if err != nil {
		return failed(e, cmd, err)
	}
	config := request.Config
	if o.detach {
		if len(o.attach.Values) > 0 {
			return failed(e, cmd, errors.New("conflicting options: cannot specify both --attach and --detach"))
		}
		config.AttachStdin, config.AttachStdout, config.AttachStderr, config.StdinOnce = false, false, false, false
	} else if config.Tty && config.AttachStdin && !e.In.IsTerminal() {
		return &env.Exit{Status: env.StatusError, Text: "the input device is not a TTY"}
	}
	if config.Tty {
		width, height := e.Out.Size()
		request.HostConfig.ConsoleSize = [2]uint{uint(height), uint(width)}
	}
	if o.replace {
		if err := o.findOld(ctx, e, request); err != nil {
			return failed(e, cmd, err)
		}
	}
	id, err := o.create(ctx, e, request)
	if err == nil && o.swap != nil {
		err = o.swap.takeUninterrupted(ctx, id)
	}
	if err != nil {
		return failed(e, cmd, err)
	}
	api, err := e.Client()
	if err != nil {
		return failed(e, cmd, err)
	}
	if o.detach {
		if err := o.start(ctx, api, id); err != nil {
			return o.startFailed(ctx, e, cmd, err, nil)
		}
		fmt.Fprintln(e.Out, id)
		return nil
	}
	return o.foreground(ctx, e, cmd, api, id, config)
}

func (o *runOptions) foreground(ctx context.Context, e *env.Env, cmd *cobra.Command, api *client.Client, id string, config *container.Config) error {
	condition := container.WaitConditionNextExit
	if o.autoRemove {
		condition = container.WaitConditionRemoved
	}
	exit := make(chan *client.Waiting, 1)
	go func() { exit <- api.Containers.Wait(ctx, id, condition) }()
	listening := make(chan *forwarder, 1)
	if o.sigProxy {
		go func() { listening <- forwardSignals() }() // while the engine answers
	} else {
		listening <- nil
	}
	var s *session
	if config.AttachStdin || config.AttachStdout || config.AttachStderr {
		var err error
		s, err = attach(ctx, e, id, config.Tty, client.AttachOptions{
			Stdin: config.AttachStdin, Stdout: config.AttachStdout, Stderr: config.AttachStderr,
			DetachKeys: detachKeys(e, o.detachKeys),
		})
		if err != nil {
			if o.swap != nil {
				err = o.swap.back(ctx, err)
			}
			return failed(e, cmd, err)
		}
		defer s.close()
	} else {
		fmt.Fprintln(e.Out, id)
	}
	end, signals := <-exit, <-listening
	defer signals.stop()
	if signals != nil {
		signals.to(api, id)
	}
	if err := o.start(ctx, api, id); err != nil {
		return o.startFailed(ctx, e, cmd, err, end)
	}
	if config.Tty && config.AttachStdout && e.Out.IsTerminal() {
		followSize(ctx, e, api, id)
	}
	if s != nil {
		switch err := s.copy(); {
		case errors.Is(err, term.ErrDetached):
			return nil
		case err != nil:
			return err
		}
	}
	return env.Silent(status(e, end))
}

// findOld looks for the container that has the name that is asked for, and
// gives the request another one meanwhile.
func (o *runOptions) findOld(ctx context.Context, e *env.Env, request *client.CreateOptions) (err error) {
	if request.Name == "" {
		return errors.New("--replace needs --name: the name of the container that is replaced")
	}
	if o.swap, err = findOld(ctx, e, request.Name); err != nil || o.swap == nil {
		return err
	}
	if o.swap.name != strings.TrimPrefix(request.Name, "/") {
		o.swap = nil // found by its ID, which is no name
		return nil
	}
	request.Name, err = o.swap.makeRoom(ctx)
	return err
}

// start starts the container. One that it replaces is gone afterwards, or back.
func (o *runOptions) start(ctx context.Context, api *client.Client, id string) error {
	err := api.Containers.Start(ctx, id, client.StartOptions{})
	switch {
	case o.swap == nil:
	case err != nil:
		err = o.swap.back(ctx, err)
	default:
		o.swap.finish(ctx, false)
	}
	return err
}

// startFailed reports why a container did not start. With --rm the engine
// removes it, and that is awaited for a while, so that its name is free again.
func (o *runOptions) startFailed(ctx context.Context, e *env.Env, cmd *cobra.Command, err error, end *client.Waiting) error {
	if o.autoRemove && end != nil {
		timer := time.NewTimer(5 * time.Second)
		defer timer.Stop()
		ended := make(chan struct{})
		go func() {
			_, _ = end.Result() // that it came is all
			close(ended)
		}()
		select {
		case <-ended:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	exit := env.StartError(err)
	exit.Text = report(e, cmd, err)
	return exit
}

// status waits for the container's end and returns its exit status.
func status(e *env.Env, end *client.Waiting) int {
	answer, err := end.Result()
	if err == nil && answer.Error != nil {
		err = errors.New(answer.Error.Message)
	}
	if err != nil {
		fmt.Fprintln(e.Err, "Error waiting for container:", err)
		return env.StatusEngine
	}
	return int(answer.StatusCode)
}

// detachKeys are those of the option, else those of the configuration.
func detachKeys(e *env.Env, option string) string {
	if option != "" {
		return option
	}
	return e.Config().DetachKeys
}
