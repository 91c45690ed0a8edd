package term

import (
	"bytes"
	"fmt"
)

// Page is a screenful that takes the place of the one before. What does not fit
// is left out, and that is said: a screen that scrolls cannot be rewritten.
type Page struct {
	out  Output
	text bytes.Buffer
}

// NewPage returns an empty page.
func NewPage(out Output) *Page { return &Page{out: out} }

// Write adds to the page.
func (p *Page) Write(b []byte) (int, error) { return p.text.Write(b) }

// Flush shows the page.
func (p *Page) Flush() error {
	_, height := p.out.Size()
	_, err := p.out.Write(render(p.text.Bytes(), height))
	return err
}

// render moves to the upper left corner, writes each line over the old one and
// clears what is below.
func render(text []byte, height int) []byte {
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if height > 2 && len(lines) >= height {
		more := len(lines) - height + 2
		lines = append(lines[:height-2:height-2], fmt.Appendf(nil, "… and %d more", more))
	}
	b := []byte("\x1b[H")
	for _, l := range lines {
		b = append(append(b, l...), "\x1b[K\r\n"...)
	}
	return append(b, "\x1b[J"...)
}
