package oci

import (
	"encoding/json"
	"testing"

	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/seccomp"
)

// Whatever a config.json holds, it is refused or becomes a program.
func FuzzBundle(f *testing.F) {
	b, err := json.Marshal(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"ociVersion":"1.0.0","process":{"cwd":"/","args":["a"]},"root":{"path":"r"},"hooks":{"prestart":[{"path":"/a"}]}}`))
	f.Add([]byte(`{"ociVersion":"1.0.0","process":null,"root":{},"linux":null,"hooks":{"poststop":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parseBundle("/bundle", raw)
		if err != nil {
			return
		}
		_, _, _ = delegation(b.spec)
		in := program.Input{Spec: b.spec, Root: program.Root{Dir: b.spec.Root.Path}, Created: true, Hold: true, Detached: true, MakeCwd: true}
		if in.Seccomp, in.SeccompFlags, err = seccomp.Compile(b.spec.Linux.Seccomp); err != nil {
			return
		}
		if p, err := program.Compile(in); err == nil {
			_ = p.String()
		}
	})
}
