package api_test

import (
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/davit-engine/davit/engine"
	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/image"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/volume"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func number(n int) *int { return &n }

// TestRoutes asks each route for what it does well, and looks at what reached
// the engine.
func TestRoutes(t *testing.T) {
	amd64 := &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	platform := url.QueryEscape(`{"os":"linux","architecture":"amd64"}`)
	for _, tc := range []struct {
		method, path, body string
		status             int
		got                any // what the engine was asked; nil: not looked at
	}{
		{"POST", "/containers/web/start", "", 204, "start web"},
		{"POST", "/containers/web/start", "{}", 204, "start web"},
		{"POST", "/containers//web/start", "", 204, "start web"},
		{"POST", "/containers/" + id[:8] + "/start", "", 204, nil},
		{"POST", "/containers/web/stop?t=5&signal=SIGINT", "", 204, engine.StopOptions{Signal: "SIGINT", Timeout: number(5)}},
		{"POST", "/v1.41/containers/web/stop?t=-1&signal=SIGINT", "", 204, engine.StopOptions{Timeout: number(-1)}},
		{"POST", "/containers/web/restart", "", 204, engine.StopOptions{}},
		{"POST", "/containers/web/kill?signal=9", "", 204, "kill web 9"},
		{"POST", "/containers/web/resize?h=24&w=80", "", 200, "resize 24x80"},
		{"POST", "/containers/web/pause", "", 204, "pause web"},
		{"POST", "/containers/web/unpause", "", 204, "unpause web"},
		{"POST", "/containers/web/rename?name=shop", "", 204, "rename web shop"},
		{"DELETE", "/containers/web?force=1&v=true&link=no", "", 204, engine.RemoveOptions{Force: true, Volumes: true}},
		{"GET", "/containers/json?all=1&limit=3&size=1&filters=" + url.QueryEscape(`{"status":{"running":true}}`), "", 200,
			engine.ListOptions{All: true, Limit: 3, Size: true, Filters: map[string]map[string]bool{"status": {"running": true}}}},
		{"GET", "/containers/json?limit=-1&since=a&filters=" + url.QueryEscape(`{"label":["x"]}`), "", 200,
			engine.ListOptions{Filters: map[string]map[string]bool{"label": {"x": true}, "since": {"a": true}}}},
		{"GET", "/containers/web/json?size=1", "", 200, "inspect webtrue"},
		{"HEAD", "/containers/web/archive?path=/f", "", 200, "stat web /f"},
		{"HEAD", "/containers/web/archive?path=/nosuch", "", 404, nil},
		{"HEAD", "/containers/web/archive", "", 400, nil},
		{"GET", "/v1.24/containers/web/archive?path=/f", "", 200, "stat web /f"},
		{"GET", "/containers/web/archive?path=/nosuch", "", 404, nil},
		{"PUT", "/containers/web/archive?path=/d&noOverwriteDirNonDir=true&copyUIDGID=1", "tar", 200,
			[]any{"web", "/d", "tar", engine.ExtractOptions{KeepKinds: true, UserOwns: true}}},
		{"PUT", "/v1.24/containers/web/archive?path=/d&noOverwriteDirNonDir=false", "tar", 200, []any{"web", "/d", "tar", engine.ExtractOptions{}}},
		{"GET", "/containers/web/export", "", 200, "export web"},
		{"GET", "/containers/web/changes", "", 200, "changes web"},
		{"POST", "/commit?container=web&repo=r&tag=t&author=a&comment=c&changes=CMD+x&changes=ENV+a%3Db", "", 201, []any{"web", "docker.io/library/r:t", "a", "c", "CMD x|ENV a=b", "", true}},
		{"POST", "/commit?container=web&pause=0", "null", 201, []any{"web", "", "", "", "", "", false}},
		{"POST", "/commit?container=web", `{"User":"u"}`, 201, []any{"web", "", "", "", "", "user u", true}},
		{"POST", "/commit?container=web", `{"User":`, 400, nil},
		{"GET", "/networks?filters=" + url.QueryEscape(`{"driver":["bridge"]}`), "", 200, map[string]map[string]bool{"driver": {"bridge": true}}},
		{"GET", "/v1.27/networks", "", 200, nil},
		{"GET", "/networks/bridge?verbose=1&scope=local", "", 200, nil},
		{"GET", "/v1.51/networks/bridge", "", 200, nil},
		{"GET", "/networks/nobody", "", 404, nil},
		{"GET", "/networks/", "", 200, map[string]map[string]bool{}},
		{"GET", "/networks/bridge?scope=swarm", "", 404, nil},
		{"POST", "/networks/create", `{"Name":"n","CheckDuplicate":true,"EnableIPv4":false,"IPAM":{"Config":[{"Subnet":"10.1.0.0/16","IPRange":"","Gateway":"10.1.0.1"}]}}`, 201,
			network.CreateRequest{Name: "n", EnableIPv4: new(bool), IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1")}}}}},
		{"POST", "/v1.47/networks/create", `{"Name":"n","EnableIPv4":false}`, 201, network.CreateRequest{Name: "n"}},
		{"POST", "/networks/n/connect", `{"Container":"web","EndpointConfig":{"Aliases":["a"],"GwPriority":-3,"IPAMConfig":{"IPv4Address":"10.1.0.7","IPv6Address":""}}}`, 200,
			[]any{"connect", "n", "web", &network.EndpointSettings{Aliases: []string{"a"}, GwPriority: -3, IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.1.0.7")}}}},
		{"POST", "/v1.24/networks/n/connect", `{"Container":"web"}`, 200, []any{"connect", "n", "web", (*network.EndpointSettings)(nil)}},
		{"POST", "/networks/n/disconnect", `{"Container":"web","Force":true}`, 200, []any{"disconnect", "n", "web", true}},
		{"DELETE", "/networks/bridge", "", 403, nil},
		{"POST", "/networks/prune?filters=" + url.QueryEscape(`{"until":["1h"]}`), "", 200, map[string]map[string]bool{"until": {"1h": true}}},
		{"GET", "/containers/web/stats", "", 200, engine.StatsOptions{Stream: true}},
		{"GET", "/containers/web/stats?stream=0&one-shot=1", "", 200, engine.StatsOptions{OneShot: true}},
		{"GET", "/v1.40/containers/web/stats?stream=false&one-shot=1", "", 200, engine.StatsOptions{}},
		{"GET", "/containers/web/top", "", 200, "top web "},
		{"GET", "/containers/web/top?ps_args=aux", "", 200, "top web aux"},
		{"GET", "/volumes?filters=" + url.QueryEscape(`{"dangling":["true"]}`), "", 200, map[string]map[string]bool{"dangling": {"true": true}}},
		{"GET", "/volumes/data", "", 200, "inspect data"},
		{"GET", "/volumes/none", "", 404, "inspect none"},
		{"POST", "/volumes/create", `{"Name":"data","Labels":{"a":"1"},"DriverOpts":{"type":"tmpfs"}}`, 201,
			volume.CreateRequest{Name: "data", Labels: map[string]string{"a": "1"}, DriverOpts: map[string]string{"type": "tmpfs"}}},
		{"POST", "/volumes/create", `{}`, 201, volume.CreateRequest{}},
		{"POST", "/volumes/prune", "", 200, map[string]map[string]bool{}},
		{"POST", "/v1.41/volumes/prune", "", 200, map[string]map[string]bool{"all": {"true": true}}},
		{"DELETE", "/volumes/data?force=1", "", 204, "remove data true"},
		{"PUT", "/volumes/data?version=1", "{}", 503, nil},
		{"GET", "/system/df", "", 200, engine.DiskUsageOptions{Containers: true, Images: true, Volumes: true, BuildCache: true}},
		{"GET", "/system/df?type=image&type=volume&verbose=1", "", 200, engine.DiskUsageOptions{Images: true, Volumes: true}},
		{"GET", "/v1.41/system/df?type=image", "", 200, engine.DiskUsageOptions{Containers: true, Images: true, Volumes: true, BuildCache: true}},
		{"POST", "/containers/prune?filters=" + url.QueryEscape(`{"until":["1h"]}`), "", 200, map[string]map[string]bool{"until": {"1h": true}}},
		{"POST", "/images/prune?filters=" + url.QueryEscape(`{"dangling":{"false":true}}`), "", 200, map[string]map[string]bool{"dangling": {"false": true}}},
		{"GET", "/images/get?names=a&names=b:1", "", 200, []any{[]string{"a", "b:1"}, image.SaveOptions{}}},
		{"GET", "/images/docker.io/library/a/get?platform=" + platform, "", 200, []any{[]string{"docker.io/library/a"}, image.SaveOptions{Platforms: []ocispec.Platform{*amd64}}}},
		{"GET", "/v1.47/images/a/get?platform=" + platform, "", 200, []any{[]string{"a"}, image.SaveOptions{}}},
		{"POST", "/images/load?platform=" + platform, "x", 200, []any{"x", image.LoadOptions{Platforms: []ocispec.Platform{*amd64}}}},
		{"GET", "/info", "", 200, nil},
		{"GET", "/version", "", 200, nil},
		{"POST", "/auth", `{"username":"u","password":"right","serveraddress":"r"}`, 200, registry.AuthConfig{Username: "u", Password: "right", ServerAddress: "r"}},
		{"OPTIONS", "/anything", "", 200, nil},

		{"GET", "/images/json?all=1&shared-size=1&manifests=1&filters=" + url.QueryEscape(`{"dangling":["true"]}`), "", 200,
			image.ListOptions{All: true, SharedSize: true, Manifests: true, Filters: map[string]map[string]bool{"dangling": {"true": true}}}},
		{"GET", "/v1.41/images/json?shared-size=1&manifests=1&filter=a*", "", 200, image.ListOptions{Filters: map[string]map[string]bool{}}},
		{"GET", "/v1.40/images/json?filter=a*", "", 200, image.ListOptions{Filters: map[string]map[string]bool{"reference": {"a*": true}}}},
		{"GET", "/images/docker.io/library/busybox/json?manifests=1", "", 200, []any{"docker.io/library/busybox", image.InspectOptions{Manifests: true}}},
		{"GET", "/images/docker.io%2Flibrary%2Fbusybox/json?platform=" + platform, "", 200, []any{"docker.io/library/busybox", image.InspectOptions{Platform: amd64}}},
		{"GET", "/v1.47/images/busybox/json?manifests=1&platform=" + platform, "", 200, []any{"busybox", image.InspectOptions{}}},
		{"GET", "/images/json/json", "", 200, []any{"json", image.InspectOptions{}}},
		{"GET", "/images/docker.io/library/busybox/history?platform=" + platform, "", 200, []any{"docker.io/library/busybox", amd64}},
		{"POST", "/images/busybox/tag?repo=r.example:5000/a/b&tag=v1", "", 201, "busybox as r.example:5000/a/b:v1"},
		{"POST", "/images/busybox/tag?repo=a", "", 201, "busybox as docker.io/library/a:latest"},
		{"DELETE", "/images/docker.io/library/busybox?force=1&noprune=1&platforms=" + platform, "", 200,
			[]any{"docker.io/library/busybox", image.RemoveOptions{Force: true, Platforms: []ocispec.Platform{*amd64}}}},
		{"POST", "/images/create?fromImage=busybox&tag=1.36&platform=linux/amd64", "", 200, []any{"docker.io/library/busybox:1.36", image.PullOptions{Platform: amd64}}},
		{"POST", "/images/create?fromImage=busybox&tag=" + digest1, "", 200, []any{"docker.io/library/busybox@" + digest1, image.PullOptions{}}},
		{"POST", "/images/create?fromImage=busybox:", "", 200, []any{"docker.io/library/busybox", image.PullOptions{}}},
		{"POST", "/images/r.example:5000/a/b/push?tag=v1&platform=" + platform, "", 200, []any{"r.example:5000/a/b:v1", image.PushOptions{Platform: amd64}}},
		{"POST", "/v1.45/images/r.example:5000/a/b/push?platform=" + platform, "", 200, []any{"r.example:5000/a/b", image.PushOptions{}}},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			f := &fake{}
			srv, _ := serve(t, f)
			resp, body := ask(t, srv, tc.method, tc.path, tc.body)
			if resp.StatusCode != tc.status {
				t.Fatalf("status %d: %s", resp.StatusCode, body)
			}
			if tc.got != nil && !reflect.DeepEqual(f.last(t), tc.got) {
				t.Errorf("the engine was asked %+v, want %+v", f.last(t), tc.got)
			}
		})
	}
}

// TestWarning: what a user should know after a stop stands in the answer's
// head, where Docker's clients do not look.
func TestWarning(t *testing.T) {
	srv, _ := serve(t, &fake{})
	for _, path := range []string{"/containers/web/stop", "/v1.24/containers/web/restart"} {
		resp, body := ask(t, srv, "POST", path, "")
		if got := resp.Header.Values("Davit-Warning"); resp.StatusCode != 204 || len(got) != 1 || got[0] != "it took long" || len(body) != 0 {
			t.Errorf("%s: status %d, warnings %q, body %q", path, resp.StatusCode, got, body)
		}
	}
}

// TestErrors asks for what cannot be, and reads the words.
func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, body, contentType string
		err                                   error // of the engine
		status                                int
		want                                  string
	}{
		{"no such path", "GET", "/nothing", "", "", nil, 404, "page not found"},
		{"wrong method", "PUT", "/info", "", "", nil, 404, "page not found"},
		{"no name", "GET", "/containers//json", "", "", nil, 404, "page not found"},
		{"too old", "GET", "/v1.22/info", "", "", nil, 400, "client version 1.22 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{"too new", "GET", "/v1.99/info", "", "", nil, 400, "client version 1.99 is too new. Maximum supported API version is 1.56"},
		{"ancient", "GET", "/v0.9/info", "", "", nil, 400, "client version 0.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
		{"odd version", "GET", "/v1..2/info", "", "", nil, 400, `invalid API version "1..2"`},
		{"not a version", "GET", "/v1.2x/info", "", "", nil, 404, "page not found"},
		{"not built", "POST", "/swarm/init", "{}", "", nil, 501, "POST /swarm/init is not implemented by this engine"},
		{"not built, with a name of many parts", "GET", "/images/a/b/attestations", "", "", nil, 501, "GET /images/{name}/attestations is not implemented by this engine"},
		{"bad query", "GET", "/info?a=%zz", "", "", nil, 400, `invalid URL escape "%zz"`},

		{"no such container", "GET", "/containers/x/json", "", "", nil, 404, "No such container: x"},
		{"kill says what for", "POST", "/containers/x/kill", "", "", nil, 404, "cannot kill container: x: No such container: x"},
		{"kill says it once", "POST", "/containers/web/kill", "", "", errs.New(errs.Conflict, "cannot kill container: web: it is not running"), 409, "cannot kill container: web: it is not running"},
		{"name in use", "POST", "/containers/create?name=web", `{"Image":"a"}`, "", nil, 409, `Conflict. The container name "/web" is already in use`},
		{"bad filter", "GET", "/containers/json?filters=x", "", "", nil, 400, "invalid filter"},
		{"bad filter type", "GET", "/containers/json?filters=[]", "", "", nil, 400, "invalid filter"},
		{"bad limit", "GET", "/containers/json?limit=x", "", "", nil, 400, `invalid value for "limit": strconv.Atoi: parsing "x": invalid syntax`},
		{"bad time", "POST", "/containers/web/stop?t=x", "", "", nil, 400, `invalid value for "t": strconv.Atoi: parsing "x": invalid syntax`},
		{"bad height", "POST", "/containers/web/resize?h=x&w=1", "", "", nil, 400, `invalid resize height "x": invalid syntax`},
		{"no width", "POST", "/containers/web/resize?h=1", "", "", nil, 400, `invalid resize width "": invalid syntax`},
		{"negative width", "POST", "/containers/web/resize?h=1&w=-1", "", "", nil, 400, `invalid resize width "-1": value out of range`},
		{"huge width", "POST", "/containers/web/resize?h=1&w=4294967296", "", "", nil, 400, `invalid resize width "4294967296": value out of range`},
		{"start with a body", "POST", "/containers/web/start", `{"Image":"x"}`, "", nil, 400, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"},
		{"bad condition", "POST", "/containers/web/wait?condition=later", "", "", nil, 400, `invalid condition: "later"`},
		{"no stream", "GET", "/containers/web/logs", "", "", nil, 400, "Bad parameters: you must choose at least one stream"},
		{"bad since", "GET", "/containers/web/logs?stdout=1&since=now", "", "", nil, 400, `invalid value for "since": failed to parse value as time or duration: "now" is neither seconds since 1970 nor a duration nor an RFC 3339 date`},
		{"events backwards", "GET", "/events?since=2000&until=1000", "", "", nil, 400, "`since` time (2000) cannot be after `until` time (1000)"},
		{"attach to nothing", "POST", "/containers/x/attach?stream=1&stdout=1", "", "", nil, 404, "No such container: x"},

		{"create from nothing", "POST", "/containers/create", "", "application/json", nil, 400, "invalid JSON: got EOF while reading request body"},
		{"create from half", "POST", "/containers/create", `{"Image":`, "", nil, 400, "invalid JSON: unexpected EOF"},
		{"create from noise", "POST", "/containers/create", `{"Image" 5}`, "", nil, 400, `invalid JSON: invalid character '5' after object key`},
		{"create from two", "POST", "/containers/create", `{"Image":"a"} {}`, "", nil, 400, "unexpected content after JSON"},
		{"create with wrong type", "POST", "/containers/create", `{"Image":5}`, "", nil, 400, "invalid JSON: json: cannot unmarshal number into Go struct field"},
		{"create with wrong list", "POST", "/containers/create", `{"Env":"A=b"}`, "", nil, 400, "invalid JSON: json: cannot unmarshal string into Go struct field"},
		{"create without config", "POST", "/containers/create", `{"HostConfig":{}}`, "", nil, 400, "config cannot be empty in order to create a container"},
		{"create as a form", "POST", "/containers/create", `a=b`, "application/x-www-form-urlencoded", nil, 400, "unsupported Content-Type header (application/x-www-form-urlencoded): must be 'application/json'"},
		{"create as nonsense", "POST", "/containers/create", `{}`, ";", nil, 400, "malformed Content-Type header (;): mime: no media type"},
		{"create for no platform", "POST", "/containers/create?platform=a/b/c/d/e", `{"Image":"a"}`, "", nil, 400, `"d/e" is an invalid component of "a/b/c/d/e"`},

		{"network of half a request", "POST", "/networks/create", `{"Name":`, "", nil, 400, "invalid JSON: unexpected EOF"},
		{"network of nothing", "POST", "/networks/create", "", "application/json", nil, 400, "invalid JSON: got EOF while reading request body"},
		{"network with a bad subnet", "POST", "/networks/create", `{"Name":"n","IPAM":{"Config":[{"Subnet":"10.0.0.0"}]}}`, "", nil, 400, `invalid JSON: netip.ParsePrefix("10.0.0.0"): no '/'`},
		{"network of a name in use", "POST", "/networks/create", `{"Name":"taken"}`, "", nil, 409, "network with name taken already exists"},
		{"network as a form", "POST", "/networks/create", "Name=n", "application/x-www-form-urlencoded", nil, 400, "unsupported Content-Type header"},
		{"connect to an address that is none", "POST", "/networks/n/connect", `{"Container":"web","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10"}}}`, "", nil, 400, `invalid JSON: ParseAddr("10"): unable to parse IP`},
		{"connect with nothing", "POST", "/networks/n/connect", "", "application/json", nil, 400, "invalid JSON: got EOF while reading request body"},
		{"connect twice", "POST", "/networks/n/connect", `{"Container":"web"}`, "", errs.New(errs.Forbidden, "endpoint with name web already exists in network n"), 403, "endpoint with name web already exists in network n"},
		{"disconnect what is not there", "POST", "/networks/n/disconnect", `{"Container":"x"}`, "", errs.New(errs.NotFound, "No such container: x"), 404, "No such container: x"},
		{"verbose beyond words", "GET", "/networks/bridge?verbose=very", "", "", nil, 400, `invalid value for verbose: very: strconv.ParseBool: parsing "very": invalid syntax`},
		{"no such network", "GET", "/networks/x", "", "", nil, 404, "network x not found"},

		{"no such image", "GET", "/images/a/b/json", "", "", nil, 404, "No such image: a/b"},
		{"both", "GET", "/images/busybox/json?manifests=1&platform=" + url.QueryEscape(`{"os":"linux","architecture":"amd64"}`), "", "", nil, 400, "conflicting options: manifests and platform options cannot both be set"},
		{"bad platform", "GET", "/images/busybox/history?platform=linux", "", "", nil, 400, "failed to parse platform: invalid character 'l' looking for beginning of value"},
		{"half a platform", "GET", "/images/busybox/history?platform=" + url.QueryEscape(`{"os":"linux"}`), "", "", nil, 400, "both OS and Architecture must be provided"},
		{"tag without a name", "POST", "/images/busybox/tag", "", "", nil, 400, "repository name must have at least one component"},
		{"tag in capitals", "POST", "/images/busybox/tag?repo=A", "", "", nil, 400, "invalid reference format: repository name (library/A) must be lowercase"},
		{"bad tag", "POST", "/images/busybox/tag?repo=a&tag=.", "", "", nil, 400, "invalid tag format"},
		{"tag sha256", "POST", "/images/busybox/tag?repo=sha256", "", "", nil, 400, "refusing to create an ambiguous tag using digest algorithm as name"},
		{"tag a digest", "POST", "/images/busybox/tag?repo=a@" + digest1, "", "", nil, 400, "cannot import digest reference"},
		{"blank image", "DELETE", "/images/%20", "", "", nil, 400, "image name cannot be blank"},
		{"pull scratch", "POST", "/images/create?fromImage=scratch", "", "", nil, 403, "'scratch' is a reserved name"},
		{"pull nonsense", "POST", "/images/create?fromImage=a%20b", "", "", nil, 400, "invalid reference format"},
		{"pull nothing", "POST", "/images/create", "", "", nil, 400, "fromImage or fromSrc must be given"},
		{"import an address", "POST", "/images/create?fromSrc=http://x/y", "", "", nil, 501, "importing from an address is not implemented by this engine: fetch http://x/y and send it with fromSrc=-"},
		{"push nonsense", "POST", "/images/A/push", "", "", nil, 400, "invalid reference format: repository name (library/A) must be lowercase"},
		{"identity alone", "GET", "/images/json?identity=1", "", "", nil, 400, "conflicting options: identity requires manifests=1"},
		{"save nothing", "GET", "/images/get", "", "", nil, 400, "names: name at least one image to be saved"},
		{"save what is not there", "GET", "/images/get?names=x", "", "", errs.New(errs.NotFound, "No such image: x:latest"), 404, "No such image: x:latest"},
		{"two platforms, before", "GET", "/v1.51/images/get?names=x&platform={}&platform={}", "", "", nil, 400, "platform: several need API v1.52 or newer"},
		{"load nonsense", "POST", "/images/load", "x", "", errs.New(errs.InvalidParameter, "loading images: no"), 400, "loading images: no"},
		{"df of cows", "GET", "/system/df?type=cow", "", "", nil, 400, "unknown object type: cow"},
		{"prune at once", "POST", "/images/prune", "", "", errs.New(errs.Conflict, "a prune operation is already running"), 409, "a prune operation is already running"},
		{"wrong password", "POST", "/auth", `{"username":"u","password":"wrong"}`, "", nil, 401, "unauthorized: incorrect username or password"},
		{"auth from noise", "POST", "/auth", `x`, "", nil, 400, "invalid X-Registry-Auth header: invalid JSON: invalid character 'x' looking for beginning of value"},

		{"kind: conflict", "DELETE", "/containers/web", "", "", errs.New(errs.Conflict, "runs"), 409, "runs"},
		{"kind: forbidden", "GET", "/containers/web/json", "", "", errs.New(errs.NotImplemented, "no"), 501, "no"},
		{"kind: unavailable", "POST", "/auth", "{}", "", errs.New(errs.Unavailable, "gone"), 503, "gone"},
		{"kind: full", "POST", "/containers/web/start", "", "", errs.New(errs.Exhausted, "disk full"), 500, "disk full"},
		{"kind: none", "POST", "/containers/web/start", "", "", http.ErrBodyNotAllowed, 500, http.ErrBodyNotAllowed.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv, _ := serve(t, &fake{err: tc.err})
			var headers []string
			if tc.contentType != "" {
				headers = []string{"Content-Type", tc.contentType}
			}
			resp, body := ask(t, srv, tc.method, tc.path, tc.body, headers...)
			if got := message(t, body); resp.StatusCode != tc.status || !strings.HasPrefix(got, tc.want) {
				t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, tc.status, tc.want)
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("content type %q", ct)
			}
		})
	}
}

func TestNotModifiedHasNoBody(t *testing.T) {
	srv, _ := serve(t, &fake{err: errs.New(errs.NotModified, "it runs")})
	if resp, body := ask(t, srv, "POST", "/containers/web/start", ""); resp.StatusCode != 304 || body != "" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

func TestPing(t *testing.T) {
	srv, _ := serve(t, &fake{})
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/_ping", "/v1.24/_ping", "/v1.56/_ping"} {
			resp, body := ask(t, srv, method, path, "")
			if resp.StatusCode != 200 || (body != "OK" && method == "GET") || (body != "" && method == "HEAD") {
				t.Errorf("%s %s: %d %q", method, path, resp.StatusCode, body)
			}
			for name, want := range map[string]string{
				"Api-Version": "1.56", "Builder-Version": "1", "Docker-Experimental": "false", "Ostype": "linux", "Swarm": "inactive",
				"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Server": "Davit/0.1.0 (linux)", "Content-Type": "text/plain; charset=utf-8",
			} {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, want)
				}
			}
		}
	}
}

