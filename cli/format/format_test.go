package format

import (
	"bytes"
	"strings"
	"testing"
)

type pet struct{ name, kind string }

func (p pet) Name() string { return p.name }
func (p pet) Kind() string { return p.kind }

// Label is a method with an argument, which fields do not have.
func (p pet) Label(key string) string { return key + "-of-" + p.name }

var fields = Fields[pet]{
	{Name: "Name", Header: "PET", Value: pet.Name},
	{Name: "Kind", Header: "KIND", Value: pet.Kind, JSON: func(p pet) any { return []string{p.kind} }},
}

func TestList(t *testing.T) {
	rows := []pet{{"rex", "dog"}, {"<tom>", "a rather long cat"}}
	for format, want := range map[string]string{
		"":                                    "PET       KIND\nrex       dog\n<tom>     a rather long cat\n",
		"table":                               "PET       KIND\nrex       dog\n<tom>     a rather long cat\n",
		`table {{.Kind}}\t{{.Name}}`:          "KIND                PET\ndog                 rex\na rather long cat   <tom>\n",
		`table {{.Name}}\t{{.Label "a.b-c"}}`: "PET       c\nrex       a.b-c-of-rex\n<tom>     a.b-c-of-<tom>\n",
		`table {{upper .Name}}\t{{truncate .Kind 3}}`: "PET       KIND\nREX       dog\n<TOM>     a r\n",
		"json":                      "{\"Kind\":[\"dog\"],\"Name\":\"rex\"}\n{\"Kind\":[\"a rather long cat\"],\"Name\":\"<tom>\"}\n",
		`{{.Name}}\t{{json .Kind}}`: "rex\t\"dog\"\n<tom>\t\"a rather long cat\"\n",
		`{{.Name | upper | lower | title}}:{{pad .Name 1 2}}:{{split .Kind " " | len}}:{{join (split .Kind " ") "+"}}`: "Rex: rex  :1:dog\n<Tom>: <tom>  :4:a+rather+long+cat\n",
		`{{println .Name}}`: "rex\n\n<tom>\n\n",
	} {
		var out bytes.Buffer
		if err := (List[pet]{Fields: fields, Table: []string{"Name", "Kind"}, Format: format}).Write(&out, rows); err != nil || out.String() != want {
			t.Errorf("%s: %v\ngot  %q\nwant %q", format, err, out.String(), want)
		}
	}
}

func TestNatural(t *testing.T) {
	ordered := []string{"", "9", "10", "a", "a1", "a1b", "a01", "a2", "a10", "a10b2", "a10b10", "ab", "b", "net", "net2", "net2-1", "net10"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := Natural(a, b); got < 0 != (i < j) || got == 0 != (i == j) {
				t.Errorf("%q, %q: %d", a, b, got)
			}
		}
	}
}

func TestListWithoutRows(t *testing.T) {
	for format, want := range map[string]string{"": "PET\n", "json": "", "{{.Name}}": "", "table {{.Name}}": "PET\n"} {
		var out bytes.Buffer
		if err := (List[pet]{Fields: fields, Table: []string{"Name"}, Format: format}).Write(&out, nil); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v", format, out.String(), err)
		}
	}
}

func TestBadTemplates(t *testing.T) {
	for _, format := range []string{"{{", "{{.Nope}}", "{{nope .Name}}", "table {{.Name", "table {{.Nope}}"} {
		var out bytes.Buffer
		if err := (List[pet]{Fields: fields, Format: format}).Write(&out, []pet{{"rex", "dog"}}); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, printed %q", format, err, out.String())
		}
	}
}

func TestObject(t *testing.T) {
	value := struct{ Known map[string]int }{map[string]int{"a": 1}}
	raw := []byte(`{"Known":{"a":1},"Newer":{"Number":12345678901234567890,"List":["<x>"]}}`)
	for source, want := range map[string]string{
		"{{.Known.a}}":                 "1\n",
		"{{.Newer.Number}}":            "12345678901234567890\n",
		"{{json .Newer.List}}":         "[\"<x>\"]\n",
		"json":                         "{\"Known\":{\"a\":1}}\n",
		"{{with .Known}}{{.a}}{{end}}": "1\n",
	} {
		var out bytes.Buffer
		if err := Object(&out, source, value, raw); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v", source, out.String(), err)
		}
	}
	var out bytes.Buffer
	if err := Object(&out, "{{.Unknown}}", value, raw); err == nil || !strings.Contains(err.Error(), "Unknown") || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
}
