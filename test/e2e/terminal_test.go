package e2e

import (
	"testing"

	enginetest "github.com/davit-engine/davit/test/engine"
)

// TestTerminal works in a container through a real terminal: echo, size,
// interrupt, exit code.
func TestTerminal(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		term := e.Terminal(t)
		term.Type(cli.Name + " run -it --rm busybox sh")
		term.WaitFor("/ #")
		term.Type("tty; stty size; echo $((40 + 2))")
		term.WaitFor("/dev/pts/0")
		term.WaitFor("30 100")
		term.WaitFor("42")
		term.Resize("90", "25")
		term.Type("sleep 0.3; stty size") // the new size travels beside the line
		term.WaitFor("25 90")
		term.Type("(echo asleep $((40 + 3)); exec sleep 1000)")
		term.WaitFor("asleep 43") // before that the key would be the shell's, not a signal
		term.Press("C-c")
		term.Type("echo interrupted: $?")
		term.WaitFor("interrupted: 130")
		term.Type("exit 9")
		term.WaitFor("host2$")
		term.Type("echo code $?")
		term.WaitFor("code 9")
	})
}

// TestDetach leaves a container with the detach keys and comes back.
func TestDetach(t *testing.T) {
	e := engine(t)
	each(t, func(t *testing.T, cli enginetest.CLI) {
		n := name(t, cli)
		term := e.Terminal(t)
		term.Type(cli.Name + " run -it --name " + n + " busybox cat")
		term.Type("before")
		term.WaitFor("before\nbefore")
		term.Press("C-p", "C-q")
		term.WaitFor("host2$")
		if s := inspect(t, cli, n).State.Status; s != "running" {
			t.Fatalf("after detach the container is %s", s)
		}
		term.Type("clear")
		term.WaitFor("host3$")
		term.Type(cli.Name + " attach " + n)
		term.Type("after")
		term.WaitFor("after\nafter")
		term.Press("C-d")
		term.WaitFor("host4$")
		if s := inspect(t, cli, n).State.Status; s != "exited" {
			t.Errorf("after exit the container is %s", s)
		}
	})
}
