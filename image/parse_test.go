package image

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/davit-engine/davit/errs"
)

func TestApplyChanges(t *testing.T) {
	for _, c := range []struct {
		changes string // one per line
		want    string // the configuration as JSON
	}{
		{`CMD ["a", "b c"]`, `{"Cmd":["a","b c"]}`},
		{`cmd echo "hi  there"`, `{"Cmd":["/bin/sh","-c","echo \"hi  there\""]}`},
		{"SHELL [\"/bin/bash\", \"-c\"]\nCMD x", `{"Cmd":["/bin/bash","-c","x"],"Shell":["/bin/bash","-c"]}`},
		{`ENTRYPOINT ["/e"]`, `{"Entrypoint":["/e"]}`},
		{`ENTRYPOINT /e $x`, `{"Entrypoint":["/bin/sh","-c","/e $x"]}`},
		{`ENTRYPOINT []`, `{}`},
		{"ENV A=1 B=\"two words\" C='$x' D=a\\ b\nENV A=2", `{"Env":["A=2","B=two words","C=$x","D=a b"]}`},
		{"ENV A one two", `{"Env":["A=one two"]}`},
		{"LABEL a=b \"c d\"=\"e f\"\nLABEL a=c", `{"Labels":{"a":"c","c d":"e f"}}`},
		{"EXPOSE 80 443/tcp 53/UDP 8000-8002", `{"ExposedPorts":{"443/tcp":{},"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{}}}`},
		{"USER joe:users", `{"User":"joe:users"}`},
		{"VOLUME /a /b\nVOLUME [\"/c d\"]", `{"Volumes":{"/a":{},"/b":{},"/c d":{}}}`},
		{"WORKDIR /a\nWORKDIR b/../c", `{"WorkingDir":"/a/c"}`},
		{"ONBUILD RUN make", `{"OnBuild":["RUN make"]}`},
		{"STOPSIGNAL SIGUSR1", `{"StopSignal":"SIGUSR1"}`},
		{"HEALTHCHECK --interval=5s --timeout=1m --start-period=2s --start-interval=1s --retries=3 CMD curl -f /", `{"Healthcheck":{"Test":["CMD-SHELL","curl -f /"],"Interval":5000000000,"Timeout":60000000000,"StartPeriod":2000000000,"StartInterval":1000000000,"Retries":3}}`},
		{`HEALTHCHECK CMD ["/check"]`, `{"Healthcheck":{"Test":["CMD","/check"]}}`},
		{"HEALTHCHECK NONE", `{"Healthcheck":{"Test":["NONE"]}}`},
		{"  \nUSER\tx", `{"User":"x"}`},
	} {
		var config dockerspec.DockerOCIImageConfig
		if err := ApplyChanges(&config, strings.Split(c.changes, "\n")); err != nil {
			t.Errorf("%s: %v", c.changes, err)
			continue
		}
		var want dockerspec.DockerOCIImageConfig
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(config, want) {
			t.Errorf("%s: got %s want %s", c.changes, mustJSON(t, config), c.want)
		}
	}
	for _, bad := range []string{
		"RUN x", "FROM x", "CMD", "SHELL /bin/sh", "ENV A", "ENV A=1 B", "ENV =x", `ENV A="x`, "EXPOSE x", "EXPOSE 80/icmp", "EXPOSE 90-80", "EXPOSE 70000",
		"USER a b", "VOLUME [\"\"]", "ONBUILD ONBUILD RUN x", "ONBUILD FROM x", "HEALTHCHECK x", "HEALTHCHECK CMD", "HEALTHCHECK --foo=1 CMD x",
		"HEALTHCHECK --interval=1us CMD x", "HEALTHCHECK --retries=x CMD y", "HEALTHCHECK NONE x", "LABEL a",
	} {
		if err := ApplyChanges(&dockerspec.DockerOCIImageConfig{}, []string{bad}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzApplyChanges(f *testing.F) {
	for _, s := range []string{`CMD ["a"]`, `ENV A=1 B="2 3"`, "EXPOSE 1-9/udp", "HEALTHCHECK --interval=1s CMD x", `LABEL "a b"=c\ d`, "VOLUME /x", "WORKDIR x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, change string) {
		var config dockerspec.DockerOCIImageConfig
		if err := ApplyChanges(&config, []string{change}); err != nil {
			if !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("kind %v", errs.KindOf(err))
			}
			return
		}
		for _, e := range config.Env {
			if !strings.Contains(e, "=") || strings.HasPrefix(e, "=") {
				t.Errorf("environment entry %q", e)
			}
		}
		if config.WorkingDir != "" && config.WorkingDir[0] != '/' {
			t.Errorf("working directory %q", config.WorkingDir)
		}
	})
}

const (
	goodDigest   = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	goodManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + goodDigest + `","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + goodDigest + `","size":3}]}`
	goodIndex    = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + goodDigest + `","size":2,"platform":{"os":"linux","architecture":"arm64"}}]}`
	goodConfig   = `{"os":"linux","architecture":"amd64","config":{"Cmd":["/x"]},"rootfs":{"type":"layers","diff_ids":["` + goodDigest + `"]}}`
)

func TestParseManifest(t *testing.T) {
	m, err := parseManifest([]byte(goodManifest))
	if err != nil || len(m.Layers) != 1 || checkImage(m) != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		`{`, `[]`, `{"schemaVersion":1,"fsLayers":[{}]}`, strings.Replace(goodManifest, `"schemaVersion":2`, `"schemaVersion":3`, 1),
		strings.Replace(goodManifest, `"size":3`, `"size":-3`, 1), strings.Replace(goodManifest, `"size":2`, `"size":0`, 1),
		strings.Replace(goodManifest, "sha256:", "sha1:", 1), strings.Replace(goodManifest, goodDigest, "sha256:aa", 1),
		strings.Replace(goodManifest, `"config"`, `"manifests":[],"config"`, 1), goodManifest + strings.Repeat(" ", maxManifestSize),
	} {
		if _, err := parseManifest([]byte(bad)); errs.KindOf(err) == errs.Unknown {
			t.Errorf("%.80s: %v", bad, err)
		}
	}
	for _, layer := range []string{"application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "text/plain"} {
		m.Layers[0].MediaType = layer
		if err := checkImage(m); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", layer, err)
		}
	}
}

