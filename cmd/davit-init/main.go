// Command davit-init is the first process of a container that was asked for
// with --init: it starts its arguments as a child, passes signals on to it,
// reaps whatever becomes an orphan, and exits as the child does.
//
//	davit-init [--] COMMAND [ARG...]
//
// The child gets a process group of its own, in the foreground if there is a
// terminal. The exit status is the child's, 128+n if signal n ended it, 127 if
// COMMAND is not found and 126 if it cannot be executed.
//
// The program is bound read-only into containers of any image, so it is static
// and knows nothing of the engine.
package main

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unsafe"
)

// second is the name of this program when it runs as the child, on its way to
// the command.
const second = "davit-init: second"

func main() {
	args := os.Args[1:]
	if os.Args[0] == second {
		fail(args, become(args))
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		os.Stderr.WriteString("usage: davit-init [--] COMMAND [ARG...]\n")
		os.Exit(2)
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals) // before the child is there: what comes too early waits here
	pid, err := start(args)
	if err != nil {
		fail(args, err)
	}
	ended := make(chan syscall.WaitStatus)
	go reap(pid, ended)
	for {
		select {
		case s := <-signals:
			if s, ok := s.(syscall.Signal); ok && passedOn(s) {
				_ = syscall.Kill(pid, s) // ESRCH: it has just ended, and reap will say so
			}
		case status := <-ended:
			if status.Signaled() {
				os.Exit(128 + int(status.Signal()))
			}
			os.Exit(status.ExitStatus())
		}
	}
}

// passedOn reports whether a signal is the child's business. SIGCHLD is ours,
// and SIGURG is what Go's scheduler sends to itself.
func passedOn(s syscall.Signal) bool {
	switch s {
	case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGPIPE:
		return false
	}
	return true
}

// fail says why the command does not run, and exits.
func fail(args []string, err error) {
	os.Stderr.WriteString("davit-init: exec " + args[0] + ": " + err.Error() + "\n")
	if err == syscall.ENOENT || err == syscall.ENOTDIR {
		os.Exit(127)
	}
	os.Exit(126)
}

// start runs the command in a process group of its own. With a terminal that
// group has to come to the foreground first, which only a process may do that
// ignores SIGTTOU; the command must not inherit that, so the child runs this
// program once more, to undo it.
func start(args []string) (pid int, err error) {
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if self, err := os.Executable(); err == nil && isTerminal(0) {
		signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU)
		attr.Sys = &syscall.SysProcAttr{Foreground: true, Ctty: 0}
		return syscall.ForkExec(self, append([]string{second}, args...), attr)
	}
	return pid, search(args[0], func(file string) (e error) {
		pid, e = syscall.ForkExec(file, args, attr)
		return e
	})
}

// become turns this process into the command.
func become(args []string) error {
	for _, s := range []syscall.Signal{syscall.SIGTTIN, syscall.SIGTTOU} {
		var action [4]uint64 // struct sigaction: SIG_DFL
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
	return search(args[0], func(file string) error { return syscall.Exec(file, args, os.Environ()) })
}

// search calls run with name, or with what it stands for in each directory of
// PATH until one succeeds.
func search(name string, run func(file string) error) error {
	if strings.Contains(name, "/") {
		return run(name)
	}
	var err error = syscall.ENOENT
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		switch e := run(strings.TrimSuffix(dir, "/") + "/" + name); e {
		case syscall.ENOENT, syscall.ENOTDIR:
		case syscall.EACCES:
			err = e // worth more than that it is nowhere else
		default:
			return e
		}
	}
	return err
}

// isTerminal reports whether fd is the controlling terminal of this session.
func isTerminal(fd int) bool {
	var group int32
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	return e == 0
}

// reap waits for every process that is or becomes our child, and reports the
// end of pid.
func reap(pid int, ended chan<- syscall.WaitStatus) {
	for {
		var s syscall.WaitStatus
		switch p, err := syscall.Wait4(-1, &s, 0, nil); {
		case p == pid:
			ended <- s
			return
		case err == syscall.ECHILD:
			return // the child has been reported
		}
	}
}
