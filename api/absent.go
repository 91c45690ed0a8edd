package api

import (
	"fmt"

	"github.com/davit-engine/davit/errs"
)

// absent answers for kinds of object of which this engine has none. `docker
// inspect x` asks for one kind after the other and goes on only when it hears
// "not found".
func (t *table) absent() {
	for pattern, text := range map[string]string{
		"/networks/{id}":       "network %s not found",
		"/volumes/{name}":      "get %s: no such volume",
		"/plugins/{name}/json": "plugin %q not found",
	} {
		t.add("GET", pattern, func(c *call) error {
			switch c.vars[0] {
			case "bridge", "host", "none": // these networks are there
				return errs.New(errs.NotImplemented, "GET %s is not implemented by this engine", pattern)
			}
			return errs.New(errs.NotFound, "%s", fmt.Sprintf(text, c.vars[0]))
		})
	}
}
