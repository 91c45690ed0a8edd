package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// route is one method on one path.
type route struct {
	method  string
	pattern string              // as in swagger.yaml: /containers/{id}/json
	pieces  []string            // the pattern's texts between its places
	body    bool                // the body is the handler's, even if it says that it is a form
	small   bool                // such a body is a description all the same, not an archive
	handle  func(c *call) error // nil: Docker has it, this engine has not
}

// table collects routes. What was added first wins over a later one of the
// same method and pattern.
type table struct{ routes []route }

func (t *table) add(method, pattern string, handle func(c *call) error) *route {
	t.routes = append(t.routes, route{method: method, pattern: pattern, pieces: pieces(pattern), handle: handle})
	return &t.routes[len(t.routes)-1]
}

// pieces splits a pattern at its places: /a/{b}/c gives "/a/" and "/c".
func pieces(pattern string) []string {
	var list []string
	for {
		before, rest, ok := strings.Cut(pattern, "{")
		list = append(list, before)
		if !ok {
			return list
		}
		_, pattern, _ = strings.Cut(rest, "}")
	}
}

// sorted returns the routes, the most particular first: a place may stand for
// several segments of a path, as names of images hold slashes, so a path may
// fit more than one route.
func (t *table) sorted() []route {
	weight := func(r route) int {
		if len(r.pieces) == 1 {
			return 1 << 20
		}
		n := 0
		for _, p := range r.pieces {
			n += len(p)
		}
		return n
	}
	slices.SortStableFunc(t.routes, func(a, b route) int { return cmp.Compare(weight(b), weight(a)) })
	return t.routes
}

// match finds the route for a request and what fills its places.
func match(routes []route, method, path string) (*route, []string) {
	for i := range routes {
		r := &routes[i]
		if r.method != method {
			continue
		}
		if vars, ok := fill(r.pieces, path); ok {
			return r, vars
		}
	}
	return nil, nil
}

// fill matches a path with a pattern's pieces. No place stays empty.
func fill(pieces []string, path string) ([]string, bool) {
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(pieces) == 1 {
		return nil, path == first
	}
	rest, ok := strings.CutPrefix(path, first)
	if !ok {
		return nil, false
	}
	if rest, ok = strings.CutSuffix(rest, last); !ok {
		return nil, false
	}
	var vars []string
	for _, piece := range pieces[1 : len(pieces)-1] {
		var v string
		if v, rest, ok = strings.Cut(rest, piece); !ok || v == "" {
			return nil, false
		}
		vars = append(vars, v)
	}
	return append(vars, rest), rest != ""
}

// unbuilt adds the routes that Docker has and this engine has not, so that
// clients learn which one they miss.
func (t *table) unbuilt() {
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		for _, pattern := range unbuilt[method] {
			t.add(method, pattern, nil)
		}
	}
}
