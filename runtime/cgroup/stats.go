package cgroup

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// Unlimited is a limit that is none.
const Unlimited = math.MaxUint64

// Stats is what a group uses and has used. What the host has no controller or
// no file for is zero, or nil.
type Stats struct {
	Memory  MemoryStats
	CPU     CPUStats
	Pids    PidsStats
	BlockIO BlockIOStats
	Hugetlb map[string]Amount    // by page size, such as 2MB
	RDMA    map[string]RDMAStats // by device, such as mlx5_1
}

// Amount is a counted resource in bytes.
type Amount struct {
	Usage    uint64
	Max      uint64 // the highest usage so far; 0 where the kernel does not keep it
	Limit    uint64
	Failures uint64 // how often the limit was hit
}

// MemoryStats is the group's memory, groups inside it included.
type MemoryStats struct {
	Amount
	Swap       Amount // swap alone; on v1, where it is not counted alone, only Usage
	WithSwap   Amount // memory and swap together, as v1 counts; on v2 the sums, but no Max and Failures
	Kernel     Amount // memory of the kernel for the group; on v2 only Usage
	KernelTCP  Amount // v1: buffers of TCP
	Cache      uint64 // bytes of cached files
	OOMs       uint64 // v2: how often the group was out of memory
	OOMKills   uint64 // processes killed for that
	Stat       map[string]uint64
	Unkillable bool // v1: the OOM killer is off
	Pressure   *Pressure
}

// CPUStats is processor time, in nanoseconds.
type CPUStats struct {
	Total, User, System uint64
	PerCPU              []uint64 // v1: total time by CPU
	PerCPUUser          []uint64 // v1
	PerCPUSystem        []uint64 // v1

	Periods          uint64 // scheduling periods with a quota
	ThrottledPeriods uint64
	ThrottledTime    uint64
	Bursts           uint64 // periods in which more than the quota was used
	BurstTime        uint64
	Pressure         *Pressure
}

// PidsStats counts threads.
type PidsStats struct {
	Current, Limit uint64
}

// BlockIOStats lists totals by device.
type BlockIOStats struct {
	Bytes      []BlockIOEntry
	Operations []BlockIOEntry
	Pressure   *Pressure
}

// BlockIOEntry is one total of one device. The operations are read, write and
// discard, on v1 also sync, async and total.
type BlockIOEntry struct {
	Major, Minor uint64
	Operation    string
	Value        uint64
}

// RDMAStats is what a group holds of one RDMA device.
type RDMAStats struct {
	Handles, HandleLimit uint64
	Objects, ObjectLimit uint64
}

// Pressure tells how long processes waited for a resource (PSI): some of them,
// or all at once.
type Pressure struct {
	Some, Full Stall
}

// Stall holds percentages of time over windows of so many seconds, and the
// total in microseconds.
type Stall struct {
	Avg10, Avg60, Avg300 float64
	Total                uint64
}

// Stats reads what the group uses. A group that is gone is of kind
// errs.NotFound.
func (c *Cgroup) Stats() (*Stats, error) {
	s, r := &Stats{}, &statReader{fs: c.fs}
	for _, d := range c.dirs {
		if d.v2 {
			r.v2(d.path, s)
			continue
		}
		for _, name := range d.controllers {
			r.v1(name, d.path, s)
		}
	}
	if !r.alive {
		if err := c.there(); err != nil {
			return nil, err
		}
	}
	kills, err := c.OOMKills()
	if err != nil && !gone(err) {
		return nil, err
	}
	s.Memory.OOMKills = kills
	return s, failed("reading the cgroup's usage", r.err)
}

// there reports a group of which nothing is left. It is asked only where no
// file could be read: to list directories takes longer than to read the files.
func (c *Cgroup) there() error {
	for _, d := range c.dirs {
		names, err := c.fs.names(d.path)
		if err != nil && !gone(err) {
			return failed("reading the cgroup's usage", err)
		}
		if len(names) > 0 {
			return nil
		}
	}
	if len(c.dirs) == 0 {
		return nil
	}
	return errs.New(errs.NotFound, "reading the cgroup's usage: it is gone")
}

