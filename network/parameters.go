package network

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// SetParameters sets kernel parameters (sysctls) in a network namespace, by
// names such as net.ipv4.conf.eth0.forwarding.
func SetParameters(ns *os.File, values map[string]string) error {
	if len(values) == 0 {
		return nil
	}
	return onThread(func() (err error) {
		home, err := openNetNS()
		if err != nil {
			return err
		}
		defer home.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		defer func() {
			if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
				err = errors.Join(err, errStray, back)
			}
		}()
		for name, value := range values {
			if err := sysctl(parameterPath(name), value); err != nil {
				return err
			}
		}
		return nil
	})
}

// parameterPath turns a parameter's name into its path below /proc/sys. The
// fourth word is an interface, whose name may have dots.
func parameterPath(name string) string {
	words := strings.SplitN(name, ".", 4)
	if len(words) == 4 {
		if end := strings.LastIndexByte(words[3], '.'); end >= 0 {
			words[3] = words[3][:end] + "/" + words[3][end+1:]
		}
	}
	return strings.Join(words, "/")
}
