package format

import (
	"strings"
	"text/template"
	"unicode"
)

// functions are those that Docker's templates have beside text/template's own
// (println, index, len ...).
func functions() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) {
			text, err := marshal(v)
			return string(text), err
		},
		"split":    strings.Split,
		"join":     strings.Join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

// headerFunctions leave a table's headers alone, whatever is done to cells.
func headerFunctions() template.FuncMap {
	same := func(v string) string { return v }
	return template.FuncMap{
		"json":     same,
		"split":    func(v string, _ string) string { return v },
		"join":     func(v string, _ string) string { return v },
		"title":    same,
		"lower":    same,
		"upper":    same,
		"pad":      pad,
		"truncate": func(v string, _ int) string { return v },
	}
}

// title makes each word's first letter a capital.
func title(text string) string {
	start := true
	return strings.Map(func(r rune) rune {
		first := start
		start = !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '\''
		if first {
			return unicode.ToTitle(r)
		}
		return r
	}, text)
}

// pad surrounds a text that is not empty with blanks.
func pad(text string, before, after int) string {
	if text == "" {
		return text
	}
	return strings.Repeat(" ", before) + text + strings.Repeat(" ", after)
}

// truncate keeps the first length bytes.
func truncate(text string, length int) string {
	if len(text) > length {
		return text[:length]
	}
	return text
}