// statReader reads files of which any may be missing; the first other error
// stays.
type statReader struct {
	fs    files
	err   error
	alive bool // a file was there
}

func (r *statReader) text(file string) string {
	text, err := r.fs.read(file)
	r.alive = r.alive || err == nil
	if err != nil && !gone(err) && !errors.Is(err, unix.EOPNOTSUPP) && r.err == nil {
		r.err = err
	}
	return text
}

// number returns the single number in a file. Of v1's limits, which count
// pages, the largest is no limit.
func (r *statReader) number(file string) uint64 {
	text := r.text(file)
	if text == "max" {
		return Unlimited
	}
	n, _ := strconv.ParseUint(text, 10, 64)
	if n > math.MaxInt64-1<<20 {
		return Unlimited
	}
	return n
}

// fields returns the numbers of a file with lines of "key number".
func (r *statReader) fields(file string) map[string]uint64 {
	text := r.text(file)
	if text == "" {
		return nil
	}
	all := make(map[string]uint64, strings.Count(text, "\n")+1)
	for line := range strings.Lines(text) {
		if key, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			if n, err := strconv.ParseUint(v, 10, 64); err == nil {
				all[key] = n
			}
		}
	}
	return all
}

func (r *statReader) pressure(file string) *Pressure {
	// Without PSI, or with it switched off, there is nothing to read.
	text, err := r.fs.read(file)
	if err != nil {
		return nil
	}
	return parsePressure(text)
}

// HostPressure returns how long processes of the whole host waited, nil where
// the kernel does not say.
func HostPressure() (cpu, memory, io *Pressure) {
	r := &statReader{fs: kernel{}}
	return r.pressure("/proc/pressure/cpu"), r.pressure("/proc/pressure/memory"), r.pressure("/proc/pressure/io")
}

// parsePressure reads lines such as
// "some avg10=0.12 avg60=0.00 avg300=0.00 total=42".
func parsePressure(text string) *Pressure {
	p := &Pressure{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		stall := &p.Some
		if f[0] == "full" {
			stall = &p.Full
		}
		for _, pair := range f[1:] {
			key, v, _ := strings.Cut(pair, "=")
			switch key {
			case "avg10":
				stall.Avg10, _ = strconv.ParseFloat(v, 64)
			case "avg60":
				stall.Avg60, _ = strconv.ParseFloat(v, 64)
			case "avg300":
				stall.Avg300, _ = strconv.ParseFloat(v, 64)
			case "total":
				stall.Total, _ = strconv.ParseUint(v, 10, 64)
			}
		}
	}
	return p
}

// rdma reads lines such as "mlx5_1 hca_handle=2 hca_object=max".
func (r *statReader) rdma(dir string) map[string]RDMAStats {
	var all map[string]RDMAStats
	for _, file := range []string{"/rdma.current", "/rdma.max"} {
		for line := range strings.Lines(r.text(dir + file)) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			s := all[f[0]]
			for _, pair := range f[1:] {
				key, v, _ := strings.Cut(pair, "=")
				n, err := strconv.ParseUint(v, 10, 64)
				if err != nil {
					n = Unlimited
				}
				switch key + file {
				case "hca_handle/rdma.current":
					s.Handles = n
				case "hca_object/rdma.current":
					s.Objects = n
				case "hca_handle/rdma.max":
					s.HandleLimit = n
				case "hca_object/rdma.max":
					s.ObjectLimit = n
				}
			}
			if all == nil {
				all = make(map[string]RDMAStats)
			}
			all[f[0]] = s
		}
	}
	return all
}

// pageSizes returns the huge page sizes that a group's directory has files for.
func (r *statReader) pageSizes(dir, suffix string) (sizes []string) {
	names, err := r.fs.names(dir)
	if err != nil && !gone(err) && r.err == nil {
		r.err = err
	}
	for _, name := range names {
		size, ok := strings.CutPrefix(name, "hugetlb.")
		if !ok {
			continue
		}
		if size, ok = strings.CutSuffix(size, suffix); ok && !strings.Contains(size, ".") {
			sizes = append(sizes, size)
		}
	}
	return sizes
}
