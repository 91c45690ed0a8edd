package mountpoint

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/davit-engine/davit/engine/record"
	"github.com/davit-engine/davit/errs"
)

func parse(change func(*container.Config, *container.HostConfig)) ([]Wanted, error) {
	c, h := &container.Config{}, &container.HostConfig{}
	change(c, h)
	return Parse(c, h, nil)
}

func TestParseRefuses(t *testing.T) {
	bind := func(text string) func(*container.Config, *container.HostConfig) {
		return func(_ *container.Config, h *container.HostConfig) { h.Binds = []string{text} }
	}
	asked := func(m mount.Mount) func(*container.Config, *container.HostConfig) {
		if m.Target == "" {
			m.Target = "/b"
		}
		return func(_ *container.Config, h *container.HostConfig) { h.Mounts = []mount.Mount{m} }
	}
	for _, c := range []struct {
		name   string
		change func(*container.Config, *container.HostConfig)
		kind   errs.Kind
		text   string
	}{
		{"relative target", bind("/a:b"), errs.InvalidParameter, "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute"},
		{"relative target of a volume", bind("a:b"), errs.InvalidParameter, "invalid mount config for type \"volume\": invalid mount path: 'b'"},
		{"the root", bind("/a:/x/.."), errs.InvalidParameter, "invalid specification: destination can't be '/'"},
		{"unknown mode", bind("/a:/b:rx"), errs.InvalidParameter, "invalid mode: rx"},
		{"mode as target", bind("/a:ro"), errs.InvalidParameter, "invalid volume specification: '/a:ro'"},
		{"ro and rw", bind("/a:/b:ro,rw"), errs.InvalidParameter, "invalid mode: ro,rw"},
		{"four parts", bind("/a:/b:ro:x"), errs.InvalidParameter, "invalid volume specification: '/a:/b:ro:x'"},
		{"nocopy of a bind", bind("/a:/b:nocopy"), errs.InvalidParameter, "field VolumeOptions must not be specified"},
		{"propagation of a volume", bind("a:/b:shared"), errs.InvalidParameter, "field BindOptions must not be specified"},
		{"empty", bind(""), errs.InvalidParameter, "invalid volume specification: ''"},
		{"twice", func(_ *container.Config, h *container.HostConfig) { h.Binds = []string{"/a:/b", "c:/b/"} }, errs.InvalidParameter, "Duplicate mount point: /b"},
		{"bind and tmpfs", func(_ *container.Config, h *container.HostConfig) {
			h.Binds, h.Tmpfs = []string{"/a:/b"}, map[string]string{"/b": ""}
		}, errs.InvalidParameter, "Duplicate mount point: /b"},
		{"volume at the root", func(c *container.Config, _ *container.HostConfig) { c.Volumes = map[string]struct{}{"/": {}} }, errs.InvalidParameter, "destination can't be '/'"},
		{"unknown type", asked(mount.Mount{Type: "floppy", Source: "/a"}), errs.InvalidParameter, "invalid mount config for type \"floppy\": mount type unknown"},
		{"pipe", asked(mount.Mount{Type: mount.TypeNamedPipe, Source: "/a"}), errs.NotImplemented, "Windows"},
		{"cluster", asked(mount.Mount{Type: mount.TypeCluster, Source: "/a"}), errs.NotImplemented, "swarm"},
		{"bind without source", asked(mount.Mount{Type: mount.TypeBind}), errs.InvalidParameter, "field Source must not be empty"},
		{"bind of a relative path", asked(mount.Mount{Type: mount.TypeBind, Source: "a"}), errs.InvalidParameter, "invalid mount path: 'a' mount path must be absolute"},
		{"unknown propagation", asked(mount.Mount{Type: mount.TypeBind, Source: "/a", BindOptions: &mount.BindOptions{Propagation: "wide"}}), errs.InvalidParameter, "invalid propagation mode: wide"},
		{"tmpfs with source", asked(mount.Mount{Type: mount.TypeTmpfs, Source: "/a"}), errs.InvalidParameter, "field Source must not be specified"},
		{"tmpfs of negative size", asked(mount.Mount{Type: mount.TypeTmpfs, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: -1}}), errs.InvalidParameter, "invalid tmpfs size"},
		{"tmpfs option of --mount", asked(mount.Mount{Type: mount.TypeTmpfs, TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"uid", "7"}}}}), errs.InvalidParameter, "invalid option: \"uid=7\""},
		{"empty tmpfs option", asked(mount.Mount{Type: mount.TypeTmpfs, TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{}}}}), errs.InvalidParameter, "invalid option"},
		{"tmpfs option", func(_ *container.Config, h *container.HostConfig) { h.Tmpfs = map[string]string{"/run": "lowerdir=/"} }, errs.InvalidParameter, "invalid tmpfs option"},
		{"subpath upwards", asked(mount.Mount{Type: mount.TypeVolume, Source: "v", VolumeOptions: &mount.VolumeOptions{Subpath: "a/../../b"}}), errs.InvalidParameter, "subpath must be a relative path within the volume"},
		{"absolute subpath", asked(mount.Mount{Type: mount.TypeVolume, Source: "v", VolumeOptions: &mount.VolumeOptions{Subpath: "/b"}}), errs.InvalidParameter, "subpath must be a relative path"},
		{"subpath of an anonymous volume", asked(mount.Mount{Type: mount.TypeVolume, VolumeOptions: &mount.VolumeOptions{Subpath: "b"}}), errs.InvalidParameter, "must not set Subpath when using anonymous volumes"},
		{"read-only anonymous volume", asked(mount.Mount{Type: mount.TypeVolume, ReadOnly: true}), errs.InvalidParameter, "must not set ReadOnly mode when using anonymous volumes"},
		{"subpath of an image upwards", asked(mount.Mount{Type: mount.TypeImage, Source: "i", ImageOptions: &mount.ImageOptions{Subpath: ".."}}), errs.InvalidParameter, "within the image"},
		{"image without a name", asked(mount.Mount{Type: mount.TypeImage}), errs.InvalidParameter, "field Source must not be empty"},
		{"options of another type", asked(mount.Mount{Type: mount.TypeBind, Source: "/a", ImageOptions: &mount.ImageOptions{}}), errs.InvalidParameter, "field ImageOptions must not be specified"},
	} {
		_, err := parse(c.change)
		if !errs.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v (%v)", c.name, err, errs.KindOf(err))
		}
	}
}

