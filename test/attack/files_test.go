package attack

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// copyTime is how long links are flipped under a copy.
func copyTime() time.Duration {
	if testing.Short() {
		return time.Second / 2
	}
	return 2 * time.Second
}

// flipper is a script that exchanges DIR with links to places outside, until it
// is killed.
func flipper(dir string, targets ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "mkdir -p %s; echo inside > %s/victim; ", dir, dir)
	for i, target := range targets {
		fmt.Fprintf(&b, "ln -s %s %s.%d; ", target, dir, i)
	}
	b.WriteString("touch /ready; while :; do ")
	for i := range targets {
		fmt.Fprintf(&b, "mv %s %s.real; mv %s.%d %s; mv %s %s.%d; mv %s.real %s; ", dir, dir, dir, i, dir, dir, dir, i, dir, dir)
	}
	b.WriteString("done")
	return b.String()
}

// stage makes a directory of the host with a file that no container may read or
// change.
func stage(t *testing.T) (outside, before string) {
	t.Helper()
	outside = t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("untouched"), 0o644))
	return outside, fingerprint(t, outside)
}

// archiveOf returns one file as an archive.
func archiveOf(t *testing.T, name, content string) []byte {
	t.Helper()
	return tarOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content)
}

func tarOf(t *testing.T, parts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, p := range parts {
		switch p := p.(type) {
		case *tar.Header:
			must(t, w.WriteHeader(p))
		case string:
			_, err := io.WriteString(w, p)
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

// archiveAPI asks for a container's archive and returns the answer's body.
func archiveAPI(t *testing.T, method, container, path string, body []byte) (int, []byte) {
	t.Helper()
	u := "http://engine/containers/" + container + "/archive?path=" + url.QueryEscape(path)
	req, err := http.NewRequestWithContext(context.Background(), method, u, bytes.NewReader(body))
	must(t, err)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", shared.engine.Socket)
	}
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil { // broken off, as an archive that cannot go on is
		return 0, nil
	}
	return resp.StatusCode, data
}

// TestCopyRace: the directory that is copied from and to is exchanged with
// links out of the container all the while (CVE-2018-15664).
func TestCopyRace(t *testing.T) {
	cli := engine(t)
	outside, before := stage(t)
	up := strings.Repeat("../", 30)
	id := cli.OK(t, "run", "-d", "busybox", "sh", "-c", "mkdir /w; "+flipper("/w/d", outside, up+outside[1:], "/proc/1/root"+outside, "/proc/self/cwd"))
	t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
	awaitFile(t, cli, id, "/ready")
	var read, written int
	for end := time.Now().Add(copyTime()); time.Now().Before(end); {
		for _, path := range []string{"/w/d/victim", "/w/d/", "/w"} {
			code, data := archiveAPI(t, "GET", id, path, nil)
			if bytes.Contains(data, []byte("untouched")) {
				t.Fatalf("GET %s has read the host's file", path)
			}
			if code == 200 {
				read++
			}
		}
		for _, path := range []string{"/w/d", "/w/d/"} {
			if code, _ := archiveAPI(t, "PUT", id, path, archiveOf(t, "victim", "overwritten")); code == 200 {
				written++
			}
		}
		if code, _ := archiveAPI(t, "PUT", id, "/w", archiveOf(t, "d/victim", "overwritten")); code == 200 {
			written++
		}
		if code, _ := archiveAPI(t, "HEAD", id, "/w/d/victim", nil); code != 200 && code != 404 && code != 400 {
			t.Errorf("HEAD: status %d", code)
		}
		if after := fingerprint(t, outside); after != before {
			t.Fatalf("the host's files are %s, they were %s", after, before)
		}
	}
	t.Logf("%d read, %d written", read, written)
	if read == 0 || written == 0 {
		t.Error("the race was never run")
	}
}

func awaitFile(t *testing.T, cli enginetest.CLI, id, path string) {
	t.Helper()
	enginetest.Eventually(t, 30*time.Second, func() error {
		if code, _ := archiveAPI(t, "HEAD", id, path, nil); code != 200 {
			return fmt.Errorf("HEAD %s: status %d", path, code)
		}
		return nil
	})
}

// TestCopyMountRace: a volume that another container flips links in is mounted
// for a copy, with a mount below the links (CVE-2026-41568, CVE-2026-42306).
// Nothing may be made or mounted on the host.
func TestCopyMountRace(t *testing.T) {
	cli := engine(t)
	outside, before := stage(t)
	volume, inner := t.TempDir(), t.TempDir()
	must(t, os.Chmod(volume, 0o777))
	must(t, os.WriteFile(filepath.Join(inner, "f"), []byte("inner"), 0o644))
	up := strings.Repeat("../", 30)
	attacker := cli.OK(t, "run", "-d", "-v", volume+":/v", "busybox", "sh", "-c", flipper("/v/d", outside, up+outside[1:]))
	t.Cleanup(func() { cli.Run(t, "rm", "-f", attacker) })
	awaitFile(t, cli, attacker, "/ready")
	id := cli.OK(t, "create", "-v", volume+":/vol", "-v", inner+":/vol/d/deep", "busybox")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
	seen := 0
	for end := time.Now().Add(copyTime()); time.Now().Before(end); {
		if code, data := archiveAPI(t, "GET", id, "/vol/d/deep/f", nil); code == 200 && bytes.Contains(data, []byte("inner")) {
			seen++
		}
		archiveAPI(t, "HEAD", id, "/vol/d", nil)
		archiveAPI(t, "PUT", id, "/vol", archiveOf(t, "new", "x"))
		if after := fingerprint(t, outside); after != before {
			t.Fatalf("the host's files are %s, they were %s", after, before)
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		must(t, err)
		if strings.Contains(string(mounts), outside) || strings.Contains(string(mounts), inner) {
			t.Fatalf("something is mounted on the host:\n%s", mounts)
		}
	}
	if seen == 0 {
		t.Error("the mount was never seen: the race was never run")
	}
}

// TestCopyExecutesNothing: a container whose every program and library is a
// trap is copied from and to, with archives that others hand to a decompressor
// (CVE-2019-14271, CVE-2026-41567).
func TestCopyExecutesNothing(t *testing.T) {
	cli := engine(t)
	load(t, shared.engine, "traps", func(dir string) {
		program, err := os.ReadFile(hostile(t))
		must(t, err)
		trap := filepath.Join(dir, "trap")
		must(t, os.WriteFile(trap, program, 0o755))
		for _, bin := range []string{"bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin"} {
			must(t, os.MkdirAll(filepath.Join(dir, bin), 0o755))
			for _, name := range []string{"unpigz", "pigz", "gzip", "gunzip", "igzip", "xz", "unxz", "bzip2", "zstd", "tar", "docker-tar", "docker-untar", "cp", "getent", "davitd", "davit-shim", "nsenter"} {
				must(t, os.RemoveAll(filepath.Join(dir, bin, name)))
				must(t, os.Link(trap, filepath.Join(dir, bin, name)))
			}
		}
		for _, lib := range []string{"lib", "lib64", "lib/x86_64-linux-gnu", "usr/lib"} {
			must(t, os.MkdirAll(filepath.Join(dir, lib), 0o755))
			for _, name := range []string{"libnss_files.so.2", "libnss_dns.so.2", "libc.so.6", "ld-linux-x86-64.so.2"} {
				must(t, os.Link(trap, filepath.Join(dir, lib, name)))
			}
		}
		must(t, os.WriteFile(filepath.Join(dir, "etc/nsswitch.conf"), []byte("passwd: files\ngroup: files\n"), 0o644))
	})
	plain := archiveOf(t, "f", "content")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write(plain)
	must(t, err)
	must(t, z.Close())
	xz := append([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, plain...)
	watch := watchExecutions(shared.engine.Pid())
	for _, running := range []bool{true, false} {
		id := cli.OK(t, "run", "-d", "-u", "nobody", "traps", "sleep", "1000")
		t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
		if !running {
			cli.OK(t, "kill", id)
			cli.OK(t, "wait", id)
		}
		for name, body := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes()} {
			if r := cli.Feed(t, bytes.NewReader(body), "cp", "-a", "-", id+":/tmp"); r.Code != 0 { // looks up the user
				t.Errorf("%s: %s", name, r.Stderr)
			}
		}
		if code, answer := archiveAPI(t, "PUT", id, "/tmp", xz); code != 400 || !bytes.Contains(answer, []byte("xz")) {
			t.Errorf("xz: status %d %s", code, answer)
		}
		if code, _ := archiveAPI(t, "HEAD", id, trapMark, nil); code != 404 {
			t.Error("a program of the container was executed in its root")
		}
		for _, args := range [][]string{{"cp", id + ":/", "-"}, {"export", id}, {"diff", id}, {"commit", id, "trapped"}} {
			if r := cli.Run(t, args...); r.Code != 0 {
				t.Errorf("%v: %s", args, r.Stderr)
			}
		}
		cli.Run(t, "rmi", "-f", "trapped")
	}
	if list := watch(); len(list) > 0 {
		t.Errorf("programs were executed by the engine: %v", list)
	}
	if _, err := os.Lstat(trapMark); err == nil {
		_ = os.Remove(trapMark)
		t.Error("a program of the container was executed on the host")
	}
}

// trapMark is what hostile makes when it is executed by another name.
const trapMark = "/davit-trapped"

// watchExecutions looks at the engine's children until the function that it
// returns is called, which names the programs of those that are no shims.
func watchExecutions(pid int) func() []string {
	stop, done := make(chan struct{}), make(chan map[string]bool, 1)
	go func() {
		seen := map[string]bool{}
		defer func() { done <- seen }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
			for _, task := range tasks {
				children, _ := os.ReadFile(task)
				for _, child := range strings.Fields(string(children)) {
					program, err := os.Readlink("/proc/" + child + "/exe")
					sealed := program == "/" // a shim, on a mount that is nowhere
					if err == nil && !sealed && !strings.HasPrefix(filepath.Base(program), "davit") {
						seen[program] = true
					}
				}
			}
		}
	}()
	return func() (list []string) {
		close(stop)
		for n := range <-done {
			list = append(list, n)
		}
		return list
	}
}

// TestHostileArchives puts archives into a container that want to be somewhere
// else.
func TestHostileArchives(t *testing.T) {
	cli := engine(t)
	outside, before := stage(t)
	id := cli.OK(t, "run", "-d", "-v", outside+":/bound:ro", "busybox", "sh", "-c", "mkdir -p /w /other; echo kept > /other/f; touch /ready; sleep 1000")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
	awaitFile(t, cli, id, "/ready")
	file := func(name string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 1}
	}
	link := func(name, to string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}
	}
	hard := func(name, to string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
	}
	for name, c := range map[string]struct {
		archive []byte
		status  int
	}{
		"dots":                        {tarOf(t, file("../other/f"), "x"), 400},
		"dots in the middle":          {tarOf(t, file("a/../../other/f"), "x"), 400},
		"absolute":                    {tarOf(t, file("/other/f"), "x"), 200}, // below the target
		"link, then through it":       {tarOf(t, link("l", "/other"), file("l/f"), "x"), 400},
		"dotted link, then through":   {tarOf(t, link("m", "../other"), file("m/f"), "x"), 400},
		"link to a link":              {tarOf(t, link("a1", ".."), link("a2", "a1/other"), file("a2/f"), "x"), 400},
		"hard link out":               {tarOf(t, hard("h", "../other/f")), 400},
		"hard link through a link":    {tarOf(t, link("n", "/other"), hard("h2", "n/f")), 400},
		"hard link to a link":         {tarOf(t, link("o", "/other/f"), hard("o2", "o"), file("o2"), "x"), 200},
		"magic link":                  {tarOf(t, link("p", "/proc/1/root"), file("p/other/f"), "x"), 400},
		"the host by way of /proc":    {tarOf(t, file("../proc/1/root/other/f"), "x"), 400},
		"not to be written":           {tarOf(t, link("q", "/bound"), file("q/victim"), "x"), 400},
		"whiteouts are names":         {tarOf(t, file(".wh.kept"), "x", file(".wh..wh..opq"), "x"), 200},
		"overlay's own attributes":    {tarOf(t, &tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y"}}), 200},
		"a whiteout of overlay's own": {tarOf(t, &tar.Header{Typeflag: tar.TypeChar, Name: "c", Mode: 0o666}), 403},
		"of no known type":            {tarOf(t, &tar.Header{Typeflag: 'Z', Name: "z"}), 400},
		"no archive":                  {bytes.Repeat([]byte("x"), 1024), 400},
		"a bomb's header":             {tarOf(t, &tar.Header{Typeflag: tar.TypeReg, Name: "bomb", Size: 0})[:300], 400},
	} {
		code, answer := archiveAPI(t, "PUT", id, "/w", c.archive)
		if code != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, code, c.status, answer)
		}
		if _, data := archiveAPI(t, "GET", id, "/other/f", nil); !bytes.Contains(data, []byte("kept\n")) {
			t.Errorf("%s: the file beside the target has changed: %q", name, data)
		}
	}
	if after := fingerprint(t, outside); after != before {
		t.Errorf("the host's files are %s, they were %s", after, before)
	}
	if _, err := os.Lstat(filepath.Join(shared.engine.Data, "containers", id, "upper/w/d")); err != nil {
		t.Error(err)
	}
	if out := cli.OK(t, "cp", id+":/w", "-"); strings.Contains(out, "trusted.overlay") {
		t.Error("attributes of overlayfs leak into an archive")
	}
}

