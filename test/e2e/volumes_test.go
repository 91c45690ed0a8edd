package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"
)

// withVolume makes the image of these tests: it declares /data, in which an
// ordinary user has files.
func withVolume(t *testing.T, e *enginetest.Engine) string {
	t.Helper()
	const image = "with-volume:latest"
	cli := e.Davit()
	if cli.Run(t, "image", "inspect", image).Code == 0 {
		return image
	}
	cli.OK(t, "run", "--name", "with-volume", "busybox", "sh", "-c",
		"mkdir -p /data/sub && echo from the image > /data/sub/welcome && ln -s sub/welcome /data/link && ln /data/sub/welcome /data/same && chown -R 1000:1001 /data && chmod 4640 /data/sub/welcome && chmod 0751 /data")
	cli.OK(t, "commit", "-c", "VOLUME /data", "with-volume", image)
	cli.OK(t, "rm", "with-volume")
	return image
}

// volumeNamed is a volume's name of this test's own; the volume is removed
// after the test.
func volumeNamed(t *testing.T, cli enginetest.CLI, suffix string) string {
	t.Helper()
	n := strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()) + suffix
	t.Cleanup(func() { cli.Run(t, "volume", "rm", "-f", n) })
	return n
}

func inspectVolume(t *testing.T, cli enginetest.CLI, name string) volume.Volume {
	t.Helper()
	var list []volume.Volume
	if err := json.Unmarshal([]byte(cli.OK(t, "volume", "inspect", name)), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v, %+v", err, list)
	}
	return list[0]
}

// volumeAt is the volume that a container has at a place.
func volumeAt(t *testing.T, cli enginetest.CLI, ref, destination string) container.MountPoint {
	t.Helper()
	for _, m := range inspect(t, cli, ref).Mounts {
		if m.Destination == destination {
			return m
		}
	}
	t.Fatalf("nothing is mounted at %s", destination)
	return container.MountPoint{}
}

func TestVolumes(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		v, n := volumeNamed(t, cli, "-v"), name(t, cli)
		if out := cli.OK(t, "volume", "create", "--label", "who=me", v); out != v {
			t.Errorf("create printed %q", out)
		}
		if out := cli.OK(t, "volume", "create", v); out != v {
			t.Errorf("the second create printed %q", out)
		}
		cli.Fails(t, 1, "exists with other options", "volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", v)
		cli.Fails(t, 1, "includes invalid characters for a local volume name", "volume", "create", "a b")
		cli.Fails(t, 1, `error looking up volume plugin nope: plugin "nope" not found`, "volume", "create", "-d", "nope", "other-driver")
		cli.Fails(t, 125, "includes invalid characters for a local volume name", "run", "--rm", "-v", "a/b:/x", "busybox", "true")

		cli.OK(t, "run", "--rm", "-v", v+":/deep/down", "busybox", "sh", "-c", "echo kept > /deep/down/file")
		cli.OK(t, "create", "--name", n, "-v", v+":/v:ro", "busybox", "sh", "-c", "cat /v/file; touch /v/new")
		r := cli.Run(t, "start", "-a", n)
		if r.Code != 1 || r.Stdout != "kept\n" || !strings.Contains(r.Stderr, "Read-only file system") {
			t.Errorf("%+v", r)
		}
		made := inspectVolume(t, cli, v)
		if m := volumeAt(t, cli, n, "/v"); m.Type != "volume" || m.Name != v || m.Driver != "local" || m.Source != made.Mountpoint || m.RW || m.Mode != "ro" {
			t.Errorf("inspect shows %+v", m)
		}
		if got, err := os.ReadFile(filepath.Join(made.Mountpoint, "file")); err != nil || string(got) != "kept\n" {
			t.Errorf("%q, %v", got, err)
		}
		for filter, want := range map[string]bool{"dangling=true": false, "dangling=false": true, "label=who": true, "label=who=you": false, "name=-v$": true, "driver=local": true, "driver=x": false} {
			out := strings.Fields(cli.OK(t, "volume", "ls", "-q", "-f", filter))
			if slices.Contains(out, v) != want {
				t.Errorf("%s: %v", filter, out)
			}
		}
		cli.Fails(t, 1, "invalid filter", "volume", "ls", "-f", "dangling=perhaps")
		cli.Fails(t, 1, "remove "+v+": volume is in use - [", "volume", "rm", v)
		cli.Fails(t, 1, "volume is in use", "volume", "rm", "-f", v)
		if out := cli.OK(t, "ps", "-a", "--filter", "volume="+v, "--format", "{{.Names}} {{.Mounts}} {{.LocalVolumes}}"); !strings.HasPrefix(out, n+" ") || !strings.HasSuffix(out, " 1") {
			t.Errorf("ps: %q", out)
		}
		cli.OK(t, "rm", "-v", n) // it has a name, so it stays
		if out := cli.OK(t, "volume", "rm", v); out != v {
			t.Errorf("rm printed %q", out)
		}
		cli.Fails(t, 1, "get "+v+": no such volume", "volume", "rm", v)
		cli.OK(t, "volume", "rm", "-f", v)
		cli.Fails(t, 1, "no such volume", "volume", "inspect", v)
	})
}

