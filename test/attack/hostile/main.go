// The Go runtime would open files of cgroups.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command hostile is what a container runs in the attack tests: it tries what
// a process in there must not be able to do, and prints what came of it, one
// "what: result" a line, where the result is ok or the name of an errno. It
// must be static and know nothing of the tests.
//
//	hostile calls              system calls that the default profile refuses
//	hostile open MODE PATH...  opens files; MODE is r, w or rw
//	hostile devices            makes the node of each block device that it can name, and opens it
//	hostile chroot             walks out of a chroot
//	hostile executables        looks for processes whose executable can be opened for writing, until it ends
//	hostile watch              looks into each new process, until it ends
//	hostile trace PID...       traces processes, and looks through /proc into them
//	hostile fds                lists its descriptors
//	hostile grow BYTES         uses memory
//	hostile flood BYTES        writes so much to its standard output
//
// By any other name it is a trap, and makes the file /davit-trapped.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if filepath.Base(os.Args[0]) != "hostile" { // a trap: whoever executes it is found out
		_ = os.WriteFile("/davit-trapped", []byte(os.Args[0]), 0o644)
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "hostile: do what?")
		os.Exit(2)
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "calls":
		calls()
	case "open":
		open(args[0], args[1:])
	case "devices":
		devices()
	case "chroot":
		chroot()
	case "executables":
		executables()
	case "watch":
		watch()
	case "trace":
		trace(args)
	case "fds":
		fds()
	case "grow":
		grow(number(args[0]))
	case "flood":
		flood(number(args[0]))
	default:
		fmt.Fprintln(os.Stderr, "hostile: unknown:", os.Args[1])
		os.Exit(2)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(2)
	}
	return n
}

func report(what string, err error) {
	result := "ok"
	if e, is := err.(unix.Errno); is && e != 0 {
		result = unix.ErrnoName(e)
	} else if err != nil && !is {
		result = err.Error()
	}
	fmt.Printf("%s: %s\n", what, result)
}

