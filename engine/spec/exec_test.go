package spec

import (
	"reflect"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestExecProcess(t *testing.T) {
	yes := true
	in := input(func(c *container.Config, h *container.HostConfig) {
		h.Init, h.CapDrop, c.WorkingDir, c.Tty = &yes, []string{"ALL"}, "/srv", true
	})
	p, err := ExecProcess(in, Exec{Args: []string{"sh", "-c", "x"}, Env: []string{"B=2", "A"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"sh", "-c", "x"}; !reflect.DeepEqual(p.Args, want) || p.Cwd != "/srv" || p.Terminal || p.ConsoleSize != nil {
		t.Errorf("%+v", p)
	}
	if want := []string{defaultPath, "HOSTNAME=abc", "B=2", "HOME=/root"}; !reflect.DeepEqual(p.Env, want) {
		t.Errorf("environment %q, want %q", p.Env, want)
	}
	if len(p.Capabilities.Bounding)+len(p.Capabilities.Effective) != 0 {
		t.Errorf("capabilities %+v of a container that has none", p.Capabilities)
	}
	in.User.UID = 1000
	p, err = ExecProcess(in, Exec{Args: []string{"sh"}, Privileged: true, Tty: true, ConsoleSize: [2]uint{24, 80}, WorkingDir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Capabilities.Effective) != len(allCapabilities()) || p.User.UID != 1000 || p.Cwd != "/" || p.ConsoleSize == nil || p.ConsoleSize.Width != 80 {
		t.Errorf("%+v", p)
	}
	if in.Container.Config.WorkingDir != "/srv" || len(in.Container.Config.Env) != 1 {
		t.Error("the container's record was changed")
	}
}