// TestImageVolumes: what an image declares, and what goes with the container.
func TestImageVolumes(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		image, n := withVolume(t, engine(t)), name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "-v", "/more", image, "sh", "-c", "stat -c '%u:%g %a' /data /data/sub/welcome; cat /data/link; stat -c %h /data/same; echo changed > /data/sub/welcome; sleep 100")
		at, more := volumeAt(t, cli, n, "/data"), volumeAt(t, cli, n, "/more")
		if len(at.Name) != 64 || !at.RW || at.Mode != "" || more.Name == at.Name {
			t.Errorf("%+v and %+v", at, more)
		}
		if v := inspectVolume(t, cli, at.Name); len(v.Labels) != 1 || v.Labels["com.docker.volume.anonymous"] != "" {
			t.Errorf("labels %v", v.Labels)
		}
		enginetest.Eventually(t, 10*time.Second, func() error {
			if got, want := cli.OK(t, "logs", n), "1000:1001 751\n1000:1001 4640\nfrom the image\n2"; got != want {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		})
		// Its volumes are another's as well, and what stands for that is read-only.
		other := n + "-other"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", other) })
		cli.OK(t, "create", "--name", other, "--volumes-from", n+":ro", image, "sh", "-c", "cat /data/sub/welcome; touch /more/x")
		if r := cli.Run(t, "start", "-a", other); r.Stdout != "changed\n" || !strings.Contains(r.Stderr, "Read-only") {
			t.Errorf("%+v", r)
		}
		if m := volumeAt(t, cli, other, "/data"); m.Name != at.Name || m.RW {
			t.Errorf("%+v", m)
		}
		cli.OK(t, "rm", "-f", "-v", n)
		inspectVolume(t, cli, at.Name) // the other has it
		cli.OK(t, "rm", "-v", other)
		cli.Fails(t, 1, "no such volume", "volume", "inspect", at.Name)
		cli.Fails(t, 1, "no such volume", "volume", "inspect", more.Name)

		// With --rm it goes; without -v it stays; with something else there it is
		// not made.
		before := cli.OK(t, "volume", "ls", "-q")
		cli.OK(t, "run", "--rm", image, "true")
		cli.OK(t, "run", "--rm", "--tmpfs", "/data", image, "sh", "-c", "grep ' /data tmpfs ' /proc/mounts")
		cli.OK(t, "run", "--rm", "--mount", "type=tmpfs,target=/data,tmpfs-size=64k,tmpfs-mode=1700", image, "sh", "-c", "grep ' /data tmpfs .*size=64k,mode=1700' /proc/mounts")
		enginetest.Eventually(t, 10*time.Second, func() error {
			if after := cli.OK(t, "volume", "ls", "-q"); after != before {
				return fmt.Errorf("left: %s", after)
			}
			return nil
		})
		cli.OK(t, "create", "--name", n, image)
		left := volumeAt(t, cli, n, "/data").Name
		cli.OK(t, "rm", n)
		cli.OK(t, "volume", "rm", left)
		cli.Fails(t, 1, "cannot mount volume over existing file, file exists /bin/busybox", "create", "-v", "/bin/busybox", image)
		cli.Fails(t, 1, "Duplicate mount point: /data", "create", "-v", "a1:/data", "-v", "b1:/data/", image)
	})
}

