package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/name"
	"github.com/davit-engine/davit/cli/transfer"
	"github.com/davit-engine/davit/errs"
)

// NewCreateCmd returns "create".
func NewCreateCmd(e *env.Env) *cobra.Command {
	o := &creation{}
	cmd := &cobra.Command{
		Use: "create [OPTIONS] IMAGE [COMMAND] [ARG...]", Short: "Create a new container",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.FirstImage(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := o.prepare(e, cmd.Flags(), args)
			if err != nil {
				return failed(e, cmd, err)
			}
			id, err := o.create(cmd.Context(), e, request)
			if err != nil {
				return err // status 1, where run has 125
			}
			fmt.Fprintln(e.Out, id)
			return nil
		},
	}
	o.register(cmd, e)
	return cmd
}

// register adds the options and their completion.
func (c *creation) register(cmd *cobra.Command, e *env.Env) {
	cmd.Flags().SetInterspersed(false) // what follows the image belongs to the container
	c.addTo(cmd.Flags())
	for name, function := range map[string]cobra.CompletionFunc{
		"pull":         complete.Words("always", "missing", "never"),
		"restart":      complete.Words("no", "always", "unless-stopped", "on-failure"),
		"attach":       complete.Words("stdin", "stdout", "stderr"),
		"network":      complete.Modes(e),
		"cgroupns":     complete.Words("host", "private"),
		"userns":       complete.Words("host", "auto", "private"),
		"ipc":          complete.Words("host", "none", "private", "shareable"),
		"volume":       complete.Sources(e),
		"volumes-from": complete.Containers(e, true),
		"storage-opt":  complete.Keys("size="),
		"link":         complete.Containers(e, false),
		"stop-signal":  complete.Signals,
		"depends-on":   complete.Containers(e, true),

		"volume-driver":     complete.Words("local"),
		"health-on-failure": complete.Words("none", "kill", "restart", "stop"),
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, function) // fails only for an option that does not exist
	}
}

// failed wraps an error of run or create: status 125 and where to read on.
func failed(e *env.Env, cmd *cobra.Command, err error) error {
	var exit *env.Exit
	if errors.As(err, &exit) {
		return exit
	}
	return &env.Exit{Status: env.StatusEngine, Text: report(e, cmd, err)}
}

// report is the text of an error of run or create.
func report(e *env.Env, cmd *cobra.Command, err error) string {
	text := strings.TrimSpace(err.Error())
	if e.Hint(text) == "" {
		text += "\n\nRun '" + cmd.CommandPath() + " --help' for more information"
	}
	return cmd.Root().Name() + ": " + text
}

// prepare makes the request and checks it as far as this side can.
func (c *creation) prepare(e *env.Env, f *pflag.FlagSet, args []string) (*client.CreateOptions, error) {
	switch c.pull {
	case "always", "missing", "never", "":
	default:
		return nil, fmt.Errorf("invalid pull option: '%s': must be one of \"always\", \"missing\" or \"never\"", c.pull)
	}
	if c.useAPISocket {
		if err := c.addAPISocket(e); err != nil {
			return nil, err
		}
	}
	var proxies map[string]string
	if len(e.Config().Proxies) > 0 {
		if _, err := e.Client(); err != nil {
			return nil, err
		}
		proxies = e.Config().ProxyEnv(e.Host())
	}
	return c.request(f, args, proxies)
}

// create makes the container, pulling its image first if need be, and returns
// its ID.
func (c *creation) create(ctx context.Context, e *env.Env, request *client.CreateOptions) (string, error) {
	api, err := e.Client()
	if err != nil {
		return "", err
	}
	remember, err := cidFile(c.cidFile)
	if err != nil {
		return "", err
	}
	if c.pull == "always" {
		if err := c.fetch(ctx, e, request); err != nil {
			remember("")
			return "", err
		}
	}
	answer, err := api.Containers.Create(ctx, *request)
	if errs.Is(err, errs.NotFound) && c.pull == "missing" && imageMissing(err) {
		if !c.quiet {
			fmt.Fprintf(e.Err, "Unable to find image '%s' locally\n", familiar(request.Image))
		}
		if err := c.fetch(ctx, e, request); err != nil {
			remember("")
			return "", err
		}
		answer, err = api.Containers.Create(ctx, *request)
	}
	if err != nil {
		remember("")
		return "", err
	}
	for _, w := range answer.Warnings {
		e.Warn(w)
	}
	if err := c.credentials.give(ctx, api, answer.ID); err != nil {
		remember("")
		_ = api.Containers.Remove(ctx, answer.ID, client.RemoveOptions{Force: true, Volumes: true})
		return "", err
	}
	return answer.ID, remember(answer.ID)
}

// imageMissing tells an image that the engine does not have from another
// object, such as a network, that it does not.
func imageMissing(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "image") || strings.Contains(text, "manifest")
}

func (c *creation) fetch(ctx context.Context, e *env.Env, request *client.CreateOptions) error {
	ref, err := name.Parse(request.Image)
	if err != nil {
		return err
	}
	return transfer.Pull(ctx, e, transfer.Options{
		Ref: ref.Tagged(), Platform: request.Platform, Out: e.Err, Quiet: c.quiet,
	})
}

// familiar is an image's name as people write it, with its tag.
func familiar(image string) string {
	ref, err := name.Parse(image)
	if err != nil {
		return image
	}
	return ref.Tagged().Short()
}

// cidFile creates the file that is to hold the container's ID. The function
// returned writes the ID, or removes the file where there is none.
func cidFile(path string) (remember func(id string) error, err error) {
	if path == "" {
		return func(string) error { return nil }, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return func(id string) error {
		defer f.Close()
		if id == "" {
			return os.Remove(path)
		}
		if _, err := f.WriteString(id); err != nil {
			return fmt.Errorf("failed to write the container ID to the file: %w", err)
		}
		return nil
	}, nil
}
