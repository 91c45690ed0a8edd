package container

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/term"
	"github.com/davit-engine/davit/cli/usage"
)

// maxCurve is how wide a curve gets; a cell is a second.
const maxCurve = 120

// statsLine is one container as it is followed. The board's lock guards it.
type statsLine struct {
	ref      string // the name as it was given, or the ID
	cancel   context.CancelFunc
	settled  chan struct{} // closed with the first sample, or at the end
	known    bool          // there was a sample
	id, name string
	figures  usage.Figures
	pressure *client.Pressure
	rates    map[string]client.Rate
	cpu, mem *usage.History
}

func newStatsLine(ref string, cancel context.CancelFunc) *statsLine {
	return &statsLine{ref: ref, cancel: cancel, settled: make(chan struct{}), cpu: usage.NewHistory(maxCurve), mem: usage.NewHistory(maxCurve)}
}

func (l *statsLine) add(s *client.Sample) {
	l.id, l.name, l.pressure, l.rates = s.ID, strings.TrimPrefix(s.Name, "/"), s.Pressure, s.Rates
	l.figures = usage.New(&s.StatsResponse)
	if !s.PreRead.IsZero() { // else it would be the share since the boot
		l.cpu.Add(l.figures.CPU)
	}
	l.mem.Add(l.figures.Memory)
	l.known = true
	l.settle()
}

func (l *statsLine) settle() {
	select {
	case <-l.settled:
	default:
		close(l.settled)
	}
}

// row copies the line, with its curves if it has any.
func (l *statsLine) row(noTrunc bool) *statsRow {
	r := &statsRow{line: *l, noTrunc: noTrunc}
	r.line.cpu, r.line.mem = l.cpu.Clone(), l.mem.Clone()
	return r
}

// statsRow is a container as stats shows it; its methods are the fields of
// templates. What is not known yet is --.
type statsRow struct {
	line    statsLine
	noTrunc bool
}

func statsFields(pressure, rate bool) format.Fields[*statsRow] {
	fields := format.Fields[*statsRow]{
		{Name: "Container", Header: "CONTAINER", Value: (*statsRow).Container},
		{Name: "ID", Header: "CONTAINER ID", Value: (*statsRow).ID},
		{Name: "Name", Header: "NAME", Value: (*statsRow).Name},
		{Name: "CPUPerc", Header: "CPU %", Value: (*statsRow).CPUPerc},
		{Name: "MemUsage", Header: "MEM USAGE / LIMIT", Value: (*statsRow).MemUsage},
		{Name: "MemPerc", Header: "MEM %", Value: (*statsRow).MemPerc},
		{Name: "NetIO", Header: "NET I/O", Value: (*statsRow).NetIO},
		{Name: "BlockIO", Header: "BLOCK I/O", Value: (*statsRow).BlockIO},
		{Name: "PIDs", Header: "PIDS", Value: (*statsRow).PIDs},
	}
	if rate {
		fields = append(fields, format.Fields[*statsRow]{
			{Name: "NetLimit", Header: "NET LIMIT", Value: (*statsRow).NetLimit},
			{Name: "NetDropped", Header: "NET DROPPED", Value: (*statsRow).NetDropped},
		}...)
	}
	if pressure {
		fields = append(fields, format.Fields[*statsRow]{
			{Name: "CPUPressure", Header: "CPU WAIT", Value: (*statsRow).CPUPressure},
			{Name: "MemPressure", Header: "MEM WAIT", Value: (*statsRow).MemPressure},
			{Name: "IOPressure", Header: "I/O WAIT", Value: (*statsRow).IOPressure},
		}...)
	}
	return fields
}

// Container is the name as it was given, or the ID's first twelve characters.
func (r *statsRow) Container() string {
	if r.line.ref == r.line.id {
		return r.line.id[:min(12, len(r.line.id))]
	}
	return r.line.ref
}

// ID is the container's ID, twelve characters of it unless told otherwise.
func (r *statsRow) ID() string {
	if !r.noTrunc && len(r.line.id) > 12 {
		return r.line.id[:12]
	}
	return r.line.id
}

// Name is the container's name.
func (r *statsRow) Name() string {
	if r.line.name == "" {
		return "--"
	}
	return r.line.name
}

// CPUPerc is the share of the processors, 100 for one of them.
func (r *statsRow) CPUPerc() string {
	return r.figure("%.2f%%", r.line.figures.CPU)
}

// MemUsage is memory in use and its limit.
func (r *statsRow) MemUsage() string {
	if !r.line.known {
		return "-- / --"
	}
	return units.BytesSize(r.line.figures.Memory) + " / " + units.BytesSize(r.line.figures.MemoryLimit)
}

