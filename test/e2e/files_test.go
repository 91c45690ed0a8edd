package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	enginetest "github.com/davit-engine/davit/test/engine"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares text with testdata/name, or rewrites that.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, text, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listing is an archive as text: kind, mode, owner, name, target, content.
func listing(t *testing.T, archive io.Reader) string {
	t.Helper()
	var out strings.Builder
	tr := tar.NewReader(archive)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out.String()
		}
		must(t, err)
		content, err := io.ReadAll(tr)
		must(t, err)
		fmt.Fprintf(&out, "%c %04o %d:%d %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name)
		if h.Linkname != "" {
			fmt.Fprintf(&out, " -> %s", h.Linkname)
		}
		if len(content) > 0 && len(content) < 100 {
			fmt.Fprintf(&out, " %q", content)
		}
		out.WriteByte('\n')
	}
}

// contents lists what is below a directory of this machine.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		name, _ := filepath.Rel(dir, path)
		switch {
		case name == ".":
			return nil
		case d.IsDir():
			name += "/"
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			name += " -> " + target
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			must(t, err)
			name += "=" + string(data)
		}
		list = append(list, name)
		return nil
	}))
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestCopyRules copies by all of docker cp's rules about what is there and what
// is not, in both directions, and compares what has become of it.
func TestCopyRules(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		host := t.TempDir()
		for _, d := range []string{"src/sub", "dst"} {
			must(t, os.MkdirAll(filepath.Join(host, d), 0o755))
		}
		for name, content := range map[string]string{"file": "F", "src/a": "A", "src/sub/b": "B"} {
			must(t, os.WriteFile(filepath.Join(host, name), []byte(content), 0o644))
		}
		for link, target := range map[string]string{"lfile": "file", "ldir": "src", "broken": "nothing"} {
			must(t, os.Symlink(target, filepath.Join(host, link)))
		}
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "busybox", "sh", "-c", `mkdir -p /w/src/sub /w/dst; cd /w; echo -n F > file; echo -n A > src/a; echo -n B > src/sub/b
			ln -s file lfile; ln -s /w/src ldir; ln -s nothing broken
			i=0; while [ $i -lt 30 ]; do cp -a /w /w$i; ln -sfn /w$i/src /w$i/ldir; i=$((i+1)); done; touch /ready; sleep 1000`)
		waitForFile(t, cli, n, "/ready")

		var out strings.Builder
		for _, c := range []string{
			"/w/file dst", "/w/file dst/", "/w/file dst/new", "/w/file dst/new/", "/w/file no/new", "/w/file file", "/w/file lfile", "/w/file broken", "/w/file ldir",
			"/w/src dst", "/w/src dst/new", "/w/src/ dst", "/w/src/. dst", "/w/src/. dst/new", "/w/src file", "/w/src dst/.",
			"/w/lfile dst", "-L /w/lfile dst", "-L /w/lfile dst/new", "/w/ldir dst", "-L /w/ldir dst", "/w/ldir/ dst", "/w/ldir/. dst", "/w/broken dst", "-L /w/broken dst",
			"/w/no dst", "/w/file/ dst",
		} {
			dir := t.TempDir()
			copyTree(t, host, dir)
			args := strings.Fields(c)
			source, destination := args[len(args)-2], args[len(args)-1]
			slash := ""
			if strings.HasSuffix(destination, "/") {
				slash = "/"
			}
			if strings.HasSuffix(destination, "/.") {
				slash = "/."
			}
			args = append([]string{"cp"}, append(args[:len(args)-2], n+":"+source, filepath.Join(dir, destination)+slash)...)
			r := cli.Run(t, args...)
			fmt.Fprintf(&out, "out %s: %s\n", c, outcome(r, dir, n, func() string { return contents(t, dir) }))
		}
		for i, c := range []string{
			"file /w/dst", "file /w/dst/", "file /w/dst/new", "file /w/dst/new/", "file /w/no/new", "file /w/file", "file /w/lfile", "file /w/broken", "file /w/ldir", "file /",
			"src /w/dst", "src /w/dst/new", "src/ /w/dst", "src/. /w/dst", "src/. /w/dst/new", "src /w/file", "src/. /w/dst/.",
			"lfile /w/dst", "-L lfile /w/dst", "ldir /w/dst", "-L ldir /w/dst", "ldir/ /w/dst", "ldir/. /w/dst", "broken /w/dst", "-L broken /w/dst",
			"no /w/dst", "file /dev/null", "file /dev/nothing/x",
		} {
			w := fmt.Sprintf("/w%d", i)
			args := strings.Fields(strings.ReplaceAll(c, "/w", w))
			source, destination := args[len(args)-2], args[len(args)-1]
			slash := ""
			if strings.HasSuffix(source, "/") {
				slash = "/"
			}
			if strings.HasSuffix(source, "/.") {
				slash = "/."
			}
			args = append([]string{"cp"}, append(args[:len(args)-2], filepath.Join(host, source)+slash, n+":"+destination)...)
			r := cli.Run(t, args...)
			what := outcome(r, host, n, func() string {
				var names []string
				for line := range strings.Lines(listing(t, strings.NewReader(cli.Run(t, "cp", n+":"+w+"/.", "-").Stdout))) {
					_, text, _ := strings.Cut(line, "./")
					names = append(names, strings.TrimSpace(text))
				}
				return strings.Join(names[1:], " ")
			})
			fmt.Fprintf(&out, "in %s: %s\n", c, strings.ReplaceAll(what, w+"/", "/w/"))
		}
		golden(t, "copy.txt", out.String())
	})
}

