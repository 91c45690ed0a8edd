package namespace

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("makes namespaces with any ids: needs root")
	}
}

var maps = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 0x24000000, Size: 1000}, {ContainerID: 2000, HostID: 7, Size: 1}}

func inode(t testing.TB, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// ownerOf returns the inode of the user namespace that a namespace belongs to.
func ownerOf(t testing.TB, ns *os.File) uint64 {
	t.Helper()
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		t.Fatal(err)
	}
	owner := os.NewFile(uintptr(fd), "owner")
	defer owner.Close()
	return inode(t, owner)
}

// TestNew has a process enter the namespaces and read the maps.
func TestNew(t *testing.T) {
	needRoot(t)
	user, net, err := New(maps, maps[:1])
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	defer net.Close()
	if ownerOf(t, net) != inode(t, user) {
		t.Error("the network namespace does not belong to the user namespace")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		t.Skip("no nsenter on this machine")
	}
	cmd := exec.Command(nsenter, "--user=/proc/self/fd/3", "--net=/proc/self/fd/4", "sh", "-c",
		"cat /proc/self/uid_map /proc/self/gid_map; ls /sys/class/net >/dev/null; grep -c : /proc/net/dev")
	cmd.ExtraFiles = []*os.File{user, net}
	out, err := cmd.CombinedOutput()
	if want := "0 603979776 1000 2000 7 1 0 603979776 1000 1"; err != nil || strings.Join(strings.Fields(string(out)), " ") != want {
		t.Errorf("inside: %v\n%s\nwant %s", err, out, want)
	}
}

func TestNet(t *testing.T) {
	needRoot(t)
	user, first, err := New(maps, maps)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	defer first.Close()
	net, err := Net(user)
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	if ownerOf(t, net) != inode(t, user) || inode(t, net) == inode(t, first) {
		t.Error("want another network namespace of the same user namespace")
	}
}

// TestErrors names what the kernel did not like, and leaves no process.
func TestErrors(t *testing.T) {
	needRoot(t)
	if _, _, err := New(append(maps, maps[0]), maps); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "uid_map") {
		t.Errorf("maps that overlap: %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := Net(null); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a file that is no namespace: %v", err)
	}
	children, err := os.ReadFile("/proc/thread-self/children")
	if err == nil && len(children) > 0 {
		t.Errorf("children left: %s", children)
	}
}

// TestMany makes namespaces side by side while the garbage collector runs, and
// leaves no descriptor open.
func TestMany(t *testing.T) {
	needRoot(t)
	count := func() int {
		fds, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := count()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				user, net, err := New(maps, maps)
				if err != nil {
					t.Error(err)
					return
				}
				_ = make([]byte, 4<<20)
				user.Close()
				net.Close()
			}
		})
	}
	all.Wait()
	if after := count(); after > before+2 { // the poller's
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d %v", pid, err)
	}
}

func BenchmarkNew(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		user, net, err := New(maps, maps)
		if err != nil {
			b.Fatal(err)
		}
		user.Close()
		net.Close()
	}
}

func BenchmarkNet(b *testing.B) {
	needRoot(b)
	user, first, err := New(maps, maps)
	if err != nil {
		b.Fatal(err)
	}
	defer user.Close()
	defer first.Close()
	for b.Loop() {
		net, err := Net(user)
		if err != nil {
			b.Fatal(err)
		}
		net.Close()
	}
}
