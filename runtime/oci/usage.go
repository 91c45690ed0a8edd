package oci

import (
	"strings"

	"github.com/davit-engine/davit/runtime/cgroup"
)

// usage is the use of resources in the words of runc's events, which
// containerd's go-runc and others read.
type usage struct {
	CPU     cpuUsage             `json:"cpu"`
	Memory  memoryUsage          `json:"memory"`
	Pids    pidsUsage            `json:"pids"`
	Blkio   blkioUsage           `json:"blkio"`
	Hugetlb map[string]hugeUsage `json:"hugetlb"`
}

type cpuUsage struct {
	Usage struct { // nanoseconds
		Total  uint64   `json:"total,omitempty"`
		PerCPU []uint64 `json:"percpu,omitempty"`
		System []uint64 `json:"percpu_kernel,omitempty"`
		User   []uint64 `json:"percpu_user,omitempty"`
		Kernel uint64   `json:"kernel"`
		InUser uint64   `json:"user"`
	} `json:"usage"`
	Throttling struct {
		Periods   uint64 `json:"periods,omitempty"`
		Throttled uint64 `json:"throttledPeriods,omitempty"`
		Time      uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling"`
	PSI *psi `json:"psi,omitempty"`
}

type amount struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type memoryUsage struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     amount            `json:"usage"`
	Swap      amount            `json:"swap"` // with memory
	Kernel    amount            `json:"kernel"`
	KernelTCP amount            `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *psi              `json:"psi,omitempty"`
}

type pidsUsage struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blkioUsage struct {
	Bytes      []blkioEntry `json:"ioServiceBytesRecursive,omitempty"`
	Operations []blkioEntry `json:"ioServicedRecursive,omitempty"`
	PSI        *psi         `json:"psi,omitempty"`
}

type blkioEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

type hugeUsage struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type psi struct {
	Some stall `json:"some"`
	Full stall `json:"full"`
}

type stall struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

func newUsage(s *cgroup.Stats) *usage {
	u := &usage{Hugetlb: map[string]hugeUsage{}}
	c := &u.CPU
	c.Usage.Total, c.Usage.Kernel, c.Usage.InUser = s.CPU.Total, s.CPU.System, s.CPU.User
	c.Usage.PerCPU, c.Usage.System, c.Usage.User = s.CPU.PerCPU, s.CPU.PerCPUSystem, s.CPU.PerCPUUser
	c.Throttling.Periods, c.Throttling.Throttled, c.Throttling.Time = s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime
	c.PSI = newPSI(s.CPU.Pressure)
	m := &s.Memory
	u.Memory = memoryUsage{Cache: m.Cache, Usage: newAmount(m.Amount), Swap: newAmount(m.WithSwap), Kernel: newAmount(m.Kernel),
		KernelTCP: newAmount(m.KernelTCP), Raw: m.Stat, PSI: newPSI(m.Pressure)}
	u.Pids = pidsUsage{Current: s.Pids.Current}
	if s.Pids.Limit != cgroup.Unlimited {
		u.Pids.Limit = s.Pids.Limit
	}
	u.Blkio = blkioUsage{Bytes: entries(s.BlockIO.Bytes), Operations: entries(s.BlockIO.Operations), PSI: newPSI(s.BlockIO.Pressure)}
	for size, a := range s.Hugetlb {
		u.Hugetlb[size] = hugeUsage{a.Usage, a.Max, a.Failures}
	}
	return u
}

func newAmount(a cgroup.Amount) amount { return amount{a.Limit, a.Usage, a.Max, a.Failures} }

func newPSI(p *cgroup.Pressure) *psi {
	if p == nil {
		return nil
	}
	return &psi{stall(p.Some), stall(p.Full)}
}

// entries are runc's, whose operations have capitals.
func entries(list []cgroup.BlockIOEntry) (all []blkioEntry) {
	for _, e := range list {
		op := e.Operation
		if op != "" {
			op = strings.ToUpper(op[:1]) + op[1:]
		}
		all = append(all, blkioEntry{e.Major, e.Minor, op, e.Value})
	}
	return all
}
