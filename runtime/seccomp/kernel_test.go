package seccomp

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// install loads a program for all threads of this process.
func install(program []byte, flags uint32) error {
	runtime.LockOSThread() // no-new-privs is set for the thread and spread with the filter
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	code := make([]unix.SockFilter, 0, len(program)/8)
	for _, in := range decode(program) {
		code = append(code, unix.SockFilter{Code: in.code, Jt: in.jt, Jf: in.jf, K: in.k})
	}
	fprog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		uintptr(flags|unix.SECCOMP_FILTER_FLAG_TSYNC), uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return errno
	}
	return nil
}

// child runs the named test again in a process of its own, where inside is true.
func child(t *testing.T) (inside bool) {
	t.Helper()
	const mark = "DAVIT_TEST_SECCOMP_CHILD"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	switch {
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in the child:\n%s", out)
	case err != nil || !strings.Contains(string(out), "--- PASS"):
		t.Errorf("in the child: %v\n%s", err, out)
	}
	return false
}

// The kernel takes the default filter, and it holds: also for root, who could
// do all of this without.
func TestDefaultProfileInTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root would be let through without the filter")
	}
	if !child(t) {
		return
	}
	program, flags, err := Compile(defaultProfile(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := install(program, flags); err != nil {
		t.Skipf("this kernel takes no filter: %v", err)
	}
	null := uintptr(0)
	name := []byte("/\x00")
	at := uintptr(unsafe.Pointer(&name[0]))
	for _, c := range []struct {
		name string
		want unix.Errno
		call [7]uintptr
	}{
		{"keyctl", unix.EPERM, [7]uintptr{unix.SYS_KEYCTL}},
		{"bpf", unix.EPERM, [7]uintptr{unix.SYS_BPF, unix.BPF_MAP_CREATE}},
		{"unshare of a user namespace", unix.EPERM, [7]uintptr{unix.SYS_UNSHARE, unix.CLONE_NEWUSER}},
		{"mount", unix.EPERM, [7]uintptr{unix.SYS_MOUNT, at, at, at, null}},
		{"setns", unix.EPERM, [7]uintptr{unix.SYS_SETNS, 0}},
		{"open_by_handle_at", unix.EPERM, [7]uintptr{unix.SYS_OPEN_BY_HANDLE_AT}},
		{"socket VSOCK", unix.EPERM, [7]uintptr{unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM}},
		{"socket VSOCK in disguise", unix.EPERM, [7]uintptr{unix.SYS_SOCKET, unix.AF_VSOCK | 1<<32, unix.SOCK_STREAM}},
		{"socket ALG in disguise", unix.EPERM, [7]uintptr{unix.SYS_SOCKET, unix.AF_ALG | 1<<32, unix.SOCK_SEQPACKET}},
		{"clone3", unix.ENOSYS, [7]uintptr{unix.SYS_CLONE3}},
		{"a call of the future", unix.ENOSYS, [7]uintptr{4000}},
	} {
		n, _, errno := unix.RawSyscall6(c.call[0], c.call[1], c.call[2], c.call[3], c.call[4], c.call[5], c.call[6])
		if errno != c.want {
			t.Errorf("%s: got %v (%d), want %v", c.name, errno, int(n), c.want)
		}
	}
	// Ordinary life: threads, files, sockets, processes.
	done := make(chan error)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			_, err := os.ReadFile("/proc/self/status")
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if out, err := exec.Command("/bin/sh", "-c", "echo hello | cat; uname; mkdir -p /tmp").Output(); err != nil || !strings.HasPrefix(string(out), "hello\n") {
		t.Errorf("a shell: %v, %q", err, out)
	}
	// The last one shows that the kernel drops the upper half: see narrow.
	for _, family := range []int{unix.AF_INET, unix.AF_UNIX, unix.AF_NETLINK, unix.AF_UNIX | 1<<32} {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Errorf("socket of family %d: %v", family, err)
			continue
		}
		_ = unix.Close(fd)
	}
}

