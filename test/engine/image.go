package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// Busybox gives the engine an image "busybox:latest" the way users get one: it
// is made from the host's static busybox, imported, pushed to the engine's
// registry as library/busybox, removed, and pulled as "busybox". A second call
// does nothing.
func (e *Engine) Busybox(t testing.TB) {
	t.Helper()
	e.Publish(t, "busybox:latest", BusyboxTar(t), `CMD ["sh"]`, `ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`)
	api := e.Client(t)
	if _, err := api.ImageInspect(context.Background(), "busybox:latest"); err == nil {
		return
	}
	pull, err := api.ImagePull(context.Background(), "busybox:latest", client.ImagePullOptions{})
	if err == nil {
		err = pull.Wait(context.Background())
	}
	if err != nil {
		t.Fatalf("pulling busybox: %v", err)
	}
}

// Publish puts an image into the engine's registry as docker.io/library/name,
// from the tar of a root filesystem and instructions in the form of
// `import -c`. The engine itself forgets it again. A name that is in the
// registry already is left as it is.
func (e *Engine) Publish(t testing.TB, name string, rootfs []byte, changes ...string) {
	t.Helper()
	if e.Registry == "" {
		t.Fatal("this engine has no registry to publish to")
	}
	ctx := context.Background()
	api := e.Client(t)
	ref := e.Registry + "/library/" + name
	if e.published(t, name) {
		return
	}
	source := client.ImageImportSource{Source: bytes.NewReader(rootfs), SourceName: "-"}
	answer, err := api.ImageImport(ctx, source, ref, client.ImageImportOptions{Changes: changes})
	if err != nil {
		t.Fatalf("importing %s: %v", name, err)
	}
	text, err := io.ReadAll(answer)
	answer.Close()
	if err != nil || !bytes.Contains(text, []byte("sha256:")) {
		t.Fatalf("importing %s: %v %s", name, err, text)
	}
	push, err := api.ImagePush(ctx, ref, client.ImagePushOptions{RegistryAuth: "e30="}) // {}
	if err == nil {
		err = push.Wait(ctx)
	}
	if err != nil {
		t.Fatalf("pushing %s: %v", ref, err)
	}
	if _, err := api.ImageRemove(ctx, ref, client.ImageRemoveOptions{}); err != nil {
		t.Fatalf("removing %s: %v", ref, err)
	}
}

// published tells whether the registry has library/name.
func (e *Engine) published(t testing.TB, name string) bool {
	t.Helper()
	repository, tag, found := strings.Cut(name, ":")
	if !found {
		tag = "latest"
	}
	return head(t, "http://"+e.Registry+"/v2/library/"+repository+"/manifests/"+tag)
}

// BusyboxTar is a root filesystem with busybox and a link for each applet.
func BusyboxTar(t testing.TB) []byte {
	t.Helper()
	path := NeedProgram(t, "busybox")
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		t.Fatalf("asking busybox for its applets: %v", err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rootfs := NewRootfs(t)
	for _, dir := range []string{"bin/", "dev/", "etc/", "home/", "proc/", "root/", "sys/", "usr/", "usr/bin/", "var/"} {
		rootfs.Dir(dir, 0o755)
	}
	rootfs.Dir("tmp/", 0o777|os.ModeSticky)
	rootfs.File("bin/busybox", 0o755, binary)
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			rootfs.Link("bin/"+a, "busybox")
		}
	}
	rootfs.File("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"))
	rootfs.File("etc/group", 0o644, []byte("root:x:0:\nnobody:x:65534:\n"))
	return rootfs.Bytes()
}

// Rootfs builds the tar of a root filesystem; an error fails the test.
type Rootfs struct {
	t   testing.TB
	buf bytes.Buffer
	tar *tar.Writer
}

// NewRootfs returns an empty root filesystem.
func NewRootfs(t testing.TB) *Rootfs {
	r := &Rootfs{t: t}
	r.tar = tar.NewWriter(&r.buf)
	return r
}

// Dir adds a folder.
func (r *Rootfs) Dir(name string, mode os.FileMode) {
	bits := int64(mode.Perm())
	if mode&os.ModeSticky != 0 {
		bits |= 0o1000
	}
	r.add(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: bits}, nil)
}

// File adds a regular file.
func (r *Rootfs) File(name string, mode os.FileMode, content []byte) {
	r.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode.Perm()), Size: int64(len(content))}, content)
}

// Link adds a symbolic link.
func (r *Rootfs) Link(name, target string) {
	r.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

func (r *Rootfs) add(header *tar.Header, content []byte) {
	r.t.Helper()
	err := r.tar.WriteHeader(header)
	if err == nil {
		_, err = r.tar.Write(content)
	}
	if err != nil {
		r.t.Fatalf("writing %s: %v", header.Name, err)
	}
}

// Bytes ends the archive.
func (r *Rootfs) Bytes() []byte {
	r.t.Helper()
	if err := r.tar.Close(); err != nil {
		r.t.Fatal(err)
	}
	return r.buf.Bytes()
}
