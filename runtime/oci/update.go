package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func newUpdate() *command {
	var file string
	res := &specs.LinuxResources{}
	c := &command{name: "update", args: "<container-id>", about: "change a container's limits", min: 1, max: 1}
	f := &c.flags
	f.text(&file, "resources r", "file", "limits as in a bundle's linux.resources; - for standard input. All other options are ignored")
	cpu := func() *specs.LinuxCPU {
		if res.CPU == nil {
			res.CPU = &specs.LinuxCPU{}
		}
		return res.CPU
	}
	memory := func() *specs.LinuxMemory {
		if res.Memory == nil {
			res.Memory = &specs.LinuxMemory{}
		}
		return res.Memory
	}
	f.add("blkio-weight", "n", "weight of block devices' input and output, 10 to 1000", func(v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		weight := uint16(n)
		res.BlockIO = &specs.LinuxBlockIO{Weight: &weight}
		return err
	})
	f.add("cpu-period", "us", "period of the CPU quota", unsigned(func(n *uint64) { cpu().Period = n }))
	f.add("cpu-quota", "us", "CPU time in a period; -1: all", signed(func(n *int64) { cpu().Quota = n }))
	f.add("cpu-burst", "us", "CPU time beyond the quota that may be saved up", unsigned(func(n *uint64) { cpu().Burst = n }))
	f.add("cpu-share", "n", "weight of CPU time", unsigned(func(n *uint64) { cpu().Shares = n }))
	f.add("cpu-rt-period", "us", "period of realtime scheduling", unsigned(func(n *uint64) { cpu().RealtimePeriod = n }))
	f.add("cpu-rt-runtime", "us", "realtime in a period", signed(func(n *int64) { cpu().RealtimeRuntime = n }))
	f.add("cpu-idle", "0|1", "run only when nothing else does", signed(func(n *int64) { cpu().Idle = n }))
	f.add("cpuset-cpus", "list", "CPUs to use", func(v string) error { cpu().Cpus = v; return nil })
	f.add("cpuset-mems", "list", "memory nodes to use", func(v string) error { cpu().Mems = v; return nil })
	f.add("memory", "bytes", "memory limit; -1: none", size(func(n *int64) { memory().Limit = n }))
	f.add("memory-reservation", "bytes", "memory that is not taken away first", size(func(n *int64) { memory().Reservation = n }))
	f.add("memory-swap", "bytes", "memory and swap together; -1: no limit", size(func(n *int64) { memory().Swap = n }))
	// Kernel memory has no limit of its own since Linux 5.16; runc ignores both too.
	f.add("kernel-memory", "bytes", "ignored: the kernel has no such limit", size(func(*int64) {}))
	f.add("kernel-memory-tcp", "bytes", "ignored: the kernel has no such limit", size(func(*int64) {}))
	f.add("pids-limit", "n", "number of processes; -1: no limit", signed(func(n *int64) { res.Pids = &specs.LinuxPids{Limit: n} }))
	for _, option := range []string{"l3-cache-schema", "mem-bw-schema"} {
		f.add(option, "schema", "refused: a container's resctrl group does not change", func(string) error {
			return errs.New(errs.NotImplemented, "a running container's resctrl group cannot be changed")
		})
	}
	c.run = func(i *invocation, args []string) (int, error) {
		if file != "" {
			res = &specs.LinuxResources{}
			if err := readResources(file, res); err != nil {
				return 1, err
			}
		}
		return 0, i.update(args[0], res)
	}
	return c
}

func (i *invocation) update(id string, res *specs.LinuxResources) error {
	c, err := i.store.openLocked(id)
	if err != nil {
		return err
	}
	defer c.release()
	if s := c.status(); s == specs.StateStopped {
		return errs.New(errs.Conflict, "container not running: %s is %s", id, s)
	}
	g, ok := keptGroup(c)
	if !ok {
		return errs.New(errs.NotImplemented, "container %s has no control group", id)
	}
	return g.Update(res)
}

func readResources(file string, res *specs.LinuxResources) error {
	in := os.Stdin
	if file != "-" {
		var err error
		if in, err = os.Open(file); err != nil {
			return errs.New(errs.InvalidParameter, "--resources: %w", err)
		}
		defer in.Close()
	}
	b, err := io.ReadAll(in)
	if err == nil {
		err = json.Unmarshal(b, res)
	}
	if err != nil {
		return errs.New(errs.InvalidParameter, "--resources: %w", err)
	}
	return nil
}

func unsigned(set func(*uint64)) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		set(&n)
		return nil
	}
}

func signed(set func(*int64)) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		set(&n)
		return nil
	}
}

// size reads a number of bytes, which may have a unit: 512m, 1.5g, 64kib.
func size(set func(*int64)) func(string) error {
	return func(v string) error {
		n, err := parseSize(v)
		if err != nil {
			return err
		}
		set(&n)
		return nil
	}
}

func parseSize(v string) (int64, error) {
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= -1 {
		return n, nil
	}
	s := strings.ToLower(v)
	s = strings.TrimSuffix(strings.TrimSuffix(s, "b"), "i")
	shift := 0
	if s != "" {
		if shift = 10 * (1 + strings.IndexByte("kmgtp", s[len(s)-1])); shift > 0 {
			s = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(n >= 0) || n*float64(int64(1)<<shift) >= 1<<63 {
		return 0, fmt.Errorf("%q is not a number of bytes", v)
	}
	return int64(n * float64(int64(1)<<shift)), nil
}
