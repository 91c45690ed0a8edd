package swagger

import (
	"net/http"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	json := http.Header{"Content-Type": {"application/json"}}
	for _, tc := range []struct {
		name, method, path string
		status             int
		body               string
		want               string // part of the only problem; empty: none
	}{
		{"good", "POST", "/v1.56/containers/x/wait", 200, `{"StatusCode":0}`, ""},
		{"missing field", "POST", "/containers/x/wait", 200, `{}`, "StatusCode"},
		{"wrong type", "POST", "/containers/x/wait", 200, `{"StatusCode":"0"}`, "StatusCode"},
		{"empty", "GET", "/info", 200, ``, "body is empty"},
		{"not JSON", "GET", "/info", 200, `{`, "not JSON"},
		{"undescribed status", "GET", "/containers/json", 418, `{}`, "status is not described"},
		{"undescribed path", "GET", "/nothing", 200, `{}`, "path is not described"},
		{"unknown path is 404", "GET", "/nothing", 404, `{"message":"page not found"}`, ""},
		{"error without message", "GET", "/version", 400, `{}`, "not an error"},
		{"name with slashes", "GET", "/images/a/b/c/json", 404, `{"message":"no"}`, ""},
		{"older version", "GET", "/v1.44/containers/json", 200, `[{"Id":5}]`, "Id"},
		{"version without a file", "GET", "/v1.24/containers/json", 200, `5`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := c.Check(tc.method, tc.path, tc.status, json, []byte(tc.body))
			switch {
			case tc.want == "" && len(got) != 0:
				t.Errorf("got %v", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0].Error(), tc.want)):
				t.Errorf("got %v, want one problem with %q", got, tc.want)
			}
		})
	}
}

func TestFindTakesTheMostParticular(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/containers/json": "/containers/json", "/containers/a/json": "/containers/{id}/json",
		"/images/json": "/images/json", "/images/x/json": "/images/{name}/json",
	} {
		o, ok := c.docs[c.newest].find("GET", path)
		if !ok || o.pattern != want {
			t.Errorf("%s: found %q", path, o.pattern)
		}
	}
}

func TestDescriptionsLoad(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1.25", "1.51"} {
		if d, err := c.document(v); err != nil || d == nil || d.version != v {
			t.Errorf("%s: %v, %v", v, d, err)
		}
	}
}
