// Package netdevice moves network devices into a container's network namespace
// (linux.netDevices of the OCI runtime spec).
//
// It speaks rtnetlink itself, as far as that takes: a link by its name, its
// addresses, one request that moves and renames, addresses and the link's
// state on the other side. It must not know containers or specs' other fields.
// All functions may be called from several goroutines at once.
package netdevice

import (
	"maps"
	"os"
	"runtime"
	"slices"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Move moves devices, by their names here, into the network namespace ns. Each
// gets the name that its entry has, if any; keeps its permanent addresses of
// global scope; and is up afterwards. A device that is not there, or a name that is
// taken in ns, is an error; devices moved before it stay where they are, and
// come back when ns ends if they are of hardware.
func Move(devices map[string]specs.LinuxNetDevice, ns *os.File) error {
	if len(devices) == 0 {
		return nil
	}
	for name, d := range devices {
		for _, n := range []string{name, newName(name, d)} {
			if err := checkName(n); err != nil {
				return err
			}
		}
	}
	here, err := open()
	if err != nil {
		return errs.New(errs.System, "linux.netDevices: %w", err)
	}
	defer here.close()
	there, err := openIn(ns)
	if err != nil {
		return errs.New(errs.System, "linux.netDevices: entering the network namespace: %w", err)
	}
	defer there.close()
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		if err := move(here, there, name, newName(name, devices[name]), ns); err != nil {
			return errs.New(kind(err), "linux.netDevices: %s: %w", name, err)
		}
	}
	return nil
}

func kind(err error) errs.Kind {
	switch err {
	case unix.ENODEV, unix.EINVAL:
		return errs.InvalidParameter
	case unix.EEXIST:
		return errs.Conflict
	}
	return errs.System
}

func newName(name string, d specs.LinuxNetDevice) string {
	if d.Name != "" {
		return d.Name
	}
	return name
}

// checkName refuses what the kernel would take for a pattern, or not at all.
func checkName(s string) error {
	if s == "" || len(s) >= unix.IFNAMSIZ || s == "." || s == ".." ||
		slices.ContainsFunc([]byte(s), func(c byte) bool { return c <= ' ' || c == '/' || c == ':' || c == '%' || c == 0x7f }) {
		return errs.New(errs.InvalidParameter, "linux.netDevices: %q is not a network device's name", s)
	}
	return nil
}

func move(here, there *conn, name, name2 string, ns *os.File) error {
	index, err := here.link(name)
	if err != nil {
		return err
	}
	addresses, err := here.addresses(index)
	if err != nil {
		return err
	}
	// The kernel moves a device before it finds that the new name is taken.
	switch _, err := there.link(name2); err {
	case unix.ENODEV:
	case nil:
		return unix.EEXIST
	default:
		return err
	}
	if err := here.setUp(index, false); err != nil { // or it cannot be renamed
		return err
	}
	if err := here.moveLink(index, name2, ns); err != nil {
		return err
	}
	if index, err = there.link(name2); err != nil { // it may have another number there
		return err
	}
	for _, a := range addresses {
		if err := there.addAddress(index, a); err != nil {
			return err
		}
	}
	return there.setUp(index, true)
}

// openIn opens a socket that belongs to another network namespace.
func openIn(ns *os.File) (*conn, error) {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer unix.Close(own)
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	c, err := open()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		if err == nil {
			c.close()
		}
		return nil, back // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return c, err
}
