package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	volumetypes "github.com/moby/moby/api/types/volume"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/event"
	"github.com/davit-engine/davit/volume"
)

// bareWithVolumes gives a bare engine volumes and events, and returns what is
// published from then on, as "action name".
func bareWithVolumes(t *testing.T, recs ...*record.Container) (*Engine, func() []string) {
	t.Helper()
	e := bare(recs...)
	var err error
	if e.cfg.Volumes, err = volume.Open(t.TempDir(), nil); err != nil {
		t.Fatal(err)
	}
	e.cfg.Events = event.New()
	watch := e.cfg.Events.Subscribe(time.Time{}, time.Time{}, func(m events.Message) bool { return m.Type == events.VolumeEventType })
	t.Cleanup(watch.Cancel)
	return e, func() (got []string) {
		for {
			select {
			case m := <-watch.Live:
				got = append(got, strings.TrimSpace(string(m.Action)+" "+m.Actor.ID))
			default:
				return got
			}
		}
	}
}

func TestVolumeFilters(t *testing.T) {
	e, _ := bareWithVolumes(t)
	v := e.Volumes()
	ctx := t.Context()
	for _, r := range []volumetypes.CreateRequest{{Name: "web-data", Labels: map[string]string{"tier": "front"}}, {Name: "db-data", Labels: map[string]string{"tier": "back", "keep": ""}}, {Name: "cache"}} {
		if _, err := v.Create(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.cfg.Volumes.Hold("db-data", "c"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		filters, want string
		kind          errs.Kind
	}{
		{"", "cache db-data web-data", 0},
		{"dangling=true", "cache web-data", 0},
		{"dangling=0", "db-data", 0},
		{"dangling=perhaps", "", errs.InvalidParameter},
		{"dangling=true dangling=false", "", errs.InvalidParameter},
		{"name=data", "db-data web-data", 0},
		{"name=^db name=^ca", "cache db-data", 0},
		{"name=(", "", errs.InvalidParameter},
		{"label=tier", "db-data web-data", 0},
		{"label=tier=back label=keep", "db-data", 0},
		{"label!=keep", "cache web-data", 0},
		{"driver=local name=cache", "cache", 0},
		{"driver=other", "", 0},
		{"colour=red", "", errs.InvalidParameter},
	} {
		filters := map[string]map[string]bool{}
		for _, f := range strings.Fields(c.filters) {
			key, value, _ := strings.Cut(f, "=")
			if filters[key] == nil {
				filters[key] = map[string]bool{}
			}
			filters[key][value] = true
		}
		list, err := v.List(ctx, filters)
		var names []string
		for _, l := range list {
			names = append(names, l.Name)
		}
		if got := strings.Join(names, " "); got != c.want || errs.KindOf(err) != c.kind {
			t.Errorf("%s: %q, %v", c.filters, got, err)
		}
	}
}

func TestVolumePruneRules(t *testing.T) {
	e, published := bareWithVolumes(t)
	v, ctx := e.Volumes(), t.Context()
	make := func(r volumetypes.CreateRequest) string {
		t.Helper()
		made, err := v.Create(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(made.Mountpoint, "f"), []byte("12345"), 0o600); err != nil {
			t.Fatal(err)
		}
		return made.Name
	}
	loose, held := make(volumetypes.CreateRequest{}), make(volumetypes.CreateRequest{})
	make(volumetypes.CreateRequest{Name: "named"})
	make(volumetypes.CreateRequest{Name: "labelled", Labels: map[string]string{"keep": ""}})
	if err := e.cfg.Volumes.Hold(held, "c"); err != nil {
		t.Fatal(err)
	}
	if usage, err := v.Usage(ctx); err != nil || len(usage) != 4 || usage[0].UsageData.Size != 5 {
		t.Errorf("%+v, %v", usage, err)
	}
	published()
	report, err := v.Prune(ctx, nil)
	if err != nil || !slices.Equal(report.VolumesDeleted, []string{loose}) || report.SpaceReclaimed != 5 {
		t.Errorf("%+v, %v", report, err)
	}
	if got := published(); !slices.Equal(got, []string{"destroy " + loose, "prune"}) {
		t.Errorf("published %v", got)
	}
	report, err = v.Prune(ctx, map[string]map[string]bool{"all": {"true": true}, "label!": {"keep": true}})
	if err != nil || !slices.Equal(report.VolumesDeleted, []string{"named"}) {
		t.Errorf("%+v, %v", report, err)
	}
	for _, f := range []string{"until", "dangling", "driver"} {
		if _, err := v.Prune(ctx, map[string]map[string]bool{f: {"1h": true}}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", f, err)
		}
	}
	v.m.pruning.Lock()
	if _, err := v.Prune(ctx, nil); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "already running") {
		t.Errorf("two at once: %v", err)
	}
	v.m.pruning.Unlock()
}

// TestInheritedMounts: what comes from other containers gives way to the
// container's own, and of two to the later.
func TestInheritedMounts(t *testing.T) {
	mounts := func(names ...string) func(*record.Container) {
		return func(r *record.Container) {
			for _, n := range names {
				r.Mounts = append(r.Mounts, record.Mount{Type: "bind", Source: "/" + r.Name, Destination: n, RW: true, Options: []string{"rbind"}})
			}
			r.Mounts = append(r.Mounts, record.Mount{Type: "tmpfs", Destination: "/hidden", Hidden: true})
		}
	}
	e, _ := bareWithVolumes(t, rec("a1", "first", mounts("/one", "/both", "/own")), rec("b2", "second", mounts("/both")))
	r := rec("c3", "mine", func(r *record.Container) {
		r.HostConfig.VolumesFrom = []string{"first:ro", "second"}
		r.HostConfig.Tmpfs = map[string]string{"/own": ""}
	})
	var taken undo
	if err := e.keeper.mounts.settle(t.Context(), r, &taken); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range r.Mounts {
		got = append(got, fmt.Sprintf("%s %s%s %v", m.Type, m.Source, m.Destination, m.RW))
	}
	if want := []string{"bind /first/one false", "bind /second/both true", "tmpfs /own true"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	r.HostConfig.VolumesFrom = []string{"nobody"}
	if err := e.keeper.mounts.settle(t.Context(), r, &taken); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("%v", err)
	}
}

// TestNothingIsRemovedEarly: while containers are being found, a volume that
// one lets go of may be another's.
func TestNothingIsRemovedEarly(t *testing.T) {
	e, published := bareWithVolumes(t)
	m := e.keeper.mounts
	r := rec("a1", "ended", func(r *record.Container) { r.Config.Volumes = map[string]struct{}{"/v": {}, "/w": {}} })
	other := rec("b2", "other", nil)
	if err := m.settle(t.Context(), r, new(undo)); err != nil {
		t.Fatal(err)
	}
	shared, own := r.Mounts[0], r.Mounts[1]
	other.Mounts = []record.Mount{shared}
	m.forget(r, true)
	m.restore(t.Context(), other)
	for _, n := range []string{shared.Name, own.Name} {
		if _, err := e.cfg.Volumes.Get(n); err != nil {
			t.Errorf("removed before all containers were found: %v", err)
		}
	}
	published()
	m.restored()
	e.work.Wait()
	if got := published(); !slices.Equal(got, []string{"destroy " + own.Name}) {
		t.Errorf("published %v", got)
	}
	if _, err := e.cfg.Volumes.Get(shared.Name); err != nil {
		t.Errorf("another container's volume is gone: %v", err)
	}
	m.forget(other, true)
	if _, err := e.cfg.Volumes.Get(shared.Name); !errs.Is(err, errs.NotFound) {
		t.Errorf("its last container's volume: %v", err)
	}
	e.work.Wait()
}

func TestLayerSize(t *testing.T) {
	for _, c := range []struct {
		opts map[string]string
		want int64
		bad  bool
	}{
		{nil, 0, false}, {map[string]string{"size": "0"}, 0, false}, {map[string]string{"size": "10m"}, 10 << 20, false},
		{map[string]string{"size": "-1"}, 0, true}, {map[string]string{"size": ""}, 0, true}, {map[string]string{"dm.basesize": "1g"}, 0, true},
	} {
		got, err := layerSize(&container.HostConfig{StorageOpt: c.opts})
		if got != c.want || (err != nil) != c.bad || err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%v: %d, %v", c.opts, got, err)
		}
	}
}