// outcome is a failure's text without what differs from run to run, or what is
// there after.
func outcome(r enginetest.Result, dir, container string, after func() string) string {
	if r.Code == 0 {
		return after()
	}
	text := strings.TrimSpace(r.Stderr)
	text = text[strings.LastIndexByte(text, '\n')+1:] // docker's client may log before
	text = strings.NewReplacer(dir, "HOST", container, "CONTAINER").Replace(text)
	return fmt.Sprintf("exit %d: %s", r.Code, text)
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.CopyFS(to, os.DirFS(from)))
}

// waitForFile waits until there is a file in a container.
func waitForFile(t *testing.T, cli enginetest.CLI, container, path string) {
	t.Helper()
	enginetest.Eventually(t, 30*time.Second, func() error {
		if r := cli.Run(t, "cp", container+":"+path, "-"); r.Code != 0 {
			return errors.New(r.Stderr)
		}
		return nil
	})
}

// TestCopyMounted copies to and from what is mounted in a running container,
// tmpfs included, and to a stopped one's.
func TestCopyMounted(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n, dir := name(t, cli), t.TempDir()
		local := filepath.Join(t.TempDir(), "x")
		must(t, os.WriteFile(local, []byte("from outside"), 0o640))
		cli.OK(t, "run", "-d", "--name", n, "--read-only", "--tmpfs", "/scratch", "-v", dir+":/rw", "-v", dir+":/ro:ro", "busybox", "sleep", "1000")
		cli.OK(t, "cp", local, n+":/scratch/")
		cli.OK(t, "cp", local, n+":/rw/y")
		if got := listing(t, strings.NewReader(cli.Run(t, "cp", n+":/scratch/x", "-").Stdout)); !strings.HasSuffix(got, "x \"from outside\"\n") {
			t.Errorf("from tmpfs: %s", got)
		}
		if got := contents(t, dir); got != "y=from outside" {
			t.Errorf("in the volume: %s", got)
		}
		cli.Fails(t, 1, "mounted volume is marked read-only", "cp", local, n+":/ro/z")
		cli.Fails(t, 1, "container rootfs is marked read-only", "cp", local, n+":/z")
		if got := listing(t, strings.NewReader(cli.Run(t, "cp", n+":/proc/1/comm", "-").Stdout)); !strings.Contains(got, "sleep") {
			t.Errorf("a file that the kernel makes up: %s", got)
		}
		cli.OK(t, "rm", "-f", n)

		cli.OK(t, "run", "-d", "--name", n, "busybox", "sleep", "1000")
		cli.OK(t, "cp", local, n+":/etc/hosts") // a mount of its own
		if out := cli.OK(t, "cp", n+":/etc/hosts", "-"); !strings.Contains(out, "from outside") {
			t.Errorf("/etc/hosts: %q", out)
		}
	})
}

