package namespace

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestOrdinaryUser has somebody without rights make namespaces: of the own id
// alone, and with maps that newuidmap and newgidmap would have to write.
func TestOrdinaryUser(t *testing.T) {
	const uid, gid = 12345, 12346
	one := func(id uint32) []specs.LinuxIDMapping { return []specs.LinuxIDMapping{{HostID: id, Size: 1}} }
	if os.Getenv("DAVIT_NAMESPACE_USER") != "" {
		f, err := User(one(uid), one(gid))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		more := specs.LinuxIDMapping{ContainerID: 1, HostID: 300000, Size: 10}
		_, err = User(append(one(uid), more), append(one(gid), more))
		if err == nil {
			t.Error("without a line in /etc/subuid it must fail")
		}
		fmt.Println("said:", err)
		return
	}
	needRoot(t)
	dir, err := os.MkdirTemp("", "davit-maps") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "test"), self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/no/such/dir": "these maps take the program newgidmap, which is not in PATH", os.Getenv("PATH"): "newgidmap"} {
		c := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestOrdinaryUser$")
		c.Dir, c.Env = dir, []string{"DAVIT_NAMESPACE_USER=1", "PATH=" + path}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, want %q:\n%s", err, want, out)
		}
	}
}
