package image

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/errs"
)

// pinned makes an image and pins a container to it.
func pinned(t *testing.T, s *Store, name, container string, changes ...string) Image {
	t.Helper()
	importImage(t, s, name, changes...)
	img, err := s.Get(t.Context(), name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(t.Context(), container, img); err != nil {
		t.Fatal(err)
	}
	return img
}

// containers lists those that are pinned to a manifest.
func (p *pins) containers(manifest digest.Digest) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.by[manifest]))
}

func namesOf(t *testing.T, s *Store) []string {
	t.Helper()
	list, err := s.List(t.Context(), ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, sum := range list {
		name := strings.Join(sum.RepoTags, " ")
		if name == "" {
			name = "<none>"
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func TestPrune(t *testing.T) {
	set := func(pairs ...string) map[string]map[string]bool {
		m := map[string]map[string]bool{}
		for _, p := range pairs {
			k, v, _ := strings.Cut(p, "=")
			if m[k] == nil {
				m[k] = map[string]bool{}
			}
			m[k][v] = true
		}
		return m
	}
	all := []string{"<none>", "<none>", "free:1 free:2", "labelled:1", "used:1 used:2"}
	for _, c := range []struct {
		name    string
		filters map[string]map[string]bool
		left    []string
		deleted int
	}{
		{"dangling by default", nil, []string{"<none>", "free:1 free:2", "labelled:1", "used:1 used:2"}, 1},
		{"dangling", set("dangling=true"), []string{"<none>", "free:1 free:2", "labelled:1", "used:1 used:2"}, 1},
		{"all", set("dangling=false"), []string{"<none>", "used:1 used:2"}, 3},
		{"all with a label", set("dangling=0", "label=x"), []string{"<none>", "<none>", "free:1 free:2", "used:1 used:2"}, 1},
		{"all without a label", set("dangling=0", "label!=x"), []string{"<none>", "labelled:1", "used:1 used:2"}, 2},
		{"old ones", set("dangling=0", "until=1h"), all, 0},
		{"young ones", set("dangling=0", "until=2100-01-01"), []string{"<none>", "used:1 used:2"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t)
			used := pinned(t, s, "used:1", "c1")
			importImage(t, s, "free:1")
			importImage(t, s, "labelled:1", "LABEL x=1")
			for _, tag := range []string{"used", "free"} {
				if _, err := s.Tag(t.Context(), tag+":1", mustRef(t, tag+":2")); err != nil {
					t.Fatal(err)
				}
			}
			importImage(t, s, "") // dangling
			pinned(t, s, "lost:1", "c2", "ENV a=b")
			importImage(t, s, "lost:1", "ENV a=c") // takes the name away from one that is in use
			if _, err := s.Remove(t.Context(), "lost:1", RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := namesOf(t, s); !slices.Equal(got, all) {
				t.Fatalf("before: %q", got)
			}
			before, err := s.DiskUsage(t.Context(), s.pins.containers)
			if err != nil {
				t.Fatal(err)
			}
			report, err := s.Prune(t.Context(), PruneOptions{Filters: c.filters})
			if err != nil {
				t.Fatal(err)
			}
			deleted := 0
			for _, d := range report.ImagesDeleted {
				if d.Deleted != "" {
					deleted++
				}
			}
			if got := namesOf(t, s); !slices.Equal(got, c.left) || deleted != c.deleted {
				t.Errorf("left %q, %d deleted: %+v", got, deleted, report)
			}
			after, err := s.DiskUsage(t.Context(), s.pins.containers)
			if err != nil {
				t.Fatal(err)
			}
			if freed := before.TotalSize - after.TotalSize; uint64(freed) != report.SpaceReclaimed {
				t.Errorf("%d bytes are said to be free, and %d are", report.SpaceReclaimed, freed)
			}
			if len(c.left) == 2 && (before.Reclaimable != int64(report.SpaceReclaimed) || after.Reclaimable != 0) {
				t.Errorf("reclaimable before %d, after %d; reclaimed %d", before.Reclaimable, after.Reclaimable, report.SpaceReclaimed)
			}
			if before.TotalCount != int64(len(all)) || before.ActiveCount != 2 {
				t.Errorf("%d images, %d in use", before.TotalCount, before.ActiveCount)
			}
			if again, err := s.Get(t.Context(), "used:2", nil); err != nil || again.ID != used.ID {
				t.Errorf("what is in use: %v, %v", again.ID, err)
			}
		})
	}
	s := openStore(t)
	for _, bad := range []map[string]map[string]bool{set("reference=a"), set("dangling=maybe"), set("dangling=true", "dangling=false"), set("until=x"), set("before=a")} {
		if _, err := s.Prune(t.Context(), PruneOptions{Filters: bad}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestPruneOfWhatIsLeft: a container that was removed, and is about to be
// unpinned, does not keep its image, but its layers.
func TestPruneOfWhatIsLeft(t *testing.T) {
	s := openStore(t)
	img := pinned(t, s, "a:1", "c1")
	report, err := s.Prune(t.Context(), PruneOptions{Filters: map[string]map[string]bool{"dangling": {"false": true}}, Gone: func(c string) bool { return c == "c1" }})
	if err != nil || len(report.ImagesDeleted) != 2 || len(namesOf(t, s)) != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	s.collector.now(s.st.context(t.Context()))
	if kept, err := s.GetManifest(t.Context(), img.Target, img.Manifest); err != nil || len(kept.Lower) != 1 {
		t.Errorf("%+v, %v", kept, err)
	}
	if err := s.Unpin(t.Context(), "c1", img.Manifest.Digest); err != nil {
		t.Fatal(err)
	}
	holds(t, s, 0)
}

// TestDiskUsageCountsSharedLayersOnce: two images over one layer.
func TestDiskUsageCountsSharedLayersOnce(t *testing.T) {
	s := openStore(t)
	// The same archive twice: layer and blob are one, configurations differ.
	archive := makeTar(t, file("same", noise(100000, 1)))
	for _, name := range []string{"one:1", "two:1"} {
		if _, err := s.Import(t.Context(), bytes.NewReader(archive), ImportOptions{Ref: mustRef(t, name), Changes: []string{"ENV n=" + name}}); err != nil {
			t.Fatal(err)
		}
	}
	u, err := s.DiskUsage(t.Context(), s.pins.containers)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.Items) != 2 || u.Items[0].SharedSize < 100000 || u.TotalSize >= u.Items[0].Size+u.Items[1].Size-100000 || u.TotalSize < u.Items[0].Size || u.Reclaimable != u.TotalSize {
		t.Errorf("total %d, reclaimable %d, of %+v", u.TotalSize, u.Reclaimable, u.Items)
	}
}
