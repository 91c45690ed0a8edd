package container

import (
	"context"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
)

// updateOptions are what update changes. Zero values change nothing.
type updateOptions struct {
	restart                               string
	memory, memoryReservation, memorySwap flags.Bytes
	kernelMemory                          flags.Bytes
	cpus                                  flags.CPUs
	cpuShares, cpuPeriod, cpuQuota        int64
	cpuRTPeriod, cpuRTRuntime, pids       int64
	cpusetCPUs, cpusetMems                string
	blkioWeight                           uint16
}

// NewUpdateCmd returns "update".
func NewUpdateCmd(e *env.Env) *cobra.Command {
	o := &updateOptions{}
	cmd := &cobra.Command{
		Use: "update [OPTIONS] CONTAINER [CONTAINER...]", Short: "Update configuration of one or more containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == 0 {
				return errors.New("you must provide one or more flags when using this command")
			}
			wish, err := o.wish(cmd.Flags())
			if err != nil {
				return err
			}
			api, err := e.Client()
			if err != nil {
				return err
			}
			return each(e, args, func(name string) error {
				return o.update(cmd.Context(), e, api, name, wish)
			})
		},
	}
	o.addTo(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("restart", complete.Words("no", "always", "unless-stopped", "on-failure"))
	return cmd
}

func (o *updateOptions) addTo(f *pflag.FlagSet) {
	o.memorySwap.Unlimited = true
	f.Uint16Var(&o.blkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)")
	f.Int64Var(&o.cpuPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	f.Int64Var(&o.cpuQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	f.Int64Var(&o.cpuRTPeriod, "cpu-rt-period", 0, "Limit the CPU real-time period in microseconds")
	f.Int64Var(&o.cpuRTRuntime, "cpu-rt-runtime", 0, "Limit the CPU real-time runtime in microseconds")
	f.Int64VarP(&o.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	f.Var(&o.cpus, "cpus", "Number of CPUs")
	f.StringVar(&o.cpusetCPUs, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	f.StringVar(&o.cpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	f.VarP(&o.memory, "memory", "m", "Memory limit")
	f.Var(&o.memoryReservation, "memory-reservation", "Memory soft limit")
	f.Var(&o.memorySwap, "memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap")
	f.Var(&o.kernelMemory, "kernel-memory", "Kernel memory limit (deprecated)")
	_ = f.MarkHidden("kernel-memory")
	f.Int64Var(&o.pids, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	f.StringVar(&o.restart, "restart", "", "Restart policy to apply when a container exits")
}

// wish is what Docker's API has an update for.
func (o *updateOptions) wish(f *pflag.FlagSet) (container.UpdateConfig, error) {
	wish := container.UpdateConfig{Resources: container.Resources{
		BlkioWeight: o.blkioWeight, NanoCPUs: o.cpus.Nano, CPUShares: o.cpuShares, CPUPeriod: o.cpuPeriod, CPUQuota: o.cpuQuota,
		CPURealtimePeriod: o.cpuRTPeriod, CPURealtimeRuntime: o.cpuRTRuntime, CpusetCpus: o.cpusetCPUs, CpusetMems: o.cpusetMems,
		Memory: o.memory.Value, MemoryReservation: o.memoryReservation.Value, MemorySwap: o.memorySwap.Value,
	}}
	if f.Changed("pids-limit") {
		wish.PidsLimit = &o.pids
	}
	if o.restart != "" {
		var err error
		if wish.RestartPolicy, err = parseRestart(o.restart); err != nil {
			return wish, err
		}
	}
	return wish, nil
}

func (o *updateOptions) update(ctx context.Context, e *env.Env, api *client.Client, name string, wish container.UpdateConfig) error {
	answer, err := api.Containers.Update(ctx, name, wish)
	for _, w := range answer.Warnings {
		e.Warn(w)
	}
	return err
}