func TestVersion(t *testing.T) {
	srv, _ := serve(t, &fake{})
	_, body := ask(t, srv, "GET", "/version", "")
	v := object(t, body)
	if v["ApiVersion"] != "1.56" || v["MinAPIVersion"] != "1.24" {
		t.Errorf("versions: %v %v", v["ApiVersion"], v["MinAPIVersion"])
	}
	details := v["Components"].([]any)[0].(map[string]any)["Details"].(map[string]any)
	if details["ApiVersion"] != "1.56" || details["MinAPIVersion"] != "1.24" {
		t.Errorf("details: %v", details)
	}
}

func TestCreate(t *testing.T) {
	f := &fake{}
	srv, _ := serve(t, f)
	resp, body := ask(t, srv, "POST", "/containers/create?name=db&platform=linux/arm64",
		`{"Image":"busybox","Cmd":["a"],"Unknown":{"x":1},"HostConfig":{"PidsLimit":-1,"Memory":1048576,"AlsoUnknown":2}}`)
	if resp.StatusCode != 201 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if v := object(t, body); v["Id"] != id || v["Warnings"] == nil {
		t.Errorf("answer %s", body)
	}
	o := f.last(t).(engine.CreateOptions)
	if o.Name != "db" || o.Platform.Architecture != "arm64" || o.Request.Image != "busybox" || o.Request.HostConfig.Memory != 1<<20 ||
		o.Request.HostConfig.PidsLimit != nil || o.Request.HostConfig.NetworkMode != "bridge" {
		t.Errorf("the engine was asked %+v", o)
	}
}

