package container

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/errs"
)

// newExecKillCmd returns "exec kill".
func newExecKillCmd(e *env.Env) *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use: "kill [OPTIONS] EXEC [EXEC...]", Short: "End execs, or send them a signal", Args: env.Arguments(1, -1), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(id string) error { return api.Execs.Kill(cmd.Context(), id, signal) })
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send (default SIGKILL, to all processes of the exec's session)")
	_ = cmd.RegisterFlagCompletionFunc("signal", complete.Signals)
	return cmd
}

type execLsOptions struct {
	all, quiet, noTrunc bool
	format              string
}

// newExecLsCmd returns "exec ls".
func newExecLsCmd(e *env.Env) *cobra.Command {
	o := &execLsOptions{}
	cmd := &cobra.Command{
		Use: "ls [OPTIONS] [CONTAINER...]", Short: "List execs", Args: env.Arguments(0, -1), ValidArgsFunction: complete.Containers(e, false),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all execs that are known (default shows just running)")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only display exec IDs")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Don't truncate output")
	format.Flags(f, &o.format)
	return cmd
}

func (o *execLsOptions) run(ctx context.Context, e *env.Env, names []string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		list, err := api.Containers.List(ctx, client.ListOptions{All: o.all})
		if err != nil {
			return err
		}
		for _, c := range list {
			names = append(names, c.ID)
		}
	}
	var rows []*execRow
	for _, name := range names {
		more, err := o.of(ctx, api, name)
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	if o.quiet && o.format == "" {
		for _, r := range rows {
			fmt.Fprintln(e.Out, r.ID())
		}
		return nil
	}
	return format.List[*execRow]{
		Fields: format.Fields[*execRow]{
			{Name: "Command", Header: "COMMAND", Value: (*execRow).Command},
			{Name: "Container", Header: "CONTAINER", Value: (*execRow).Container},
			{Name: "ID", Header: "EXEC ID", Value: (*execRow).ID},
			{Name: "Pid", Header: "PID", Value: (*execRow).Pid},
			{Name: "Status", Header: "STATUS", Value: (*execRow).Status},
			{Name: "User", Header: "USER", Value: (*execRow).User},
		},
		Table: []string{"ID", "Container", "Command", "User", "Pid", "Status"}, Format: o.format,
	}.Write(e.Out, rows)
}

// of lists the execs of one container.
func (o *execLsOptions) of(ctx context.Context, api *client.Client, name string) (rows []*execRow, err error) {
	c, _, err := api.Containers.Inspect(ctx, name, false)
	if err != nil {
		return nil, err
	}
	slices.Sort(c.ExecIDs)
	for _, id := range c.ExecIDs {
		x, err := api.Execs.Inspect(ctx, id)
		switch {
		case errs.Is(err, errs.NotFound): // forgotten meanwhile
		case err != nil:
			return nil, err
		case x.Running || o.all:
			rows = append(rows, &execRow{x, strings.TrimPrefix(c.Name, "/"), o.noTrunc})
		}
	}
	return rows, nil
}

// execRow is an exec as "exec ls" shows it; its methods are the fields of
// templates.
type execRow struct {
	x         container.ExecInspectResponse
	container string
	noTrunc   bool
}

// ID is the exec's ID, twelve characters of it unless told otherwise.
func (r *execRow) ID() string {
	if !r.noTrunc && len(r.x.ID) > 12 {
		return r.x.ID[:12]
	}
	return r.x.ID
}

// Container is the name of the container that it runs in.
func (r *execRow) Container() string { return r.container }

// Command is what it runs.
func (r *execRow) Command() string {
	text := strconv.Quote(strings.Join(append([]string{r.x.ProcessConfig.Entrypoint}, r.x.ProcessConfig.Arguments...), " "))
	if words := []rune(text); !r.noTrunc && len(words) > 30 {
		return string(words[:28]) + `…"`
	}
	return text
}

// User is who runs it, as it was asked for.
func (r *execRow) User() string { return r.x.ProcessConfig.User }

// Pid is the process's number on the host, empty if it does not run.
func (r *execRow) Pid() string {
	if r.x.Pid == 0 {
		return ""
	}
	return strconv.Itoa(r.x.Pid)
}

// Status says how far it got.
func (r *execRow) Status() string {
	switch {
	case r.x.Running:
		return "Running"
	case r.x.ExitCode != nil:
		return fmt.Sprintf("Exited (%d)", *r.x.ExitCode)
	}
	return "Created"
}
