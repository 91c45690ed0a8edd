package term

import (
	"io"
	"text/tabwriter"
)

// NewTable returns a writer that aligns tab-separated cells as Docker does:
// columns at least ten cells wide, three blanks apart. Flush writes the table.
func NewTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
}

// NewProcessTable is NewTable for processes: wider, as Docker shows them.
func NewProcessTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 20, 1, 3, ' ', 0)
}

// Ellipsis shortens text to at most width runes, the last of which is then an
// ellipsis.
func Ellipsis(text string, width int) string {
	runes := []rune(text)
	switch {
	case len(runes) <= width:
		return text
	case width <= 0:
		return ""
	case width == 1:
		return string(runes[:1])
	}
	return string(runes[:width-1]) + "…"
}
