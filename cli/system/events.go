package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/format"
)

type eventsOptions struct {
	since, until, format string
	filter               flags.Filter
}

// NewEventsCmd returns "events".
func NewEventsCmd(e *env.Env) *cobra.Command {
	o := &eventsOptions{}
	cmd := &cobra.Command{
		Use: "events [OPTIONS]", Short: "Get real time events from the server",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), e) },
	}
	f := cmd.Flags()
	f.StringVar(&o.since, "since", "", "Show all events created since timestamp")
	f.StringVar(&o.until, "until", "", "Stream events until this timestamp")
	f.VarP(&o.filter, "filter", "f", "Filter output based on conditions provided")
	format.ObjectFlags(f, &o.format, "")
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys(
		"container=", "daemon=", "event=", "image=", "label=", "network=", "scope=", "type=", "volume="))
	return cmd
}

func (o *eventsOptions) run(ctx context.Context, e *env.Env) error {
	show, err := o.printer(e.Out)
	if err != nil {
		return err
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	err = api.Events(ctx, client.EventsOptions{Since: o.since, Until: o.until, Filters: o.filter.Values}, show)
	if errors.Is(err, io.EOF) {
		return nil // the time given by --until has come
	}
	return err
}

func (o *eventsOptions) printer(w io.Writer) (func(events.Message) error, error) {
	switch {
	case o.format == "":
		return func(m events.Message) error { return printEvent(w, m) }, nil
	case o.format == "json" || o.format == "{{json .}}":
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		return func(m events.Message) error { return encoder.Encode(m) }, nil
	}
	// A template with a fault is refused before anything is awaited.
	if err := format.Object(io.Discard, o.format, events.Message{}, nil); err != nil {
		return nil, &env.Exit{Status: 64, Text: "Error parsing format: " + err.Error()}
	}
	return func(m events.Message) error { return format.Object(w, o.format, m, nil) }, nil
}

// stamp is RFC 3339 with all nine digits, so that lines align and sort.
const stamp = "2006-01-02T15:04:05.000000000Z07:00"

// printEvent shows "TIME TYPE ACTION ID (key=value, ...)".
func printEvent(w io.Writer, m events.Message) error {
	at := time.Unix(m.Time, 0)
	if m.TimeNano != 0 {
		at = time.Unix(0, m.TimeNano)
	}
	text := fmt.Sprintf("%s %s %s %s", at.Format(stamp), m.Type, m.Action, m.Actor.ID)
	if len(m.Actor.Attributes) > 0 {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(m.Actor.Attributes)) {
			pairs = append(pairs, k+"="+m.Actor.Attributes[k])
		}
		text += " (" + strings.Join(pairs, ", ") + ")"
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
