// Package logfile writes a container's output to files that are rotated, in
// one of two formats:
//
//	JSON   that of Docker's json-file driver, byte for byte, which other
//	       programs read too
//	Local  that of Docker's local driver: smaller, and quicker both ways
//
// Output is cut into entries, one a line. A line longer than PartSize becomes
// several entries of which only the last ends it, all with the time of the
// first. What a Write was given is with the kernel when it returns.
//
// When the file has reached its largest size it becomes path.1, path.1 becomes
// path.2 and so on, compressed to path.N.gz if asked, which happens beside the
// writing and never holds it up. A file has one format: one that is found in
// another is rotated away first.
//
// Entries that could not be written, as on a full disk, are counted, and an
// entry of the writer's own says so as soon as there is space again.
//
// The package owns the log files while a Writer is open. It does not read them
// (package logs does) and does not know whose output it is. A Writer is used by
// one goroutine at a time; a Ring by any number.
package logfile

// Stream says where output came from.
type Stream uint8

// The streams. A terminal has Stdout only.
const (
	Stdout Stream = iota
	Stderr
	streams
)

// String returns the stream's name as it stands in the log.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

// Format is how entries are written.
type Format uint8

// The formats.
const (
	JSON Format = iota
	Local
)

// stamp is a time in the form that the format wants.
type stamp struct {
	nano int64  // since 1970
	text []byte // for JSON
}

// entry is one entry but for its text.
type entry struct {
	stream  Stream
	newline bool // the text ends its line
	stamp   stamp
	base    int64 // bytes of the log before this file; 0 unless the entry is a later file's first
}

// encoder turns entries into bytes. attrs is a JSON object for JSON, encoded
// fields for Local, or nothing.
type encoder struct {
	format Format
	attrs  []byte
}

// append appends the entry whose text is head, then tail.
func (c *encoder) append(dst, head, tail []byte, e *entry) []byte {
	if c.format == Local {
		return appendLocal(dst, head, tail, c.attrs, e)
	}
	return appendJSON(dst, head, tail, c.attrs, e)
}

// whole returns how much of p, which begins with an entry, is whole entries.
func (c *encoder) whole(p []byte) (size, entries int) {
	if c.format == Local {
		return wholeLocal(p)
	}
	return wholeJSON(p)
}