// TestCopyUp: a volume begins with what the image has, once.
func TestCopyUp(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		image := withVolume(t, engine(t))
		v, bare := volumeNamed(t, cli, "-v"), volumeNamed(t, cli, "-bare")
		if out := cli.OK(t, "run", "--rm", "-v", v+":/data", image, "sh", "-c", "cat /data/link; echo mine > /data/sub/welcome"); out != "from the image" {
			t.Errorf("%q", out)
		}
		if out := cli.OK(t, "run", "--rm", "-v", v+":/data", image, "cat", "/data/link"); out != "mine" {
			t.Errorf("a volume with content was filled again: %q", out)
		}
		for _, args := range [][]string{{"-v", bare + ":/data:nocopy"}, {"--mount", "type=volume,src=" + bare + ",dst=/data,volume-nocopy"}} {
			if out := cli.OK(t, append(append([]string{"run", "--rm"}, args...), image, "ls", "/data")...); out != "" {
				t.Errorf("%v: %q", args, out)
			}
		}
		if out := cli.OK(t, "run", "--rm", "--mount", "type=volume,src="+bare+",dst=/data,volume-subpath=,volume-label=ignored=1", image, "ls", "/data"); out != "link\nsame\nsub" {
			t.Errorf("an empty volume: %q", out)
		}
	})
}

func TestSubpaths(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		v := volumeNamed(t, cli, "-v")
		cli.OK(t, "run", "--rm", "-v", v+":/v", "busybox", "sh", "-c", "mkdir -p /v/a/b; echo x > /v/a/b/f; ln -s a/b /v/link; ln -s /etc /v/abs; ln -s ../../../../etc /v/up")
		at := func(sub string) string { return "type=volume,src=" + v + ",dst=/s,volume-subpath=" + sub }
		for _, sub := range []string{"a/b", "link", "a/../link"} {
			if out := cli.OK(t, "run", "--rm", "--mount", at(sub), "busybox", "cat", "/s/f"); out != "x" {
				t.Errorf("%s: %q", sub, out)
			}
		}
		if out := cli.OK(t, "run", "--rm", "--mount", at("a/b/f")+",readonly", "busybox", "cat", "/s"); out != "x" {
			t.Errorf("a file: %q", out)
		}
		cli.OK(t, "run", "--rm", "--mount", at("a"), "busybox", "touch", "/s/new")
		if out := cli.OK(t, "run", "--rm", "-v", v+":/v", "busybox", "ls", "/v/a"); out != "b\nnew" {
			t.Errorf("%q", out)
		}
		for sub, text := range map[string]string{"abs": "it leads out of", "up": "it leads out of", "none": "no such file or directory"} {
			if r := cli.Run(t, "run", "--rm", "--mount", at(sub), "busybox", "ls", "/s"); r.Code < 125 || !strings.Contains(r.Stderr, "cannot access path") || !strings.Contains(r.Stderr, text) {
				t.Errorf("%s: %+v", sub, r)
			}
		}
		cli.Fails(t, 1, "subpath must be a relative path within the volume", "create", "--mount", at("../x"), "busybox")
	})
}

func TestImageMounts(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		image, n := withVolume(t, e), name(t, cli)
		cli.OK(t, "tag", image, "mounted:"+cli.Name)
		cli.OK(t, "run", "-d", "--name", n, "--mount", "type=image,src=mounted:"+cli.Name+",dst=/image", "--mount", "type=image,source=busybox,target=/applets,image-subpath=bin", "busybox", "sh", "-c",
			"cat /image/data/link; ls /applets | grep -cx wget; touch /image/x /applets/x; mount | grep -c ' overlay '; sleep 100")
		want := "from the image\n1\n3"
		logged := func() error {
			r := cli.Run(t, "logs", n)
			if !strings.HasSuffix(strings.TrimSpace(r.Stdout), want) || strings.Count(r.Stderr, "Read-only file system") < 2 {
				return fmt.Errorf("%+v", r)
			}
			return nil
		}
		enginetest.Eventually(t, 10*time.Second, logged)
		if m := volumeAt(t, cli, n, "/image"); m.Type != "image" || m.Name != "mounted:"+cli.Name || m.RW {
			t.Errorf("%+v", m)
		}
		// The name goes; its files stay as long as the container.
		cli.OK(t, "rmi", "-f", "mounted:"+cli.Name)
		cli.OK(t, "restart", "-t", "0", n)
		enginetest.Eventually(t, 10*time.Second, logged)
		cli.Fails(t, 1, "No such image: nothing-like-it", "create", "--mount", "type=image,src=nothing-like-it,dst=/i", "busybox")
	})
}

