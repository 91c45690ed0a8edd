package health

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

func TestOf(t *testing.T) {
	full := Check{Interval: 30 * time.Second, Timeout: 30 * time.Second, StartInterval: 5 * time.Second, Retries: 3}
	with := func(change func(*Check)) Check { c := full; change(&c); return c }
	for _, c := range []struct {
		name   string
		config container.Config
		want   Check
		ok     bool
	}{
		{"nothing", container.Config{}, Check{}, false},
		{"none", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}}, Check{}, false},
		{"options alone", container.Config{Healthcheck: &container.HealthConfig{Retries: 2}}, Check{}, false},
		{"unknown", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"curl", "x"}}}, Check{}, false},
		{"command", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "a", "b"}}},
			with(func(c *Check) { c.Command = []string{"a", "b"} }), true},
		{"shell", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD-SHELL", "a b"}}},
			with(func(c *Check) { c.Command = []string{"/bin/sh", "-c", "a b"} }), true},
		{"image's shell", container.Config{Shell: []string{"bash", "-ec"}, Healthcheck: &container.HealthConfig{Test: []string{"CMD-SHELL", "a"}}},
			with(func(c *Check) { c.Command = []string{"bash", "-ec", "a"} }), true},
		{"nonsense", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "a"}, Interval: -1, Timeout: -1, StartInterval: -1, Retries: -1}},
			with(func(c *Check) { c.Command = []string{"a"} }), true},
		{"all set", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "a"}, Interval: 1, Timeout: 2, StartPeriod: 3, StartInterval: 4, Retries: 5}},
			Check{Command: []string{"a"}, Interval: 1, Timeout: 2, StartPeriod: 3, StartInterval: 4, Retries: 5}, true},
	} {
		if got, ok := Of(&c.config); ok != c.ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v %v, want %+v %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		config *container.HealthConfig
		text   string
	}{
		{nil, ""},
		{&container.HealthConfig{}, ""},
		{&container.HealthConfig{Test: []string{"NONE"}}, ""},
		{&container.HealthConfig{Test: []string{"CMD", "x"}, Interval: time.Millisecond}, ""},
		{&container.HealthConfig{Interval: 999 * time.Microsecond}, "Interval in Healthcheck cannot be less than 1ms"},
		{&container.HealthConfig{Timeout: -1}, "Timeout in Healthcheck cannot be less than 1ms"},
		{&container.HealthConfig{StartPeriod: 1}, "StartPeriod in Healthcheck cannot be less than 1ms"},
		{&container.HealthConfig{StartInterval: 1}, "StartInterval in Healthcheck cannot be less than 1ms"},
		{&container.HealthConfig{Retries: -1}, "Retries in Healthcheck cannot be negative"},
		{&container.HealthConfig{Test: []string{"CMD"}}, "no command after CMD"},
		{&container.HealthConfig{Test: []string{"CMD-SHELL", ""}}, "no command after CMD-SHELL"},
		{&container.HealthConfig{Test: []string{"curl"}}, `must begin with NONE, CMD or CMD-SHELL, not "curl"`},
	} {
		err := Validate(c.config)
		if (err == nil) != (c.text == "") || err != nil && (!strings.Contains(err.Error(), c.text) || !errs.Is(err, errs.InvalidParameter)) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.text)
		}
	}
}

