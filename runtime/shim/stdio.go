package shim

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// streams are both ends of a process's standard streams. With a terminal all
// are nil: spawn makes that. A nil child end is /dev/null.
type streams struct {
	child [3]*os.File
	own   [3]*os.File // non-blocking
}

// openStreams makes the streams that are wanted.
func openStreams(terminal, stdin, stdout, stderr bool) (*streams, error) {
	st := &streams{}
	if terminal {
		return st, nil
	}
	for i, wanted := range [...]bool{stdin, stdout, stderr} {
		if !wanted {
			continue
		}
		if err := st.pipe(i); err != nil {
			st.close()
			return nil, fmt.Errorf("making pipe: %w", err)
		}
	}
	return st, nil
}

// pipe makes the pipe of stream i. spawn gives the child's end to the
// container's user.
func (st *streams) pipe(i int) error {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	own, child := fds[0], fds[1]
	if i == 0 {
		own, child = child, own
	}
	err := unix.SetNonblock(own, true)
	st.own[i], st.child[i] = os.NewFile(uintptr(own), "stream"), os.NewFile(uintptr(child), "stream")
	return err
}

func (st *streams) closeChild() {
	closeFiles(st.child[:])
	st.child = [3]*os.File{}
}

func (st *streams) close() {
	st.closeChild()
	closeFiles(st.own[:])
}
