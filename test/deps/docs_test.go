package deps

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestConfigurationDocumented looks for each flag and key of the daemon in
// docs/CONFIGURATION.md, and for each one there in the daemon.
func TestConfigurationDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "CONFIGURATION.md"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(tree(t), func(p listed) bool { return p.folder() == "daemon" })
	if i < 0 {
		t.Fatal("there is no package daemon")
	}
	_, files := parse(t, tree(t)[i])
	known := map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			pair, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			field, isName := pair.Key.(*ast.Ident)
			value, isText := pair.Value.(*ast.BasicLit)
			if !isName || !isText {
				return true
			}
			s, err := strconv.Unquote(value.Value)
			if err != nil {
				return true
			}
			switch field.Name {
			case "flag":
				known["`--"+s+"`"] = true
			case "key":
				known["`"+s+"`"] = true
			}
			return true
		})
	}
	if len(known) < 50 {
		t.Fatalf("found %d flags and keys in package daemon: is the table elsewhere now?", len(known))
	}
	for k := range known {
		if !strings.Contains(string(text), k) {
			t.Errorf("docs/CONFIGURATION.md does not mention %s", k)
		}
	}
	for _, cell := range regexp.MustCompile("(?m)^\\| (`--[a-z0-9-]+`)").FindAllStringSubmatch(string(text), -1) {
		if !known[cell[1]] {
			t.Errorf("docs/CONFIGURATION.md mentions %s, which davitd does not know", cell[1])
		}
	}
}

// TestLinks follows the links between the documents.
func TestLinks(t *testing.T) {
	root := filepath.Join("..", "..")
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"))
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	for _, d := range documents {
		text, err := os.ReadFile(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(d), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", d, m[1], err)
			}
		}
	}
}

// TestRequestFiles checks that the files which docs/REQUEST.md names exist.
func TestRequestFiles(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "REQUEST.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?m)^\\| \\d+ \\| `([^`]+)`").FindAllStringSubmatch(string(text), -1)
	if len(files) == 0 {
		t.Fatal("docs/REQUEST.md has no table of files any more")
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(root, f[1])); err != nil {
			t.Errorf("docs/REQUEST.md names %s: %v", f[1], err)
		}
	}
}
