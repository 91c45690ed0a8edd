package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUseAPISocket gives a container the engine's socket and what its user is
// logged in to.
func TestUseAPISocket(t *testing.T) {
	e := engine(t)
	cli := e.Davit()
	config := t.TempDir()
	text := `{"auths":{"registry.example:5000":{"auth":"bWU6c2VjcmV0"}}}` // me:secret
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cli.Env = append(cli.Env, "DOCKER_CONFIG="+config)
	out := cli.OK(t, "run", "--rm", "--use-api-socket", "busybox", "sh", "-c",
		"test -S /var/run/docker.sock && echo socket; stat -c '%a %u' $DOCKER_CONFIG/config.json; cat $DOCKER_CONFIG/config.json")
	for _, want := range []string{"socket\n", "600 0\n", `"registry.example:5000"`, `"username":"me"`, `"password":"secret"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	out = cli.OK(t, "run", "--rm", "--use-api-socket", "-e", "DOCKER_CONFIG=/own", "busybox", "sh", "-c", "echo $DOCKER_CONFIG; ls /run/secrets 2>&1 || true")
	if !strings.HasPrefix(out, "/own") || strings.Contains(out, "docker\n") {
		t.Errorf("with a configuration of its own: %s", out)
	}
}