// TestProgress reads streams of messages, and errors before and within them.
func TestProgress(t *testing.T) {
	pulling := jsonstream.Message{Status: "Pulling fs layer", ID: "abc", Progress: &jsonstream.Progress{Current: 1, Total: 2}}
	denied := errs.New(errs.NotFound, "pull access denied for x, repository does not exist or may require 'docker login'")
	for _, tc := range []struct {
		name    string
		updates []any
		status  int
		want    string
	}{
		{"good", []any{pulling}, 200, `{"status":"Pulling fs layer","progressDetail":{"current":1,"total":2},"id":"abc"}` + "\n"},
		{"nothing to say", nil, 200, ""},
		{"error first", []any{denied}, 404, `{"message":"pull access denied for x, repository does not exist or may require 'docker login'"}` + "\n"},
		{"error later", []any{jsonstream.Message{Status: "<a>"}, denied}, 200, `{"status":"<a>"}` + "\n" +
			`{"errorDetail":{"message":"pull access denied for x, repository does not exist or may require 'docker login'"},"error":"pull access denied for x, repository does not exist or may require 'docker login'"}` + "\n"},
	} {
		for _, path := range []string{"/images/create?fromImage=x", "/images/x/push"} {
			t.Run(tc.name+" "+path, func(t *testing.T) {
				srv, _ := serve(t, &fake{updates: tc.updates})
				resp, body := ask(t, srv, "POST", path, "")
				if resp.StatusCode != tc.status || body != tc.want || resp.Header.Get("Content-Type") != "application/json" {
					t.Errorf("got %d %q %q", resp.StatusCode, resp.Header.Get("Content-Type"), body)
				}
			})
		}
	}
}

