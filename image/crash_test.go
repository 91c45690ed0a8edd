package image

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// pullForever is what the test's child process does: it pulls and is killed.
func pullForever(root, name string) {
	s, err := Open(context.Background(), Config{Root: root})
	if err == nil {
		var ref reference.Named
		if ref, err = reference.ParseNormalizedNamed(name); err == nil {
			_, err = s.Pull(context.Background(), ref, PullOptions{})
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestPullResumesAfterKill(t *testing.T) {
	needRoot(t)
	tr := newRegistry(t)
	img := buildImage(t, platforms.DefaultString(), makeTar(t, file("first", "done")), makeTar(t, file("data", noise(8<<20, 3))))
	tr.put(t, img, "big", "1")
	root := t.TempDir()
	reached := make(chan struct{})
	dead := make(chan struct{})
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.Contains(r.URL.Path, img.layers[1].Digest.String()) {
			w = &hangUpWriter{ResponseWriter: w, after: 6 << 20, do: sync.OnceFunc(func() { close(reached) }), until: dead}
		}
		next.ServeHTTP(w, r)
	})
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), "DAVIT_TEST_PULL_ROOT="+root, "DAVIT_TEST_PULL_REF="+tr.host+"/big:1")
	var out strings.Builder
	child.Stdout, child.Stderr = &out, &out
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
	case <-time.After(30 * time.Second):
		t.Errorf("the child did not get that far: %s", &out)
	}
	// Killed when the data is on its disk, and at once.
	waitFor(t, func() bool {
		files, _ := filepath.Glob(root + "/content/ingest/*/data")
		return len(files) == 1 && fileSize(files[0]) >= 5<<20
	})
	child.Process.Kill()
	child.Wait()
	close(dead)
	tr.setFault(nil)

	s := openAt(t, root)
	if list, err := s.List(t.Context(), ListOptions{}); err != nil || len(list) != 0 {
		t.Fatalf("recorded before it was complete: %v %v", list, err)
	}
	s.collector.now(s.st.context(t.Context()))
	before := tr.bytes.Load()
	pull(t, s, tr.ref(t, "big:1"), PullOptions{})
	if n := tr.bytes.Load() - before; n > 4<<20 {
		t.Errorf("%d bytes downloaded again", n)
	}
	got, err := s.Get(t.Context(), tr.host+"/big:1", nil)
	if err != nil || readLower(t, got, "data") != noise(8<<20, 3) || readLower(t, got, "first") != "done" {
		t.Errorf("image is wrong: %v", err)
	}
	holds(t, s, 4+2)
}

func TestPullKilledAnywhere(t *testing.T) {
	needRoot(t)
	tr := newRegistry(t)
	var layers [][]byte
	for i := range 4 {
		layers = append(layers, makeTar(t, dir("d"), file(fmt.Sprint("d/", i), noise(300<<10, uint64(i)))))
	}
	tr.put(t, buildImage(t, platforms.DefaultString(), layers...), "big", "1")
	root := t.TempDir()
	for i := range 12 {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), "DAVIT_TEST_PULL_ROOT="+root, "DAVIT_TEST_PULL_REF="+tr.host+"/big:1")
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+15*i) * time.Millisecond) // somewhere in the pull: any instant will do
		child.Process.Kill()
		child.Wait()
	}
	s := openAt(t, root)
	pull(t, s, tr.ref(t, "big:1"), PullOptions{})
	got, err := s.Get(t.Context(), tr.host+"/big:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if readLower(t, got, fmt.Sprint("d/", i)) != noise(300<<10, uint64(i)) {
			t.Errorf("layer %d is wrong", i)
		}
	}
	holds(t, s, 6+4)
}

func fileSize(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// smallDisk mounts an ext4 filesystem of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4")
	}
	dir := t.TempDir()
	disk, mnt := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	for _, args := range [][]string{{"truncate", "-s", size, disk}, {"mkfs.ext4", "-q", "-F", disk}, {"mkdir", mnt}, {"mount", "-o", "loop", disk, mnt}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			if args[0] == "mount" {
				t.Skipf("cannot mount a loop device here: %v %s", err, out)
			}
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return mnt
}

