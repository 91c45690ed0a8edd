package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

// load takes in an archive of entries.
func load(t testing.TB, s *Store, archive []byte, o LoadOptions) ([]Loaded, error) {
	t.Helper()
	return s.Load(t.Context(), bytes.NewReader(archive), o)
}

// layout is the archive of an OCI layout with the images under their names.
func layout(t testing.TB, named map[string]*testImage, more ...entry) []byte {
	t.Helper()
	entries := []entry{file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)}
	index := ocispec.Index{}
	index.SchemaVersion = 2
	for name, img := range named {
		desc := img.desc
		if name != "" {
			desc.Annotations = map[string]string{"org.opencontainers.image.ref.name": name}
		}
		index.Manifests = append(index.Manifests, desc)
		entries = append(entries, blobsOf(img)...)
	}
	entries = append(entries, file("index.json", string(mustJSON(t, index))))
	return makeTar(t, append(entries, more...)...)
}

func blobsOf(img *testImage) []entry {
	entries := []entry{file(blobName(img.desc.Digest), string(img.manifest))}
	for d, data := range img.blobs {
		entries = append(entries, file(blobName(d), string(data)))
	}
	return entries
}

// dockerArchive is what docker save wrote before it wrote OCI layouts: layers as
// <id>/layer.tar, the second of two equal ones as a link.
func dockerArchive(t testing.TB, tag string) ([]byte, *testImage) {
	t.Helper()
	layer := makeTar(t, dir("etc"), file("etc/name", "old"))
	img := buildImage(t, "linux/amd64", layer, layer)
	config := string(mustJSON(t, img.config))
	name := digest.FromString(config).Encoded() + ".json"
	return makeTar(t,
		dir("aaaa"), file("aaaa/VERSION", "1.0"), file("aaaa/json", "{}"), file("aaaa/layer.tar", string(layer)),
		dir("bbbb"), file("bbbb/VERSION", "1.0"), entry{name: "bbbb/layer.tar", kind: tar.TypeSymlink, link: "../aaaa/layer.tar"},
		file(name, config), file("repositories", `{}`),
		file("manifest.json", fmt.Sprintf(`[{"Config":%q,"RepoTags":[%q],"Layers":["aaaa/layer.tar","bbbb/layer.tar"]}]`, name, tag)),
	), img
}

func TestLoad(t *testing.T) {
	img := small(t, 1)
	old, _ := dockerArchive(t, "old:1")
	plain := layout(t, map[string]*testImage{"docker.io/library/a:1": img})
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		archive []byte
		want    string // names
		file    string // what etc/name holds
	}{
		{"OCI layout", plain, "a:1", "image 1"},
		{"compressed with gzip", gz(t, plain), "a:1", "image 1"},
		{"compressed with zstd", packed.Bytes(), "a:1", "image 1"},
		{"without a name", layout(t, map[string]*testImage{"": img}), "", "image 1"},
		{"under a name that is none", layout(t, map[string]*testImage{"Not A Name": img}), "", "image 1"},
		{"of another registry", layout(t, map[string]*testImage{"r.example/x/y:2": img}), "r.example/x/y:2", "image 1"},
		{"old docker save", old, "old:1", "old"},
		{"with other files beside it", layout(t, map[string]*testImage{"a:1": img}, file("README", "x"), file("../../../etc/passwd", "x"), file("/abs", "x"), entry{name: "dev", kind: tar.TypeChar}), "a:1", "image 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t)
			var said []jsonstream.Message
			loaded, err := load(t, s, c.archive, LoadOptions{Progress: func(m jsonstream.Message) { said = append(said, m) }})
			if err != nil || len(loaded) != 1 || loaded[0].Name != c.want {
				t.Fatalf("%+v, %v", loaded, err)
			}
			got, err := s.Get(t.Context(), string(loaded[0].ID), nil)
			if err != nil || readLower(t, got, "etc/name") != c.file {
				t.Errorf("%+v, %v", got, err)
			}
			// The same again changes nothing.
			again, err := load(t, s, c.archive, LoadOptions{})
			if err != nil || again[0].ID != loaded[0].ID {
				t.Errorf("again: %+v, %v", again, err)
			}
			if list := namesOf(t, s); len(list) != 1 {
				t.Errorf("images: %q", list)
			}
			before := leftovers(t, s)
			if _, err := s.Remove(t.Context(), string(loaded[0].ID), RemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			holds(t, s, 0)
			if len(before) == 0 {
				t.Error("nothing was kept")
			}
		})
	}
}

