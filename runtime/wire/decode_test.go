package wire

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func ptr[T any](v T) *T { return &v }

// full is a start request with a bit of everything.
func full() *Start {
	device := specs.LinuxThrottleDevice{Rate: 5}
	device.Major, device.Minor = 8, 1
	return &Start{
		ID: "id", RunDir: "/run/é\u2028<&>\"\\", NetNS: true, Seccomp: []byte{0, 1, 2, 255}, SeccompFlags: 4,
		Root:  program.Root{Overlay: &program.Overlay{Lower: []string{"/a", "/b"}, Upper: "/u", Work: "/w", Volatile: true}},
		Stdio: Stdio{Stdin: true, StdinOnce: true}, Log: Log{Driver: "json-file", MaxSize: 1 << 40, Attrs: map[string]string{"a": "b", "": "\t\x00"}},
		Attachments: []Attach{{ID: 1<<64 - 1, Stdin: true, DetachKeys: []byte{16, 17}}, {}},
		Spec: &specs.Spec{
			Version: "1.2.0", Hostname: "host", Annotations: map[string]string{"k": "v"}, Root: &specs.Root{Path: "rootfs", Readonly: true},
			Process: &specs.Process{
				Terminal: true, ConsoleSize: &specs.Box{Height: 1, Width: 2}, Args: []string{"sh", "-c", "echo \U0001F600"}, Env: []string{}, Cwd: "/",
				User:         specs.User{UID: 1<<32 - 1, AdditionalGids: []uint32{1, 2}, Umask: ptr(uint32(18))},
				Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}}, Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1<<64 - 1}},
				OOMScoreAdj: ptr(-500), NoNewPrivileges: true,
			},
			Mounts: []specs.Mount{{Destination: "/proc", Type: "proc", Options: []string{"nosuid"}, UIDMappings: []specs.LinuxIDMapping{{Size: 9}}}},
			Linux: &specs.Linux{
				Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}}, Devices: []specs.LinuxDevice{{Path: "/dev/x", FileMode: ptr(os.FileMode(0o666)), UID: ptr(uint32(0))}},
				Sysctl: map[string]string{"a.b": "1"}, TimeOffsets: map[string]specs.LinuxTimeOffset{"monotonic": {Secs: -1}},
				Resources: &specs.LinuxResources{
					Devices: []specs.LinuxDeviceCgroup{{Major: ptr(int64(1)), Access: "rwm"}}, Memory: &specs.LinuxMemory{Limit: ptr(int64(-1))},
					CPU: &specs.LinuxCPU{Shares: ptr(uint64(2))}, BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{device}},
					Unified: map[string]string{"memory.high": "max"},
				},
				Seccomp: &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"a"}, Args: []specs.LinuxSeccompArg{{Value: 1 << 63}}}}},
			},
			Windows: &specs.Windows{CredentialSpec: map[string]any{"a": []any{1.5, nil}}},
		},
	}
}

func TestUnmarshalAgreesWithJSON(t *testing.T) {
	for _, v := range []any{
		full(), &Start{}, &Exit{ExitedAt: time.Unix(1, 5).UTC(), OOMKilled: true}, &State{StartedAt: time.Unix(9, 0).UTC(), Cgroup: map[string]string{"": "/x"}},
		&Error{Kind: errs.Conflict, Message: "no", ExitCode: 127}, &Hello{Version: 1}, &Resize{1, 65535}, &Signal{Signal: -1, All: true}, &Detached{ID: 1, Exec: "e"},
		&Exec{ID: "e", Process: full().Spec.Process, Seccomp: []byte{1}, Client: &Attach{ID: 1, Stdin: true, Input: []byte("in")}, DieWithClient: true}, &Exec{},
		&Execs{List: []ExecState{{ID: "e", Pid: 4, PidStart: 1 << 60, StartedAt: time.Unix(3, 0).UTC()}, {}}}, &Execs{}, &ExecSignal{ID: "e", Signal: 9, All: true},
		&Dump{Checkpoint: Checkpoint{Criu: "criu", Dir: "/d", Work: "/w"}, Spec: full().Spec, LeaveRunning: true}, &Start{Checkpoint: &Checkpoint{Dir: "/d"}},
		&ExecResize{ID: "e", Width: 1, Height: 65535}, &ExecExit{ID: "e", ExitCode: 137, Signal: 9, ExitedAt: time.Unix(2, 7).UTC()},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want, got := reflect.New(reflect.TypeOf(v).Elem()), reflect.New(reflect.TypeOf(v).Elem())
		if err := json.Unmarshal(data, want.Interface()); err != nil {
			t.Fatal(err)
		}
		if err := unmarshal(data, got.Interface()); err != nil {
			t.Errorf("%T: %v", v, err)
		}
		if !reflect.DeepEqual(want.Interface(), got.Interface()) {
			t.Errorf("%T: got %+v, want %+v", v, got, want)
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for _, text := range []string{
		``, `{`, `{}{}`, `[]`, `{"id":1}`, `{"id":"a"`, `{"id":"a",}`, `{"id" "a"}`, `{"id":"a","id":"b"}`, `{"id":"\x"}`, `{"id":"` + "\n" + `"}`,
		`{"netns":1}`, `{"seccomp":"!"}`, `{"seccompFlags":-1}`, `{"seccompFlags":4294967296}`, `{"seccompFlags":1.5}`, `{"seccompFlags":01}`,
		`{"log":{"attrs":{"a":"b","a":"c"}}}`, `{"log":[]}`, `{"spec":{"process":{"args":"x"}}}`, `{"unknown":tru}`, `nul`,
		`{"unknown":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`,
	} {
		if err := unmarshal([]byte(text), &Start{}); err == nil {
			t.Errorf("%.50s was taken", text)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	whole, err := json.Marshal(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"ID":"fold","unknown":{"a":[1e5,-0.1,null,true]},"spec":null,"attachments":[null,{"id":1}]}`))
	f.Add([]byte(`{"id":"e","process":{"args":["a"]},"client":{"id":1,"input":"aQ=="},"dieWithClient":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		agree[Start](t, data)
		agree[Exec](t, data)
	})
}

// agree decodes data as a T twice.
func agree[T any](t *testing.T, data []byte) {
	var got, want T
	if unmarshal(data, &got) != nil {
		return
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatalf("%q was taken, json says %v", data, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got %+v, want %+v", data, got, want)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	data, err := json.Marshal(full())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := unmarshal(data, &Start{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(data, &Start{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