// TestCopyStopped copies to a container before its first start and after its
// end.
func TestCopyStopped(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		script := filepath.Join(t.TempDir(), "script")
		must(t, os.WriteFile(script, []byte("#!/bin/sh\nid -u > /out\nstat -c '%u:%g %a' /script >> /out\n"), 0o755))
		must(t, os.Chown(script, 1234, 1235))
		cli.OK(t, "create", "--name", n, "busybox", "/script")
		cli.OK(t, "cp", script, n+":/")
		if r := cli.Run(t, "start", "-a", n); r.Code != 0 {
			t.Fatalf("start: %s%s", r.Stdout, r.Stderr)
		}
		if got := listing(t, strings.NewReader(cli.Run(t, "cp", n+":/out", "-").Stdout)); got != "0 0644 0:0 out \"0\\n1234:1235 755\\n\"\n" {
			t.Errorf("out: %s", got)
		}
		// Between two runs, and while others read.
		for range 3 {
			cli.OK(t, "cp", script, n+":/script")
			cli.OK(t, "start", n)
			cli.OK(t, "wait", n)
		}
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), shared.engine.Data) {
		t.Errorf("the host sees a mount:\n%s", mounts)
	}
}

// TestCopyToVolume copies to a volume before the first start, as one does to
// fill it, to a part of one, and to one below another.
func TestCopyToVolume(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		data, inner := n+"-data", n+"-inner"
		t.Cleanup(func() { cli.Run(t, "volume", "rm", "-f", data, inner) })
		file := filepath.Join(t.TempDir(), "f")
		must(t, os.WriteFile(file, []byte("filled"), 0o644))
		cli.OK(t, "create", "--name", n, "-v", data+":/data", "-v", inner+":/data/in", "-v", data+":/ro:ro", "--mount", "type=image,src=busybox,dst=/img", "busybox",
			"sh", "-c", "cat /data/f /data/in/f; ls /data/in /data")
		cli.OK(t, "cp", file, n+":/data")
		cli.OK(t, "cp", file, n+":/data/in/f")
		cli.Fails(t, 1, "mounted volume is marked read-only", "cp", file, n+":/ro")
		cli.Fails(t, 1, "mounted volume is marked read-only", "cp", file, n+":/img")
		if got := listing(t, strings.NewReader(cli.Run(t, "cp", n+":/img/etc/passwd", "-").Stdout)); !strings.Contains(got, "passwd") {
			t.Errorf("from an image: %s", got)
		}
		if got := cli.OK(t, "start", "-a", n); got != "filledfilled/data:\nf\nin\n\n/data/in:\nf" {
			t.Errorf("the container sees %q", got)
		}
		if got := cli.OK(t, "diff", n); strings.Contains(got, "/data/") {
			t.Errorf("a volume's files are in the container's layer: %q", got)
		}
		cli.OK(t, "rm", n)
		cli.OK(t, "volume", "rm", data, inner)
	})
}