func TestParseIndexAndConfig(t *testing.T) {
	if x, err := parseIndex([]byte(goodIndex)); err != nil || len(x.Manifests) != 1 {
		t.Fatal(err)
	}
	if _, err := parseIndex([]byte(goodManifest)); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("a manifest passed as an index: %v", err)
	}
	if c, err := parseConfig([]byte(goodConfig), 1); err != nil || c.Config.Cmd[0] != "/x" {
		t.Fatal(err)
	}
	for _, bad := range []string{`{`, `{"rootfs":{"type":"magic"}}`, strings.Replace(goodConfig, goodDigest, "x", 1), `{}`} {
		if _, err := parseConfig([]byte(bad), 1); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if c, err := parseConfig([]byte(`{}`), 0); err != nil || c.OS == "" {
		t.Errorf("an image without layers: %v", err)
	}
}

func FuzzDocuments(f *testing.F) {
	for _, s := range []string{goodManifest, goodIndex, goodConfig} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := parseManifest(data); err == nil {
			for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
				if d.Size <= 0 || d.Digest.Validate() != nil {
					t.Errorf("descriptor %+v", d)
				}
			}
		}
		_, ierr := parseIndex(data)
		c, cerr := parseConfig(data, 1)
		if cerr == nil && len(c.RootFS.DiffIDs) != 1 {
			t.Errorf("config with %d layers", len(c.RootFS.DiffIDs))
		}
		_ = ierr
	})
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "a:b", "x.io:5/a/b@" + goodDigest, "abcd", goodDigest, "", ":", "[::1]:5/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		if err := notFound(ref); !errs.Is(err, errs.NotFound) {
			t.Error(err)
		}
		if p := idPrefix(ref); p != "" && (len(p) < 4 || len(p) > 64) {
			t.Errorf("prefix %q", p)
		}
		if _, err := ParseTime(ref, time.Unix(0, 0)); err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Error(err)
		}
		registryMessage([]byte(ref))
		nextPage(ref)
		retryAfter(ref)
	})
}
