package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
)

type replaceOptions struct {
	image, pull, platform string
	waitHealthy           time.Duration
	keepOld, quiet        bool
}

// NewReplaceCmd returns "replace".
func NewReplaceCmd(e *env.Env) *cobra.Command {
	o := &replaceOptions{}
	cmd := &cobra.Command{
		Use: "replace [OPTIONS] CONTAINER", Short: "Replace a container by one from another image with the same settings",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.OneContainer(e, true),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.image, "image", "", "Image of the new container (default the name of the old one's, whatever it stands for now)")
	f.DurationVar(&o.waitHealthy, "wait-healthy", 30*time.Second, "How long the new container may take until it is healthy, or has run for 5s without a health check; 0 does not wait")
	f.BoolVar(&o.keepOld, "keep-old", false, "Keep the old container, stopped and under another name")
	f.StringVar(&o.pull, "pull", "missing", `Pull image before creating ("always", "missing", "never")`)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Print nothing but errors and the new container's ID")
	f.StringVar(&o.platform, "platform", "", "Set platform if server is multi-platform capable")
	_ = cmd.RegisterFlagCompletionFunc("image", complete.Images(e))
	_ = cmd.RegisterFlagCompletionFunc("pull", complete.Words("always", "missing", "never"))
	return cmd
}

func (o *replaceOptions) run(ctx context.Context, e *env.Env, name string) error {
	// An interrupted replacement is taken back.
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	s, err := findOld(ctx, e, name)
	switch {
	case err != nil:
		return err
	case s == nil:
		return fmt.Errorf("no such container: %s", name)
	case s.perishes():
		return fmt.Errorf("container %s is removed when it ends (--rm), so there would be no way back: use run --replace", s.name)
	}
	id, err := o.create(ctx, s)
	if err != nil {
		return err
	}
	if err := s.take(ctx, id); err != nil {
		return err
	}
	if s.ran() {
		if err := o.start(ctx, s); err != nil {
			return s.back(ctx, err)
		}
	} else {
		o.say(s, "it does not run, and so its replacement is not started")
	}
	s.finish(ctx, o.keepOld)
	fmt.Fprintln(e.Out, id)
	return nil
}

func (o *replaceOptions) say(s *swap, format string, args ...any) {
	if !o.quiet {
		fmt.Fprintf(s.env.Err, s.name+": "+format+"\n", args...)
	}
}

// create makes the new container, beside the old one that still runs.
func (o *replaceOptions) create(ctx context.Context, s *swap) (string, error) {
	request, err := s.api.Containers.Request(ctx, s.old.ID)
	if err != nil {
		return "", err
	}
	if o.image != "" {
		request.Image = o.image
	}
	platform, err := flags.Platform(o.platform)
	if err != nil {
		return "", err
	}
	name, err := s.makeRoom(ctx)
	if err != nil {
		return "", err
	}
	c := creation{identity: identity{pull: o.pull, quiet: o.quiet}}
	id, err := c.create(ctx, s.env, &client.CreateOptions{CreateRequest: request.CreateRequest, Name: name, Platform: platform})
	if err == nil {
		o.say(s, "container %s is made of %s", id[:12], request.Image)
	}
	return id, err
}

// start starts the new container and looks whether it works.
func (o *replaceOptions) start(ctx context.Context, s *swap) error {
	begun := time.Now()
	if err := s.api.Containers.Start(ctx, s.id, client.StartOptions{}); err != nil {
		return err
	}
	if o.waitHealthy <= 0 {
		return nil
	}
	o.say(s, "it runs; waiting until it works")
	if err := s.works(ctx, begun, o.waitHealthy); err != nil {
		return fmt.Errorf("the new container %w%s", err, s.lastWords(ctx))
	}
	o.say(s, "it works after %s", time.Since(begun).Round(100*time.Millisecond))
	return nil
}

// steady is how long a container without a health check has to run.
const steady = 5 * time.Second

// works waits until the new container is healthy.
func (s *swap) works(ctx context.Context, begun time.Time, patience time.Duration) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		c, _, err := s.api.Containers.Inspect(ctx, s.id, false)
		if err != nil {
			return fmt.Errorf("cannot be looked at: %w", err)
		}
		lasted := time.Since(begun)
		switch state := c.State; {
		case state.Restarting || c.RestartCount > 0:
			return fmt.Errorf("ended with exit code %d and was restarted by its policy", state.ExitCode)
		case !state.Running:
			return fmt.Errorf("ended with exit code %d", state.ExitCode)
		case state.Health == nil || state.Health.Status == container.NoHealthcheck:
			if lasted >= min(steady, patience) {
				return nil
			}
		case state.Health.Status == container.Healthy:
			return nil
		case state.Health.Status == container.Unhealthy:
			return fmt.Errorf("is unhealthy%s", lastCheck(state.Health))
		case lasted >= patience:
			return fmt.Errorf("was not healthy within %s%s", patience, lastCheck(state.Health))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("was waited for no longer: interrupted")
		}
	}
}

// lastCheck is what the last health check said.
func lastCheck(h *container.Health) string {
	if len(h.Log) == 0 || h.Log[len(h.Log)-1] == nil {
		return ""
	}
	last := h.Log[len(h.Log)-1]
	return fmt.Sprintf(": its check ended with exit code %d: %s", last.ExitCode, strings.TrimSpace(last.Output))
}

// lastWords are the last lines that the new container wrote.
func (s *swap) lastWords(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	c, _, err := s.api.Containers.Inspect(ctx, s.id, false)
	if err != nil {
		return ""
	}
	lines, err := s.api.Containers.Logs(ctx, s.id, client.LogsOptions{Tail: "10"})
	if err != nil {
		return ""
	}
	defer lines.Close()
	var out bytes.Buffer
	limited := io.LimitReader(lines, 64<<10)
	if c.Config != nil && c.Config.Tty {
		_, err = io.Copy(&out, limited)
	} else {
		_, err = stdcopy.StdCopy(&out, &out, limited)
	}
	// What was cut off or could not be read is no matter: the error before it is.
	if text := strings.TrimSpace(out.String()); text != "" && (err == nil || out.Len() > 0) {
		return "\nIts last output:\n" + text
	}
	return ""
}
