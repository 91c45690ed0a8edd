package enginetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// OlderVersion is what the engine of [Older] calls itself.
const OlderVersion = "0.0.1-older"

// Older returns a folder with another build of the engine and its shim than
// [Binaries], and with the same build of all else: $DAVIT_OLDER if the caller
// has one, of an earlier commit for instance, else one that differs by its
// version.
func Older(t testing.TB) string {
	t.Helper()
	bin, dir := Binaries(t), t.TempDir()
	if from := os.Getenv("DAVIT_OLDER"); from != "" {
		for _, name := range []string{"davitd", "davit-shim"} {
			// Not a link: the engine looks for its helpers beside the file itself.
			text, err := os.ReadFile(filepath.Join(from, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), text, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	} else {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", fmt.Sprintf("-s -w -X github.com/davit-engine/davit/version.Version=%s -X main.version=%[1]s", OlderVersion),
			"-o", dir+"/", "./cmd/davitd", "./cmd/davit-shim")
		cmd.Dir = source()
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building the older engine: %v\n%s", err, out)
		}
	}
	for _, name := range []string{"davit", "davit-init", "davit-registry"} {
		if err := os.Symlink(filepath.Join(bin, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
