package depend

import (
	"reflect"
	"strings"
	"testing"

	"github.com/davit-engine/davit/errs"
)

func TestParse(t *testing.T) {
	for text, want := range map[string][]Dependency{
		"":                      nil,
		"db":                    {{"db", Started}},
		"/db:started":           {{"db", Started}},
		"db:healthy,init.1_2-3": {{"db", Healthy}, {"init.1_2-3", Started}},
		"job:completed":         {{"job", Completed}},
	} {
		if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		",": "name of a container", ":healthy": "name of a container", "/": "name of a container", "db:": "the condition is one of", "db:ready": "the condition is one of",
		"db:healthy:x": "the condition is one of", "db,db:healthy": "db is named twice",
	} {
		if got, err := Parse(text); !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestParseCompose(t *testing.T) {
	for text, want := range map[string][]Dependency{
		"":         nil,
		"db,cache": {{"db", Started}, {"cache", Started}},
		"db:service_healthy:true,cache:service_started:false,job:service_completed_successfully:false": {{"db", Healthy}, {"cache", Started}, {"job", Completed}},
		"db:service_dancing,,:x": {{"db", Started}},
	} {
		if got := ParseCompose(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestCircle(t *testing.T) {
	graph := map[string]string{
		"web": "app", "app": "db,cache", "cache": "db", "self": "self", "a": "b", "b": "c", "c": "d,a", "outside": "a",
	}
	of := func(name string) []Dependency {
		list, err := Parse(graph[name])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for name, want := range map[string]string{
		"web": "", "db": "", "self": "self self", "a": "a b c a", "c": "c a b c", "outside": "",
	} {
		if got := strings.Join(Circle(name, of), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"db", "db:healthy,job:completed", ",", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse(text)
		for _, d := range list {
			if err != nil || d.Name == "" || d.Condition == "" || strings.ContainsAny(d.Name, ",:") {
				t.Errorf("%q gives %v, %v", text, list, err)
			}
		}
		for _, d := range ParseCompose(text) {
			if d.Name == "" || d.Condition == "" {
				t.Errorf("%q gives %v", text, d)
			}
		}
	})
}
