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
		"/plugins/{name}/json": "plugin %q not found",
	} {
		t.add("GET", pattern, func(c *call) error {
			return errs.New(errs.NotFound, "%s", fmt.Sprintf(text, c.vars[0]))
		})
	}
}
