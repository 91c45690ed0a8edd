package term

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/jsonstream"
)

// Progress shows the messages of a pull, push or import: one line per layer
// that is rewritten in place on a terminal, plain lines elsewhere.
type Progress struct {
	out  Output
	live bool
	now  func() time.Time
	size func() (width, height int)

	layers map[string]*layer
	order  []*layer // lines on the screen since the last plain line, top down
}

// layer is one line of the live display.
type layer struct {
	id, status string
	bar        *jsonstream.Progress
	row        int
	began      time.Time // when the present phase was first seen
	first      int64     // bytes that were there by then, in a resumed transfer
}

// NewProgress shows progress on out; now is the clock that rates are taken by.
func NewProgress(out Output, now func() time.Time) *Progress {
	return &Progress{out: out, live: out.IsTerminal(), now: now, layers: map[string]*layer{}, size: out.Size}
}

// Show adds one message. The error is the one of writing.
func (p *Progress) Show(m jsonstream.Message) error {
	switch {
	case m.Stream != "":
		return p.plain(m.Stream)
	case !p.live:
		// Without a screen a bar says nothing that the next status does not.
		if m.Progress != nil && (m.Progress.Current > 0 || m.Progress.Total > 0) {
			return nil
		}
		if m.ID != "" {
			return p.plain(m.ID + ": " + m.Status + "\n")
		}
		return p.plain(m.Status + "\n")
	case m.ID == "" || m.Progress == nil && p.layers[m.ID] == nil:
		if m.ID != "" {
			// "latest: Pulling from library/x" is a headline, "0123: Pulling fs layer" the first word of a layer.
			if !headline(m.Status) {
				return p.update(m)
			}
			return p.plain(m.ID + ": " + m.Status + "\n")
		}
		return p.plain(m.Status + "\n")
	}
	return p.update(m)
}

func headline(status string) bool {
	return strings.HasPrefix(status, "Pulling from ") || strings.HasPrefix(status, "digest: ")
}

// plain writes below the live lines, which stay as they are from then on.
func (p *Progress) plain(text string) error {
	if len(p.order) > 0 {
		p.order = nil
		clear(p.layers)
	}
	_, err := io.WriteString(p.out, text)
	return err
}

func (p *Progress) update(m jsonstream.Message) error {
	l := p.layers[m.ID]
	var b strings.Builder
	if l == nil {
		l = &layer{id: m.ID, row: len(p.order)}
		p.layers[m.ID] = l
		p.order = append(p.order, l)
		b.WriteString("\n")
	}
	if l.status != m.Status || l.began.IsZero() {
		l.status, l.began, l.first = m.Status, p.now(), 0
		if m.Progress != nil {
			l.first = m.Progress.Current
		}
	}
	l.bar = m.Progress
	width, height := p.size()
	// A line that was scrolled off the top cannot be rewritten.
	if up := len(p.order) - l.row; height <= 0 || up < height {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[2K%s\x1b[%dB\r", up, p.line(l, width), up)
	}
	_, err := io.WriteString(p.out, b.String())
	return err
}

// line renders a layer within the width of the terminal:
//
//	0123456789ab: Downloading [=====>      ]  12.1MB/45.3MB  8.2MB/s 4s left
func (p *Progress) line(l *layer, width int) string {
	if width <= 0 {
		width = 80
	}
	head := l.id + ": " + l.status
	if l.bar == nil || l.bar.Current <= 0 && l.bar.Total <= 0 {
		return Ellipsis(head, width-1)
	}
	figures := p.figures(l)
	room := width - 1 - len(head) - len(figures) - 4
	if room > 50 {
		room = 50
	}
	if room < 10 || l.bar.Total <= 0 || l.bar.Current > l.bar.Total {
		return Ellipsis(head+" "+figures, width-1)
	}
	done := int(float64(room) * float64(l.bar.Current) / float64(l.bar.Total))
	bar := strings.Repeat("=", done)
	if done < room {
		bar += ">" + strings.Repeat(" ", room-done-1)
	}
	return head + " [" + bar + "] " + figures
}

// figures are the numbers at a bar's right: counts, rate, time left.
func (p *Progress) figures(l *layer) string {
	bar := l.bar
	if bar.Units != "" && bar.Units != "bytes" {
		if bar.Total > 0 {
			return fmt.Sprintf("%d/%d %s", bar.Current, bar.Total, bar.Units)
		}
		return fmt.Sprintf("%d %s", bar.Current, bar.Units)
	}
	var text string
	switch {
	case bar.HideCounts:
	case bar.Total > 0 && bar.Current <= bar.Total:
		text = fmt.Sprintf("%8s/%s", units.HumanSize(float64(bar.Current)), units.HumanSize(float64(bar.Total)))
	default:
		text = fmt.Sprintf("%8s", units.HumanSize(float64(bar.Current)))
	}
	elapsed := p.now().Sub(l.began)
	moved := bar.Current - l.first
	if elapsed < 500*time.Millisecond || moved <= 0 {
		return text
	}
	rate := float64(moved) / elapsed.Seconds()
	text += "  " + units.HumanSizeWithPrecision(rate, 3) + "/s"
	if left := bar.Total - bar.Current; left > 0 {
		text += " " + clock(time.Duration(float64(left)/rate*float64(time.Second))) + " left"
	}
	return text
}

// clock shows a duration in at most two units.
func clock(d time.Duration) string {
	switch s := int(d.Round(time.Second).Seconds()); {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 100*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return ">4 days"
}
