package e2e

import (
	"strings"
	"testing"
	"time"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// startedAt is when a container's present run began.
func startedAt(t *testing.T, cli enginetest.CLI, n string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, inspect(t, cli, n).State.StartedAt)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// inOrder fails unless the containers were started in this order.
func inOrder(t *testing.T, cli enginetest.CLI, names ...string) {
	t.Helper()
	for i := 1; i < len(names); i++ {
		if a, b := startedAt(t, cli, names[i-1]), startedAt(t, cli, names[i]); a.IsZero() || !a.Before(b) {
			t.Errorf("%s was started at %v, %s at %v", names[i-1], a, names[i], b)
		}
	}
}

func TestDependsOn(t *testing.T) {
	cli := engine(t).Davit()
	base := strings.ToLower(t.Name())
	db, job, app, web := base+"-db", base+"-job", base+"-app", base+"-web"
	t.Cleanup(func() { cli.Run(t, "rm", "-f", db, job, app, web) })
	cli.Fails(t, 1, "No such container: "+db, "create", "--name", web, "--depends-on", db, "busybox")
	cli.Fails(t, 1, "the condition is one of started, healthy, completed", "create", "--depends-on", db+":ready", "busybox")
	cli.Fails(t, 1, "would depend on itself", "create", "--name", web, "--depends-on", web, "busybox")

	cli.OK(t, "create", "--name", db, "--health-cmd", "test -e /ready", "--health-interval", "50ms", "--health-retries", "100", "busybox", "sh", "-c", "sleep 0.3; touch /ready; sleep 1000")
	cli.OK(t, "create", "--name", job, "busybox", "sh", "-c", "sleep 0.2; exit 0")
	cli.OK(t, "create", "--name", app, "--depends-on", db+":healthy", "--depends-on", job+":completed", "busybox", "sleep", "1000")
	cli.OK(t, "run", "-d", "--name", web, "--depends-on", app, "busybox", "sleep", "1000")
	inOrder(t, cli, db, job, app, web)
	if s := inspect(t, cli, db).State; s.Health.Status != "healthy" {
		t.Errorf("db: %+v", s.Health)
	}
	if s := inspect(t, cli, job).State; s.Status != "exited" || !startedAt(t, cli, app).After(mustParse(t, s.FinishedAt)) {
		t.Errorf("job: %+v", s)
	}

	// A job that is done is not done again; what is missing or fails is said.
	done := startedAt(t, cli, job)
	cli.OK(t, "stop", "-t", "0", app, db)
	cli.OK(t, "start", app)
	if again := startedAt(t, cli, job); !again.Equal(done) {
		t.Errorf("the job ran again")
	}
	cli.OK(t, "rm", "-f", app, job)
	cli.OK(t, "stop", "-t", "0", web)
	cli.Fails(t, 1, web+" depends on "+app+", which does not exist", "start", web)
	cli.OK(t, "create", "--name", job, "busybox", "sh", "-c", "exit 6")
	cli.OK(t, "create", "--name", app, "--depends-on", job+":completed", "busybox", "sleep", "1000")
	cli.Fails(t, 1, app+" depends on "+job+": it did not complete: exit code 6", "start", web)

	cli.Fails(t, 125, "it did not complete: exit code 6", "run", "--rm", "--name", web+"-2", "--depends-on", job+":completed", "busybox", "true")
	cli.Fails(t, 1, "No such", "inspect", "--type", "container", web+"-2")

	// A circle may come about by names.
	cli.OK(t, "rm", job)
	cli.Fails(t, 1, "would depend on itself: "+job+" -> "+web+" -> "+app+" -> "+job, "create", "--name", job, "--depends-on", web, "busybox")
	cli.OK(t, "create", "--name", job+"-2", "--depends-on", web, "busybox")
	t.Cleanup(func() { cli.Run(t, "rm", "-f", job+"-2") })
	cli.OK(t, "rename", job+"-2", job)
	cli.Fails(t, 1, "depends on itself", "start", web)
}

func mustParse(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestOrderAfterBoot starts containers by their policies, one after the other.
func TestOrderAfterBoot(t *testing.T) {
	e := enginetest.Start(t, enginetest.Config{})
	e.Busybox(t)
	cli := e.Davit()
	health := []string{"--health-cmd", "test -e /ready", "--health-interval", "50ms", "--health-retries", "100"}
	ready := []string{"busybox", "sh", "-c", "rm -f /ready; sleep 0.3; touch /ready; sleep 1000"}
	compose := func(service, on string) []string {
		return []string{"--restart", "always", "--label", "com.docker.compose.project=p", "--label", "com.docker.compose.service=" + service, "--label", "com.docker.compose.depends_on=" + on}
	}
	run := func(n string, parts ...[]string) {
		args := []string{"run", "-d", "--name", n}
		for _, p := range parts {
			args = append(args, p...)
		}
		cli.OK(t, args...)
	}
	sleep := []string{"busybox", "sleep", "1000"}
	run("db", health, ready) // without a policy: it is started because somebody needs it
	run("web", []string{"--restart", "always", "--depends-on", "db:healthy"}, sleep)
	run("side", []string{"--restart", "always", "--network", "container:web"}, sleep)
	run("p-db", compose("db", ""), health, ready)
	run("p-web", compose("web", "db:service_healthy:true"), sleep)
	cli.OK(t, "stop", "-t", "0", "side", "web", "db", "p-web", "p-db")
	e.Kill(t)
	e.Restart(t)
	for _, n := range []string{"db", "web", "side", "p-db", "p-web"} {
		becomes(t, cli, n, "{{.State.Status}}", "running")
	}
	inOrder(t, cli, "db", "web", "side")
	inOrder(t, cli, "p-db", "p-web")
	for _, n := range []string{"db", "p-db"} {
		if s := inspect(t, cli, n).State.Health; s.Status != "healthy" {
			t.Errorf("%s is %s", n, s.Status)
		}
	}
}
