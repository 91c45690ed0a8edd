package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// runtimes compares OCI runtimes on one bundle: the same namespaces, mounts,
// capabilities, cgroup and masks for each, no seccomp profile for any. Those
// that the machine does not have are left out.
func runtimes(bin, work, rootfs string, runs int) error {
	done := make(chan error)
	go func() { done <- onOneBundle(bin, work, rootfs, runs) }() // whose thread ends with it
	return <-done
}

func onOneBundle(bin, work, rootfs string, runs int) error {
	type runtime struct {
		name, path            string
		whole, steps, nothing sample
	}
	var list []*runtime
	for _, name := range []string{"davit-runtime", "runc", "crun"} {
		path := filepath.Join(bin, name)
		if _, err := os.Stat(path); err != nil {
			if path, err = exec.LookPath(name); err != nil {
				continue
			}
		}
		list = append(list, &runtime{name: name, path: path})
	}
	if err := legacyCgroups(); err != nil {
		return err
	}
	bundle, state := filepath.Join(work, "bundle"), filepath.Join(work, "state")
	if err := writeBundle(bundle, rootfs); err != nil {
		return err
	}
	n := 0
	call := func(r *runtime, command string, args ...string) (time.Duration, error) {
		cmd := exec.Command(r.path, append([]string{"--root", filepath.Join(state, r.name), command}, args...)...)
		// A file, not a pipe: a created container holds it, and nobody should
		// wait for its end.
		stderr, err := os.Create(filepath.Join(work, "stderr"))
		if err != nil {
			return 0, err
		}
		defer stderr.Close()
		cmd.Stderr = stderr
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(stderr.Name()) // the error is told in any case
			return 0, fmt.Errorf("%s: %w: %s", cmd, err, text)
		}
		return time.Since(begin), nil
	}
	for round := -2; round < runs; round++ { // two rounds to warm up
		for _, r := range list {
			n++
			id := "davit-bench-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(n)
			whole, err := call(r, "run", "--bundle", bundle, id)
			if err != nil {
				return err
			}
			var steps time.Duration
			for _, c := range [][]string{{"create", "--bundle", bundle, id + "s"}, {"start", id + "s"}, {"delete", "--force", id + "s"}} {
				took, err := call(r, c[0], c[1:]...)
				if err != nil {
					return err
				}
				steps += took
			}
			nothing, err := timed(exec.Command(r.path, "--version"))
			if err != nil {
				return err
			}
			if round >= 0 {
				r.whole.add(whole)
				r.steps.add(steps)
				r.nothing.add(nothing)
			}
		}
	}
	fmt.Printf("\n## OCI runtimes on one bundle\n\n| | run | create, start, delete --force | --version |\n|---|---|---|---|\n")
	for _, r := range list {
		fmt.Printf("| %s | %s | %s | %s |\n", r.name, r.whole, r.steps, r.nothing)
	}
	return nil
}

// legacyCgroups hides the cgroup2 mount of a hybrid host from this goroutine
// and its children, in a mount namespace of their own: crun refuses to run
// where it finds both versions. The goroutine keeps its thread to itself.
func legacyCgroups() error {
	const unified = "/sys/fs/cgroup/unified"
	if _, err := os.Stat(unified + "/cgroup.procs"); err != nil {
		return nil
	}
	goruntime.LockOSThread()
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Unmount(unified, unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("hiding %s: %w", unified, err)
	}
	return nil
}

// writeBundle makes a bundle that runs /hello of rootfs.
func writeBundle(dir, rootfs string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	spec := specs.Spec{
		Version: "1.0.2", // the newest that Debian's runtimes accept
		Root:    &specs.Root{Path: rootfs},
		Process: &specs.Process{
			Args: []string{"/hello"}, Env: []string{"PATH=/"}, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Hostname: "bench",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/davit-bench",
			Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}},
			MaskedPaths:   []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/scsi"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	b, err := json.Marshal(&spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644)
}
