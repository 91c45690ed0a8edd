package shim

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"unsafe"

	"github.com/davit-engine/davit/runtime/wire"
	"golang.org/x/sys/unix"
)

// Prepare makes a daemon of this process: its own session, no working
// directory that could be unmounted, no signal that ends it but SIGKILL.
func Prepare() error {
	// Collecting waits until the container runs: release turns it on.
	debug.SetGCPercent(-1)
	if runtime.GOMAXPROCS(0) > 1 { // an engine starts us with wire.Env, which costs less
		runtime.GOMAXPROCS(1)
	}
	_, _ = unix.Setsid() // fails if the engine has done it
	// What ps shows the kernel has taken from the executed path, which is a
	// descriptor's number.
	if err := os.WriteFile("/proc/self/comm", []byte("davit-shim"), 0); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	return nil
}

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
