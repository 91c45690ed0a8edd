package seccomp

import (
	"cmp"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:generate sh -c "go run ./gen > table.new && mv table.new table.go"

// call is a system call and its number on each architecture, -1 where there is
// none.
type call struct {
	name   string
	number [columns]int32
}

// The table's columns.
const (
	amd64 = iota
	i386
	x32
	arm64
	arm
	columns
)

// lookup finds a system call by its name.
func lookup(name string) (*call, bool) {
	i, ok := slices.BinarySearchFunc(table[:], name, func(c call, name string) int { return cmp.Compare(c.name, name) })
	if !ok {
		return nil, false
	}
	return &table[i], true
}

// x32Bit is set in the numbers of x32 calls, which come with amd64's
// architecture code.
const x32Bit = 0x40000000

// firstPrivate is where ARM's private calls start; they are not in the order
// of Linux's history.
const firstPrivate = 0xf0000

// machine is one value of seccomp_data.arch and the ABIs behind it.
type machine struct {
	audit  uint32 // AUDIT_ARCH_*
	column int
	half   bool // registers have 32 bits
	arch   specs.Arch
}

// family returns the architectures that a kernel for goarch runs, the native
// one first, or nil if there is no table for it. x32 is not among them: it
// belongs to amd64.
func family(goarch string) []machine {
	x86 := machine{unix.AUDIT_ARCH_I386, i386, true, specs.ArchX86}
	arm32 := machine{unix.AUDIT_ARCH_ARM, arm, true, specs.ArchARM}
	switch goarch {
	case "amd64":
		return []machine{{unix.AUDIT_ARCH_X86_64, amd64, false, specs.ArchX86_64}, x86}
	case "386":
		return []machine{x86}
	case "arm64":
		return []machine{{unix.AUDIT_ARCH_AARCH64, arm64, false, specs.ArchAARCH64}, arm32}
	case "arm":
		return []machine{arm32}
	}
	return nil
}

// multiplexer returns the call by which i386 reaches another one as well:
// socketcall(2) or ipc(2), and the first argument that stands for it
// (linux/net.h, linux/ipc.h). A rule without conditions is one for the
// multiplexer too; conditions cannot be checked there, since the arguments lie
// in the process's memory.
func multiplexer(name string) (by string, value uint64) {
	switch name {
	case "socket":
		return "socketcall", 1
	case "bind":
		return "socketcall", 2
	case "connect":
		return "socketcall", 3
	case "listen":
		return "socketcall", 4
	case "accept":
		return "socketcall", 5
	case "getsockname":
		return "socketcall", 6
	case "getpeername":
		return "socketcall", 7
	case "socketpair":
		return "socketcall", 8
	case "send":
		return "socketcall", 9
	case "recv":
		return "socketcall", 10
	case "sendto":
		return "socketcall", 11
	case "recvfrom":
		return "socketcall", 12
	case "shutdown":
		return "socketcall", 13
	case "setsockopt":
		return "socketcall", 14
	case "getsockopt":
		return "socketcall", 15
	case "sendmsg":
		return "socketcall", 16
	case "recvmsg":
		return "socketcall", 17
	case "accept4":
		return "socketcall", 18
	case "recvmmsg":
		return "socketcall", 19
	case "sendmmsg":
		return "socketcall", 20
	case "semop":
		return "ipc", 1
	case "semget":
		return "ipc", 2
	case "semctl":
		return "ipc", 3
	case "semtimedop":
		return "ipc", 4
	case "msgsnd":
		return "ipc", 11
	case "msgrcv":
		return "ipc", 12
	case "msgget":
		return "ipc", 13
	case "msgctl":
		return "ipc", 14
	case "shmat":
		return "ipc", 21
	case "shmdt":
		return "ipc", 22
	case "shmget":
		return "ipc", 23
	case "shmctl":
		return "ipc", 24
	}
	return "", 0
}

// narrow returns which arguments of a call the kernel takes as 32-bit
// integers, as a set of bits. It drops the upper half of the register, so a
// comparison has to as well: otherwise socket(2) with AF_VSOCK in the lower
// half and anything in the upper would pass a rule that allows all families
// above AF_VSOCK. (CVE-2019-7303 and CVE-2019-10063 were that of ioctl.) For
// calls not named here registers are compared whole, as libseccomp does.
func narrow(name string) uint8 {
	switch name {
	case "socketcall", "ipc", "prctl", "arch_prctl", "personality", "bpf", "keyctl", "io_uring_setup":
		return 0b1
	case "futex", "open":
		return 0b10
	case "ioctl", "fcntl", "fcntl64", "seccomp", "setns", "kill", "fanotify_init":
		return 0b11
	case "openat":
		return 0b101
	case "socket", "socketpair", "setsockopt", "getsockopt", "tgkill", "setpriority", "reboot":
		return 0b111
	case "perf_event_open":
		return 0b1110
	}
	return 0
}