// MemPerc is the share of the limit of memory.
func (r *statsRow) MemPerc() string {
	return r.figure("%.2f%%", r.line.figures.MemoryPercent())
}

// NetIO is what was received and sent.
func (r *statsRow) NetIO() string { return r.pair(r.line.figures.NetRx, r.line.figures.NetTx) }

// NetLimit is what may be received and sent in a second, of each interface that
// is held to something.
func (r *statsRow) NetLimit() string {
	return r.limits(func(d client.Direction) string {
		if d.Limit == 0 {
			return "-"
		}
		return units.CustomSize("%.4g%s", float64(d.Limit), 1000, []string{"bit", "kbit", "mbit", "gbit", "tbit"})
	})
}

// NetDropped is how many packets were dropped by these limits.
func (r *statsRow) NetDropped() string {
	return r.limits(func(d client.Direction) string { return fmt.Sprint(d.Dropped) })
}

// limits shows something of each interface that is held to a rate, in the
// order of NetIO.
func (r *statsRow) limits(of func(client.Direction) string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.line.rates)) {
		rate := r.line.rates[name]
		text := of(rate.Down) + " / " + of(rate.Up)
		if len(r.line.rates) > 1 {
			text = name + " " + text
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

// BlockIO is what was read from and written to disks.
func (r *statsRow) BlockIO() string {
	return r.pair(r.line.figures.BlockRead, r.line.figures.BlockWrite)
}

// PIDs is how many threads there are.
func (r *statsRow) PIDs() string {
	if !r.line.known {
		return "--"
	}
	return fmt.Sprint(r.line.figures.PIDs)
}

// CPUPressure is how much of the time processes waited for a processor.
func (r *statsRow) CPUPressure() string {
	return r.stall(func(p *client.Pressure) *client.Stall { return p.CPU })
}

// MemPressure is how much of the time processes waited for memory.
func (r *statsRow) MemPressure() string {
	return r.stall(func(p *client.Pressure) *client.Stall { return p.Memory })
}

// IOPressure is how much of the time processes waited for disks.
func (r *statsRow) IOPressure() string {
	return r.stall(func(p *client.Pressure) *client.Stall { return p.IO })
}

func (r *statsRow) figure(format string, v float64) string {
	if !r.line.known {
		return "--"
	}
	return fmt.Sprintf(format, v)
}

func (r *statsRow) pair(a, b float64) string {
	if !r.line.known {
		return "--"
	}
	return units.HumanSizeWithPrecision(a, 3) + " / " + units.HumanSizeWithPrecision(b, 3)
}

// stall shows a pressure; one of the whole host says so.
func (r *statsRow) stall(of func(*client.Pressure) *client.Stall) string {
	if r.line.pressure == nil || of(r.line.pressure) == nil {
		return "-"
	}
	text := fmt.Sprintf("%.2f%%", of(r.line.pressure).Some)
	if r.line.pressure.Scope == "host" {
		text += " (host)"
	}
	return text
}

// plot draws a line for each container with its processor and memory over the
// last minutes, each curve up to its own peak.
func plot(w io.Writer, out term.Output, rows []*statsRow) error {
	width, _ := out.Size()
	name := len("NAME")
	for _, r := range rows {
		name = min(max(name, len(r.Name())), 20)
	}
	const figure = 9 // cells of a figure, the longest is 1023.9MiB
	room := (width - name - 4*figure - 7) / 2
	room = min(max(room, 5), maxCurve)
	var b strings.Builder
	line := func(name1, cpu, cpuCurve, cpuPeak, mem, memCurve, memPeak string) {
		fmt.Fprintf(&b, "%s %*s %s %*s  %*s %s %*s\n", name1, figure, cpu, cpuCurve, figure, cpuPeak, figure, mem, memCurve, figure, memPeak)
	}
	blank := strings.Repeat(" ", room)
	line(fmt.Sprintf("%-*s", name, "NAME"), "CPU %", blank, "PEAK", "MEMORY", blank, "PEAK")
	for _, r := range slices.Clone(rows) {
		l := &r.line
		line(fmt.Sprintf("%-*s", name, term.Ellipsis(r.Name(), name)),
			r.CPUPerc(), out.Paint("36", l.cpu.Curve(room, l.cpu.Peak())), fmt.Sprintf("%.2f%%", l.cpu.Peak()),
			units.BytesSize(l.figures.Memory), out.Paint("35", l.mem.Curve(room, l.mem.Peak())), units.BytesSize(l.mem.Peak()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