// Each action does what its name says.
func TestActionsInTheKernel(t *testing.T) {
	if !child(t) {
		return
	}
	eleven := uint(11)
	program, flags, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{}, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"getppid"}, Action: specs.ActErrno, ErrnoRet: &eleven},
		{Names: []string{"setpriority"}, Action: specs.ActErrno},
		{Names: []string{"getpgid"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpGreaterThan, Value: 1 << 32}}},
		{Names: []string{"sysinfo"}, Action: specs.ActLog},
		{Names: []string{"acct"}, Action: specs.ActKillProcess},
	}})
	if err != nil {
		t.Skip(err)
	}
	if err := install(program, flags); err != nil {
		t.Skipf("this kernel takes no filter: %v", err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); errno != 11 {
		t.Errorf("getppid: %v", errno)
	}
	if err := unix.Setpriority(0, 0, 0); err != unix.EPERM {
		t.Errorf("setpriority: %v", err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_GETPGID, 0, 0, 0); errno != 0 {
		t.Errorf("getpgid(0): %v", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_GETPGID, 1<<32+1, 0, 0); unsafe.Sizeof(uintptr(0)) == 8 && errno != unix.EPERM {
		t.Errorf("getpgid(2^32 + 1): %v", errno)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Errorf("sysinfo: %v", err)
	}
	cmd := exec.Command("/bin/sh", "-c", "exit 0")
	if err := cmd.Run(); err != nil {
		t.Errorf("a shell: %v", err)
	}
}

// TestNotifyInTheKernel leaves a call to a listener in this process.
func TestNotifyInTheKernel(t *testing.T) {
	if !child(t) {
		return
	}
	program, flags, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv, specs.LinuxSeccompFlagLog},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"getppid"}, Action: specs.ActNotify}}})
	if err != nil {
		t.Skip(err)
	}
	type loaded struct {
		fd    int
		errno unix.Errno
	}
	listener, answer := make(chan loaded), make(chan uintptr)
	go func() { // the filter is this thread's, which ends with the goroutine
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			listener <- loaded{-1, unix.EPERM}
			return
		}
		code := decode(program)
		filter := make([]unix.SockFilter, len(code))
		for i, in := range code {
			filter[i] = unix.SockFilter{Code: in.code, Jt: in.jt, Jf: in.jf, K: in.k}
		}
		fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&fprog)))
		listener <- loaded{int(fd), errno}
		if errno == 0 {
			r, _, _ := unix.Syscall(unix.SYS_GETPPID, 0, 0, 0)
			answer <- r
		}
	}()
	l := <-listener
	if l.errno != 0 {
		t.Skipf("this kernel takes no filter with a listener that waits killably (Linux 5.19): %v", l.errno)
	}
	defer unix.Close(l.fd)
	// struct seccomp_notif {id, pid, flags, {nr, arch, ip, args}}, struct seccomp_notif_resp {id, val, error, flags}
	var request [10]uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), 0xc0502100, uintptr(unsafe.Pointer(&request))); errno != 0 {
		t.Fatalf("receiving: %v", errno)
	}
	if nr := uint32(request[2]); nr != unix.SYS_GETPPID {
		t.Errorf("notified of call %d", nr)
	}
	response := [3]uint64{request[0], 4711}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), 0xc0182101, uintptr(unsafe.Pointer(&response))); errno != 0 {
		t.Fatalf("answering: %v", errno)
	}
	if r := <-answer; r != 4711 {
		t.Errorf("the call gave %d", r)
	}
}

// TestBigProgramInTheKernel loads a program near the limit.
func TestBigProgramInTheKernel(t *testing.T) {
	if !child(t) {
		return
	}
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for i := range uint64(790) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"getpriority"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: 1, Op: specs.OpEqualTo, Value: 100 + i}}})
	}
	program, flags, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(program) / 8; n < 3900 {
		t.Errorf("only %d instructions", n)
	}
	if err := install(program, flags); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 889, 0); errno != unix.EPERM {
		t.Errorf("the last rule: %v", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 0, 0); errno != 0 {
		t.Errorf("none of the rules: %v", errno)
	}
}

func BenchmarkCompileDefault(b *testing.B) {
	p := defaultProfile(b)
	program, _, err := Compile(p)
	if err != nil {
		b.Skip(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Compile(p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(program)/8), "instructions")
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Default(dockerCaps); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstructionsPerCall reports how many instructions common calls run.
func BenchmarkInstructionsPerCall(b *testing.B) {
	program, _, err := Compile(defaultProfile(b))
	if err != nil {
		b.Skip(err)
	}
	code, audit := decode(program), nativeAudit(b)
	column := family(runtime.GOARCH)[0].column
	names := strings.Fields(`read write openat close fstat newfstatat mmap mprotect munmap brk rt_sigaction rt_sigprocmask ioctl
		futex epoll_pwait sendto recvfrom sendmsg recvmsg getpid gettid clock_nanosleep getrandom execve exit_group wait4 fcntl lseek`)
	total, calls, most := 0, 0, 0
	for b.Loop() {
		total, calls = 0, 0
		for _, name := range names {
			c, ok := lookup(name)
			if !ok || c.number[column] < 0 {
				continue
			}
			_, steps, err := interpret(code, data{number: uint32(c.number[column]), arch: audit})
			if err != nil {
				b.Fatal(err)
			}
			total, calls, most = total+steps, calls+1, max(most, steps)
		}
	}
	b.ReportMetric(float64(total)/float64(calls), "instructions/call")
	b.ReportMetric(float64(most), "instructions/worst")
}

func ExampleCompile() {
	program, _, err := compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"ptrace"}, Action: specs.ActErrno}}}, "amd64")
	if err != nil {
		fmt.Println(err)
	}
	for i, in := range decode(program) {
		fmt.Printf("%2d: code %#02x, jumps %d %d, %#x\n", i, in.code, in.jt, in.jf, in.k)
	}
	// Output:
	//  0: code 0x20, jumps 0 0, 0x4
	//  1: code 0x15, jumps 0 10, 0xc000003e
	//  2: code 0x20, jumps 0 0, 0x0
	//  3: code 0x35, jumps 3 0, 0x66
	//  4: code 0x35, jumps 1 0, 0x65
	//  5: code 0x06, jumps 0 0, 0x7fff0000
	//  6: code 0x06, jumps 0 0, 0x50001
	//  7: code 0x35, jumps 1 0, 0x40000000
	//  8: code 0x06, jumps 0 0, 0x7fff0000
	//  9: code 0x35, jumps 1 0, 0xffffffff
	// 10: code 0x06, jumps 0 0, 0x0
	// 11: code 0x06, jumps 0 0, 0x7fff0000
	// 12: code 0x06, jumps 0 0, 0x0
}