func calls() {
	try := func(what string, nr uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		_, _, e := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		report(what, e)
	}
	var buf [256]byte
	here := uintptr(unsafe.Pointer(&buf[0]))
	try("socket AF_ALG", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET)
	try("socket AF_ALG above 32 bits", unix.SYS_SOCKET, unix.AF_ALG|1<<32, unix.SOCK_SEQPACKET)
	try("socket AF_VSOCK", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM)
	try("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID)
	try("add_key", unix.SYS_ADD_KEY, here, here, here, 1)
	try("request_key", unix.SYS_REQUEST_KEY, here, here)
	try("bpf", unix.SYS_BPF, unix.BPF_MAP_CREATE, here, 64)
	try("userfaultfd", unix.SYS_USERFAULTFD)
	try("io_uring_setup", unix.SYS_IO_URING_SETUP, 8, here)
	try("unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	try("unshare mount", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	try("unshare user and cgroup", unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_NEWCGROUP)
	try("clone user", unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))
	try("clone3", unix.SYS_CLONE3, here, 88)
	try("setns", unix.SYS_SETNS, 0, 0)
	try("mount", unix.SYS_MOUNT, here, here, here)
	try("umount2", unix.SYS_UMOUNT2, here, unix.MNT_DETACH)
	try("fsopen", unix.SYS_FSOPEN, here)
	try("open_tree", unix.SYS_OPEN_TREE, here, here, unix.OPEN_TREE_CLONE)
	try("move_mount", unix.SYS_MOVE_MOUNT)
	try("mount_setattr", unix.SYS_MOUNT_SETATTR)
	try("pivot_root", unix.SYS_PIVOT_ROOT, here, here)
	try("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT)
	try("perf_event_open", unix.SYS_PERF_EVENT_OPEN, here, 0, ^uintptr(0), ^uintptr(0))
	try("kexec_load", unix.SYS_KEXEC_LOAD)
	try("init_module", unix.SYS_INIT_MODULE, here, 1, here)
	try("finit_module", unix.SYS_FINIT_MODULE, 0, here)
	try("reboot", unix.SYS_REBOOT, 0, 0, 0)
	try("settimeofday", unix.SYS_SETTIMEOFDAY, here)
	try("clock_settime", unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, here)
	try("swapon", unix.SYS_SWAPON, here)
	try("acct", unix.SYS_ACCT, here)
	try("quotactl", unix.SYS_QUOTACTL, 0, here)
	try("syslog", unix.SYS_SYSLOG, 2, here, 16)
	try("personality", unix.SYS_PERSONALITY, 0x0400000) // ADDR_NO_RANDOMIZE
	try("fanotify_init", unix.SYS_FANOTIFY_INIT, 0)
	try("process_vm_readv of init", unix.SYS_PROCESS_VM_READV, 1, here, 0, here, 0, 1) // invalid flags: says whether it is let through
	try("kcmp", unix.SYS_KCMP, 1, 1)
	try("move_pages", unix.SYS_MOVE_PAGES, 1)
	try("name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, ^uintptr(99), here, here, here)
}

func open(mode string, paths []string) {
	flags := map[string]int{"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR}[mode]
	for _, path := range paths {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err == nil && mode == "r" {
			// What is hidden may be opened, and holds nothing.
			var n int
			if n, err = unix.Read(fd, make([]byte, 4096)); err == unix.EISDIR {
				n, err = unix.Getdents(fd, make([]byte, 4096))
				n -= 48 // "." and ".."
			}
			if err == nil && n <= 0 {
				fmt.Printf("%s: empty\n", path)
				unix.Close(fd)
				continue
			}
		}
		if err == nil {
			unix.Close(fd)
		}
		report(path, err)
	}
}

func devices() {
	for _, d := range []struct {
		name         string
		kind         uint32
		major, minor uint32
	}{{"mem", unix.S_IFCHR, 1, 1}, {"kmsg", unix.S_IFCHR, 1, 11}, {"port", unix.S_IFCHR, 1, 4}, {"loop-control", unix.S_IFCHR, 10, 237}, {"loop0", unix.S_IFBLK, 7, 0},
		{"sda", unix.S_IFBLK, 8, 0}, {"vda", unix.S_IFBLK, 254, 0}, {"vda253", unix.S_IFBLK, 253, 0}, {"nvme0n1", unix.S_IFBLK, 259, 0}, {"dm-0", unix.S_IFBLK, 252, 0},
		{"fuse", unix.S_IFCHR, 10, 229}, {"kvm", unix.S_IFCHR, 10, 232}, {"tun", unix.S_IFCHR, 10, 200}, {"uinput", unix.S_IFCHR, 10, 223}} {
		path := filepath.Join("/tmp", d.name)
		if err := unix.Mknod(path, d.kind|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			report("mknod "+d.name, err)
			continue
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		report(d.name, err)
	}
}

func chroot() {
	var before, after unix.Stat_t
	_ = unix.Stat("/", &before)
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		_ = os.Mkdir("/tmp/jail", 0o755)
		err = unix.Chroot("/tmp/jail")
	}
	if err == nil {
		err = unix.Fchdir(dir)
	}
	for range 64 {
		if err == nil {
			err = unix.Chdir("..")
		}
	}
	if err == nil {
		err = unix.Chroot(".")
	}
	if err != nil {
		report("chroot", err)
		return
	}
	_ = unix.Stat("/", &after)
	fmt.Println("the same root:", before.Dev == after.Dev && before.Ino == after.Ino)
}

// executables tries for as long as it lives to get a writable descriptor of
// any process's executable that is not its own program.
func executables() {
	var own unix.Stat_t
	_ = unix.Stat("/proc/self/exe", &own)
	seen := map[string]int{} // executable -> descriptor
	fmt.Println("looking")
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		list, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range list {
			fd, err := unix.Open(dir+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				continue
			}
			var st unix.Stat_t
			_ = unix.Fstat(fd, &st)
			key := fmt.Sprint(st.Dev, ":", st.Ino)
			if _, known := seen[key]; known || st.Ino == own.Ino && st.Dev == own.Dev {
				unix.Close(fd)
				continue
			}
			name, _ := os.Readlink(dir + "/exe")
			fmt.Println("found", name)
			seen[key] = fd
		}
		for key, fd := range seen {
			w, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				fmt.Println("writable", key)
				unix.Close(w)
				delete(seen, key)
			}
		}
		if _, err := os.Stat("/tmp/enough"); err == nil {
			break
		}
	}
	fmt.Println("done")
}

func trace(pids []string) {
	for _, pid := range pids {
		n := number(pid)
		err := unix.PtraceSeize(n)
		if err == nil {
			_ = unix.PtraceDetach(n)
		}
		report("ptrace "+pid, err)
		for _, name := range []string{"mem", "environ", "root", "cwd", "exe", "fd/0", "ns/mnt", "stack"} {
			fd, err := unix.Open("/proc/"+pid+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				_, err = unix.Read(fd, make([]byte, 1))
				if err == unix.EISDIR {
					err = nil
				}
				unix.Close(fd)
			}
			report(name+" of "+pid, err)
		}
	}
}

// watch looks at processes from their first moment on, and prints each thing
// once that it could see.
func watch() {
	seen := map[string]bool{}
	see := func(kind, path string) {
		target, err := os.Readlink(path)
		if line := kind + " " + target; err == nil && !seen[line] {
			seen[line] = true
			fmt.Println(line)
		}
	}
	fmt.Println("looking")
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		for pid := 2; pid < 400; pid++ {
			dir := "/proc/" + strconv.Itoa(pid)
			if pid == os.Getpid() || unix.Access(dir, unix.F_OK) != nil {
				continue
			}
			see("exe", dir+"/exe")
			see("cwd", dir+"/cwd")
			see("root", dir+"/root")
			for fd := range 32 {
				see("fd", dir+"/fd/"+strconv.Itoa(fd))
			}
		}
		if _, err := os.Stat("/tmp/enough"); err == nil {
			break
		}
	}
	fmt.Println("done")
}

// fds lists what is open but for the runtime's own poller.
func fds() {
	for fd := range 1024 {
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err == nil && !strings.HasPrefix(target, "anon_inode:[event") {
			fmt.Println(fd, target)
		}
	}
}

func grow(bytes int) {
	b, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		report("mmap", err)
		return
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	fmt.Println("grown")
}

func flood(bytes int) {
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for n := 0; n < bytes; n += len(line) {
		if _, err := os.Stdout.Write(line); err != nil {
			return
		}
	}
}
