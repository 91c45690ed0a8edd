package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

const nginxConf = `daemon off; worker_processes 1; pid /run/nginx.pid; error_log stderr;
events { worker_connections 64; }
http {
	access_log off;
	resolver 127.0.0.11 valid=1s;
	server { listen 80; location / { return 200 "hello $remote_addr"; } }
	server { listen 81; location / { set $name cache; return 200 "by name"; } }
}
`

// TestComposeStack brings up nginx, redis and postgres with docker-compose, and
// has them talk to each other by their names, their aliases and from outside.
func TestComposeStack(t *testing.T) {
	enginetest.NeedRoot(t)
	compose := enginetest.NeedProgram(t, "docker-compose")
	rootfs := enginetest.DebianTar(t, []string{"postgres", "redis"}, "nginx-light", "redis-server", "postgresql-15")
	e := enginetest.Start(t, enginetest.Config{})
	cli := e.Davit()
	if r := cli.Feed(t, bytes.NewReader(rootfs), "import", "-c", "ENV PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin", "-", "stack:latest"); r.Code != 0 {
		t.Fatalf("importing the image: %s", r.Stderr)
	}
	dir := filepath.Join(t.TempDir(), "shop")
	if err := os.CopyFS(dir, os.DirFS("testdata/stack")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "conf/nginx.conf"), []byte(nginxConf), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, compose, append([]string{"--no-ansi", "-p", "shop"}, args...)...)
		cmd.Env, cmd.Dir = append(cli.Env, "PYTHONWARNINGS=ignore"), dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("docker-compose %v: %v\n%s\n%s", args, err, out, cli.Run(t, "logs", "shop_db_1").Stderr)
		}
		return string(out)
	}
	in := func(service, want string, command ...string) {
		t.Helper()
		if out := run(append([]string{"exec", "-T", service}, command...)...); !strings.Contains(out, want) {
			t.Errorf("in %s: %v: no %q in\n%s", service, command, want, out)
		}
	}
	run("up", "-d")
	enginetest.Eventually(t, 20*time.Second, func() error {
		if err := get("http://127.0.0.1:18765/", "hello"); err != nil {
			return fmt.Errorf("%w\n%s%s", err, cli.Run(t, "ps", "-a").Stdout, cli.Run(t, "logs", "shop_web_1").Stderr)
		}
		return nil
	})
	in("web", "PONG", "redis-cli", "-h", "cache", "ping")
	in("web", "PONG", "redis-cli", "-h", "sessions", "ping")
	in("web", "PONG", "redis-cli", "-h", "shop_cache_1", "ping")
	in("web", "ok", "psql", "-h", "db", "-U", "postgres", "-Atc", "select 'o' || 'k'")
	in("cache", "10.213.91.50", "getent", "hosts", "db")
	in("db", "hello", "wget", "-qO-", "http://web/")
	lines := strings.Fields(run("port", "web", "81")) // a warning of docker-compose comes first
	if chosen := lines[len(lines)-1]; !strings.HasPrefix(chosen, "127.0.0.1:") {
		t.Errorf("the port that was chosen: %v", lines)
	} else if err := get("http://"+chosen+"/", "by name"); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/5432").CombinedOutput(); err == nil {
		t.Errorf("the database can be reached from the world: %s", out)
	}
	// More of a service are more addresses of its name.
	run("up", "-d", "--scale", "cache=3", "--no-recreate")
	enginetest.Eventually(t, 10*time.Second, func() error {
		out := run("exec", "-T", "db", "nslookup", "-type=a", "store", "127.0.0.11")
		if strings.Count(out, "Address: 10.213.91.") != 3 {
			return errors.New("store has other than three addresses:\n" + out)
		}
		return nil
	})
	run("restart", "-t", "1", "cache")
	in("web", "PONG", "redis-cli", "-h", "cache", "ping")
	run("down", "-t", "1")
	if left := cli.OK(t, "network", "ls", "-q", "--filter", "name=shop"); left != "" {
		t.Errorf("networks are left: %s", left)
	}
}

// get asks for a page and tells how it is not the one that was expected.
func get(url, part string) error {
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && !strings.Contains(string(body), part) {
		err = errors.New(url + " answers " + string(body))
	}
	return err
}
