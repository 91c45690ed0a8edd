package container

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/cli/client"
)

// forwarder passes the signals that this process gets on to a container.
//
// To listen to one signal costs the Go runtime two switches of thread, all of
// them together more than the rest of the client. So those that people and
// process managers send are listened to at once, and the others when the
// container has lived for a moment. Nothing is ever given back: the process
// ends with the command.
type forwarder struct {
	signals chan os.Signal
	rest    *time.Timer
	done    atomic.Bool
}

// moment is how long a container runs before every signal is forwarded.
const moment = 100 * time.Millisecond

// forwardSignals begins to listen; signals are kept until to is called.
func forwardSignals() *forwarder {
	f := &forwarder{signals: make(chan os.Signal, 16)}
	signal.Notify(f.signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	return f
}

// to forwards to the container from now on.
func (f *forwarder) to(api *client.Client, id string) {
	f.pass(func(_ os.Signal, name string) {
		// It may have ended already; its exit is reported elsewhere.
		_ = api.Containers.Kill(context.Background(), id, name)
	})
}

// pass forwards from now on to whatever send sends to.
func (f *forwarder) pass(send func(s os.Signal, name string)) {
	go func() {
		for s := range f.signals {
			if name := forwarded(s); name != "" && !f.done.Load() {
				send(s, name)
			}
		}
	}()
	f.rest = time.AfterFunc(moment, func() { signal.Notify(f.signals) })
}

// stop ends the forwarding. It may be called on nil, and before to.
func (f *forwarder) stop() {
	if f == nil {
		return
	}
	f.done.Store(true)
	if f.rest != nil {
		f.rest.Stop()
	}
}

// forwarded is the name of a signal to pass on, "" for one that is of no
// meaning to the container: our child's end, a reader that left, our own
// scheduler's, the terminal's size.
func forwarded(s os.Signal) string {
	number, ok := s.(syscall.Signal)
	if !ok {
		return ""
	}
	switch number {
	case unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGWINCH:
		return ""
	}
	if name := unix.SignalName(number); name != "" {
		return name[len("SIG"):]
	}
	return ""
}