// TestLoadTakesTheName: who had it before stays without.
func TestLoadTakesTheName(t *testing.T) {
	s := openStore(t)
	for seed := range uint64(2) {
		if _, err := load(t, s, layout(t, map[string]*testImage{"a:1": small(t, seed)}), LoadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := namesOf(t, s); !slices.Equal(got, []string{"<none>", "a:1"}) {
		t.Errorf("%q", got)
	}
}

// TestLoadRefuses: archives that lie, lack something or are too much leave
// nothing.
func TestLoadRefuses(t *testing.T) {
	img := small(t, 1)
	config := string(mustJSON(t, img.config))
	whole := func() []entry {
		index := ocispec.Index{Manifests: []ocispec.Descriptor{img.desc}}
		index.SchemaVersion = 2
		return append([]entry{file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("index.json", string(mustJSON(t, index)))}, blobsOf(img)...)
	}
	without := func(d digest.Digest) []entry {
		return slices.DeleteFunc(whole(), func(e entry) bool { return e.name == blobName(d) })
	}
	instead := func(name, body string) []entry {
		return append(slices.DeleteFunc(whole(), func(e entry) bool { return e.name == name }), file(name, body))
	}
	manifestJSON := func(text string) []entry {
		return []entry{file("c.json", config), file("l/layer.tar", "x"), file("manifest.json", text)}
	}
	index := func(descs ...ocispec.Descriptor) string {
		i := ocispec.Index{Manifests: descs}
		i.SchemaVersion = 2
		return string(mustJSON(t, i))
	}
	liar := img.desc
	liar.Size++
	huge := strings.Repeat(" ", maxManifestSize+1)
	s := openStore(t)
	for _, c := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"no archive of images", []entry{file("a", "b")}, "neither index.json nor manifest.json"},
		{"empty", nil, "neither index.json"},
		{"layout of another version", instead("oci-layout", `{"imageLayoutVersion":"2.0.0"}`), `version "2.0.0"`},
		{"no index", slices.DeleteFunc(whole(), func(e entry) bool { return e.name == "index.json" }), "index.json is missing"},
		{"index of no image", instead("index.json", `{"schemaVersion":2,"manifests":[]}`), "names no image"},
		{"index is noise", instead("index.json", `{`), "reading index"},
		{"index too large", instead("index.json", huge), "more than"},
		{"manifest too large", append(instead("index.json", index(ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(huge), Size: int64(len(huge))})), file("h", huge)), "more than"},
		{"no manifest", without(img.desc.Digest), "not complete"},
		{"no layer", without(img.layers[0].Digest), "not complete"},
		{"no configuration", without(digest.FromString(config)), "not complete"},
		{"a blob that lies", instead(blobName(img.layers[0].Digest), "something else"), "has the content of"},
		{"a size that lies", instead("index.json", index(liar)), "is said to have"},
		{"a digest that is none", instead("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../x","size":5}]}`), "digest"},
		{"an artifact", instead("index.json", index(ocispec.Descriptor{MediaType: "application/x", Digest: img.layers[0].Digest, Size: img.layers[0].Size})), ""},
		{"indexes all the way down", tower(t, img, 6), "indexes deep"},
		{"many documents", many(t, padded(t, img), 100), "bytes of indexes and manifests"},
		{"docker: noise", manifestJSON(`x`), "reading manifest.json"},
		{"docker: no image", manifestJSON(`[]`), "names no image"},
		{"docker: null", manifestJSON(`null`), "names no image"},
		{"docker: no configuration", manifestJSON(`[{"Config":"d.json","Layers":[]}]`), `configuration "d.json" is missing`},
		{"docker: no layer", manifestJSON(`[{"Config":"c.json","Layers":["m/layer.tar"]}]`), `layer "m/layer.tar" is missing`},
		{"docker: fewer layers", manifestJSON(`[{"Config":"c.json","Layers":["l/layer.tar"]}]`), ""},
		{"docker: another layer", manifestJSON(`[{"Config":"c.json","Layers":["l/layer.tar","l/layer.tar"]}]`), ""},
		{"docker: many layers", manifestJSON(`[{"Config":"c.json","Layers":["l/layer.tar"` + strings.Repeat(`,"l/layer.tar"`, maxLayers) + `]}]`), "layers, more than"},
		{"docker: many names", manifestJSON(`[{"Config":"c.json","RepoTags":["a"` + strings.Repeat(`,"a"`, maxNames) + `]}]`), "names more than"},
		{"docker: links in a ring", append(manifestJSON(`[{"Config":"x","Layers":[]}]`), entry{name: "x", kind: tar.TypeSymlink, link: "y"}, entry{name: "y", kind: tar.TypeSymlink, link: "x"}), "missing"},
		{"docker: a link out", append(manifestJSON(`[{"Config":"x","Layers":[]}]`), entry{name: "x", kind: tar.TypeSymlink, link: "../../../../etc/passwd"}), "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.collector.now(s.st.context(t.Context())) // what the one before brought would complete this one
			loaded, err := load(t, s, makeTar(t, c.entries...), LoadOptions{})
			if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), c.want) || len(loaded) != 0 {
				t.Errorf("%+v, %v, want %q", loaded, err, c.want)
			}
		})
	}
	for name, data := range map[string][]byte{"noise": []byte(noise(5000, 1)), "cut short": layout(t, map[string]*testImage{"a:1": img})[:3000], "xz": append([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, make([]byte, 100)...)} {
		if _, err := load(t, s, data, LoadOptions{}); err == nil || errs.Is(err, errs.System) {
			t.Errorf("%s: %v", name, err)
		}
	}
	holds(t, s, 0)
}

// tower is an image below so many indexes.
func tower(t *testing.T, img *testImage, depth int) []entry {
	entries := append([]entry{file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)}, blobsOf(img)...)
	below := img.desc
	for range depth {
		i := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{below}}
		i.SchemaVersion = 2
		data := mustJSON(t, i)
		below = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}
		entries = append(entries, file(blobName(below.Digest), string(data)))
	}
	i := ocispec.Index{Manifests: []ocispec.Descriptor{below}}
	i.SchemaVersion = 2
	return append(entries, file("index.json", string(mustJSON(t, i))))
}

// many is an index of the same image so many times.
func many(t *testing.T, img *testImage, times int) []entry {
	i := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: slices.Repeat([]ocispec.Descriptor{img.desc}, times)}
	i.SchemaVersion = 2
	data := mustJSON(t, i)
	i.Manifests = []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}}
	return append(blobsOf(img), file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file(blobName(i.Manifests[0].Digest), string(data)), file("index.json", string(mustJSON(t, i))))
}

// padded is img with a manifest of a megabyte.
func padded(t *testing.T, img *testImage) *testImage {
	var m ocispec.Manifest
	if err := json.Unmarshal(img.manifest, &m); err != nil {
		t.Fatal(err)
	}
	m.Annotations = map[string]string{"x": strings.Repeat("x", 1<<20)}
	big := &testImage{blobs: img.blobs, layers: img.layers, config: img.config}
	big.sealManifest(t, m)
	return big
}

func TestSaveAndLoad(t *testing.T) {
	s := openStore(t)
	one, two := small(t, 1), small(t, 2)
	if _, err := load(t, s, layout(t, map[string]*testImage{"a:1": one, "a:2": two}), LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tag(t.Context(), "a:1", mustRef(t, "r.example/b:1")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		refs []string
		want []string // names in the other store
		tags string   // RepoTags in manifest.json
	}{
		{"one name", []string{"a:1"}, []string{"a:1"}, "a:1"},
		{"two names of one", []string{"a:1", "r.example/b:1"}, []string{"a:1 r.example/b:1"}, "a:1 r.example/b:1"},
		{"a repository", []string{"a"}, []string{"a:1", "a:2"}, "a:1|a:2"},
		{"by ID", []string{string(one.desc.Digest)}, []string{"<none>"}, ""},
		{"by short ID", []string{one.desc.Digest.Encoded()[:12]}, []string{"<none>"}, ""},
		{"the same twice", []string{"a:2", "a:2", string(two.desc.Digest)}, []string{"a:2"}, "a:2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var archive, again bytes.Buffer
			if err := s.Save(t.Context(), &archive, c.refs, SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Save(t.Context(), &again, c.refs, SaveOptions{}); err != nil || !bytes.Equal(archive.Bytes(), again.Bytes()) {
				t.Errorf("the second time other bytes: %v", err)
			}
			var listed []dockerManifest
			files := readTar(t, archive.Bytes())
			if err := json.Unmarshal(files["manifest.json"], &listed); err != nil {
				t.Fatal(err)
			}
			var tags []string
			for _, m := range listed {
				tags = append(tags, strings.Join(m.RepoTags, " "))
				if files[m.Config] == nil || slices.ContainsFunc(m.Layers, func(l string) bool { return files[l] == nil }) {
					t.Errorf("manifest.json names files that are not there: %+v", m)
				}
			}
			slices.Sort(tags)
			if strings.Join(tags, "|") != c.tags {
				t.Errorf("tags %q", tags)
			}
			other := openStore(t)
			if _, err := load(t, other, archive.Bytes(), LoadOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := namesOf(t, other); !slices.Equal(got, c.want) {
				t.Errorf("loaded %q, want %q", got, c.want)
			}
			// As tools see it that know manifest.json alone.
			delete(files, "oci-layout")
			delete(files, "index.json")
			var entries []entry
			for name, data := range files {
				entries = append(entries, file(name, string(data)))
			}
			old := openStore(t)
			if loaded, err := load(t, old, makeTar(t, entries...), LoadOptions{}); err != nil || len(namesOf(t, old)) != len(c.want) {
				t.Errorf("by manifest.json alone: %+v, %v", loaded, err)
			}
		})
	}
	holdsLease := func() (n int) {
		for _, l := range leftovers(t, s) {
			if strings.HasPrefix(l, "lease") {
				n++
			}
		}
		return n
	}
	if n := holdsLease(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	var none bytes.Buffer
	if err := s.Save(t.Context(), &none, []string{"a:1", "nope"}, SaveOptions{}); !errs.Is(err, errs.NotFound) || none.Len() != 0 {
		t.Errorf("%v after %d bytes", err, none.Len())
	}
	if err := s.Save(t.Context(), &none, []string{"a:1"}, SaveOptions{Platforms: []ocispec.Platform{{OS: "plan9", Architecture: "mips"}}}); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
}

func readTar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSavePlatforms saves an index of which one platform is here.
func TestSavePlatforms(t *testing.T) {
	s := openStore(t)
	amd, arm := buildImage(t, "linux/amd64", makeTar(t, file("name", "amd"))), buildImage(t, "linux/arm64", makeTar(t, file("name", "arm")))
	i := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{amd.desc, arm.desc}}
	i.SchemaVersion = 2
	data := mustJSON(t, i)
	both := &testImage{blobs: map[digest.Digest][]byte{}, manifest: data, desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(data), Size: int64(len(data))}}
	archive := layout(t, map[string]*testImage{"a:1": both}, blobsOf(amd)...)
	if _, err := load(t, s, archive, LoadOptions{Platforms: []ocispec.Platform{arm.config.Platform}}); !errs.Is(err, errs.NotFound) {
		t.Errorf("a platform that is not there: %v", err)
	}
	if _, err := load(t, s, archive, LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Save(t.Context(), &out, []string{"a:1"}, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	files := readTar(t, out.Bytes())
	if files[blobName(both.desc.Digest)] == nil || files[blobName(amd.desc.Digest)] == nil || files[blobName(arm.desc.Digest)] != nil {
		t.Error("the index and what is here of it")
	}
	other := openStore(t)
	if loaded, err := load(t, other, out.Bytes(), LoadOptions{}); err != nil || loaded[0].ID != both.desc.Digest {
		t.Errorf("%+v, %v", loaded, err)
	}
	out.Reset()
	if err := s.Save(t.Context(), &out, []string{"a:1"}, SaveOptions{Platforms: []ocispec.Platform{amd.config.Platform}}); err != nil {
		t.Fatal(err)
	}
	other = openStore(t)
	if loaded, err := load(t, other, out.Bytes(), LoadOptions{}); err != nil || loaded[0].ID != amd.desc.Digest || loaded[0].Name != "a:1" {
		t.Errorf("one platform: %+v, %v", loaded, err)
	}
}

// FuzzLoad: whatever the archive is, it is loaded or it is the sender's fault.
func FuzzLoad(f *testing.F) {
	img := small(f, 1)
	f.Add(layout(f, map[string]*testImage{"a:1": img}))
	old, _ := dockerArchive(f, "a:1")
	f.Add(old)
	f.Add(makeTar(f, file("manifest.json", `[{"Config":"a","Layers":["a"],"RepoTags":["x"]}]`), file("a", "{}")))
	s := openStore(f)
	f.Fuzz(func(t *testing.T, archive []byte) {
		if _, err := s.Load(t.Context(), bytes.NewReader(archive), LoadOptions{}); err != nil {
			switch errs.KindOf(err) {
			case errs.InvalidParameter, errs.NotImplemented, errs.Unavailable:
			default:
				t.Errorf("%v: %v", errs.KindOf(err), err)
			}
		}
	})
}
