package engine

import (
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestExtensions(t *testing.T) {
	type m = map[string]string
	for _, c := range []struct{ labels, annotations, want m }{
		{nil, nil, nil},
		{m{"a": "b"}, nil, nil},
		{m{annotationDependsOn: "db"}, nil, m{annotationDependsOn: "db"}},
		{m{annotationDependsOn: "db", annotationOnFailure: "kill"}, m{"a": "b"}, m{"a": "b", annotationDependsOn: "db", annotationOnFailure: "kill"}},
		{m{annotationOnFailure: "kill"}, m{annotationOnFailure: "stop"}, m{annotationOnFailure: "stop"}},
	} {
		asked := &container.HostConfig{Annotations: c.annotations}
		before := len(c.annotations)
		if got := extensions(&container.Config{Labels: c.labels}, asked).Annotations; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v, %v: %v, want %v", c.labels, c.annotations, got, c.want)
		}
		if len(asked.Annotations) != before {
			t.Error("the request was changed")
		}
	}
}
