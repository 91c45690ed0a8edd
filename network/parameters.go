package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// SetParameters sets kernel parameters (sysctls) in a network namespace, by
// names such as net.ipv4.conf.eth0.forwarding. Error: InvalidParameter for one
// that the kernel does not have.
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
			path, err := parameterPath(name)
			if err == nil {
				err = sysctl(path, value)
			}
			switch {
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EACCES), errors.Is(err, unix.ERANGE):
				return errs.Wrap(errs.InvalidParameter, err) // the kernel has no such parameter, or does not take the value
			case err != nil:
				return err
			}
		}
		return nil
	})
}

// parameterPath turns a parameter's name into its path below /proc/sys. The
// fourth word is an interface, whose name may have dots.
func parameterPath(name string) (string, error) {
	words := strings.SplitN(name, ".", 4)
	if len(words) == 4 {
		if end := strings.LastIndexByte(words[3], '.'); end >= 0 {
			words = append(words[:3], words[3][:end], words[3][end+1:])
		}
	}
	path := strings.Join(words, "/")
	if words[0] != "net" || !filepath.IsLocal(path) || filepath.Clean(path) != path {
		return "", errs.New(errs.InvalidParameter, "%s is no parameter of a network", name)
	}
	return path, nil
}