func TestParse(t *testing.T) {
	got, err := parse(func(c *container.Config, h *container.HostConfig) {
		h.Binds = []string{"/a:/b:ro,Z", "data:/data", "/only"}
		h.Mounts = []mount.Mount{
			{Type: mount.TypeVolume, Source: "v", Target: "/v/", ReadOnly: true, VolumeOptions: &mount.VolumeOptions{
				NoCopy: true, Subpath: "in/side", Labels: map[string]string{"l": "1"}, DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"type": "tmpfs"}}}},
			{Type: mount.TypeImage, Source: "busybox", Target: "/i", ImageOptions: &mount.ImageOptions{Subpath: "bin"}},
			{Type: mount.TypeTmpfs, Target: "/t", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 4096, Mode: 0o700, Options: [][]string{{"exec"}}}},
		}
		h.Tmpfs = map[string]string{"/run": "size=1m"}
		c.Volumes = map[string]struct{}{"/data": {}, "/run": {}, "free": {}}
	})
	if err != nil {
		t.Fatal(err)
	}
	rw, ro := []string{"rbind", "rprivate"}, []string{"rbind", "rprivate", "rro"}
	want := []Wanted{
		{Mount: record.Mount{Type: "bind", Source: "/a", Destination: "/b", Mode: "ro,Z", Propagation: "rprivate", Options: ro, CreateSource: true}},
		{Mount: record.Mount{Type: "volume", Name: "data", Destination: "/data", Driver: "local", Mode: "z", RW: true, Options: rw}},
		{Mount: record.Mount{Type: "volume", Destination: "/only", Driver: "local", Mode: "z", RW: true, Anonymous: true, Options: rw}},
		{Mount: record.Mount{Type: "volume", Name: "v", Destination: "/v", Driver: "local", Mode: "z", Subpath: "in/side", NoCopy: true, Options: ro},
			Labels: map[string]string{"l": "1"}, Options: map[string]string{"type": "tmpfs"}},
		{Mount: record.Mount{Type: "image", Name: "busybox", Destination: "/i", Subpath: "bin", Options: []string{"bind", "private", "ro"}}},
		{Mount: record.Mount{Type: "tmpfs", Destination: "/t", RW: true, Options: []string{"noexec", "nosuid", "nodev", "rprivate", "size=4096", "mode=700", "exec"}}},
		{Mount: record.Mount{Type: "tmpfs", Destination: "/run", Mode: "size=1m", RW: true, Hidden: true, Options: []string{"noexec", "nosuid", "nodev", "size=1m"}}},
		{Mount: record.Mount{Type: "volume", Destination: "/free", Driver: "local", RW: true, Anonymous: true, Options: rw}},
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("mount %d:\n got %+v\nwant %+v", i, got[min(i, len(got)-1)], want[min(i, len(want)-1)])
		}
	}
}

