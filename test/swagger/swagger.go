package swagger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/go-openapi/loads"
	"github.com/go-openapi/spec"
	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/validate"
)

// Problem is an answer that the description does not allow.
type Problem struct {
	Method, Path string
	Version      string
	Status       int
	Text         string
}

func (p Problem) Error() string {
	return fmt.Sprintf("%s %s (%s), status %d: %s", p.Method, p.Path, p.Version, p.Status, p.Text)
}

// Checker holds the descriptions of all versions, read when first needed.
type Checker struct {
	dir    string // of the module moby/moby/api
	newest string

	mu   sync.Mutex
	docs map[string]*document // by version; nil for one without a file; guarded by mu
}

// New finds the files in the module cache, as the module in the current
// directory has them.
func New() (*Checker, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		return nil, fmt.Errorf("finding moby/moby/api in the module cache: %w", err)
	}
	c := &Checker{dir: strings.TrimSpace(string(out)), docs: map[string]*document{}}
	newest, err := load(filepath.Join(c.dir, "swagger.yaml"))
	if err != nil {
		return nil, err
	}
	c.newest = newest.version
	c.docs[c.newest] = newest
	return c, nil
}

// Newest returns the newest version that is described, such as "1.56".
func (c *Checker) Newest() string { return c.newest }

// Operations calls yield for each operation of the newest version.
func (c *Checker) Operations(yield func(method, path string)) {
	for _, o := range c.docs[c.newest].operations {
		yield(o.method, o.pattern)
	}
}

// document is one version's description.
type document struct {
	version    string
	operations []operation
}

type operation struct {
	method, pattern string
	path            *regexp.Regexp
	literal         int // bytes of the pattern outside its places: more is more particular
	responses       map[int]spec.Response
}

var place = regexp.MustCompile(`\\\{[^}]*\\\}`)

func load(file string) (*document, error) {
	raw, err := loads.Spec(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	doc, err := raw.Expanded(&spec.ExpandOptions{RelativeBase: file})
	if err != nil {
		return nil, fmt.Errorf("resolving references in %s: %w", file, err)
	}
	d := &document{version: doc.Spec().Info.Version}
	for pattern, item := range doc.Spec().Paths.Paths {
		for method, op := range map[string]*spec.Operation{
			"GET": item.Get, "HEAD": item.Head, "POST": item.Post, "PUT": item.Put, "DELETE": item.Delete,
		} {
			if op == nil || op.Responses == nil {
				continue
			}
			quoted := regexp.QuoteMeta(pattern)
			d.operations = append(d.operations, operation{
				method: method, pattern: pattern, responses: op.Responses.StatusCodeResponses,
				path:    regexp.MustCompile("^" + place.ReplaceAllString(quoted, "(.+)") + "$"),
				literal: len(place.ReplaceAllString(quoted, "")),
			})
		}
	}
	return d, nil
}

// find returns the operation that a path means: names of images hold slashes,
// so the most particular one that fits.
func (d *document) find(method, path string) (operation, bool) {
	var best operation
	for _, o := range d.operations {
		exact := o.pattern == path
		if o.method == method && (exact || o.path.MatchString(path)) && (best.path == nil || exact || o.literal > best.literal && best.pattern != path) {
			best = o
		}
	}
	return best, best.path != nil
}

var prefix = regexp.MustCompile(`^/v([0-9]+\.[0-9]+)(/.*)$`)

// Check looks at one answer. path is the request's, with or without a version.
// An answer that is not JSON is checked for its status alone. A version that
// has no description is not checked.
func (c *Checker) Check(method, path string, status int, header http.Header, body []byte) []error {
	version := c.newest
	if m := prefix.FindStringSubmatch(path); m != nil {
		version, path = m[1], m[2]
	}
	d, err := c.document(version)
	if err != nil {
		return []error{err}
	}
	if d == nil {
		return nil
	}
	problem := func(format string, args ...any) error {
		return Problem{method, path, version, status, fmt.Sprintf(format, args...)}
	}
	o, ok := d.find(method, path)
	if !ok {
		if status == http.StatusNotFound || own.MatchString(method+" "+path) {
			return jsonError(status, header, body, problem)
		}
		return []error{problem("the path is not described")}
	}
	resp, ok := o.responses[status]
	if !ok {
		if undocumented(o, status) {
			return jsonError(status, header, body, problem)
		}
		return []error{problem("the status is not described for %s", o.pattern)}
	}
	if !isJSON(header) || resp.Schema == nil || method == http.MethodHead {
		return nil
	}
	var list []error
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // nanoseconds since 1970 do not fit a float64
	for n := 0; ; n++ {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			if n == 0 && !mayBeEmpty[o.pattern] {
				list = append(list, problem("the body is empty"))
			}
			return list
		}
		if err != nil {
			return append(list, problem("the body is not JSON: %v", err))
		}
		if err := validate.AgainstSchema(resp.Schema, v, strfmt.Default); err != nil {
			for _, line := range flatten(err) {
				if !c.wrong(version, o.pattern, line) {
					list = append(list, problem("%s", line))
				}
			}
		}
	}
}

// jsonError checks an error that the description does not list: it must still
// have the form of one.
func jsonError(status int, header http.Header, body []byte, problem func(string, ...any) error) []error {
	if status < 400 {
		return nil
	}
	var v struct{ Message string }
	if !isJSON(header) || json.Unmarshal(body, &v) != nil || v.Message == "" {
		return []error{problem("not an error with a message: %s", body)}
	}
	return nil
}

func isJSON(header http.Header) bool {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && media == "application/json"
}

func flatten(err error) []string {
	var lines []string
	for _, line := range strings.Split(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" && line != "validation failure list:" {
			lines = append(lines, line)
		}
	}
	return lines
}

// document reads a version's file; nil if there is none (1.24 has a text).
func (c *Checker) document(version string) (*document, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.docs[version]; ok {
		return d, nil
	}
	file := filepath.Join(c.dir, "docs", "v"+version+".yaml")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		c.docs[version] = nil
		return nil, nil
	}
	d, err := load(file)
	if err == nil {
		c.docs[version] = d
	}
	return d, err
}

// wrong reports whether a complaint is an error of the description itself.
func (c *Checker) wrong(version, pattern, line string) bool {
	for _, e := range errata {
		if (e.pattern == "" || e.pattern == pattern) && e.text.MatchString(line) && (e.before == 0 || minor(version) < e.before) {
			return true
		}
	}
	return false
}

func minor(version string) int {
	_, m, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(m)
	if err != nil {
		return 0
	}
	return n
}
