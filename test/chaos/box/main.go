// The box runs as the first process of a storm's containers, until it is told to
// end, and writes down what only it can know: that it was started, and whether
// it already ran.
//
//	/s/KEY.lock    locked as long as it runs
//	/s/KEY.starts  one byte more for each start
//	/s/KEY.end     there when it is to end
//	:8080          says KEY to whoever connects
//	/s/twice       the KEYs of those that found the lock taken
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	key := os.Getenv("KEY")
	code, err := strconv.Atoi(os.Getenv("CODE"))
	check(err)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGTERM)
	lock, err := os.OpenFile("/s/"+key+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	check(err)
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		note("twice", key+"\n")
	}
	note(key+".starts", "x")
	go answer(key)
	poll := time.NewTicker(20 * time.Millisecond)
	for {
		select {
		case <-asked:
			os.Exit(code)
		case <-poll.C:
			if _, err := os.Stat("/s/" + key + ".end"); err == nil {
				os.Exit(code)
			}
		}
	}
}

// answer says the key to whoever connects, where there is a network.
func answer(key string) {
	l, err := net.Listen("tcp", ":8080")
	check(err)
	for {
		conn, err := l.Accept()
		check(err)
		_, _ = conn.Write([]byte(key)) // the other end may have gone
		_ = conn.Close()
	}
}

func note(file, text string) {
	f, err := os.OpenFile("/s/"+file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	check(err)
	_, err = f.WriteString(text)
	check(err)
	check(f.Close())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(250) // no box is given this code
	}
}
