package shim

import (
	"bytes"
	"os"
	"strconv"

	"github.com/davit-engine/davit/runtime/program"
	"github.com/davit-engine/davit/runtime/spawn"
	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

// rehearse goes through what a start will do, as far as that touches nothing:
// it reads an order like those to come and compiles its program. A shim runs
// each line of its code once; done for the first time, with the user waiting,
// most of the time would go into page faults. Errors do not matter here: the
// start itself will meet them.
func rehearse(facts *program.Facts) {
	populate()
	m := &wire.Message{Envelope: wire.Envelope{Type: wire.TypeStart, Payload: []byte(sample)}}
	var r wire.Start
	if m.Decode(&r) != nil {
		return
	}
	spawn.Rehearse(&spawn.Request{Spec: r.Spec, Root: r.Root, Facts: facts, NetNS: os.Stdin, MakeCwd: true})
}

// populate maps the program's code and constants in one go (Linux 5.14). They
// are shared between all shims, so this costs no memory.
func populate() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		f := bytes.Fields(line)
		if len(f) < 6 || string(f[5]) != self || f[1][1] == 'w' {
			continue
		}
		from, to, _ := bytes.Cut(f[0], []byte("-"))
		a, err1 := strconv.ParseUint(string(from), 16, 64)
		b, err2 := strconv.ParseUint(string(to), 16, 64)
		if err1 == nil && err2 == nil {
			_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, uintptr(a), uintptr(b-a), unix.MADV_POPULATE_READ)
		}
	}
}

// sample is an order with a little of everything that most containers have.
const sample = `{"id":"0","runDir":"/","netns":true,"makeCwd":true,"stdio":{"stdin":true},"log":{"driver":"json-file","path":"/"},
"attachments":[{"id":1,"stdout":true,"stderr":true}],
"root":{"overlay":{"lower":["/a","/b"],"upper":"/c","work":"/d","volatile":true}},
"spec":{"ociVersion":"1.3.0","hostname":"h","root":{"path":"rootfs"},
"process":{"user":{"uid":0,"gid":0,"additionalGids":[0]},"args":["/x"],"env":["PATH=/bin","HOSTNAME=h"],"cwd":"/w",
"capabilities":{"bounding":["CAP_CHOWN"],"effective":["CAP_CHOWN"],"permitted":["CAP_CHOWN"]},
"rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}]},
"mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","noexec","nodev"]},
{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755","size=65536k"]},
{"destination":"/dev/pts","type":"devpts","source":"devpts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},
{"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]},
{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["ro","nosuid","noexec","nodev"]},
{"destination":"/dev/mqueue","type":"mqueue","source":"mqueue","options":["nosuid","noexec","nodev"]},
{"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"]},
{"destination":"/etc/hosts","type":"bind","source":"/h","options":["rbind","rprivate"]}],
"linux":{"sysctl":{"net.ipv4.ip_unprivileged_port_start":"0"},
"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}]},
"cgroupsPath":"/x","namespaces":[{"type":"mount"},{"type":"network"},{"type":"uts"},{"type":"pid"},{"type":"ipc"}],
"maskedPaths":["/proc/acpi","/proc/keys"],"readonlyPaths":["/proc/bus","/proc/sys"]}}}`
