package e2e

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestImages takes an image through import, tag, push, remove, pull.
func TestImages(t *testing.T) {
	e := engine(t)
	rootfs := enginetest.BusyboxTar(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		repository := e.Registry + "/test/" + cli.Name
		first := repository + ":first"
		cli.Run(t, "rmi", "-f", first, repository+":second")

		r := cli.Feed(t, bytes.NewReader(rootfs), "import", "-c", `CMD ["echo", "imported"]`, "-c", "ENV A=b", "-m", "from a test", "-", first)
		id := strings.TrimSpace(r.Stdout)
		if r.Code != 0 || !strings.HasPrefix(id, "sha256:") {
			t.Fatalf("import: exit code %d, %q %q", r.Code, r.Stdout, r.Stderr)
		}
		if out := cli.OK(t, "run", "--rm", first); out != "imported" {
			t.Errorf("run: %q", out)
		}
		cli.OK(t, "tag", first, repository+":second")
		if out := cli.OK(t, "images", "--format", "{{.Tag}}", repository); !strings.Contains(out, "first") || !strings.Contains(out, "second") {
			t.Errorf("images: %q", out)
		}
		if out := cli.OK(t, "history", "--format", "{{.Comment}}", "--no-trunc", first); !strings.Contains(out, "from a test") {
			t.Errorf("history: %q", out)
		}
		var list []struct {
			ID       string `json:"Id"`
			RepoTags []string
			Config   struct{ Env, Cmd []string }
		}
		if err := json.Unmarshal([]byte(cli.OK(t, "image", "inspect", first)), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].ID != id || len(list[0].RepoTags) != 2 || list[0].Config.Env[0] != "A=b" {
			t.Errorf("image inspect: %+v, want id %s", list, id)
		}

		push := cli.OK(t, "push", first)
		if !strings.Contains(push, "digest: sha256:") {
			t.Errorf("push: %q", push)
		}
		cli.OK(t, "rmi", first)
		cli.Fails(t, 1, "No such image: "+first, "rmi", first)
		cli.OK(t, "rmi", repository+":second")
		if out := cli.OK(t, "images", "-q", repository); out != "" {
			t.Errorf("images after rmi: %q", out)
		}
		pull := cli.OK(t, "pull", first)
		if !strings.Contains(pull, "Downloaded newer image for "+first) || !strings.Contains(pull, "Digest: sha256:") {
			t.Errorf("pull: %q", pull)
		}
		if pull = cli.OK(t, "pull", first); !strings.Contains(pull, "Image is up to date for "+first) {
			t.Errorf("second pull: %q", pull)
		}
		if out := cli.OK(t, "run", "--rm", first); out != "imported" {
			t.Errorf("run after pull: %q", out)
		}
	})
}

// TestImageInUse checks what protects an image that a container uses.
func TestImageInUse(t *testing.T) {
	e := engine(t)
	e.Publish(t, "used:latest", enginetest.BusyboxTar(t), `CMD ["sleep", "1000"]`)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		cli.OK(t, "run", "-d", "--name", n, "used")
		cli.Fails(t, 1, "conflict", "rmi", "used")
		cli.Fails(t, 1, "is using", "rmi", "used")
		cli.OK(t, "kill", n)
		cli.OK(t, "rmi", "-f", "used") // a stopped container does not hold it against force
		cli.OK(t, "start", n)          // and keeps its layers
		cli.OK(t, "rm", "-f", n)
	})
}

// TestPullErrors compares what a person is told.
func TestPullErrors(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		cli.Fails(t, 1, "not found", "pull", e.Registry+"/library/nosuchimage")
		cli.Fails(t, 1, "refused", "pull", "127.0.0.1:1/library/busybox")
		cli.Fails(t, 1, "invalid reference format", "pull", "UPPER/Case:x:y")
	})
}

// TestSystem reads version and info.
func TestSystem(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		if out := cli.OK(t, "version", "--format", "{{.Server.APIVersion}}"); !strings.HasPrefix(out, "1.") {
			t.Errorf("version: %q", out)
		}
		if out := cli.OK(t, "info", "--format", "{{.DockerRootDir}} {{.OSType}}"); out != e.Data+" linux" {
			t.Errorf("info: %q", out)
		}
	})
}
