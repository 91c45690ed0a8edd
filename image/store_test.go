package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/klauspost/compress/zstd"
	imagetypes "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/davit-engine/davit/errs"
)

// importImage makes an image without a registry.
func importImage(t testing.TB, s *Store, name string, changes ...string) digest.Digest {
	t.Helper()
	o := ImportOptions{Changes: changes}
	if name != "" {
		o.Ref = mustRef(t, name)
	}
	id, err := s.Import(t.Context(), bytes.NewReader(makeTar(t, file("name", name+strings.Join(changes, "")))), o)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestGet(t *testing.T) {
	s := openStore(t)
	id := importImage(t, s, "hello", `CMD ["/hello"]`)
	other := importImage(t, s, "abcd:1")
	for ref, want := range map[string]digest.Digest{
		"hello": id, "hello:latest": id, "docker.io/library/hello": id, "library/hello:latest": id,
		id.String(): id, id.Encoded(): id, id.Encoded()[:12]: id, "sha256:" + id.Encoded()[:6]: id,
		"hello@" + id.String(): id, "abcd:1": other,
	} {
		got, err := s.Get(t.Context(), ref, nil)
		if err != nil || got.ID != want {
			t.Errorf("%s: %v %v", ref, got.ID, err)
		}
	}
	for ref, text := range map[string]string{
		"nope":                 "No such image: nope:latest",
		"nope:1":               "No such image: nope:1",
		"other@" + id.String(): "No such image: other@" + id.String(),
		"ffffffffffff":         "No such image: ffffffffffff:latest",
		"abc":                  "No such image: abc:latest",
	} {
		if _, err := s.Get(t.Context(), ref, nil); !errs.Is(err, errs.NotFound) || err.Error() != text {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := s.Get(t.Context(), "UPPER CASE", nil); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("bad name: %v", err)
	}
	img, err := s.Get(t.Context(), "hello", nil)
	if err != nil || img.Name != "hello:latest" || !slices.Equal(img.Config.Config.Cmd, []string{"/hello"}) || len(img.Lower) != 1 || img.Platform.OS != "linux" {
		t.Errorf("%+v %v", img, err)
	}
	if img, err := s.Get(t.Context(), id.Encoded()[:12], nil); err != nil || img.Name != "" {
		t.Errorf("by ID: name %q %v", img.Name, err)
	}
	// A change of the name is seen at once.
	if _, err := s.Tag(t.Context(), "abcd:1", mustRef(t, "hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "hello", nil); err != nil || got.ID != other {
		t.Errorf("after tag: %v %v", got.ID, err)
	}
}

func TestCacheForgetsWhatChangedMeanwhile(t *testing.T) {
	var c cache
	q := question{ref: "x"}
	_, generation, _ := c.get(q)
	c.clear()
	c.put(q, generation, Image{Name: "old"})
	if _, _, ok := c.get(q); ok {
		t.Error("an answer of before a change was kept")
	}
	_, generation, _ = c.get(q)
	c.put(q, generation, Image{Name: "new"})
	if img, _, ok := c.get(q); !ok || img.Name != "new" {
		t.Error("an answer was not kept")
	}
}

func TestTag(t *testing.T) {
	s := openStore(t)
	a, b := importImage(t, s, "a"), importImage(t, s, "b")
	if id, err := s.Tag(t.Context(), "a", mustRef(t, "example.com:5000/x/y:v1")); err != nil || id != a {
		t.Fatal(id, err)
	}
	resp, err := s.Inspect(t.Context(), "example.com:5000/x/y:v1", InspectOptions{})
	if err != nil || !slices.Equal(resp.RepoTags, []string{"a:latest", "example.com:5000/x/y:v1"}) {
		t.Errorf("%q %v", resp.RepoTags, err)
	}
	if _, err := s.Tag(t.Context(), "b", mustRef(t, "a")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "a", nil); err != nil || got.ID != b {
		t.Error(got.ID, err)
	}
	if _, err := s.Tag(t.Context(), "nope", mustRef(t, "c")); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	if _, err := s.Tag(t.Context(), "a", mustRef(t, "c@"+a.String())); !errs.Is(err, errs.InvalidParameter) {
		t.Error(err)
	}
}

func TestInspectAndHistory(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	img, arm := small(t, 1), buildImage(t, "linux/s390x", makeTar(t, file("arch", "x")))
	index := tr.putIndex(t, "multi", "v1", img, arm)
	pull(t, s, tr.ref(t, "multi:v1"), PullOptions{})
	name := tr.host + "/multi:v1"
	resp, err := s.Inspect(t.Context(), name, InspectOptions{Manifests: true, Containers: func(d digest.Digest) []string { return []string{"c1"} }})
	if err != nil {
		t.Fatal(err)
	}
	host := platforms.DefaultSpec()
	if resp.ID != index.String() || resp.Descriptor.Digest != index || !slices.Equal(resp.RepoTags, []string{name}) ||
		!slices.Equal(resp.RepoDigests, []string{tr.host + "/multi@" + index.String()}) || resp.Comment != "the end" || resp.Author != "somebody" ||
		resp.Os != host.OS || resp.Architecture != host.Architecture || resp.Created != "2023-11-14T22:13:20Z" || resp.RootFS.Type != "layers" ||
		len(resp.RootFS.Layers) != 2 || resp.Config.Cmd[0] != "/hello" || resp.GraphDriver.Name != "overlayfs" || resp.Metadata.LastTagTime.IsZero() || resp.Size < img.desc.Size {
		t.Errorf("%+v", resp)
	}
	if len(resp.Manifests) != 2 || !resp.Manifests[0].Available || resp.Manifests[1].Available || resp.Manifests[0].Kind != imagetypes.ManifestKindImage ||
		resp.Manifests[0].ImageData.Size.Unpacked == 0 || resp.Manifests[0].ImageData.Containers[0] != "c1" || resp.Manifests[1].ImageData.Platform.Architecture != "s390x" {
		t.Errorf("%+v", resp.Manifests)
	}
	p := img.config.Platform
	if resp, err := s.Inspect(t.Context(), name, InspectOptions{Platform: &p}); err != nil || resp.ID != img.desc.Digest.String() {
		t.Errorf("platform: %v %v", resp.ID, err)
	}
	if _, err := s.Inspect(t.Context(), name, InspectOptions{Platform: &arm.config.Platform}); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	items, err := s.History(t.Context(), name, nil)
	if err != nil || len(items) != 3 || items[0].ID != index.String() || items[0].CreatedBy != "CMD" || items[0].Size != 0 || items[1].ID != "<missing>" ||
		items[1].CreatedBy != "step 1" || items[1].Size < 2000 || !slices.Equal(items[0].Tags, []string{name}) || items[1].Tags != nil {
		t.Errorf("%+v %v", items, err)
	}
}

func TestList(t *testing.T) {
	s := openStore(t)
	importImage(t, s, "a:1", "LABEL x=1", "LABEL y=2")
	importImage(t, s, "b:1", "LABEL x=2")
	importImage(t, s, "repo.io/c/d:v2")
	importImage(t, s, "")
	if _, err := s.Tag(t.Context(), "a:1", mustRef(t, "a:2")); err != nil {
		t.Fatal(err)
	}
	b, err := s.Inspect(t.Context(), "b:1", InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key, value string
		want       []string
	}{
		{"", "", []string{"a:1 a:2", "b:1", "repo.io/c/d:v2", ""}},
		{"reference", "a", []string{"a:1 a:2"}},
		{"reference", "*:1", []string{"a:1", "b:1"}},
		{"reference", "repo.io/*/d", []string{"repo.io/c/d:v2"}},
		{"dangling", "true", []string{""}},
		{"dangling", "false", []string{"a:1 a:2", "b:1", "repo.io/c/d:v2"}},
		{"label", "x", []string{"a:1 a:2", "b:1"}},
		{"label", "x=2", []string{"b:1"}},
		{"label", "x!=2", []string{"a:1 a:2"}},
		{"label!", "x", []string{"repo.io/c/d:v2", ""}},
		{"before", b.ID, []string{"a:1 a:2"}},
		{"since", "b:1", []string{"repo.io/c/d:v2", ""}},
		{"until", "1h", nil},
		{"until", "2100-01-01", []string{"a:1 a:2", "b:1", "repo.io/c/d:v2", ""}},
	} {
		o := ListOptions{SharedSize: true}
		if c.key != "" {
			o.Filters = map[string]map[string]bool{c.key: {c.value: true}}
		}
		list, err := s.List(t.Context(), o)
		if err != nil {
			t.Errorf("%s=%s: %v", c.key, c.value, err)
		}
		var got []string
		for _, sum := range list {
			got = append(got, strings.Join(sum.RepoTags, " "))
			if sum.Size == 0 || sum.Created == 0 || sum.Containers != -1 || sum.SharedSize < 0 || sum.RepoDigests == nil || sum.RepoTags == nil {
				t.Errorf("%+v", sum)
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s=%s: got %q want %q", c.key, c.value, got, c.want)
		}
	}
	for _, bad := range []map[string]map[string]bool{{"nope": {"1": true}}, {"dangling": {"maybe": true}}, {"until": {"whenever": true}}, {"reference": {"[": true}}} {
		if _, err := s.List(t.Context(), ListOptions{Filters: bad}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := s.List(t.Context(), ListOptions{Filters: map[string]map[string]bool{"before": {"nope": true}}}); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

func TestRemove(t *testing.T) {
	const stopped, running = "5555555555555555", "7777777777777777"
	inUse := func(id string, runs bool) func(digest.Digest) (string, bool) {
		return func(digest.Digest) (string, bool) { return id, runs }
	}
	for _, c := range []struct {
		name  string
		tags  []string // of one image; "" leaves it dangling
		ref   string   // "ID" is the image's, "short" the beginning of it
		o     RemoveOptions
		want  string // "untagged x, deleted ID"
		err   string
		stays bool
	}{
		{"by its only name", []string{"a:1"}, "a:1", RemoveOptions{}, "untagged a:1, deleted ID", "", false},
		{"one of two names", []string{"a:1", "b:1"}, "a:1", RemoveOptions{}, "untagged a:1", "", true},
		{"one of two tags", []string{"a:1", "a:2"}, "a:2", RemoveOptions{}, "untagged a:2", "", true},
		{"by ID", []string{"a:1"}, "ID", RemoveOptions{}, "untagged a:1, deleted ID", "", false},
		{"by short ID", []string{"a:1"}, "short", RemoveOptions{}, "untagged a:1, deleted ID", "", false},
		{"by ID, two names", []string{"a:1", "b:1"}, "ID", RemoveOptions{}, "", "conflict: unable to delete SHORT (must be forced) - image is referenced in multiple repositories", true},
		{"by ID, two names, force", []string{"a:1", "b:1"}, "ID", RemoveOptions{Force: true}, "untagged a:1, untagged b:1, deleted ID", "", false},
		{"dangling", []string{""}, "ID", RemoveOptions{}, "deleted ID", "", false},
		{"unknown", []string{"a:1"}, "nope", RemoveOptions{}, "", "No such image: nope:latest", true},
		{"stopped container, by name", []string{"a:1"}, "a:1", RemoveOptions{InUse: inUse(stopped, false)}, "",
			"conflict: unable to delete a:1 (must be forced) - container 555555555555 is using its referenced image SHORT", true},
		{"stopped container, by name, force", []string{"a:1"}, "a:1", RemoveOptions{Force: true, InUse: inUse(stopped, false)}, "untagged a:1", "", true},
		{"stopped container, by ID", []string{"a:1"}, "ID", RemoveOptions{InUse: inUse(stopped, false)}, "",
			"conflict: unable to delete SHORT (must be forced) - image is being used by stopped container 555555555555", true},
		{"stopped container, by ID, force", []string{"a:1"}, "ID", RemoveOptions{Force: true, InUse: inUse(stopped, false)}, "untagged a:1, deleted ID", "", false},
		{"running container, by ID, force", []string{"a:1"}, "ID", RemoveOptions{Force: true, InUse: inUse(running, true)}, "",
			"conflict: unable to delete SHORT (cannot be forced) - image is being used by running container 777777777777", true},
		{"running container, another name", []string{"a:1", "b:1"}, "b:1", RemoveOptions{InUse: inUse(running, true)}, "untagged b:1", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t)
			id := importImage(t, s, c.tags[0])
			for _, more := range c.tags[1:] {
				if _, err := s.Tag(t.Context(), c.tags[0], mustRef(t, more)); err != nil {
					t.Fatal(err)
				}
			}
			ref := c.ref
			switch ref {
			case "ID":
				ref = id.String()
			case "short":
				ref = id.Encoded()[:12]
			}
			did, err := s.Remove(t.Context(), ref, c.o)
			var got []string
			for _, d := range did {
				if d.Untagged != "" {
					got = append(got, "untagged "+d.Untagged)
				} else {
					got = append(got, "deleted "+strings.ReplaceAll(d.Deleted, id.String(), "ID"))
				}
			}
			if c.err != "" {
				want := strings.ReplaceAll(c.err, "SHORT", id.Encoded()[:12])
				if err == nil || err.Error() != want || errs.KindOf(err) != errs.Conflict && errs.KindOf(err) != errs.NotFound {
					t.Errorf("error %v, want %s", err, want)
				}
			} else if err != nil || strings.Join(got, ", ") != c.want {
				t.Errorf("got %q %v, want %q", got, err, c.want)
			}
			_, err = s.Get(t.Context(), id.String(), nil)
			if c.stays != (err == nil) {
				t.Errorf("image: %v", err)
			}
			if left := leftovers(t, s); c.stays != (len(left) > 0) {
				t.Errorf("store holds %q", left)
			}
		})
	}
}

func TestRemoveByDigestReference(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	img := small(t, 1)
	tr.put(t, img, "x", "1")
	pull(t, s, tr.ref(t, "x:1"), PullOptions{})
	pull(t, s, tr.ref(t, "x@"+img.desc.Digest.String()), PullOptions{})
	resp, err := s.Inspect(t.Context(), tr.host+"/x:1", InspectOptions{})
	if err != nil || len(resp.RepoDigests) != 1 {
		t.Errorf("%q %v", resp.RepoDigests, err)
	}
	did, err := s.Remove(t.Context(), tr.host+"/x:1", RemoveOptions{})
	if err != nil || len(did) != 3 {
		t.Errorf("%+v %v", did, err)
	}
}

func TestPinsKeepLayers(t *testing.T) {
	root := t.TempDir()
	needRoot(t)
	s := openAt(t, root)
	id := importImage(t, s, "a:1")
	img, err := s.Get(t.Context(), "a:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"c1", "c2"} {
		if err := s.Pin(t.Context(), c, img); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Remove(t.Context(), id.String(), RemoveOptions{Force: true, InUse: func(digest.Digest) (string, bool) { return "c1", false }}); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store) {
		t.Helper()
		s.collector.now(s.st.context(t.Context()))
		if _, err := s.Get(t.Context(), id.String(), nil); !errs.Is(err, errs.NotFound) {
			t.Errorf("the image is still found: %v", err)
		}
		kept, err := s.GetManifest(t.Context(), img.Target, img.Manifest)
		if err != nil || !slices.Equal(kept.Lower, img.Lower) {
			t.Fatalf("%q %v", kept.Lower, err)
		}
		if _, err := os.Stat(kept.Lower[0] + "/name"); err != nil {
			t.Error(err)
		}
	}
	check(s)
	if err := s.Unpin(t.Context(), "c1", img.Manifest.Digest); err != nil {
		t.Fatal(err)
	}
	check(s)
	// The engine starts again: what is kept stays until it has said who is there.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, root)
	img.asOf = 0 // an engine that starts has never looked it up
	check(s)
	if err := s.Pin(t.Context(), "c2", img); err != nil {
		t.Fatal(err)
	}
	if err := s.ReleaseUnpinned(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(s)
	if err := s.Unpin(t.Context(), "c2", img.Manifest.Digest); err != nil {
		t.Fatal(err)
	}
	holds(t, s, 0)
	if err := s.Pin(t.Context(), "c3", img); !errs.Is(err, errs.NotFound) {
		t.Errorf("pinning what is gone: %v", err)
	}
	if _, err := s.GetManifest(t.Context(), img.Target, img.Manifest); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

func TestReleaseUnpinned(t *testing.T) {
	root := t.TempDir()
	needRoot(t)
	s := openAt(t, root)
	id := importImage(t, s, "a:1")
	img, err := s.Get(t.Context(), "a:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(t.Context(), "c1", img); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), id.String(), RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	s.Close() // killed before Unpin
	s = openAt(t, root)
	if err := s.ReleaseUnpinned(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds(t, s, 0)
}

func TestImport(t *testing.T) {
	s := openStore(t)
	plain := makeTar(t, dir("etc"), file("etc/name", "imported"))
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"plain": plain, "gzip": gz(t, plain), "zstd": z.EncodeAll(plain, nil)} {
		o := ImportOptions{Ref: mustRef(t, name), Message: "by hand", Changes: []string{"CMD echo hi", "ENV A=1"}}
		id, err := s.Import(t.Context(), bytes.NewReader(data), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		img, err := s.Get(t.Context(), name, nil)
		if err != nil || img.ID != id || readLower(t, img, "etc/name") != "imported" || img.Config.RootFS.DiffIDs[0] != digest.FromBytes(plain) {
			t.Errorf("%s: %+v %v", name, img, err)
		}
		items, err := s.History(t.Context(), name, nil)
		if err != nil || len(items) != 1 || items[0].Comment != "by hand" || items[0].Size == 0 {
			t.Errorf("%s: %+v %v", name, items, err)
		}
	}
	held := leftovers(t, s)
	for name, data := range map[string]string{
		"text":           strings.Repeat("this is no archive\n", 100),
		"gzipped text":   string(gz(t, []byte(strings.Repeat("text", 1000)))),
		"cut":            string(gz(t, plain)[:60]),
		"cut plain":      string(plain[:700]),
		"xz":             "\xfd7zXZ\x00rest",
		"broken zstd":    "\x28\xb5\x2f\xfdxxxxxxxxxxxx",
		"corrupt header": string(plain[:100]) + "!!!!" + string(plain[104:]),
	} {
		if _, err := s.Import(t.Context(), strings.NewReader(data), ImportOptions{}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v (%v)", name, err, errs.KindOf(err))
		}
	}
	if _, err := s.Import(t.Context(), bytes.NewReader(plain), ImportOptions{Changes: []string{"RUN x"}}); !errs.Is(err, errs.InvalidParameter) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.Import(ctx, io.MultiReader(bytes.NewReader(plain[:512]), readerFunc(func(p []byte) (int, error) { cancel(); return copy(p, "x"), nil })), ImportOptions{}); !errs.Is(err, errs.Cancelled) {
		t.Errorf("hang-up: %v (%v)", err, errs.KindOf(err))
	}
	if now := leftovers(t, s); len(now) != len(held) {
		t.Errorf("store held %d things, now %q", len(held), now)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestImportHostileArchive(t *testing.T) {
	s := openStore(t)
	victim := t.TempDir()
	hostile := makeTar(t,
		entry{name: "out", link: victim, kind: '2'},
		file("out/escaped", "x"),
		entry{name: "../../../../../../../../" + victim + "/up", body: "x", kind: '0', mode: 0o644},
		entry{name: "up2", link: "../../../../../../../../" + victim, kind: '2'},
		file("up2/escaped2", "x"),
	)
	_, err := s.Import(t.Context(), bytes.NewReader(hostile), ImportOptions{Ref: mustRef(t, "evil")})
	entries, rerr := os.ReadDir(victim)
	if rerr != nil || len(entries) != 0 {
		t.Errorf("files outside of the layer: %v %v (import: %v)", entries, rerr, err)
	}
}

func TestPush(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	id := importImage(t, s, tr.host+"/team/app:v1")
	push := func(t *testing.T, ref string, o PushOptions) []string {
		t.Helper()
		m := &messages{}
		o.Progress = m.add
		if err := s.Push(t.Context(), tr.ref(t, ref), o); err != nil {
			t.Fatalf("pushing %s: %v", ref, err)
		}
		return m.lines()
	}
	img, err := s.Get(t.Context(), id.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.st.readManifest(s.st.context(t.Context()), img.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	layer := shortID(m.Layers[0].Digest)
	want := func(repo, what, tag string) []string {
		return []string{"The push refers to repository [" + tr.host + "/" + repo + "]", layer + ": Preparing", layer + ": " + what,
			fmt.Sprintf("%s: digest: %s size: %d", tag, id, img.Target.Size)}
	}
	if got := push(t, "team/app:v1", PushOptions{}); !slices.Equal(got, want("team/app", "Pushed", "v1")) {
		t.Errorf("first: %q", got)
	}
	if got := push(t, "team/app:v1", PushOptions{}); !slices.Equal(got, want("team/app", "Layer already exists", "v1")) {
		t.Errorf("again: %q", got)
	}
	if _, err := s.Tag(t.Context(), id.String(), tr.ref(t, "team/other:v2")); err != nil {
		t.Fatal(err)
	}
	var uploads int
	var mu sync.Mutex
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") {
			uploads++
		}
		mu.Unlock()
		next.ServeHTTP(w, r)
	})
	if got := push(t, "team/other:v2", PushOptions{}); !slices.Equal(got, want("team/other", "Mounted from team/app", "v2")) {
		t.Errorf("second repository: %q", got)
	}
	if uploads != 0 {
		t.Errorf("%d blobs were uploaded where all could be mounted", uploads)
	}
	tr.setFault(nil)

	// What was pushed is what another store pulls.
	s2 := openStore(t)
	if got, _ := pull(t, s2, tr.ref(t, "team/other:v2"), PullOptions{}); got != id {
		t.Errorf("pulled %s, pushed %s", got, id)
	}

	if err := s.Push(t.Context(), tr.ref(t, "team/app:nope"), PushOptions{}); !errs.Is(err, errs.NotFound) || err.Error() != "tag does not exist: "+tr.host+"/team/app:nope" {
		t.Error(err)
	}
	if err := s.Push(t.Context(), tr.ref(t, "team/none"), PushOptions{}); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	if _, err := s.Tag(t.Context(), id.String(), tr.ref(t, "team/app:v3")); err != nil {
		t.Fatal(err)
	}
	if got := push(t, "team/app", PushOptions{}); len(got) != 1+3+3 {
		t.Errorf("all tags: %q", got)
	}
}

func TestPushFaults(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	importImage(t, s, tr.host+"/x:1")
	ref := tr.ref(t, "x:1")
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
	})
	if err := s.Push(t.Context(), ref, PushOptions{}); !errs.Is(err, errs.Unauthorized) {
		t.Errorf("no credentials: %v (%v)", err, errs.KindOf(err))
	}
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.WriteHeader(403)
		io.WriteString(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
	})
	if err := s.Push(t.Context(), ref, PushOptions{}); !errs.Is(err, errs.Forbidden) || !strings.Contains(err.Error(), "denied") {
		t.Errorf("forbidden: %v (%v)", err, errs.KindOf(err))
	}
	var n int
	var mu sync.Mutex
	tr.setFault(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		n++
		drop := n%4 == 1
		mu.Unlock()
		if drop {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
	if err := s.Push(t.Context(), ref, PushOptions{}); err != nil {
		t.Errorf("dropped connections: %v", err)
	}
}

func TestPushPartOfAnIndex(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	here, other := small(t, 1), buildImage(t, "linux/s390x", makeTar(t, file("arch", "x")))
	tr.putIndex(t, "multi", "1", here, other)
	pull(t, s, tr.ref(t, "multi:1"), PullOptions{})
	if _, err := s.Tag(t.Context(), tr.host+"/multi:1", tr.ref(t, "copy:1")); err != nil {
		t.Fatal(err)
	}
	m := &messages{}
	if err := s.Push(t.Context(), tr.ref(t, "copy:1"), PushOptions{Progress: m.add}); err != nil {
		t.Fatal(err)
	}
	var aux string
	for _, msg := range m.list {
		if msg.Aux != nil {
			aux += string(*msg.Aux)
		}
	}
	if !strings.Contains(aux, `"manifestPushedInsteadOfIndex":true`) || !strings.Contains(aux, `"Tag":"1"`) {
		t.Errorf("aux %s", aux)
	}
	s2 := openStore(t)
	if id, _ := pull(t, s2, tr.ref(t, "copy:1"), PullOptions{}); id != here.desc.Digest {
		t.Errorf("pushed %s", id)
	}
	// With everything here the index goes as it is.
	p := other.config.Platform
	index, _ := pull(t, s, tr.ref(t, "multi:1"), PullOptions{Platform: &p})
	if err := s.Push(t.Context(), tr.ref(t, "copy:1"), PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if id, _ := pull(t, s2, tr.ref(t, "copy:1"), PullOptions{}); id != index {
		t.Errorf("pushed %s, want the index %s", id, index)
	}
}

func TestParseTime(t *testing.T) {
	now := time.Unix(2000, 0)
	for value, want := range map[string]int64{"10s": 1990e9, "1000": 1000e9, "1000.5": 1000.5e9, "1970-01-01T00:10:00Z": 600e9} {
		if got, err := ParseTime(value, now); err != nil || got.UnixNano() != want {
			t.Errorf("%s: %v %v", value, got, err)
		}
	}
}

func TestKeyLocks(t *testing.T) {
	var k keyLocks
	unlock, err := k.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.lock(ctx, "a"); err == nil {
		t.Error("the lock was given twice")
	}
	if u, err := k.lock(t.Context(), "b"); err != nil {
		t.Error(err)
	} else {
		u()
	}
	unlock()
	if len(k.held) != 0 {
		t.Errorf("locks left: %v", k.held)
	}
}

// Everything at once, for the race detector and for lock order.
func TestManyCallers(t *testing.T) {
	s, tr := openStore(t), newRegistry(t)
	tr.put(t, small(t, 1), "x", "1")
	keep := importImage(t, s, "keep:1")
	stop := time.Now().Add(time.Second)
	ctx := t.Context()
	var wg sync.WaitGroup
	again := func(f func(i int) error) {
		wg.Go(func() {
			for i := 0; time.Now().Before(stop); i++ {
				if err := f(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	gone := func(err error) error {
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		return err
	}
	again(func(int) error { _, err := s.Pull(ctx, tr.ref(t, "x:1"), PullOptions{}); return err })
	again(func(int) error { _, err := s.Remove(ctx, tr.host+"/x:1", RemoveOptions{Force: true}); return gone(err) })
	again(func(int) error { _, err := s.List(ctx, ListOptions{SharedSize: true, Manifests: true}); return err })
	again(func(int) error { s.collector.now(s.st.context(ctx)); return nil })
	again(func(i int) error {
		_, err := s.Tag(ctx, "keep:1", mustRef(t, fmt.Sprint("keep:", 2+i%5)))
		return err
	})
	again(func(i int) error {
		_, err := s.Remove(ctx, fmt.Sprint("keep:", 2+i%5), RemoveOptions{})
		return gone(err)
	})
	again(func(int) error {
		img, err := s.Get(ctx, tr.host+"/x:1", nil)
		if err != nil {
			return gone(err)
		}
		if err := s.Pin(ctx, "c", img); err != nil {
			return gone(err)
		}
		// Pinned, its layers are there whatever the others do.
		for _, dir := range img.Lower {
			if _, err := os.Stat(dir); err != nil {
				return err
			}
		}
		return s.Unpin(ctx, "c", img.Manifest.Digest)
	})
	again(func(int) error {
		img, err := s.Get(ctx, keep.String(), nil)
		if err == nil && img.ID != keep {
			err = fmt.Errorf("found %s", img.ID)
		}
		return err
	})
	wg.Wait()
}

// TestRemovalIsCollectedSoon removes an image right after the store was opened,
// while the collection that follows each start is still far away.
func TestRemovalIsCollectedSoon(t *testing.T) {
	s := openStore(t)
	id, err := s.Import(t.Context(), bytes.NewReader(makeTar(t, file("a", "b"))), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), id.String(), RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(startupDelay / 2); ; time.Sleep(20 * time.Millisecond) {
		_, err := s.st.content.Info(s.st.context(t.Context()), id)
		if errdefs.IsNotFound(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the image's content is still there: %v", err)
		}
	}
}
