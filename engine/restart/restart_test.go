package restart

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

var (
	none          = container.RestartPolicy{Name: container.RestartPolicyDisabled}
	always        = container.RestartPolicy{Name: container.RestartPolicyAlways}
	unlessStopped = container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	onFailure     = container.RestartPolicy{Name: container.RestartPolicyOnFailure}
	twice         = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 2}
)

func TestAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy container.RestartPolicy
		run    Run
		again  bool
		wait   time.Duration
	}{
		{"no policy", container.RestartPolicy{}, Run{ExitCode: 1}, false, 0},
		{"no", none, Run{ExitCode: 1}, false, 0},
		{"always, success", always, Run{}, true, shortest},
		{"always, failure", always, Run{ExitCode: 1}, true, shortest},
		{"always, stopped", always, Run{Manual: true}, false, 0},
		{"unless-stopped, success", unlessStopped, Run{}, true, shortest},
		{"unless-stopped, stopped", unlessStopped, Run{Manual: true}, false, 0},
		{"on-failure, success", onFailure, Run{}, false, 0},
		{"on-failure, failure", onFailure, Run{ExitCode: 1}, true, shortest},
		{"on-failure, stopped", onFailure, Run{ExitCode: 137, Manual: true}, false, 0},
		{"on-failure, many times", onFailure, Run{ExitCode: 1, Restarts: 1000, Waited: longest}, true, longest},
		{"on-failure:2, first", twice, Run{ExitCode: 1}, true, shortest},
		{"on-failure:2, second", twice, Run{ExitCode: 1, Restarts: 1, Waited: shortest}, true, 2 * shortest},
		{"on-failure:2, third", twice, Run{ExitCode: 1, Restarts: 2, Waited: 2 * shortest}, false, 0},
		{"doubled", always, Run{Restarts: 1, Waited: 400 * time.Millisecond, Lasted: 9 * time.Second}, true, 800 * time.Millisecond},
		{"never over a minute", always, Run{Restarts: 12, Waited: 51200 * time.Millisecond}, true, longest},
		{"reset by a long run", always, Run{Restarts: 12, Waited: longest, Lasted: lasting}, true, shortest},
	} {
		if again, wait := Again(c.policy, c.run); again != c.again || wait != c.wait {
			t.Errorf("%s: %v after %v, want %v after %v", c.name, again, wait, c.again, c.wait)
		}
	}
}

func TestAtBoot(t *testing.T) {
	for _, c := range []struct {
		policy container.RestartPolicy
		manual bool
		want   bool
	}{
		{container.RestartPolicy{}, false, false}, {none, false, false},
		{always, false, true}, {always, true, true},
		{unlessStopped, false, true}, {unlessStopped, true, false},
		{onFailure, false, false}, {onFailure, true, false},
	} {
		if got := AtBoot(c.policy, c.manual); got != c.want {
			t.Errorf("%s, manual %v: %v, want %v", c.policy.Name, c.manual, got, c.want)
		}
	}
}
