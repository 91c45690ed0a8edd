package rootfs

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// apart runs f on a thread of its own, which may change its credentials, its
// root and its namespaces: it ends with f.
func apart(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end, and what /proc/self shows is its.
			err := apart(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- onThread(f) // for ever locked: the runtime ends the thread with the goroutine
	}()
	return <-done
}

func onThread(f func() error) error {
	// The working directory, the root and the umask are shared with the other
	// threads until now.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return errs.New(errs.System, "preparing a thread: %w", err)
	}
	unix.Umask(0)
	// Else the change of ids would take capabilities away.
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noSetuidFixup, 0, 0, 0); err != nil {
		return errs.New(errs.System, "keeping a thread's capabilities: %w", err)
	}
	if err := obeyQuotas(); err != nil {
		return errs.New(errs.System, "giving up a thread's capability: %w", err)
	}
	return f()
}

// obeyQuotas gives up CAP_SYS_RESOURCE, for which quotas do not hold: neither
// those of volumes, nor that of a container's layer, where what counts is who
// has mounted it.
func obeyQuotas() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData // the second half holds those from 32 on
	if err := unix.Capget(&h, &caps[0]); err != nil {
		return err
	}
	caps[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	return unix.Capset(&h, &caps[0])
}

// noSetuidFixup is SECBIT_NO_SETUID_FIXUP of linux/securebits.h.
const noSetuidFixup = 1 << 2

// owner is who the files of the current thread belong to; the zero value is
// root. It works on a thread of apart only.
type owner struct{ uid, gid uint32 }

func (o *owner) become(uid, gid uint32) error {
	if o.gid != gid {
		if got, _ := unix.SetfsgidRetGid(int(gid)); got != int(o.gid) {
			return errs.New(errs.System, "a thread has the group %d, not %d", got, o.gid)
		}
		if got, _ := unix.SetfsgidRetGid(-1); uint32(got) != gid {
			return errs.New(errs.System, "taking on the group id %d has failed", gid)
		}
		o.gid = gid
	}
	if o.uid != uid {
		if _, err := unix.SetfsuidRetUid(int(uid)); err != nil {
			return errs.New(errs.System, "taking on the user id %d: %w", uid, err)
		}
		if got, _ := unix.SetfsuidRetUid(-1); uint32(got) != uid {
			return errs.New(errs.System, "taking on the user id %d has failed", uid)
		}
		o.uid = uid
	}
	return nil
}