func TestDiskFull(t *testing.T) {
	tr := newRegistry(t)
	// 200 MB of zeros compress to next to nothing: the bomb is found while unpacking.
	bomb := buildImage(t, platforms.DefaultString(), makeTar(t, file("a", "a")), makeTar(t, dir("d"), file("d/zeros1", strings.Repeat("\x00", 30<<20)), file("d/zeros2", strings.Repeat("\x00", 30<<20)), file("d/zeros3", strings.Repeat("\x00", 30<<20))))
	tr.put(t, bomb, "bomb", "1")
	one := buildImage(t, platforms.DefaultString(), makeTar(t, file("zeros", strings.Repeat("\x00", 90<<20))))
	tr.put(t, one, "one", "1")
	large := buildImage(t, platforms.DefaultString(), makeTar(t, file("noise", noise(70<<20, 1))))
	tr.put(t, large, "large", "1")
	// Fits as a blob, not unpacked.
	both := buildImage(t, platforms.DefaultString(), makeTar(t, file("noise", noise(35<<20, 1))))
	tr.put(t, both, "both", "1")
	fine := small(t, 1)
	tr.put(t, fine, "fine", "1")

	mnt := smallDisk(t, "64M")
	s := openAt(t, mnt+"/images")
	pull(t, s, tr.ref(t, "fine:1"), PullOptions{})
	held := leftovers(t, s)
	for _, name := range []string{"bomb", "one", "large", "both"} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Pull(t.Context(), tr.ref(t, name+":1"), PullOptions{})
			if !errs.Is(err, errs.Exhausted) || !strings.Contains(err.Error(), "no space left on device") {
				t.Errorf("got %v (%v)", err, errs.KindOf(err))
			}
			if now := leftovers(t, s); len(now) != len(held) {
				t.Errorf("store held %d things, now %q", len(held), now)
			}
			if list, err := s.List(t.Context(), ListOptions{}); err != nil || len(list) != 1 {
				t.Errorf("%v %v", list, err)
			}
		})
	}
	t.Run("import", func(t *testing.T) {
		_, err := s.Import(t.Context(), strings.NewReader(string(makeTar(t, file("noise", noise(70<<20, 1))))), ImportOptions{})
		if !errs.Is(err, errs.Exhausted) {
			t.Errorf("got %v (%v)", err, errs.KindOf(err))
		}
		if now := leftovers(t, s); len(now) != len(held) {
			t.Errorf("store held %d things, now %q", len(held), now)
		}
	})
	// What was there still works, and there is room again.
	if img, err := s.Get(t.Context(), tr.host+"/fine:1", nil); err != nil || readLower(t, img, "etc/name") != "image 1" {
		t.Errorf("%v", err)
	}
	ok := buildImage(t, platforms.DefaultString(), makeTar(t, file("noise", noise(10<<20, 1))))
	tr.put(t, ok, "ok", "1")
	pull(t, s, tr.ref(t, "ok:1"), PullOptions{})
}

func TestDamagedMetadata(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"garbage":   func(t *testing.T, path string) { write(t, path, []byte(strings.Repeat("garbage!", 4096))) },
		"truncated": func(t *testing.T, path string) { truncate(t, path, 4096) },
		"pages lost": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			// Everything behind the two meta pages reads as zeros, as after lost writes.
			if _, err := f.WriteAt(make([]byte, fileSize(path)-8192), 8192); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, db := range []string{"metadata.db", "snapshots/metadata.db"} {
			t.Run(name+" "+db, func(t *testing.T) {
				tr, root := newRegistry(t), t.TempDir()
				needRoot(t)
				img := small(t, 1)
				tr.put(t, img, "x", "1")
				s := openAt(t, root)
				pull(t, s, tr.ref(t, "x:1"), PullOptions{})
				if _, err := s.Tag(t.Context(), tr.host+"/x:1", mustRef(t, "mine:2")); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				damage(t, filepath.Join(root, db))
				if err := os.Remove(filepath.Join(root, bootFile)); err != nil { // another boot
					t.Fatal(err)
				}

				s = openAt(t, root)
				before := tr.requests.Load()
				for _, ref := range []string{tr.host + "/x:1", "mine:2"} {
					got, err := s.Get(t.Context(), ref, nil)
					if err != nil || readLower(t, got, "bin/data") != noise(2000, 1) {
						t.Errorf("%s: %v", ref, err)
					}
				}
				if tr.requests.Load() != before {
					t.Error("the registry was asked")
				}
				aside, err := filepath.Glob(root + "/*.damaged-*")
				if err != nil || len(aside) != 2 {
					t.Errorf("set aside: %q %v", aside, err)
				}
				holds(t, s, 4+2)
			})
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}