func TestBindMounts(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		dir := t.TempDir()
		missing := filepath.Join(dir, "missing")
		cli.Fails(t, 1, "invalid mount config for type \"bind\": bind source path does not exist: "+missing, "create", "--mount", "type=bind,src="+missing+",dst=/m", "busybox")
		cli.OK(t, "run", "--rm", "-v", filepath.Join(dir, "made")+":/m", "busybox", "touch", "/m/f")
		if _, err := os.Stat(filepath.Join(dir, "made", "f")); err != nil {
			t.Error(err)
		}
		cli.OK(t, "run", "--rm", "--mount", "type=bind,src="+filepath.Join(dir, "made")+",dst=/m,readonly", "busybox", "sh", "-c", "ls /m/f && ! touch /m/g")
		// The deeper mount is made later, whatever comes first.
		cli.OK(t, "run", "--rm", "--mount", "type=tmpfs,dst=/m/f/g", "-v", dir+":/m/f", "--tmpfs", "/m", "busybox", "sh", "-c", "grep -c ' /m' /proc/mounts | grep -x 3; ls /m/f/made")
		cli.Fails(t, 1, "invalid mode: rx", "create", "-v", dir+":/m:rx", "busybox")
		cli.Fails(t, 1, "mount path must be absolute", "create", "-v", dir+":m", "busybox")
	})
}

