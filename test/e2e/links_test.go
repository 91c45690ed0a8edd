package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestLinks has a container know another one by a name of its own, also after
// the other has another address.
func TestLinks(t *testing.T) {
	each(t, func(t *testing.T, cli enginetest.CLI) {
		db, web := name(t, cli)+"-db", name(t, cli)+"-web"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", web, db) })
		cli.OK(t, "run", "-d", "--name", db, "-e", "SECRET=x", "--expose", "80", "-h", "dbhost", "busybox", "sleep", "1000")
		cli.OK(t, "run", "-d", "--name", web, "--link", db+":store", "busybox", "sleep", "1000")
		address := func() string {
			return cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", db)
		}
		id := cli.OK(t, "inspect", "-f", "{{.Id}}", web)
		hosts := func() string {
			path := cli.OK(t, "inspect", "-f", "{{.HostsPath}}", id)
			return readFile(t, path)
		}
		line := func() string { return address() + "\tstore dbhost " + db + "\n" }
		if !strings.Contains(hosts(), line()) {
			t.Errorf("/etc/hosts lacks %q:\n%s", line(), hosts())
		}
		// Seen from inside, and without Docker 28's variables.
		out := cli.OK(t, "run", "--rm", "--link", db+":store", "--link", web, "busybox", "sh", "-c", "ping -c 1 -w 5 store >/dev/null && echo reached; env | grep -c STORE; grep -c "+web+" /etc/hosts")
		if out != "reached\n0\n1" {
			t.Errorf("a linked container prints %q", out)
		}
		if got, want := cli.OK(t, "inspect", "-f", "{{.HostConfig.Links}}", web), "[/"+db+":/"+web+"/store]"; got != want {
			t.Errorf("inspect shows links %s, want %s", got, want)
		}
		if got := cli.OK(t, "ps", "--no-trunc", "--filter", "name=^/"+db+"$", "--format", "{{.Names}}"); got != db+","+web+"/store" {
			t.Errorf("ps shows names %q", got)
		}
		if got := cli.OK(t, "inspect", "-f", "{{.Name}}", web+"/store"); got != "/"+db {
			t.Errorf("the link's name leads to %q", got)
		}

		// Another address: one that is taken meanwhile keeps the old one away.
		before := address()
		cli.OK(t, "stop", "-t", "0", db)
		taker := name(t, cli) + "-taker"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", taker) })
		cli.OK(t, "run", "-d", "--name", taker, "--ip", before, "busybox", "sleep", "1000")
		cli.OK(t, "start", db)
		if after := address(); after == before {
			t.Fatalf("the container got %s again", after)
		}
		enginetest.Eventually(t, 10*time.Second, func() error {
			if !strings.Contains(hosts(), line()) || strings.Contains(hosts(), before+"\t") {
				return fmt.Errorf("/etc/hosts lacks %q:\n%s", line(), hosts())
			}
			return nil
		})

		cli.OK(t, "rm", "--link", web+"/store")
		if got := cli.OK(t, "inspect", "-f", "{{.HostConfig.Links}}", web); got != "[]" || strings.Contains(hosts(), "store") {
			t.Errorf("after rm --link inspect shows %s, /etc/hosts\n%s", got, hosts())
		}
		cli.Fails(t, 1, "cannot remove the default link name of the container", "rm", "--link", web)

		cli.Fails(t, 125, "could not get container for nobody-there: No such container: nobody-there", "run", "--rm", "--link", "nobody-there", "busybox", "true")
		cli.Fails(t, 125, "can't be used with links", "run", "--rm", "--network", "host", "--link", db, "busybox", "true")
		cli.Fails(t, 125, "bad format for links: a:b:c", "run", "--rm", "--link", "a:b:c", "busybox", "true")
		lone := name(t, cli) + "-lone"
		t.Cleanup(func() { cli.Run(t, "rm", "-f", lone) })
		cli.OK(t, "run", "-d", "--name", lone, "--network", "none", "busybox", "sleep", "1000")
		cli.Fails(t, 125, "Cannot link to /"+lone+", as it does not belong to the default network", "run", "--rm", "--link", lone, "busybox", "true")
		cli.OK(t, "stop", "-t", "0", db)
		cli.Fails(t, 125, "Cannot link to a non running container: /"+db+" AS /", "run", "--rm", "--link", db, "busybox", "true")
	})
}

// TestLinkVariables asks for what Docker up to 28 told linked containers.
func TestLinkVariables(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{Env: []string{"DOCKER_KEEP_DEPRECATED_LEGACY_LINKS_ENV_VARS=1"}})
	e.Busybox(t)
	cli := e.Davit()
	cli.OK(t, "run", "-d", "--name", "db", "-e", "SECRET=x", "--expose", "80", "busybox", "sleep", "1000")
	address := cli.OK(t, "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "db")
	out := cli.OK(t, "run", "--rm", "--name", "web", "--link", "db:my-db", "-e", "MY_DB_ENV_SECRET=mine", "busybox", "sh", "-c", "env | grep ^MY_DB_ | sort")
	want := strings.Join([]string{
		"MY_DB_ENV_SECRET=mine", "MY_DB_NAME=/web/my-db", "MY_DB_PORT=tcp://" + address + ":80", "MY_DB_PORT_80_TCP=tcp://" + address + ":80",
		"MY_DB_PORT_80_TCP_ADDR=" + address, "MY_DB_PORT_80_TCP_PORT=80", "MY_DB_PORT_80_TCP_PROTO=tcp",
	}, "\n")
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	// The engine knows links again after a crash.
	cli.OK(t, "run", "-d", "--name", "web", "--link", "db:my-db", "busybox", "sleep", "1000")
	e.Kill(t)
	e.Restart(t)
	if got := cli.OK(t, "inspect", "-f", "{{.HostConfig.Links}}", "web"); got != "[/db:/web/my-db]" {
		t.Errorf("after a crash inspect shows %s", got)
	}
	cli.OK(t, "rename", "web", "site")
	if got := cli.OK(t, "inspect", "-f", "{{.Name}}", "site/my-db"); got != "/db" {
		t.Errorf("after a rename the link leads to %s", got)
	}
}