func TestMerge(t *testing.T) {
	image := &container.HealthConfig{Test: []string{"CMD", "image"}, Interval: 1, Timeout: 2, StartPeriod: 3, StartInterval: 4, Retries: 5}
	for _, c := range []struct {
		name              string
		user, image, want *container.HealthConfig
	}{
		{"neither", nil, nil, nil},
		{"image's", nil, image, image},
		{"user's", &container.HealthConfig{Retries: 2}, nil, &container.HealthConfig{Retries: 2}},
		{"none", &container.HealthConfig{Test: []string{"NONE"}}, image, &container.HealthConfig{Test: []string{"NONE"}}},
		{"options", &container.HealthConfig{Retries: 2}, image, &container.HealthConfig{Test: []string{"CMD", "image"}, Interval: 1, Timeout: 2, StartPeriod: 3, StartInterval: 4, Retries: 2}},
		{"test", &container.HealthConfig{Test: []string{"CMD", "user"}, Interval: 9}, image, &container.HealthConfig{Test: []string{"CMD", "user"}, Interval: 9, Timeout: 2, StartPeriod: 3, StartInterval: 4, Retries: 5}},
	} {
		if got := Merge(c.user, c.image); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestNext plays rows of results, each an exit code at a second since the
// start.
func TestNext(t *testing.T) {
	c := Check{Interval: 30 * time.Second, StartPeriod: 10 * time.Second, StartInterval: time.Second, Retries: 2}
	for _, row := range []struct {
		name    string
		results [][2]int // second, exit code
		want    []string // status and streak after each
		wait    time.Duration
	}{
		{"healthy at once", [][2]int{{1, 0}}, []string{"healthy 0"}, 30 * time.Second},
		{"failures in the start period do not count", [][2]int{{1, 1}, {2, 1}, {9, 1}}, []string{"starting 0", "starting 0", "starting 0"}, time.Second},
		{"after it they do", [][2]int{{9, 1}, {10, 1}, {40, -1}}, []string{"starting 0", "starting 1", "unhealthy 2"}, 30 * time.Second},
		{"and in it after a success", [][2]int{{1, 0}, {2, 1}, {3, 137}}, []string{"healthy 0", "healthy 1", "unhealthy 2"}, 30 * time.Second},
		{"a success ends the row", [][2]int{{20, 1}, {50, 0}, {80, 1}, {110, 1}, {140, 0}}, []string{"starting 1", "healthy 0", "healthy 1", "unhealthy 2", "healthy 0"}, 30 * time.Second},
	} {
		h := Begin(nil)
		for i, r := range row.results {
			running := time.Duration(r[0]) * time.Second
			before := *h
			n := c.Next(h, &container.HealthcheckResult{ExitCode: r[1]}, running)
			if !reflect.DeepEqual(*h, before) {
				t.Fatal("a health was changed in place")
			}
			h = n
			if got := fmt.Sprintf("%s %d", h.Status, h.FailingStreak); got != row.want[i] {
				t.Errorf("%s: after %d results %s, want %s", row.name, i+1, got, row.want[i])
			}
			if got := c.Wait(h, running); i == len(row.results)-1 && got != row.wait {
				t.Errorf("%s: then waits %v, want %v", row.name, got, row.wait)
			}
		}
	}
}

func TestLog(t *testing.T) {
	c := Check{Retries: 3}
	h := Begin(nil)
	for i := range 12 {
		h = c.Next(h, &container.HealthcheckResult{ExitCode: i}, time.Minute)
		if want := min(i+1, logged); len(h.Log) != want || h.Log[want-1].ExitCode != i || h.Log[0].ExitCode != max(0, i+1-logged) {
			t.Fatalf("after %d results the log has %d, from %d to %d", i+1, len(h.Log), h.Log[0].ExitCode, h.Log[len(h.Log)-1].ExitCode)
		}
	}
	if again := Begin(h); again.Status != container.Starting || again.FailingStreak != 0 || len(again.Log) != logged {
		t.Errorf("a new run begins with %+v", again)
	}
}

func TestOutput(t *testing.T) {
	if got := Output([]byte("fine\n")); got != "fine\n" {
		t.Errorf("%q", got)
	}
	if got := Output([]byte(strings.Repeat("x", OutputLimit+1))); len(got) != OutputLimit+3 || !strings.HasSuffix(got, "x...") {
		t.Errorf("%d bytes", len(got))
	}
	c := Check{Timeout: 2 * time.Second}
	if got := c.LateOutput(nil); got != "Health check exceeded timeout (2s)" {
		t.Errorf("%q", got)
	}
	if got := c.LateOutput([]byte("so far")); got != "Health check exceeded timeout (2s): so far" {
		t.Errorf("%q", got)
	}
}

func TestParseAction(t *testing.T) {
	for text, want := range map[string]Action{"": Nothing, "none": Nothing, "kill": Kill, "restart": Restart, "stop": Stop} {
		if got, err := ParseAction(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := ParseAction("reboot"); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("%v", err)
	}
}
