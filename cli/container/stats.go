package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/term"
)

type statsOptions struct {
	all, noStream, noTrunc, plot, pressure, rate bool
	format                                       string
}

// NewStatsCmd returns "stats".
func NewStatsCmd(e *env.Env) *cobra.Command {
	o := &statsOptions{}
	cmd := &cobra.Command{
		Use: "stats [OPTIONS] [CONTAINER...]", Short: "Display a live stream of container(s) resource usage statistics",
		Args: env.Arguments(0, -1), ValidArgsFunction: complete.Containers(e, false),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all containers (default shows just running)")
	format.Flags(f, &o.format)
	f.BoolVar(&o.noStream, "no-stream", false, "Disable streaming stats and only pull the first result")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Do not truncate output")
	f.BoolVar(&o.plot, "plot", false, "Draw curves of processor and memory")
	f.BoolVar(&o.pressure, "pressure", false, "Also show how long processes waited for processor, memory and disk (PSI, 10 seconds)")
	f.BoolVar(&o.rate, "rate", false, "Also show network rates (received / sent), and how many packets they dropped")
	return cmd
}

func (o *statsOptions) run(ctx context.Context, e *env.Env, names []string) error {
	if o.plot {
		switch {
		case o.noStream:
			return errors.New("--plot draws what happens over time: leave out --no-stream")
		case o.format != "":
			return errors.New("conflicting options: --plot and --format")
		case !e.Out.IsTerminal():
			return errors.New("--plot draws in a terminal, and standard output is none")
		}
	}
	if o.format == "" && !o.plot {
		o.format = e.Config().StatsFormat
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	b := newBoard(ctx, api, o)
	defer b.wait()
	defer cancel()
	if len(names) > 0 {
		for _, n := range names {
			b.add(n)
		}
	} else if err := b.addAll(); err != nil {
		return err
	}
	// Nothing is shown before something is known of each.
	if err := b.first(); err != nil {
		return err
	}
	if o.noStream {
		return o.print(e, b, false)
	}
	return o.live(ctx, e, b)
}

// live shows the board again and again until it is empty for good.
func (o *statsOptions) live(ctx context.Context, e *env.Env, b *board) error {
	interval, screen := time.Second, e.Out.IsTerminal() && o.table()
	if screen {
		interval = 500 * time.Millisecond
		fmt.Fprint(e.Out, "\x1b[2J")
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := o.print(e, b, screen); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-b.over:
			return b.failure()
		case <-ctx.Done():
			return nil
		}
	}
}

// table reports whether a table is printed, which on a screen takes the place
// of the one before.
func (o *statsOptions) table() bool {
	return o.format == "" || len(o.format) >= 5 && o.format[:5] == "table"
}

func (o *statsOptions) print(e *env.Env, b *board, screen bool) error {
	rows := b.rows()
	if !screen {
		return o.list().Write(e.Out, rows)
	}
	page := term.NewPage(e.Out)
	var err error
	if o.plot {
		err = plot(page, e.Out, rows)
	} else {
		err = o.list().Write(page, rows)
	}
	if err != nil {
		return err
	}
	return page.Flush()
}

func (o *statsOptions) list() format.List[*statsRow] {
	columns := []string{"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"}
	if o.rate {
		columns = append(columns, "NetLimit", "NetDropped")
	}
	if o.pressure {
		columns = append(columns, "CPUPressure", "MemPressure", "IOPressure")
	}
	return format.List[*statsRow]{Fields: statsFields(o.pressure, o.rate), Table: columns, Format: o.format}
}

// board is the containers that are shown. Each has a goroutine that follows it.
type board struct {
	ctx  context.Context
	api  *client.Client
	o    *statsOptions
	work sync.WaitGroup
	over chan struct{} // closed when all are gone and no more will come

	mu     sync.Mutex
	lines  []*statsLine // guarded by mu; in the order in which they came
	coming bool         // containers that start are added: it is never over; guarded by mu
	failed []error      // guarded by mu
}

func newBoard(ctx context.Context, api *client.Client, o *statsOptions) *board {
	return &board{ctx: ctx, api: api, o: o, over: make(chan struct{})}
}

// add shows a container from now on, unless it is shown already.
func (b *board) add(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if l.ref == ref {
			return
		}
	}
	ctx, cancel := context.WithCancel(b.ctx)
	l := newStatsLine(ref, cancel)
	b.lines = append(b.lines, l)
	b.work.Go(func() {
		defer cancel()
		b.remove(l, b.api.Containers.Stats(ctx, ref, !b.o.noStream, func(s *client.Sample) error {
			b.mu.Lock()
			l.add(s)
			b.mu.Unlock()
			return nil
		}))
	})
}

// remove takes a line away when it has ended; with --no-stream it has ended
// well and stays.
func (b *board) remove(l *statsLine, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer l.settle()
	if l.known && b.o.noStream {
		return
	}
	for i := range b.lines {
		if b.lines[i] == l {
			b.lines = append(b.lines[:i:i], b.lines[i+1:]...)
			break
		}
	}
	if err != nil && b.ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		b.failed = append(b.failed, err)
	}
	b.endLocked()
}

func (b *board) endLocked() {
	if len(b.lines) == 0 && !b.coming && !b.o.noStream {
		select {
		case <-b.over:
		default:
			close(b.over)
		}
	}
}

// addAll shows what runs, with --all all containers, and those that come.
func (b *board) addAll() error {
	if !b.o.noStream {
		b.coming = true // nobody else is there yet
		begun := make(chan error, 1)
		b.work.Go(func() { b.follow(begun) })
		if err := <-begun; err != nil {
			return err
		}
	}
	list, err := b.api.Containers.List(b.ctx, client.ListOptions{All: b.o.all})
	if err != nil {
		return err
	}
	for i := range list {
		b.add(list[i].ID)
	}
	return nil
}

// follow adds and takes away containers as they come and go. begun hears when
// no event is missed any more.
func (b *board) follow(begun chan<- error) {
	filters := client.Filters{}
	filters.Add("type", string(events.ContainerEventType))
	err := b.api.Events(b.ctx, client.EventsOptions{Filters: filters, Begun: func() { begun <- nil }}, func(m events.Message) error {
		switch {
		case m.Action == events.ActionStart, b.o.all && m.Action == events.ActionCreate:
			b.add(m.Actor.ID)
		case !b.o.all && m.Action == events.ActionDie:
			b.drop(m.Actor.ID)
		}
		return nil
	})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	select {
	case begun <- err:
	default:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.coming = false
	b.endLocked()
}

// drop ends the line of a container.
func (b *board) drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range b.lines {
		if l.ref == id {
			l.cancel()
		}
	}
}

// first waits until each container has a sample or has failed.
func (b *board) first() error {
	b.mu.Lock()
	lines := append([]*statsLine(nil), b.lines...)
	b.mu.Unlock()
	for _, l := range lines {
		select {
		case <-l.settled:
		case <-b.ctx.Done():
			return b.ctx.Err()
		}
	}
	return b.failure()
}

func (b *board) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.failed...)
}

// rows copies what is shown now.
func (b *board) rows() []*statsRow {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := make([]*statsRow, 0, len(b.lines))
	for _, l := range b.lines {
		rows = append(rows, l.row(b.o.noTrunc))
	}
	return rows
}

// wait returns when nobody follows a container any more.
func (b *board) wait() { b.work.Wait() }