// TestCopyOutTakesNothing: a container whose files are FIFOs, devices and links
// is copied without anybody waiting for it, or reading what they stand for.
func TestCopyOutTakesNothing(t *testing.T) {
	cli := engine(t)
	id := cli.OK(t, "run", "-d", "--cap-add", "MKNOD", "busybox", "sh", "-c",
		"mkdir /w; cd /w; mkfifo fifo; mknod mem c 1 1; mknod zero c 1 5; ln -s /proc/1/root root; ln -s /dev/zero link; ln -s loop loop; touch /ready; sleep 1000")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", id) })
	awaitFile(t, cli, id, "/ready")
	done := make(chan []byte, 1)
	go func() {
		_, data := archiveAPI(t, "GET", id, "/w", nil)
		done <- data
	}()
	select {
	case data := <-done:
		names := map[string]byte{}
		tr := tar.NewReader(bytes.NewReader(data))
		for {
			h, err := tr.Next()
			if err != nil {
				break
			}
			names[h.Name] = h.Typeflag
		}
		if names["w/fifo"] != tar.TypeFifo || names["w/mem"] != tar.TypeChar || names["w/link"] != tar.TypeSymlink || len(names) != 7 {
			t.Errorf("the archive has %v", names)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the copy waits for a file of the container's")
	}
	for _, path := range []string{"/w/link/", "/w/loop/", "/w/fifo/x", "/w/root/etc"} {
		if code, _ := archiveAPI(t, "GET", id, path, nil); code != 400 && code != 404 {
			t.Errorf("GET %s: status %d", path, code)
		}
	}
}
