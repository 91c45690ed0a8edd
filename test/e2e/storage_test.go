package e2e

import (
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestStorageOption is about where no quota can be had; volume's own tests are
// about where it can.
func TestStorageOption(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		cli.Fails(t, 1, "invalid --storage-opt dm.basesize=1G: the only storage option is size", "create", "--storage-opt", "dm.basesize=1G", "busybox")
		cli.Fails(t, 1, "invalid --storage-opt size=much", "create", "--storage-opt", "size=much", "busybox")
		cli.OK(t, "run", "--rm", "--storage-opt", "size=0", "busybox", "true")
		r := cli.Run(t, "run", "--rm", "--storage-opt", "size=2m", "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=3")
		switch {
		case strings.Contains(r.Stderr, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, or ext4 with 'prjquota'"):
			t.Skip("needs a data root with project quotas")
		case r.Code != 1 || !strings.Contains(r.Stderr, "No space left") && !strings.Contains(r.Stderr, "quota exceeded"):
			t.Errorf("%+v", r)
		}
	})
}
