package attack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSubpathRace: a container exchanges, in a volume, the directory that
// others mount a part of with links that lead out, while they start
// (CVE-2017-1002101, CVE-2021-25741 and CVE-2024-23651 are of this class). A start
// may fail. Where it does not, what is mounted lies in the volume.
func TestSubpathRace(t *testing.T) {
	cli := engine(t)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "f"), []byte("outside\n"), 0o644))
	cli.OK(t, "volume", "create", "raced")
	t.Cleanup(func() { cli.Run(t, "volume", "rm", "-f", "raced") })
	cli.OK(t, "run", "-d", "--name", "flipper", "-v", "raced:/v", "busybox", "sh", "-c", `
		mkdir -p /v/p/dir && echo inside > /v/p/dir/f && echo inside > /v/p/f
		cd /v/p; ln -s "$0" ../abs; ln -s ../../../../../../../../../../"$0" ../up; ln -s ../../../../../../.. ../root; mv dir ../real
		: > ../ready
		while :; do
			for l in abs up root; do cp -P ../$l dir; rm dir; mv ../real dir; mv dir ../real; done
		done`, outside)
	t.Cleanup(func() { cli.Run(t, "rm", "-f", "flipper") })
	inside, refused := 0, 0
	for end := time.Now().Add(min(raceTime()/5, 4*time.Second)); time.Now().Before(end); {
		r := cli.Run(t, "run", "--rm", "--mount", "type=volume,src=raced,dst=/s,volume-subpath=p/dir", "busybox", "sh", "-c", "cat /s/f; ls /s")
		switch {
		case r.Code == 0 && r.Stdout == "inside\nf\n":
			inside++
		case r.Code >= 125 && strings.Contains(r.Stderr, "cannot access path"):
			refused++
		default:
			t.Fatalf("%+v", r)
		}
	}
	t.Logf("%d starts saw the volume, %d were refused", inside, refused)
	if got, err := os.ReadFile(filepath.Join(outside, "f")); err != nil || string(got) != "outside\n" {
		t.Errorf("%q, %v", got, err)
	}
}