// TestCopyPrivate copies to and from a stopped container with a user namespace
// of its own, and makes an image of it.
func TestCopyPrivate(t *testing.T) {
	e := private.get(t)
	cli := e.Davit()
	n := name(t, cli)
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	must(t, os.WriteFile(file, []byte("x"), 0o640))
	must(t, os.Chown(file, 33, 44))
	cli.OK(t, "create", "--name", n, "-v", dir+":/bound", "busybox", "sh", "-c", "stat -c '%u:%g %a' /f /bound/f; echo own > /own; chown 5:6 /own")
	cli.OK(t, "cp", file, n+":/f")
	if got := cli.OK(t, "start", "-a", n); got != "33:44 640\n33:44 640" {
		t.Errorf("the container sees %q", got)
	}
	for path, want := range map[string]string{"/f": "0 0640 33:44 f \"x\"\n", "/own": "0 0644 5:6 own \"own\\n\"\n", "/bound/f": "0 0640 33:44 f \"x\"\n"} {
		if got := listing(t, strings.NewReader(cli.Run(t, "cp", n+":"+path, "-").Stdout)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	cli.OK(t, "commit", n, "private-image")
	t.Cleanup(func() { cli.Run(t, "rmi", "-f", "private-image") })
	for _, userns := range []string{"host", "auto"} {
		if got := cli.OK(t, "run", "--rm", "--userns", userns, "private-image", "stat", "-c", "%u:%g", "/f", "/own"); got != "33:44\n5:6" {
			t.Errorf("in the image with --userns %s: %q", userns, got)
		}
	}
	cli.OK(t, "rm", n)
}

// TestCopyElsewhere: the files of a process that has gone to the host's mount
// namespace are not the container's.
func TestCopyElsewhere(t *testing.T) {
	cli := engine(t).Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "--privileged", "--pid", "host", "busybox", "nsenter", "-t", fmt.Sprint(os.Getpid()), "-m", "sleep", "1000")
	enginetest.Eventually(t, 30*time.Second, func() error {
		r := cli.Run(t, "cp", n+":/etc/passwd", "-")
		if r.Code != 1 || !strings.Contains(r.Stderr, "has left for the host's mount namespace") {
			return fmt.Errorf("exit code %d: %s", r.Code, r.Stderr)
		}
		return nil
	})
	cli.OK(t, "kill", n)
	cli.OK(t, "wait", n)
	if got := cli.Run(t, "cp", n+":/etc/passwd", "-"); !strings.Contains(got.Stdout, "nobody:x:65534:65534:nobody:/home") {
		t.Errorf("of the stopped one: %s%s", got.Stdout, got.Stderr)
	}
}

// TestCopyOwners looks at whose files become.
func TestCopyOwners(t *testing.T) {
	for _, l := range []*lazyEngine{&shared, &private} {
		e := l.get(t)
		for _, cli := range e.CLIs(t) {
			n := name(t, cli)
			cli.Run(t, "rm", "-f", n)
			file := filepath.Join(t.TempDir(), "f")
			must(t, os.WriteFile(file, []byte("x"), 0o4755|fs.ModeSetuid))
			must(t, os.Chown(file, 33, 44))
			must(t, os.Chmod(file, 0o755|fs.ModeSetuid))
			cli.OK(t, "run", "-d", "--name", n, "--user", "7:8", "--tmpfs", "/t:mode=1777", "busybox", "sh", "-c", "touch /t/own; sleep 1000")
			waitForFile(t, cli, n, "/t/own")
			cli.OK(t, "cp", file, n+":/t/asis")
			cli.OK(t, "cp", "-a", file, n+":/t/users")
			cli.OK(t, "cp", file, n+":/root")
			got := listing(t, strings.NewReader(cli.Run(t, "cp", n+":/t/.", "-").Stdout)) + listing(t, strings.NewReader(cli.Run(t, "cp", n+":/root", "-").Stdout))
			want := "5 1777 0:0 ./\n0 4755 33:44 ./asis \"x\"\n0 0644 7:8 ./own\n0 4755 7:8 ./users \"x\"\n5 0755 0:0 root/\n0 4755 33:44 root/f \"x\"\n"
			if got != want {
				t.Errorf("%s on %s: got\n%s\nwant\n%s", cli.Name, e.Root, got, want)
			}
			cli.OK(t, "rm", "-f", n)
		}
	}
	cli := shared.get(t).Davit()
	n, dir := name(t, cli), t.TempDir()
	cli.OK(t, "create", "--name", n, "busybox")
	file := filepath.Join(dir, "f")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Chown(file, 33, 44))
	cli.OK(t, "cp", file, n+":/f")
	for args, want := range map[string]uint32{"cp": 0, "cp -a": 33} {
		to := filepath.Join(dir, strings.ReplaceAll(args, " ", ""))
		cli.OK(t, append(strings.Fields(args), n+":/f", to)...)
		st, err := os.Stat(to)
		must(t, err)
		if got := st.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%s: it belongs to %d, want %d", args, got, want)
		}
	}
}