// TestVolumeOptions: a file system of its own, as long as it is needed.
func TestVolumeOptions(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	const v = "memory"
	cli.OK(t, "volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=7", v)
	path := inspectVolume(t, cli, v).Mountpoint
	mounted := func() bool {
		table, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(table), " "+path+" tmpfs ")
	}
	unmounted := func() error {
		if mounted() {
			return fmt.Errorf("%s is still mounted", path)
		}
		return nil
	}
	cli.OK(t, "run", "-d", "--name", "first", "-v", v+":/v", "busybox", "sh", "-c", "echo shared > /v/f; sleep 1000")
	enginetest.Eventually(t, 10*time.Second, func() error {
		if out := cli.Run(t, "run", "--rm", "-v", v+":/v", "busybox", "sh", "-c", "stat -c %u /v; cat /v/f").Stdout; out != "7\nshared\n" {
			return fmt.Errorf("the other container sees %q", out)
		}
		return nil
	})
	if !mounted() {
		t.Fatal("a container uses it, and it is not mounted")
	}
	e.Kill(t)
	e.Restart(t)
	if out := cli.OK(t, "run", "--rm", "-v", v+":/v", "busybox", "cat", "/v/f"); out != "shared" {
		t.Errorf("after the engine's death: %q", out)
	}
	cli.Fails(t, 1, "volume is in use", "volume", "rm", v)
	cli.OK(t, "rm", "-f", "first")
	enginetest.Eventually(t, 10*time.Second, unmounted)
	if out := cli.OK(t, "run", "--rm", "-v", v+":/v", "busybox", "ls", "/v"); out != "" {
		t.Errorf("a new file system holds %q", out)
	}

	// Its last user ends while no engine runs.
	cli.OK(t, "run", "-d", "--name", "second", "-v", v+":/v", "busybox", "sleep", "1000")
	e.Kill(t)
	for _, s := range e.Shims() {
		p, err := os.FindProcess(s.Pid)
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e.Restart(t)
	enginetest.Eventually(t, 10*time.Second, unmounted)
	cli.OK(t, "rm", "-f", "second")
	cli.OK(t, "volume", "rm", v)

	// What is copied to a container that does not run arrives where it belongs.
	dir := t.TempDir()
	cli.OK(t, "create", "--name", "third", "--mount", "type=volume,dst=/v,volume-opt=type=none,volume-opt=device="+dir+",volume-opt=o=bind", "busybox", "cat", "/v/environ")
	cli.OK(t, "cp", "/proc/self/environ", "third:/v/")
	if _, err := os.Stat(filepath.Join(dir, "environ")); err != nil {
		t.Error(err)
	}
	path = volumeAt(t, cli, "third", "/v").Source
	if table, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(table), path) {
		t.Errorf("%s is still mounted, %v", path, err)
	}
	cli.OK(t, "rm", "-v", "third")
	if _, err := os.Stat(filepath.Join(dir, "environ")); err != nil {
		t.Errorf("the volume's removal reached what it was bound to: %v", err)
	}
	r := cli.Run(t, "run", "--rm", "--mount", "type=volume,dst=/v,volume-opt=type=none,volume-opt=device=/no/such,volume-opt=o=bind", "busybox", "true")
	if r.Code < 125 || !strings.Contains(r.Stderr, "failed to mount local volume: mount /no/such:") {
		t.Errorf("%+v", r)
	}
	if out := cli.OK(t, "volume", "ls", "-q"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// TestVolumeEvents: what is published, and that a create which fails leaves
// nothing.
func TestVolumeEvents(t *testing.T) {
	cli := engine(t).Davit()
	v, n := volumeNamed(t, cli, "-v"), name(t, cli)
	since := time.Now()
	cli.Fails(t, 1, "cannot mount volume over existing file", "create", "-v", v+":/v", "-v", "/bin/busybox", "busybox")
	cli.Fails(t, 1, "no such volume", "volume", "inspect", v)
	cli.OK(t, "run", "--name", n, "-v", v+":/v:ro", "busybox", "true")
	id := inspect(t, cli, n).ID
	cli.OK(t, "rm", n)
	cli.OK(t, "volume", "rm", v)
	out := cli.OK(t, "events", "--since", since.Format(time.RFC3339Nano), "--until", time.Now().Add(time.Second).Format(time.RFC3339Nano), "--filter", "type=volume", "--filter", "volume="+v,
		"--format", `{{.Action}} {{.Actor.Attributes.driver}} {{.Actor.Attributes.container}} {{.Actor.Attributes.destination}} {{index .Actor.Attributes "read/write"}}`)
	want := "create local destroy local create local mount local " + id + " /v false unmount local " + id + " destroy local"
	if got := words(strings.ReplaceAll(out, "<no value>", "")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestVolumePrune removes what no container has, and counts it.
func TestVolumePrune(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	for _, cli := range e.CLIs(t) {
		cli.OK(t, "volume", "create", "named")
		cli.OK(t, "volume", "create", "--label", "keep", "labelled")
		cli.OK(t, "create", "--name", "holder", "-v", "/held", "-v", "used:/used", "busybox")
		unnamed := cli.OK(t, "volume", "create")
		cli.OK(t, "run", "--rm", "-v", unnamed+":/v", "-v", "named:/n", "busybox", "sh", "-c", "head -c 1000 /dev/zero | tee /v/f > /n/f")
		if out := cli.OK(t, "system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"); !strings.Contains(out, "Local Volumes 5 2 2kB 2kB (100%)") {
			t.Errorf("df: %s", out)
		}
		if out := cli.OK(t, "volume", "prune", "-f"); out != "Deleted Volumes:\n"+unnamed+"\n\nTotal reclaimed space: 1kB" {
			t.Errorf("prune: %q", out)
		}
		if out := cli.OK(t, "volume", "prune", "-f", "-a", "--filter", "label!=keep"); out != "Deleted Volumes:\nnamed\n\nTotal reclaimed space: 1kB" {
			t.Errorf("prune -a: %q", out)
		}
		cli.Fails(t, 1, "invalid filter", "volume", "prune", "-f", "--filter", "driver=local")
		cli.OK(t, "rm", "-v", "holder")
		cli.OK(t, "volume", "prune", "-f", "-a")
		if out := cli.OK(t, "volume", "ls", "-q"); out != "" {
			t.Errorf("left: %s", out)
		}
	}
}

// TestVolumesOutliveTheEngine kills the engine while volumes are made and
// removed: what was answered holds, and nothing is half there.
func TestVolumesOutliveTheEngine(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	image := withVolume(t, e)
	cli := e.Davit()
	cli.OK(t, "create", "--name", "holder", "-v", "held:/held", image)
	anonymous := volumeAt(t, cli, "holder", "/data").Name
	answered := map[string]bool{}
	for round := range 3 {
		type done struct {
			name string
			ok   bool
		}
		results := make(chan done)
		for w := range 4 {
			go func() {
				for i := range 100 {
					n := fmt.Sprintf("v%d-%d-%d", round, w, i)
					if cli.Run(t, "create", "--name", n, "-v", n+":/data", image).Code != 0 {
						results <- done{n, false}
						return
					}
					results <- done{n, true}
				}
			}()
		}
		for made := 0; made < 12; {
			if d := <-results; d.ok {
				answered[d.name] = true
				made++
			}
		}
		e.Kill(t)
		for failed := 0; failed < 4; {
			if d := <-results; d.ok {
				answered[d.name] = true
			} else {
				failed++
			}
		}
		e.Restart(t)
	}
	entries, err := os.ReadDir(filepath.Join(e.Data, "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range entries {
		if strings.HasPrefix(d.Name(), ".") {
			enginetest.Eventually(t, 10*time.Second, func() error {
				if _, err := os.Lstat(filepath.Join(e.Data, "volumes", d.Name())); err == nil {
					return fmt.Errorf("%s is left", d.Name())
				}
				return nil
			})
			continue
		}
		// Full, or not begun: never half.
		if inside, _ := os.ReadDir(filepath.Join(e.Data, "volumes", d.Name(), "_data")); strings.HasPrefix(d.Name(), "v") && len(inside) != 0 && len(inside) != 3 {
			t.Errorf("%s holds %v", d.Name(), inside)
		}
	}
	all := strings.Fields(cli.OK(t, "volume", "ls", "-q"))
	for n := range answered {
		if !slices.Contains(all, n) {
			t.Errorf("volume %s was lost", n)
		}
		if m := volumeAt(t, cli, n, "/data"); m.Name != n {
			t.Errorf("container %s has %+v", n, m)
		}
	}
	cli.Fails(t, 1, "volume is in use", "volume", "rm", "held")
	cli.Fails(t, 1, "volume is in use", "volume", "rm", anonymous)
	if out := cli.OK(t, "run", "--rm", "--volumes-from", "holder", "busybox", "cat", "/data/link"); out != "from the image" {
		t.Errorf("%q", out)
	}
	cli.OK(t, "rm", "-v", "holder")
	cli.Fails(t, 1, "no such volume", "volume", "inspect", anonymous)
	cli.OK(t, "volume", "rm", "held")
}

// TestVolumesInUserNamespaces: files keep their owners on disk.
func TestVolumesInUserNamespaces(t *testing.T) {
	e := privateEngine(t)
	image := withVolume(t, e)
	for _, cli := range e.CLIs(t)[:1] {
		v := volumeNamed(t, cli, "-v")
		if out := cli.OK(t, "run", "--rm", "-v", v+":/data", image, "sh", "-c", "touch /data/mine; stat -c %u:%g /data/sub/welcome /data/mine"); out != "1000:1001\n0:0" {
			t.Errorf("inside: %q", out)
		}
		path := inspectVolume(t, cli, v).Mountpoint
		if got := owner(t, filepath.Join(path, "mine")) + " " + owner(t, filepath.Join(path, "sub/welcome")); got != "0:0 1000:1001" {
			t.Errorf("on disk: %s", got)
		}
		if out := cli.OK(t, "run", "--rm", "--mount", "type=volume,src="+v+",dst=/s,volume-subpath=sub", "busybox", "sh", "-c", "touch /s/too; stat -c %u:%g /s/welcome /s/too"); out != "1000:1001\n0:0" {
			t.Errorf("a part of it: %q", out)
		}
		if out := cli.OK(t, "run", "--rm", "--mount", "type=image,src="+image+",dst=/i", "busybox", "stat", "-c", "%u:%g", "/i/data/sub/welcome", "/i/bin"); out != "1000:1001\n0:0" {
			t.Errorf("an image: %q", out)
		}
	}
}
