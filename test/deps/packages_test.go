package deps

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// TestPackageComments asks each package what it owns, what it must not know
// and what its concurrency rule is. A test cannot judge an answer; it can see
// that there is one, in one place, and that it is more than a title.
func TestPackageComments(t *testing.T) {
	for _, p := range tree(t) {
		words := 25
		if p.Name == "main" {
			words = 12 // it is not called by anybody
		}
		if len(p.GoFiles)+len(p.CgoFiles) == 0 {
			t.Errorf("%s has tests only; give it a doc.go that says what they are for", p.folder())
			continue
		}
		set, files := parse(t, p)
		var comments []*ast.CommentGroup
		for _, f := range files {
			if f.Doc != nil {
				comments = append(comments, f.Doc)
			}
		}
		switch {
		case len(comments) == 0:
			t.Errorf("%s has no package comment", p.folder())
		case len(comments) > 1:
			t.Errorf("%s has %d package comments (%s, %s): keep one", p.folder(), len(comments), set.Position(comments[0].Pos()), set.Position(comments[1].Pos()))
		default:
			if n := len(strings.Fields(comments[0].Text())); n < words {
				t.Errorf("%s: the package comment has %d words: what does it own, what must it not know, who may call it at once?", p.folder(), n)
			}
		}
	}
}

// TestNoInit finds init functions: work that a reader of main does not see,
// paid at each start of each binary that links the package.
func TestNoInit(t *testing.T) {
	for _, p := range tree(t) {
		set, files := parse(t, p)
		for _, f := range files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: func init; wire by hand where the parts are put together", set.Position(fn.Pos()))
				}
			}
		}
	}
}

// TestNoRegexpAtStart finds regular expressions compiled before main in what
// the shim and the client link: each costs tens of microseconds at every start.
func TestNoRegexpAtStart(t *testing.T) {
	for _, p := range tree(t) {
		if a := area(p.folder()); !slices.Contains([]string{"runtime", "cmd/davit-shim", "cli", "cmd/davit", "errs"}, a) {
			continue
		}
		set, files := parse(t, p)
		for _, f := range files {
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				ast.Inspect(g, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.FuncLit: // runs later, or once asked for
						return false
					case *ast.SelectorExpr:
						if x, ok := n.X.(*ast.Ident); ok && x.Name == "regexp" && strings.Contains(n.Sel.Name, "Compile") {
							t.Errorf("%s: regular expression compiled at start; use sync.OnceValue, or no regexp", set.Position(n.Pos()))
						}
					}
					return true
				})
			}
		}
	}
}

// TestMethodsPerType keeps types small. The tangled engines of the field have
// files and functions of the same size as the tidy ones; their types have
// hundreds of methods.
func TestMethodsPerType(t *testing.T) {
	const limit = 30
	for _, p := range tree(t) {
		_, files := parse(t, p)
		methods := map[string]int{}
		for _, f := range files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
					methods[receiver(fn.Recv.List[0].Type)]++
				}
			}
		}
		for name, n := range methods {
			if n > limit {
				t.Errorf("%s.%s has %d methods: split it by what it is about (about 25 at most)", p.folder(), name, n)
			}
		}
	}
}

// receiver is the name of a receiver's type, without pointer and type parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	default:
		return ""
	}
}
