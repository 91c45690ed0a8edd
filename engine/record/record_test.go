package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/moby/moby/api/types/container"
)

func sample() *Container {
	return &Container{
		ID: strings.Repeat("ab", 32), Name: "calm_otter", Created: time.Now().UTC(),
		Config: &container.Config{Image: "hello"}, HostConfig: &container.HostConfig{}, Path: "/hello",
		State: State{Status: container.StateCreated},
	}
}

func TestStoreRoundTrip(t *testing.T) {
	root := filepath.Join(t.TempDir(), "containers")
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	c := sample()
	for _, durable := range []bool{true, false} {
		if err := s.Create(c, durable, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Create(c, durable, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("creating twice: %v", err)
		}
		got, err := s.Load(c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("got %+v, want %+v", got, c)
		}
		if ids, err := s.IDs(); err != nil || !reflect.DeepEqual(ids, []string{c.ID}) {
			t.Errorf("ids %v, %v", ids, err)
		}
		purge, err := s.Remove(c.ID, durable)
		if err != nil {
			t.Fatal(err)
		}
		if ids, _ := s.IDs(); len(ids) != 0 {
			t.Errorf("still listed: %v", ids)
		}
		if err := purge(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenFinishesRemovals(t *testing.T) {
	root := t.TempDir()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	c := sample()
	if err := s.Create(c, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(c.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.trash()); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDecodeRefuses(t *testing.T) {
	id := sample().ID
	for name, data := range map[string]string{
		"truncated": `{"ID":"` + id,
		"other id":  `{"Format":1,"ID":"x","Name":"n","Config":{},"HostConfig":{},"State":{"Status":"exited"}}`,
		"no config": `{"Format":1,"ID":"` + id + `","Name":"n","HostConfig":{},"State":{"Status":"exited"}}`,
		"bad state": `{"Format":1,"ID":"` + id + `","Name":"n","Config":{},"HostConfig":{},"State":{"Status":"asleep"}}`,
		"newer":     `{"Format":99,"ID":"` + id + `","Name":"n","Config":{},"HostConfig":{},"State":{"Status":"exited"}}`,
	} {
		if _, err := Decode(id, []byte(data)); !errs.Is(err, errs.System) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTransitions(t *testing.T) {
	for _, c := range []struct {
		from, to container.ContainerState
		ok       bool
	}{
		{container.StateCreated, container.StateRunning, true},
		{container.StateRunning, container.StateExited, true},
		{container.StateExited, container.StateRunning, true},
		{container.StateRunning, container.StateRemoving, false},
		{container.StateRemoving, container.StateRunning, false},
		{container.StateDead, container.StateRunning, false},
		{container.StateDead, container.StateRemoving, true},
	} {
		s := State{Status: c.from}
		err := s.To(c.to)
		if (err == nil) != c.ok || (err != nil && (s.Status != c.from || !errs.Is(err, errs.Conflict))) {
			t.Errorf("%s -> %s: %v, now %s", c.from, c.to, err, s.Status)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"Format":1,"Name":"n","Config":{},"HostConfig":{},"State":{"Status":"exited"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Decode("id", data); err == nil && (c.Config == nil || c.HostConfig == nil || c.ID != "id") {
			t.Errorf("accepted %+v", c)
		}
	})
}

func TestReadyDirectories(t *testing.T) {
	root := filepath.Join(t.TempDir(), "containers")
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func() int {
		list, err := os.ReadDir(s.nursery())
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if n := waiting(); n != readyDirs {
		t.Errorf("%d directories are ready, want %d", n, readyDirs)
	}
	c := sample()
	if err := s.Create(c, false, nil); err != nil {
		t.Fatal(err)
	}
	if n := waiting(); n != readyDirs-1 {
		t.Errorf("%d directories are left, want %d", n, readyDirs-1)
	}
	if err := s.Create(c, false, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a container was created over another: %v", err)
	}
	if _, err := Open(root); err != nil {
		t.Fatal(err)
	}
	if n := waiting(); n != 0 {
		t.Errorf("an engine that starts again finds %d directories of the one before", n)
	}
}
