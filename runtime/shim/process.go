package shim

import (
	"encoding/json"
	"os"
	"os/signal"
	"runtime/debug"
	"unsafe"

	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

// Prepare makes a daemon of this process: its own session, no working
// directory that could be unmounted, no signal that ends it but SIGKILL. It
// also does what the first start would otherwise pay for.
func Prepare() error {
	// Collecting waits until the container runs: release turns it on.
	debug.SetGCPercent(-1)
	_, _ = unix.Setsid() // fails if the engine has done it
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	var warm wire.Start
	return json.Unmarshal([]byte(example), &warm)
}

// example has each part that decoding a start builds tables for.
const example = `{"id":"","runDir":"","netns":true,"seccomp":"","log":{"attrs":{"":""}},"stdio":{},"attachments":[{"detachKeys":"","input":""}],
"root":{"overlay":{"lower":[""]}},"spec":{"hostname":"","annotations":{"":""},"root":{"path":""},"mounts":[{"options":[""]}],
"process":{"user":{"additionalGids":[0],"umask":0},"args":[""],"env":[""],"rlimits":[{"hard":0}],"capabilities":{"bounding":[""]},
"consoleSize":{},"oomScoreAdj":0},"linux":{"namespaces":[{}],"devices":[{"fileMode":0,"uid":0}],"maskedPaths":[""],"sysctl":{"":""},
"resources":{"devices":[{"major":0}],"memory":{"limit":0},"cpu":{"shares":0},"pids":{}}}}}`

// release gives back what the start has used, and keeps the heap small from
// then on.
func release() {
	debug.SetGCPercent(25)
	debug.FreeOSMemory()
}

// setTitle writes the container's ID over the argument that was put there as
// room for it, which is where /proc/PID/cmdline reads.
func setTitle(id string) {
	room := wire.Args()
	if len(os.Args) != len(room) || os.Args[1] != room[1] {
		return
	}
	// os.Args' strings lie where the kernel has put them, on writable memory.
	arg := unsafe.Slice(unsafe.StringData(os.Args[1]), len(os.Args[1]))
	clear(arg[copy(arg, id):])
}