// TestCopyStreams gives archives to cp, plain, compressed and none.
func TestCopyStreams(t *testing.T) {
	var plain bytes.Buffer
	tw := tar.NewWriter(&plain)
	must(t, tw.WriteHeader(&tar.Header{Name: "f", Mode: 0o600, Size: 4}))
	_, err := tw.Write([]byte("data"))
	must(t, err)
	must(t, tw.Close())
	var zipped, packed bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	_, err = gz.Write(plain.Bytes())
	must(t, errors.Join(err, gz.Close()))
	zs, err := zstd.NewWriter(&packed)
	must(t, err)
	_, err = zs.Write(plain.Bytes())
	must(t, errors.Join(err, zs.Close()))
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "create", "--name", n, "busybox")
		for what, data := range map[string][]byte{"plain": plain.Bytes(), "gzip": zipped.Bytes(), "zstd": packed.Bytes()} {
			cli.OK(t, "cp", n+":/etc/passwd", filepath.Join(t.TempDir(), "p"))
			if r := cli.Feed(t, bytes.NewReader(data), "cp", "-", n+":/tmp"); r.Code != 0 {
				t.Errorf("%s: %s", what, r.Stderr)
			}
			if got := listing(t, strings.NewReader(cli.Run(t, "cp", n+":/tmp/f", "-").Stdout)); got != "0 0600 0:0 f \"data\"\n" {
				t.Errorf("%s: %s", what, got)
			}
		}
		for _, bad := range []string{"this is no archive" + strings.Repeat(".", 1024), string(plain.Bytes()[:514])} {
			r := cli.Feed(t, strings.NewReader(bad), "cp", "-", n+":/tmp")
			if r.Code != 1 || !strings.Contains(r.Stderr, "reading the archive") {
				t.Errorf("a bad archive: exit code %d, %s", r.Code, r.Stderr)
			}
		}
		cli.Fails(t, 1, "copying between containers is not supported", "cp", n+":/a", n+":/b")
		cli.Fails(t, 1, "must specify at least one container source", "cp", "/a", "/b")
		cli.Fails(t, 1, "No such container", "cp", "nobody:/a", ".")
		cli.Fails(t, 1, "must be a directory", "cp", "-", n+":/etc/passwd")
	})
}

// TestStartWhileCopying: a start does not wait for a copy of the run before it,
// and waits for one of the stopped container.
func TestStartWhileCopying(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	n := name(t, cli)
	cli.OK(t, "run", "-d", "--name", n, "busybox", "sh", "-c", "[ -e /ready ] || dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; touch /ready; exec sleep 1000")
	waitForFile(t, cli, n, "/ready")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := cli.Command(ctx, "cp", n+":/big", "-")
	out, err := cmd.StdoutPipe()
	must(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	must(t, cmd.Start())
	_, err = io.CopyN(io.Discard, out, 1<<20) // it is under way, and stands still
	must(t, err)
	cli.OK(t, "kill", n)
	cli.OK(t, "start", n)
	_, err = io.Copy(io.Discard, out)
	must(t, err)
	if err := cmd.Wait(); err == nil {
		t.Error("the copy of a run that is over has ended well")
	}
	cli.OK(t, "kill", n)
	cli.OK(t, "wait", n)

	cmd = cli.Command(ctx, "cp", n+":/big", "-")
	out, err = cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.CopyN(io.Discard, out, 1<<20)
	must(t, err)
	start := cli.Start(t, "start", n)
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the copy of a stopped container: %v", err)
	}
	if code := start.Wait(t); code != 0 {
		t.Errorf("start: %s", start.Output())
	}
}

// changed is a script that changes a busybox image in all ways.
const changed = `echo new > /new; mkdir -p /d/e; echo 1 > /d/e/f; rm /bin/vi; echo x >> /etc/group; rm -r /var/spool; mkdir /tmp/.wh.x
	chown 5:6 /etc/passwd; ln -s /new /l; ln /new /hard; mkfifo /p; echo hidden > /scratch/h; echo hidden > /vol/h; rm -rf /opt/kit; mkdir /opt/kit; echo 2 > /opt/kit/new; touch /ready`

