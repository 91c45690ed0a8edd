package usage

import (
	"slices"
	"strings"
)

// History is the latest of a row of values.
type History struct {
	values []float64
	room   int
}

// NewHistory returns one that keeps room values.
func NewHistory(room int) *History { return &History{room: room} }

// Add appends a value; the oldest goes when there is no more room.
func (h *History) Add(v float64) {
	if len(h.values) == h.room {
		copy(h.values, h.values[1:])
		h.values = h.values[:h.room-1]
	}
	h.values = append(h.values, v)
}

// Clone returns a copy.
func (h *History) Clone() *History {
	return &History{values: slices.Clone(h.values), room: h.room}
}

// Peak is the highest value that is kept.
func (h *History) Peak() float64 {
	peak := 0.0
	for _, v := range h.values {
		peak = max(peak, v)
	}
	return peak
}

// levels are the heights of one cell of a curve; what is more than nothing is
// seen.
var levels = []rune("▁▂▃▄▅▆▇█")

// Curve draws the latest values in width cells, the newest at the right, from
// nothing to top.
func (h *History) Curve(width int, top float64) string {
	if width <= 0 {
		return ""
	}
	values := h.values[max(0, len(h.values)-width):]
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		switch {
		case v <= 0 || top <= 0:
			b.WriteByte(' ')
		default:
			i := int(v / top * float64(len(levels)))
			b.WriteRune(levels[min(i, len(levels)-1)])
		}
	}
	return b.String()
}
