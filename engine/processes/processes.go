// Package processes lists the processes of a container in the form of ps.
//
// It owns the reading of what ps prints and of /proc. It runs nothing, knows no
// container and keeps nothing; its functions may be called at any time.
package processes

import (
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

// ValidateArgs refuses arguments that give a column other than pid the title
// PID, by which the column of numbers is found.
func ValidateArgs(args string) error {
	for before, after := range titles(args) {
		column := before[strings.LastIndexAny(before, blanks)+1:]
		title := strings.TrimLeft(after, blanks)
		if column != "pid" && strings.HasPrefix(title, "PID") {
			if end := strings.IndexAny(title, blanks); end >= 0 {
				title = title[:end]
			}
			return errs.New(errs.InvalidParameter, "specifying %q is not allowed", column+"="+title)
		}
	}
	return nil
}

// titles yields what stands before and after each equals sign.
func titles(args string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range len(args) {
			if args[i] == '=' && !yield(args[:i], args[i+1:]) {
				return
			}
		}
	}
}

// Select returns the argument of ps that chooses processes by number.
func Select(pids []int) string {
	var b strings.Builder
	b.WriteString("-q")
	for i, pid := range pids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(pid))
	}
	return b.String()
}

// Parse reads what ps printed and keeps the lines of pids, which are sorted.
func Parse(text string, pids []int) (container.TopResponse, error) {
	head, rest, _ := strings.Cut(text, "\n")
	list := container.TopResponse{Titles: fields(head), Processes: [][]string{}}
	at := slices.Index(list.Titles, "PID")
	if at < 0 {
		return container.TopResponse{}, errs.New(errs.System, "Couldn't find PID field in ps output")
	}
	ours := false // the process that a line of a thread belongs to
	for line := range strings.Lines(rest) {
		f := fields(line)
		if len(f) <= at {
			continue
		}
		if f[at] != "-" { // with the option m, a thread of the process above
			pid, err := strconv.Atoi(f[at])
			if err != nil {
				return container.TopResponse{}, errs.New(errs.System, "Unexpected pid '%s': %w", f[at], err)
			}
			_, ours = slices.BinarySearch(pids, pid)
		}
		if ours {
			list.Processes = append(list.Processes, row(f, len(list.Titles)))
		}
	}
	return list, nil
}

// row makes the last of n columns hold the rest of the line.
func row(f []string, n int) []string {
	if len(f) <= n {
		return f
	}
	return append(slices.Clone(f[:n-1]), strings.Join(f[n-1:], " "))
}

// blanks are those of ASCII only: names may hold any others.
const blanks = "\t\n\f\r "

func fields(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(blanks, r) })
}