func TestAnonymousVolumesGiveWayToOtherContainers(t *testing.T) {
	c := &container.Config{Volumes: map[string]struct{}{"/theirs": {}, "/ours": {}}}
	got, err := Parse(c, &container.HostConfig{}, func(d string) bool { return d == "/theirs" })
	if err != nil || len(got) != 1 || got[0].Destination != "/ours" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseFrom(t *testing.T) {
	for text, want := range map[string]struct {
		ref string
		rw  bool
		bad bool
	}{
		"c": {"c", true, false}, "c:ro": {"c", false, false}, "c:rw,z": {"c", true, false},
		"": {"", false, true}, "c:shared": {"", false, true}, "c:nocopy": {"", false, true}, "c:what": {"", false, true},
	} {
		ref, rw, err := ParseFrom(text)
		if ref != want.ref || rw != want.rw || (err != nil) != want.bad {
			t.Errorf("%q: %q, %v, %v", text, ref, rw, err)
		}
	}
}

func TestInherit(t *testing.T) {
	m := record.Mount{Type: "volume", Name: "v", Destination: "/v", Mode: "z", RW: true, Anonymous: true, Options: []string{"rbind", "rprivate"}}
	got := Inherit(m, false)
	if got.RW || got.Mode != "" || !got.NoCopy || !got.Anonymous || !slices.Equal(got.Options, []string{"rbind", "rprivate", "rro"}) {
		t.Errorf("%+v", got)
	}
	if again := Inherit(got, true); again.RW || !slices.Equal(again.Options, got.Options) {
		t.Errorf("what was read-only became %+v", again)
	}
	if !slices.Equal(m.Options, []string{"rbind", "rprivate"}) {
		t.Errorf("the other container's mount was changed: %v", m.Options)
	}
}

func FuzzParseBind(f *testing.F) {
	for _, s := range []string{"/a:/b", "/a:/b:ro,z", "a:b:c:d", "::", "/a:/../..", "v:/b:nocopy", "/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseBind(s, "")
		if err != nil {
			return
		}
		if (m.Type == mount.TypeBind) != filepath.IsAbs(m.Source) || !filepath.IsAbs(m.Destination) || m.Destination == "/" || strings.Contains(m.Destination+"/", "/../") {
			t.Errorf("%q gives %q at %q", s, m.Source, m.Destination)
		}
	})
}
