package change

import (
	"encoding/json"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/davit-engine/davit/errs"
)

func TestLimits(t *testing.T) {
	const mb = 1 << 20
	count := func(n int64) *int64 { return &n }
	type limits = container.Resources
	for _, c := range []struct {
		name      string
		old, wish limits
		now       limits
		kernel    string // what the kernel is told
		err       string
		kind      errs.Kind
	}{
		{name: "nothing", old: limits{Memory: 64 * mb, MemorySwap: 64 * mb}, now: limits{Memory: 64 * mb, MemorySwap: 64 * mb}, kernel: `{}`},
		{name: "shares", old: limits{CPUShares: 100, BlkioWeight: 20}, wish: limits{CPUShares: 512}, now: limits{CPUShares: 512, BlkioWeight: 20},
			kernel: `{"cpu":{"shares":512}}`},
		{name: "cpus", wish: limits{NanoCPUs: 15e8}, now: limits{NanoCPUs: 15e8}, kernel: `{"cpu":{"quota":150000,"period":100000}}`},
		{name: "quota off", old: limits{CPUQuota: 5000}, wish: limits{CPUQuota: -1}, now: limits{CPUQuota: -1}, kernel: `{"cpu":{"quota":-1}}`},
		{name: "sets and weight", wish: limits{CpusetCpus: "0", CpusetMems: "0", BlkioWeight: 300}, now: limits{CpusetCpus: "0", CpusetMems: "0", BlkioWeight: 300},
			kernel: `{"cpu":{"cpus":"0","mems":"0"},"blockIO":{"weight":300}}`},
		{name: "less memory goes with the limit on swap", old: limits{Memory: 64 * mb, MemorySwap: 128 * mb}, wish: limits{Memory: 32 * mb},
			now: limits{Memory: 32 * mb, MemorySwap: 128 * mb}, kernel: `{"memory":{"limit":33554432,"swap":134217728}}`},
		{name: "a record that leaves swap to the default", old: limits{Memory: 64 * mb}, wish: limits{Memory: 100 * mb},
			now: limits{Memory: 100 * mb, MemorySwap: 128 * mb}, kernel: `{"memory":{"limit":104857600,"swap":134217728}}`},
		{name: "more memory than with swap", old: limits{Memory: 64 * mb, MemorySwap: 128 * mb}, wish: limits{Memory: 129 * mb},
			err: "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time", kind: errs.Conflict},
		{name: "memory where there was no limit", wish: limits{Memory: 64 * mb},
			err: "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time", kind: errs.Conflict},
		{name: "memory and swap where there was no limit", wish: limits{Memory: 64 * mb, MemorySwap: 64 * mb},
			now: limits{Memory: 64 * mb, MemorySwap: 64 * mb}, kernel: `{"memory":{"limit":67108864,"swap":67108864}}`},
		{name: "memory where swap is unlimited", old: limits{Memory: 64 * mb, MemorySwap: -1}, wish: limits{Memory: 128 * mb},
			now: limits{Memory: 128 * mb, MemorySwap: -1}, kernel: `{"memory":{"limit":134217728,"swap":-1}}`},
		{name: "swap alone", old: limits{Memory: 64 * mb, MemorySwap: 128 * mb}, wish: limits{MemorySwap: 65 * mb},
			now: limits{Memory: 64 * mb, MemorySwap: 65 * mb}, kernel: `{"memory":{"limit":67108864,"swap":68157440}}`},
		{name: "swap below memory", old: limits{Memory: 64 * mb, MemorySwap: 128 * mb}, wish: limits{MemorySwap: 63 * mb},
			err: "Minimum memoryswap limit should be larger than memory limit, see usage", kind: errs.InvalidParameter},
		{name: "swap without memory", wish: limits{MemorySwap: 63 * mb},
			err: "You should always set the Memory limit when using Memoryswap limit, see usage", kind: errs.InvalidParameter},
		{name: "processes", old: limits{PidsLimit: count(9)}, wish: limits{PidsLimit: count(5)}, now: limits{PidsLimit: count(5)}, kernel: `{"pids":{"limit":5}}`},
		{name: "any number of processes", old: limits{PidsLimit: count(9)}, wish: limits{PidsLimit: count(0)}, now: limits{}, kernel: `{"pids":{"limit":-1}}`},
		{name: "cpus beside a period", old: limits{CPUPeriod: 1000}, wish: limits{NanoCPUs: 1},
			err: "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set", kind: errs.Conflict},
		{name: "cpus beside a quota", old: limits{CPUQuota: 1000}, wish: limits{NanoCPUs: 1},
			err: "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set", kind: errs.Conflict},
		{name: "a period beside cpus", old: limits{NanoCPUs: 1}, wish: limits{CPUPeriod: 1000},
			err: "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set", kind: errs.Conflict},
		{name: "a quota beside cpus", old: limits{NanoCPUs: 1}, wish: limits{CPUQuota: 1000},
			err: "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set", kind: errs.Conflict},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, err := Limits(&c.old, &c.wish)
			if c.err != "" {
				if err == nil || err.Error() != c.err || !errs.Is(err, c.kind) {
					t.Fatalf("error %v (%s), want %s (%s)", err, errs.KindOf(err), c.err, c.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := text(t, now), text(t, c.now); got != want {
				t.Errorf("limits %s\nwant   %s", got, want)
			}
			if got := text(t, Kernel(&now, &c.wish, nil)); got != c.kernel {
				t.Errorf("the kernel is told %s\nwant %s", got, c.kernel)
			}
		})
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
