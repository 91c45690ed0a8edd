package enginetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bulk is what packages bring and no server in a test reads.
var bulk = []string{
	"./usr/share/doc", "./usr/share/man", "./usr/share/info", "./usr/share/locale", "./usr/share/i18n", "./usr/share/zoneinfo",
	"./usr/share/perl*", "./usr/lib/*/perl*", "./usr/lib/*/libLLVM*", "./usr/lib/systemd",
}

// DebianTar returns the tar of a root filesystem with Debian's packages and all
// that they need, fetched from Debian and unpacked, not configured, and
// busybox's commands where the packages bring none. users, beside root, have
// the ids from 101 on.
func DebianTar(t testing.TB, users []string, packages ...string) []byte {
	t.Helper()
	NeedRoot(t)
	busybox := NeedProgram(t, "busybox")
	debs, root := t.TempDir(), t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	write := func(path string, mode os.FileMode, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, path), text, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(debs, "partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	run("apt-get", append([]string{"install", "-q", "-y", "--download-only", "--no-install-recommends", "-o", "Dir::State::status=/dev/null",
		"-o", "Dir::Cache::archives=" + debs, "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"}, packages...)...)
	const unpack = `set -e -o pipefail; for deb in "$0"/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1" --keep-directory-symlink "${@:2}"; done`
	run("bash", append([]string{"-c", unpack, debs, root}, excluded()...)...)
	passwd, group := "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/run:/bin/false\n", "root:x:0:\nnogroup:x:65534:\n"
	for i, u := range users {
		id := string(rune('1' + i))
		passwd += u + ":x:10" + id + ":10" + id + "::/run:/bin/sh\n"
		group += u + ":x:10" + id + ":\n"
	}
	write("etc/passwd", 0o644, []byte(passwd))
	write("etc/group", 0o644, []byte(group))
	write("etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n"))
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	write("usr/bin/busybox", 0o755, binary)
	for _, a := range strings.Fields(string(applets)) {
		_ = os.Symlink("busybox", filepath.Join(root, "usr/bin", a)) // an error: the packages bring it
	}
	run("ldconfig", "-r", root)
	tar := exec.Command("tar", "-c", "-C", root, ".")
	var out, complaints bytes.Buffer
	tar.Stdout, tar.Stderr = &out, &complaints
	if err := tar.Run(); err != nil {
		t.Fatalf("packing %v: %v\n%s", packages, err, complaints.String())
	}
	return out.Bytes()
}

func excluded() (options []string) {
	for _, path := range bulk {
		options = append(options, "--exclude="+path)
	}
	return options
}
