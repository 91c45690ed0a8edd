package deps

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The arrows of docs/ARCHITECTURE.md:
//
//	cmd -> daemon -> api -> engine -> {image network volume ...} -> runtime -> errs
//
// A folder may import those that stand to the right of it. The nouns in braces
// do not know each other: engine joins them by interfaces that it declares.
var nouns = []string{"image", "build", "network", "volume", "logs", "event", "registry", "cri"}

// above are the folders outside the arrows: they look at the whole.
var above = []string{"test", "bench"}

// arrows maps a folder to what its packages may import besides their own folder.
func arrows() map[string][]string {
	below := []string{"runtime", "errs", "version"}
	may := map[string][]string{
		"errs":               {},
		"dialect":            {},
		"version":            {},
		"runtime":            {"errs", "version"},
		"engine":             slices.Concat([]string{"dialect"}, nouns, below),
		"api":                slices.Concat([]string{"engine", "dialect"}, nouns, below),
		"daemon":             slices.Concat([]string{"api", "engine"}, nouns, below),
		"cli":                {"dialect", "errs", "version"},
		"cmd/davit":          {"cli", "errs", "version"},
		"cmd/davitd":         {"daemon", "errs", "version"},
		"cmd/davit-shim":     below,
		"cmd/davit-init":     {},
		"cmd/davit-registry": {"registry", "errs", "version"},
		"demo":               {},
	}
	for _, n := range nouns {
		may[n] = below
	}
	return may
}

// TestArrows holds the direction of imports between folders.
func TestArrows(t *testing.T) {
	may := arrows()
	for _, p := range tree(t) {
		from := area(p.folder())
		if slices.Contains(above, from) {
			continue
		}
		allowed, known := may[from]
		if !known {
			t.Errorf("%s: folder %q has no place in the order; name it in test/deps and in docs/ARCHITECTURE.md", p.ImportPath, from)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module+"/") {
				continue
			}
			to := area(strings.TrimPrefix(imported, module+"/"))
			if to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %q may import %v only", p.folder(), strings.TrimPrefix(imported, module+"/"), from, allowed)
			}
		}
	}
}

// area is the folder that the arrows speak of: the first element of the path,
// or the first two below cmd.
func area(folder string) string {
	parts := strings.Split(folder, "/")
	if parts[0] == "cmd" && len(parts) > 1 {
		return strings.Join(parts[:2], "/")
	}
	return parts[0]
}

// TestNoFolderCycles finds folders beside each other that import one another,
// anywhere below them: legal in Go, and the start of a tangle.
func TestNoFolderCycles(t *testing.T) {
	edges := map[string]map[string]string{} // folder -> folder -> an import that makes the edge
	for _, p := range tree(t) {
		for _, imported := range p.Imports {
			to, inside := strings.CutPrefix(imported, module+"/")
			if !inside {
				continue
			}
			a, b := siblings(p.folder(), to)
			if a == "" || b == "" {
				continue
			}
			if edges[a] == nil {
				edges[a] = map[string]string{}
			}
			edges[a][b] = fmt.Sprintf("%s imports %s", p.folder(), to)
		}
	}
	var path []string
	done := map[string]bool{}
	var visit func(string)
	visit = func(f string) {
		if i := slices.Index(path, f); i >= 0 {
			cycle := append(slices.Clone(path[i:]), f)
			var why []string
			for i := range len(cycle) - 1 {
				why = append(why, edges[cycle[i]][cycle[i+1]])
			}
			t.Errorf("folders import each other: %s (%s)", strings.Join(cycle, " -> "), strings.Join(why, "; "))
			return
		}
		if done[f] {
			return
		}
		path = append(path, f)
		for to := range edges[f] {
			visit(to)
		}
		path = path[:len(path)-1]
		done[f] = true
	}
	for f := range edges {
		visit(f)
	}
}

// siblings cuts two paths at the first element where they part, so that the
// two folders have one parent. A folder and one inside it have no such pair.
func siblings(a, b string) (string, string) {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := 0; i < len(as) && i < len(bs); i++ {
		if as[i] != bs[i] {
			return strings.Join(as[:i+1], "/"), strings.Join(bs[:i+1], "/")
		}
	}
	return "", ""
}

// never says what a binary must not link, with the reason.
var never = []struct {
	binary string
	paths  []string // an import path, or all below it
	why    string
}{
	{"cmd/davit", []string{
		module + "/engine", module + "/daemon", module + "/api", module + "/image", module + "/network", module + "/runtime",
		"github.com/containerd", "github.com/moby/buildkit", "google.golang.org/grpc", "google.golang.org/protobuf",
		"github.com/moby/moby/client", "go.opentelemetry.io", "github.com/distribution/reference",
	}, "the client talks to the engine over HTTP alone and starts in 3 ms, of which each of these takes its share before main; " +
		"cli/client and cli/name stand in for moby's client and the reference library"},
	{"cmd/davit-shim", []string{
		"net/http", "crypto/tls", "google.golang.org/grpc", "google.golang.org/protobuf", "go.opentelemetry.io", "github.com/spf13/cobra",
	}, "one shim stands beside each container: its memory and its start are paid once per container"},
	{"cmd/davit-init", []string{"net", "net/http", "github.com", "golang.org/x/sys", module + "/engine"},
		"PID 1 of a container that asks for one: standard library only"},
	{"cmd/davit-registry", []string{module + "/engine", module + "/daemon", module + "/api", "github.com/containerd/containerd"},
		"the registry stands apart from the engine"},
}

// TestNeverLinked holds the column "must never link" of the table of binaries.
func TestNeverLinked(t *testing.T) {
	for _, rule := range never {
		i := slices.IndexFunc(tree(t), func(p listed) bool { return p.folder() == rule.binary })
		if i < 0 {
			t.Errorf("%s does not exist", rule.binary)
			continue
		}
		for _, dep := range tree(t)[i].Deps {
			for _, path := range rule.paths {
				if within(dep, path) {
					t.Errorf("%s links %s: %s", rule.binary, dep, rule.why)
				}
			}
		}
	}
}

// within tells whether an import path is path or below it.
func within(dep, path string) bool {
	return dep == path || strings.HasPrefix(dep, path+"/")
}

// shimModules are the only modules that runtime/... may import itself.
var shimModules = []string{
	"golang.org/x/sys/unix", "github.com/opencontainers/runtime-spec", "github.com/opencontainers/cgroups",
	"github.com/moby/sys", "github.com/moby/profiles/seccomp", "github.com/cyphar/filepath-securejoin/pathrs-lite",
	"github.com/opencontainers/selinux/go-selinux/label",
}

// TestRuntimeImports keeps what davit-shim links to a list that was looked at.
func TestRuntimeImports(t *testing.T) {
	for _, p := range tree(t) {
		if a := area(p.folder()); a != "runtime" && a != "cmd/davit-shim" {
			continue
		}
		for _, imported := range p.Imports {
			if !strings.Contains(strings.Split(imported, "/")[0], ".") || within(imported, module) {
				continue
			}
			if !slices.ContainsFunc(shimModules, func(m string) bool { return within(imported, m) }) {
				t.Errorf("%s imports %s: not one of the shim's modules; add it to shimModules once its cost at start and in memory is known", p.folder(), imported)
			}
		}
	}
}
