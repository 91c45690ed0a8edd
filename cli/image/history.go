package image

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/term"
)

type historyOptions struct {
	human, quiet, noTrunc bool
	format, platform      string
}

// NewHistoryCmd returns "history".
func NewHistoryCmd(e *env.Env) *cobra.Command {
	o := &historyOptions{}
	cmd := &cobra.Command{
		Use: "history [OPTIONS] IMAGE", Short: "Show the history of an image",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.FirstImage(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.human, "human", "H", true, "Print sizes and dates in human readable format")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only show image IDs")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Don't truncate output")
	format.Flags(f, &o.format)
	f.StringVar(&o.platform, "platform", "", `Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	return cmd
}

func (o *historyOptions) run(cmd *cobra.Command, e *env.Env, name string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	platform, err := flags.Platform(o.platform)
	if err != nil {
		return err
	}
	answer, err := api.Images.History(cmd.Context(), name, platform)
	if err != nil {
		return err
	}
	steps := make([]*step, len(answer))
	now := time.Now()
	for i := range answer {
		steps[i] = &step{h: &answer[i], o: o, now: now}
	}
	if o.quiet && o.format == "" {
		for _, s := range steps {
			fmt.Fprintln(e.Out, s.ID())
		}
		return nil
	}
	created := "CreatedSince"
	if !o.human {
		created = "CreatedAt"
	}
	return format.List[*step]{
		Fields: format.Fields[*step]{
			{Name: "Comment", Header: "COMMENT", Value: (*step).Comment},
			{Name: "CreatedAt", Header: "CREATED AT", Value: (*step).CreatedAt},
			{Name: "CreatedBy", Header: "CREATED BY", Value: (*step).CreatedBy},
			{Name: "CreatedSince", Header: "CREATED", Value: (*step).CreatedSince},
			{Name: "ID", Header: "IMAGE", Value: (*step).ID},
			{Name: "Size", Header: "SIZE", Value: (*step).Size},
		},
		Table: []string{"ID", created, "CreatedBy", "Size", "Comment"}, Format: o.format,
	}.Write(e.Out, steps)
}

// step is a line of a history; its methods are the fields of templates.
type step struct {
	h   *image.HistoryResponseItem
	o   *historyOptions
	now time.Time
}

// ID is the image that the step ended in, "<missing>" for those of a build
// elsewhere.
func (s *step) ID() string { return shortID(s.h.ID, s.o.noTrunc) }

// CreatedAt is when the step was done, in RFC 3339, "" if that is unknown.
func (s *step) CreatedAt() string {
	if s.h.Created <= 0 {
		return ""
	}
	return time.Unix(s.h.Created, 0).Format(time.RFC3339)
}

// CreatedSince is the time since then in words.
func (s *step) CreatedSince() string {
	if !s.o.human {
		return s.CreatedAt()
	}
	if s.h.Created <= 0 {
		return "N/A"
	}
	return units.HumanDuration(s.now.UTC().Sub(time.Unix(s.h.Created, 0))) + " ago"
}

// CreatedBy is the instruction.
func (s *step) CreatedBy() string {
	by := strings.ReplaceAll(s.h.CreatedBy, "\t", " ")
	if s.o.noTrunc {
		return by
	}
	return term.Ellipsis(by, 45)
}

// Size is what the step added.
func (s *step) Size() string {
	if s.o.human {
		return units.HumanSizeWithPrecision(float64(s.h.Size), 3)
	}
	return strconv.FormatInt(s.h.Size, 10)
}

// Comment is the step's comment.
func (s *step) Comment() string { return s.h.Comment }

// shortID is an ID without its algorithm and with twelve digits, or whole.
func shortID(id string, whole bool) string {
	if whole {
		return id
	}
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) > 12 {
		return id[:12]
	}
	return id
}
