// Package format owns how lists and objects are printed: as a table, as JSON,
// or through a template of the user's with Docker's functions.
//
// It knows no object of the engine: rows bring their fields. It has no state.
// text/template is entered only when the user gave a template.
package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/davit-engine/davit/cli/term"
)

// Field is one column of rows of type T. In templates it is a method of T with
// the field's name.
type Field[T any] struct {
	Name   string // in templates and JSON
	Header string // in tables
	Value  func(T) string
	// JSON is the value in JSON where that is more than a text; may be nil.
	JSON func(T) any
}

// Fields are all columns that rows of type T have.
type Fields[T any] []Field[T]

// List says how to print rows.
type List[T any] struct {
	Fields Fields[T]
	// Table names the columns of a plain table.
	Table []string
	// Format is the user's: "", "table", "table TEMPLATE", "json" or TEMPLATE.
	Format string
}

// Write prints rows to w.
func (l List[T]) Write(w io.Writer, rows []T) error {
	source, isTable := strings.CutPrefix(l.Format, "table")
	source = strings.TrimSpace(source)
	switch {
	case l.Format == "json" || l.Format == "{{json .}}" || l.Format == "{{ json . }}":
		return l.writeJSON(w, rows)
	case l.Format == "" || isTable && source == "":
		return l.writeTable(w, rows)
	}
	source = unescape(source)
	t, err := parse(source, functions())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, row := range rows {
		if err := t.Execute(&b, row); err != nil {
			return err
		}
		b.WriteByte('\n')
	}
	if !isTable {
		_, err = w.Write(b.Bytes())
		return err
	}
	table := term.NewTable(w)
	headers, err := parse(source, headerFunctions())
	if err != nil {
		return err
	}
	names := headerRow{}
	for _, f := range l.Fields {
		names[f.Name] = f.Header
	}
	if err := headers.Execute(table, names); err != nil {
		return err
	}
	fmt.Fprintln(table)
	if _, err := table.Write(b.Bytes()); err != nil {
		return err
	}
	return table.Flush()
}

func (l List[T]) writeTable(w io.Writer, rows []T) error {
	columns := make([]Field[T], len(l.Table))
	for i, name := range l.Table {
		for _, f := range l.Fields {
			if f.Name == name {
				columns[i] = f
			}
		}
	}
	table := term.NewTable(w)
	line := make([]string, len(columns))
	for i, c := range columns {
		line[i] = c.Header
	}
	fmt.Fprintln(table, strings.Join(line, "\t"))
	for _, row := range rows {
		for i, c := range columns {
			line[i] = c.Value(row)
		}
		fmt.Fprintln(table, strings.Join(line, "\t"))
	}
	return table.Flush()
}

// writeJSON prints one object per line, its keys sorted.
func (l List[T]) writeJSON(w io.Writer, rows []T) error {
	for _, row := range rows {
		if err := JSONLine(w, l.object(row)); err != nil {
			return err
		}
	}
	return nil
}

// object is a row as JSON shows it.
func (l List[T]) object(row T) map[string]any {
	object := make(map[string]any, len(l.Fields))
	for _, f := range l.Fields {
		if f.JSON != nil {
			object[f.Name] = f.JSON(row)
		} else {
			object[f.Name] = f.Value(row)
		}
	}
	return object
}

// Section is a list with its rows: a part of what a command shows.
type Section interface {
	Write(w io.Writer) error   // as the list says
	Rows() any                 // for templates
	Objects() []map[string]any // for JSON
}

// NewSection joins a list and its rows.
func NewSection[T any](l List[T], rows []T) Section { return section[T]{l, rows} }

type section[T any] struct {
	list List[T]
	rows []T
}

func (s section[T]) Write(w io.Writer) error { return s.list.Write(w, s.rows) }

func (s section[T]) Rows() any { return s.rows }

func (s section[T]) Objects() []map[string]any {
	all := make([]map[string]any, 0, len(s.rows))
	for _, row := range s.rows {
		all = append(all, s.list.object(row))
	}
	return all
}

// JSONLine prints a value as one line of JSON.
func JSONLine(w io.Writer, value any) error {
	line, err := marshal(value)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// headerRow answers a row's template with column headers.
type headerRow map[string]string

// Label is the header of a column that shows one label: the label's last word.
func (headerRow) Label(name string) string {
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '-' })
	if len(parts) == 0 {
		return ""
	}
	return parts[len(parts)-1]
}

// Object prints one value by a template or, for "json", as JSON; a newline
// follows. raw is its JSON as the engine sent it: names that the type does not
// have are looked up there.
func Object(w io.Writer, source string, value any, raw []byte) error {
	if source == "json" {
		source = "{{json .}}"
	}
	t, err := parse(source, functions())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	failed := t.Execute(&b, value)
	if failed != nil && raw != nil {
		var generic any
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&generic); err != nil {
			return err
		}
		b.Reset()
		if err := t.Option("missingkey=error").Execute(&b, generic); err == nil {
			failed = nil
		}
	}
	if failed != nil {
		return fmt.Errorf("template parsing error: %w", failed)
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

func parse(source string, functions template.FuncMap) (*template.Template, error) {
	t, err := template.New("").Funcs(functions).Parse(source)
	if err != nil {
		return nil, fmt.Errorf("template parsing error: %w", err)
	}
	return t, nil
}

// unescape turns a typed \t and \n into what they mean.
func unescape(source string) string {
	return strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(source)
}

// marshal is JSON without the escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Usage is the description of a list's --format.
const Usage = `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`

// ObjectUsage is the description of --format where one object is shown.
const ObjectUsage = `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template.
Refer to https://docs.docker.com/go/formatting/ for more information about formatting output with templates`
