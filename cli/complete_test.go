package cli

import (
	"strings"
	"testing"
)

// TestCompletion asks what the shells' scripts ask.
func TestCompletion(t *testing.T) {
	engine := stage(t)
	for _, c := range []struct {
		words []string
		want  []string // each has to be offered
		not   string   // must not be
	}{
		{[]string{"p"}, []string{"ps\t", "pull\t", "push\t"}, "run"},
		{[]string{"stop", ""}, []string{"web\tnginx, Up 3 hours", "done\t"}, "other/alias"},
		{[]string{"stop", "web", ""}, []string{"done\t"}, "web\t"},
		{[]string{"logs", "web", ""}, nil, "done"},
		{[]string{"container", "rm", ""}, []string{"web\t"}, ""},
		{[]string{"run", ""}, []string{"nginx:latest", "localhost:5000/team/nginx:1.2"}, "web"},
		{[]string{"run", "-it", "--rm", "nginx", ""}, nil, "nginx:latest"},
		{[]string{"run", "--pull", ""}, []string{"always", "missing", "never"}, ""},
		{[]string{"run", "--restart", "u"}, []string{"unless-stopped"}, ""},
		{[]string{"kill", "-s", "SIGK"}, []string{"SIGKILL"}, ""},
		{[]string{"ps", "--filter", "na"}, []string{"name="}, ""},
		{[]string{"inspect", "--type", ""}, []string{"container", "image"}, ""},
		{[]string{"inspect", ""}, []string{"web\t", "nginx:latest"}, ""},
		{[]string{"run", "-v", "w"}, []string{"web-data:"}, ""},
		{[]string{"run", "-v", "/"}, nil, "web-data"},
		{[]string{"volume", "rm", ""}, []string{"web-data"}, "web\t"},
		{[]string{"volume", "rm", "web-data", ""}, nil, "web-data"},
		{[]string{"volume", "ls", "--filter", "d"}, []string{"dangling=", "driver="}, ""},
		{[]string{"run", "--mem"}, []string{"--memory", "--memory-swap"}, "--cpus"},
	} {
		got := invocation{engine: engine}.run(t, append([]string{"__complete"}, c.words...)...)
		for _, want := range c.want {
			if !strings.Contains("\n"+got.stdout, "\n"+want) {
				t.Errorf("%v: no %q in %q", c.words, want, got.stdout)
			}
		}
		if c.not != "" && strings.Contains("\n"+got.stdout, "\n"+c.not) {
			t.Errorf("%v: %q in %q", c.words, c.not, got.stdout)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := (invocation{engine: engine}).run(t, "completion", shell); got.status != 0 || !strings.Contains(got.stdout, "davit") {
			t.Errorf("%s: %d, %.80q", shell, got.status, got.stdout)
		}
	}
	if got := (invocation{}).run(t, "-H", "unix:///nowhere", "__complete", "stop", ""); got.status != 0 {
		t.Errorf("without an engine: %+v", got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"run", "run", 0}, {"rnu", "run", 1}, {"rn", "run", 1}, {"runn", "run", 1}, {"rum", "run", 1}, {"", "run", 3}, {"strat", "start", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: %d", c.a, c.b, got)
		}
	}
}
