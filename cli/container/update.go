package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/dialect"
)

// updateOptions are what update changes. Zero values change nothing.
type updateOptions struct {
	changeOptions
	dryRun, json bool

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
			api, err := e.Client()
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), e, api, cmd.Flags(), args)
		},
	}
	o.addTo(cmd.Flags())
	o.changeOptions.addTo(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("network", complete.Modes(e))
	_ = cmd.RegisterFlagCompletionFunc("stop-signal", complete.Signals)
	_ = cmd.RegisterFlagCompletionFunc("health-on-failure", complete.Words("none", "kill", "restart", "stop"))
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
	f.BoolVar(&o.dryRun, "dry-run", false, "Only say what would change, and whether the container would be restarted for it")
	f.BoolVar(&o.json, "json", false, "With --dry-run: print the plan as JSON")
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

// run asks for an update where Docker's API has words for it, else for a
// change.
func (o *updateOptions) run(ctx context.Context, e *env.Env, api *client.Client, f *pflag.FlagSet, names []string) error {
	update, err := o.wish(f)
	if err != nil {
		return err
	}
	deep := o.dryRun || slices.ContainsFunc(changeFlags, f.Changed)
	switch {
	case o.json && !o.dryRun:
		return errors.New("--json is for --dry-run")
	case !deep:
		return each(e, names, func(name string) error {
			answer, err := api.Containers.Update(ctx, name, update)
			for _, w := range answer.Warnings {
				e.Warn(w)
			}
			return err
		})
	}
	wish := dialect.Change{Resources: &update.Resources}
	if o.restart != "" {
		wish.RestartPolicy = &update.RestartPolicy
	}
	if err := o.fill(f, &wish); err != nil {
		return err
	}
	if o.dryRun {
		return o.show(ctx, e, api, names, wish)
	}
	return each(e, names, func(name string) error {
		// Said before it is done.
		plan, err := api.Containers.Change(ctx, name, wish, true)
		if err != nil {
			return err
		}
		fmt.Fprint(e.Err, planText(name, plan))
		if plan, err = api.Containers.Change(ctx, name, wish, false); err != nil {
			return err
		}
		for _, w := range plan.Warnings {
			e.Warn(w)
		}
		return nil
	})
}

// show prints what a change would do.
func (o *updateOptions) show(ctx context.Context, e *env.Env, api *client.Client, names []string, wish dialect.Change) error {
	var failures []error
	plans := map[string]dialect.Plan{}
	for _, name := range names {
		plan, err := api.Containers.Change(ctx, name, wish, true)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if plans[name] = plan; o.json {
			continue
		}
		for _, w := range plan.Warnings {
			e.Warn(w)
		}
		fmt.Fprint(e.Out, planText(name, plan))
	}
	if o.json {
		text, err := json.MarshalIndent(plans, "", "    ")
		if err != nil {
			return err
		}
		fmt.Fprintf(e.Out, "%s\n", text)
	}
	return errors.Join(failures...)
}