// TestDiffExportCommit looks at what a container has changed, in three ways,
// while it runs and after.
func TestDiffExportCommit(t *testing.T) {
	e := engine(t)
	e.Publish(t, "kit:latest", kitTar(t), `CMD ["sh"]`, "ENV FROM=image", "LABEL from=image")
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		repository := "committed-" + cli.Name
		cli.OK(t, "run", "-d", "--name", n, "--tmpfs", "/scratch", "-v", t.TempDir()+":/vol", "-e", "OWN=1", "-l", "l=1", "kit", "sh", "-c", changed+"; sleep 1000")
		waitForFile(t, cli, n, "/ready")
		golden(t, "diff.txt", cli.OK(t, "diff", n)+"\n")

		tarball := filepath.Join(t.TempDir(), "export.tar")
		cli.OK(t, "export", "-o", tarball, n)
		data, err := os.ReadFile(tarball)
		must(t, err)
		var own []string
		for line := range strings.Lines(listing(t, bytes.NewReader(data))) {
			if !strings.Contains(line, " bin/") && !strings.Contains(line, " lib") {
				own = append(own, line)
			}
		}
		golden(t, "export.txt", strings.Join(own, ""))

		id := cli.OK(t, "commit", "-a", "Me <me@example.com>", "-m", "a message", "-c", `CMD ["cat", "/new"]`, "-c", "ENV MORE=yes", "-c", "EXPOSE 80", "-c", "USER 5", n, repository+":v1")
		if !strings.HasPrefix(id, "sha256:") {
			t.Errorf("commit: %q", id)
		}
		if got := cli.OK(t, "image", "inspect", "-f", "{{.Author}} {{.Comment}} {{.Config.Cmd}} {{.Config.Env}} {{.Config.User}} {{.Config.Labels}} {{json .Config.ExposedPorts}} {{len .RootFS.Layers}}", repository+":v1"); got !=
			`Me <me@example.com> a message [cat /new] [OWN=1 FROM=image MORE=yes] 5 map[from:image l:1] {"80/tcp":{}} 2` {
			t.Errorf("image: %s", got)
		}
		if got := cli.OK(t, "run", "--rm", repository+":v1"); got != "new" {
			t.Errorf("run: %q", got)
		}
		if got := cli.OK(t, "run", "--rm", "--user", "0", repository+":v1", "sh", "-c", "ls -a /scratch /vol /opt/kit; ls /bin/vi /tmp/.wh.x 2>&1; stat -c %u:%g /etc/passwd; ls /var"); got !=
			"/opt/kit:\n.\n..\nnew\n\n/scratch:\n.\n..\n\n/vol:\n.\n..\nls: /bin/vi: No such file or directory\nls: /tmp/.wh.x: No such file or directory\n5:6" {
			t.Errorf("in the image: %q", got)
		}
		if got := cli.OK(t, "inspect", "-f", "{{.State.Status}}", n); got != "running" {
			t.Errorf("after the commit it is %s", got)
		}
		cli.OK(t, "kill", n)
		cli.OK(t, "wait", n)
		golden(t, "diff.txt", cli.OK(t, "diff", n)+"\n")
		cli.OK(t, "commit", "--pause=false", n, repository)
		if got := cli.OK(t, "run", "--rm", repository, "sh", "-c", "cat /d/e/f; echo $OWN"); got != "1\n1" {
			t.Errorf("run: %q", got)
		}
		cli.OK(t, "rm", n)
		// Nothing changed: no layer.
		cli.OK(t, "create", "--name", n, repository)
		id = cli.OK(t, "commit", n)
		if a, b := cli.OK(t, "image", "inspect", "-f", "{{.RootFS.Layers}}", id), cli.OK(t, "image", "inspect", "-f", "{{.RootFS.Layers}}", repository); a != b {
			t.Errorf("a commit of nothing: %s, want %s", a, b)
		}
		cli.OK(t, "rm", n)
		cli.OK(t, "rmi", id)
		cli.OK(t, "rmi", repository, repository+":v1")
		cli.Fails(t, 1, "No such container", "commit", "nobody", "x")
		cli.Fails(t, 1, "No such container", "diff", "nobody")
		cli.Fails(t, 1, "No such container", "export", "nobody")
	})
}

// kitTar is busybox's files and some more to be changed.
func kitTar(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	tw, tr := tar.NewWriter(&out), tar.NewReader(bytes.NewReader(enginetest.BusyboxTar(t)))
	stamp := time.Unix(1e9, 0)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		must(t, tw.WriteHeader(h))
		_, err = io.Copy(tw, tr)
		must(t, err)
	}
	for _, name := range []string{"var/", "var/spool/", "var/spool/x", "opt/", "opt/kit/", "opt/kit/old"} {
		h := &tar.Header{Name: name, Mode: 0o755, ModTime: stamp, Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		must(t, tw.WriteHeader(h))
	}
	must(t, tw.Close())
	return out.Bytes()
}
