package oci

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// addService puts this test program into the root filesystem, as a command
// that does what busybox cannot.
func (h *host) addService() {
	h.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		h.Fatal(err)
	}
	defer self.Close()
	service, err := os.OpenFile(filepath.Join(h.bundle, "rootfs", "bin", "service"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(service, self)
		service.Close()
	}
	if err != nil {
		h.Fatal(err)
	}
}

// serve is that command.
func serve(task string) int {
	tasks := map[string]func() error{"notify": serveReadiness, "lock": serveLock}
	if err := tasks[task](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// serveReadiness says that it is ready, in two words, and stays.
func serveReadiness() error {
	for _, word := range []string{"STATUS=nearly", "STATUS=done\nREADY=1"} {
		c, err := net.Dial("unixgram", os.Getenv(notifyVariable))
		if err == nil {
			_, err = c.Write([]byte(word))
		}
		if err != nil {
			return err
		}
	}
	time.Sleep(1000 * time.Second)
	return nil
}

// serveLock locks a file, and counts while it has it.
func serveLock() error {
	f, err := os.Create("/lock")
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	for i := 1; err == nil; i++ {
		err = os.WriteFile("/count", []byte(strconv.Itoa(i)), 0o644)
		time.Sleep(50 * time.Millisecond)
	}
	return err
}
