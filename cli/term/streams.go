// Package term owns what the command line does to the user's terminal:
// streams, raw mode, window size, tables and the progress of a transfer.
//
// It knows nothing of the engine or of any command, and never decides what is
// said. Nothing here starts a goroutine; a Progress belongs to one goroutine,
// Streams may be used by several as far as their underlying writers may.
package term

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are the three standard streams of one invocation.
type Streams struct {
	In  Input
	Out Output // results
	Err Output // talk
}

// Standard returns the streams of this process. color says whether NO_COLOR
// leaves colour allowed.
func Standard(color bool) *Streams {
	return &Streams{In: NewInput(os.Stdin), Out: NewOutput(os.Stdout, color), Err: NewOutput(os.Stderr, color)}
}

// descriptor is the file descriptor behind a stream, -1 when there is none.
type descriptor int

func descriptorOf(stream any) descriptor {
	if f, ok := stream.(interface{ Fd() uintptr }); ok {
		return descriptor(f.Fd())
	}
	return -1
}

// IsTerminal reports whether the stream is a terminal. It asks the kernel each
// time: most invocations never need to know.
func (d descriptor) IsTerminal() bool { return d >= 0 && term.IsTerminal(int(d)) }

// Size returns the terminal's width and height in cells, zeroes if the stream
// is no terminal.
func (d descriptor) Size() (width, height int) {
	if d < 0 {
		return 0, 0
	}
	width, height, err := term.GetSize(int(d))
	if err != nil {
		return 0, 0
	}
	return width, height
}

// MakeRaw puts the terminal into raw mode and returns what undoes it; on
// anything but a terminal both do nothing.
func (d descriptor) MakeRaw() (restore func(), err error) {
	if !d.IsTerminal() {
		return func() {}, nil
	}
	old, err := term.MakeRaw(int(d))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(d), old) }, nil
}

// Input is a stream that is read.
type Input struct {
	io.Reader
	descriptor
}

// NewInput wraps r; it counts as a terminal if r is a file that is one.
func NewInput(r io.Reader) Input { return Input{r, descriptorOf(r)} }

// Output is a stream that is written.
type Output struct {
	io.Writer
	descriptor
	color bool
}

// NewOutput wraps w; colour is used only if allowed and w is a terminal.
func NewOutput(w io.Writer, color bool) Output { return Output{w, descriptorOf(w), color} }

// Paint surrounds text with an SGR attribute (such as "1" for bold) where the
// stream shows colour.
func (o Output) Paint(attribute, text string) string {
	if !o.color || !o.IsTerminal() {
		return text
	}
	return "\x1b[" + attribute + "m" + text + "\x1b[0m"
}
