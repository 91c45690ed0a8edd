package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/dialect"
	"github.com/davit-engine/davit/errs"
)

type explainOptions struct {
	json bool
	kind string
}

// NewExplainCmd returns "explain".
func NewExplainCmd(e *env.Env) *cobra.Command {
	o := &explainOptions{}
	cmd := &cobra.Command{
		Use: "explain [OPTIONS] CONTAINER|IMAGE", Short: "Say what a container or an image runs, as whom, with what, and who has decided that",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.Any(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args[0]) },
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "Print JSON")
	cmd.Flags().StringVar(&o.kind, "type", "", `Explain only a "container" or only an "image" of that name`)
	_ = cmd.RegisterFlagCompletionFunc("type", complete.Words("container", "image"))
	return cmd
}

func (o *explainOptions) run(ctx context.Context, e *env.Env, name string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	var found dialect.Explanation
	var raw []byte
	switch o.kind {
	case "container":
		found, raw, err = api.Containers.Explain(ctx, name)
	case "image":
		found, raw, err = api.Images.Explain(ctx, name)
	case "":
		found, raw, err = api.Containers.Explain(ctx, name)
		if errs.Is(err, errs.NotFound) {
			found, raw, err = api.Images.Explain(ctx, name)
		}
		if errs.Is(err, errs.NotFound) {
			err = fmt.Errorf("there is no container and no image called %s here: create the one, or pull the other", name)
		}
	default:
		err = fmt.Errorf("unknown type: %q: must be \"container\" or \"image\"", o.kind)
	}
	if err != nil {
		return err
	}
	if o.json {
		var text bytes.Buffer
		if err := json.Indent(&text, bytes.TrimSpace(raw), "", "    "); err != nil {
			return err
		}
		text.WriteByte('\n')
		_, err := e.Out.Write(text.Bytes())
		return err
	}
	for _, w := range found.Warnings {
		e.Warn(w)
	}
	printExplanation(e, &found)
	return nil
}

// deciders are From in words.
var deciders = map[dialect.From]string{
	dialect.FromUser: "user", dialect.FromImage: "image", dialect.FromConfiguration: "daemon.json", dialect.FromEngine: "engine", dialect.FromDefault: "default",
}

func printExplanation(e *env.Env, x *dialect.Explanation) {
	switch x.Kind {
	case "image":
		fmt.Fprintf(e.Out, "A run of image %s without options\n", x.Name)
	default:
		fmt.Fprintf(e.Out, "Container %s (%.12s), %s, of image %s\n", x.Name, x.ID, x.Status, x.Image)
	}
	group := ""
	table := tabwriter.NewWriter(e.Out, 0, 1, 2, ' ', 0)
	for _, f := range x.Facts {
		if f.Group != group {
			group = f.Group
			_ = table.Flush() // each group has columns of its own
			fmt.Fprintf(e.Out, "\n%s\n", e.Out.Paint("1", strings.ToUpper(group[:1])+group[1:]))
		}
		value := f.Value
		if value == "" {
			value = `""`
		}
		// The value comes last: it may be as long as it likes.
		fmt.Fprintf(table, "  %s\t%s\t%s\n", f.Name, deciders[f.From], value)
	}
	_ = table.Flush()
}