func TestLoad(t *testing.T) {
	const names = `{"stream":"Loaded image: a:1\n"}` + "\n" + `{"stream":"Loaded image ID: ` + digest1 + `\n"}` + "\n"
	const layer = `{"status":"Loading layer","progressDetail":{"current":1,"total":2},"id":"abc"}` + "\n"
	for path, want := range map[string]string{"/images/load": names, "/images/load?quiet=1": names, "/images/load?quiet=0": layer + names} {
		srv, _ := serve(t, &fake{})
		// curl sends this content type unless told otherwise.
		resp, body := ask(t, srv, "POST", path, "an archive=&;%zz", "Content-Type", "application/x-www-form-urlencoded")
		if resp.StatusCode != 200 || body != want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %q %q", path, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
	}
}

// TestLoadAnswersEarly: progress is sent while the archive is still coming.
func TestLoadAnswersEarly(t *testing.T) {
	f := &fake{}
	srv, _ := serve(t, f)
	archive := strings.Repeat("x", 2<<20)
	// Of unknown length, as clients send it.
	resp, err := http.Post(srv.URL+"/images/load?quiet=0", "application/x-tar", io.MultiReader(strings.NewReader(archive)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "Loaded image") || f.last(t).([]any)[0] != archive {
		t.Errorf("%d %q, %v", resp.StatusCode, body, err)
	}
}

func TestSave(t *testing.T) {
	srv, _ := serve(t, &fake{})
	if resp, body := ask(t, srv, "GET", "/images/get?names=a", ""); resp.StatusCode != 200 || body != "[a]" || resp.Header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("%d %q %q", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
}

func TestImport(t *testing.T) {
	f := &fake{}
	srv, _ := serve(t, f)
	// curl sends this content type unless told otherwise; the body is an archive all the same.
	resp, body := ask(t, srv, "POST", "/images/create?fromSrc=-&repo=a/b&tag=v1&message=hello&changes=CMD+a&changes=ENV+b%3Dc&platform=linux/arm64",
		"an archive=&;%zz", "Content-Type", "application/x-www-form-urlencoded")
	if resp.StatusCode != 200 || body != `{"status":"`+digest1+`"}`+"\n" {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	got := f.last(t).([]any)
	o := got[1].(image.ImportOptions)
	if got[0] != "an archive=&;%zz" || o.Ref.String() != "docker.io/a/b:v1" || o.Message != "hello" || len(o.Changes) != 2 || o.Platform.Architecture != "arm64" {
		t.Errorf("the engine was asked %+v", got)
	}
	ask(t, srv, "POST", "/images/create?fromSrc=-", "x", "Content-Type", "application/x-tar")
	if o := f.last(t).([]any)[1].(image.ImportOptions); o.Ref != nil || o.Message != "Imported from -" {
		t.Errorf("without a name: %+v", o)
	}
}

func TestCredentials(t *testing.T) {
	for _, tc := range []struct {
		header string
		want   *registry.AuthConfig
	}{
		{"eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InDDvD8_In0=", &registry.AuthConfig{Username: "u", Password: "pü??"}},
		{"", nil},
		{"e30=", nil},
		{"bnVsbA==", nil},
		{"not base64 at all", nil},
	} {
		f := &fake{}
		srv, _ := serve(t, f)
		ask(t, srv, "POST", "/images/create?fromImage=x", "", "X-Registry-Auth", tc.header)
		if got := f.last(t).([]any)[1].(image.PullOptions).Auth; !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: got %+v, want %+v", tc.header, got, tc.want)
		}
	}
}

// TestOldVersions compares what the versions say of the same.
func TestOldVersions(t *testing.T) {
	srv, _ := serve(t, &fake{})
	has := func(v any, path string) bool {
		for _, name := range strings.Split(path, ".") {
			if list, ok := v.([]any); ok {
				v = list[len(list)-1]
			}
			m, ok := v.(map[string]any)
			if !ok {
				return false
			}
			if v, ok = m[name]; !ok {
				return false
			}
		}
		return true
	}
	for _, tc := range []struct {
		path, field string
		from, until int // the field is there in 1.from up to and without 1.until; 0: always
	}{
		{"/containers/web/json", "NetworkSettings.IPAddress", 0, 52},
		{"/containers/web/json", "NetworkSettings.Bridge", 0, 52},
		{"/containers/web/json", "NetworkSettings.Networks.bridge.IPAddress", 0, 0},
		{"/containers/web/json", "Config.OnBuild", 0, 52},
		{"/containers/web/json", "HostConfig.KernelMemory", 0, 42},
		{"/containers/web/json", "ImageManifestDescriptor", 48, 0},
		{"/containers/json", "VirtualSize", 99, 99},
		{"/containers/json", "HostConfig.Annotations", 46, 0},
		{"/containers/json", "ImageManifestDescriptor", 48, 0},
		{"/containers/json", "Health", 52, 0},
		{"/images/json", "VirtualSize", 0, 44},
		{"/images/busybox/json", "VirtualSize", 0, 44},
		{"/images/busybox/json", "Created", 0, 44},
		{"/images/busybox/json", "Container", 0, 45},
		{"/images/busybox/json", "ContainerConfig", 0, 45},
		{"/images/busybox/json", "Descriptor", 48, 0},
		{"/images/busybox/json", "Config.Hostname", 0, 50},
		{"/images/busybox/json", "Config.Env", 0, 52},
		{"/images/busybox/json", "DockerVersion", 0, 52},
		{"/info", "ContainerdCommit.Expected", 0, 49},
		{"/info", "RegistryConfig.AllowNondistributableArtifactsCIDRs", 0, 49},
		{"/info", "FirewallBackend", 49, 0},
		{"/info", "Containerd", 46, 0},
		{"/info", "DiscoveredDevices", 50, 0},
		{"/info", "BridgeNfIptables", 0, 50},
		{"/info", "KernelMemory", 0, 42},
		{"/info", "CgroupVersion", 41, 0},
		{"/info", "Runtimes.davit.status", 44, 0},
		{"/version", "Components", 35, 0},
		{"/system/df", "LayersSize", 0, 53},
		{"/system/df", "Images.VirtualSize", 0, 44},
		{"/system/df", "Containers.Id", 0, 53},
		{"/system/df", "BuilderSize", 0, 42},
		{"/system/df", "ImageUsage.TotalSize", 52, 0},
		{"/system/df", "ImageUsage.Items", 99, 99},
		{"/system/df?verbose=1", "ImageUsage.Items.Id", 52, 0},
		{"/system/df?verbose=1", "VolumeUsage.Items.Name", 52, 0},
		{"/system/df?verbose=1", "LayersSize", 0, 52},
	} {
		for _, minor := range []int{24, 30, 34, 35, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 56} {
			_, body := ask(t, srv, "GET", "/v1."+itoa(minor)+tc.path, "")
			want := minor >= tc.from && (tc.until == 0 || minor < tc.until)
			if got := has(decode(t, body), tc.field); got != want {
				t.Errorf("1.%d %s: %s there is %v, want %v", minor, tc.path, tc.field, got, want)
			}
		}
	}
}

func TestOldImageList(t *testing.T) {
	srv, _ := serve(t, &fake{})
	for version, want := range map[string]string{"1.42": `"RepoTags":["<none>:<none>"]`, "1.43": `"RepoTags":[]`, "1.50": `"Containers":-1`, "1.51": `"Containers":1`} {
		if _, body := ask(t, srv, "GET", "/v"+version+"/images/json", ""); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %s", version, body, want)
		}
	}
}

func TestOldAliases(t *testing.T) {
	srv, _ := serve(t, &fake{})
	for version, want := range map[string]string{"1.44": `"Aliases":["www","` + id[:12] + `","webhost"]`, "1.45": `"Aliases":["www"]`} {
		if _, body := ask(t, srv, "GET", "/v"+version+"/containers/web/json", ""); !strings.Contains(body, want) || strings.Count(body, `"Aliases":null`) != 1 {
			t.Errorf("%s: %s, want %s", version, body, want)
		}
	}
}

func TestTextIsNotEscaped(t *testing.T) {
	srv, _ := serve(t, &fake{})
	for _, version := range []string{"1.41", "1.56"} {
		if _, body := ask(t, srv, "GET", "/v"+version+"/containers/web/json", ""); !strings.Contains(body, "A=b<c") {
			t.Errorf("%s: %s", version, body)
		}
	}
}

func TestWaitConditions(t *testing.T) {
	for path, want := range map[string]container.WaitCondition{
		"/containers/web/wait":                             "not-running",
		"/containers/web/wait?condition=next-exit":         "next-exit",
		"/containers/web/wait?condition=removed":           "removed",
		"/v1.29/containers/web/wait?condition=removed":     "not-running",
		"/v1.29/containers/web/wait?condition=nonsensical": "not-running",
	} {
		f := &fake{hold: make(chan struct{})}
		close(f.hold)
		srv, _ := serve(t, f)
		resp, body := ask(t, srv, "POST", path, "")
		if resp.StatusCode != 200 || body != `{"StatusCode":3}`+"\n" || f.last(t) != want {
			t.Errorf("%s: %d %q, asked %v", path, resp.StatusCode, body, f.last(t))
		}
	}
}

// TestEveryEndpointIsKnown holds routes and table against Docker's description.
func TestEveryEndpointIsKnown(t *testing.T) {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	if c.Newest() != "1.56" {
		t.Errorf("moby/moby/api describes %s: is compat.Max still right?", c.Newest())
	}
	srv, _ := serve(t, &fake{hold: closed(), live: nil})
	c.Operations(func(method, path string) {
		if path == "/events" || path == "/containers/{id}/attach" { // would not end
			return
		}
		filled := strings.NewReplacer("{id}", "web", "{name}", "busybox", "{checkpoint}", "c").Replace(path)
		if resp, body := ask(t, srv, method, filled, ""); resp.StatusCode == 404 && strings.Contains(body, "page not found") {
			t.Errorf("%s %s is neither served nor known to be missing", method, path)
		}
	})
}
