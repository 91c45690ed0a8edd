package system

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
)

// information is what templates of info see: the engine's answer and the
// client's side.
type information struct {
	system.Info
	ClientInfo   clientInformation
	ServerErrors []string `json:",omitempty"`
}

type clientInformation struct {
	Debug    bool
	Platform struct{ Name string }
	Version  string
	Context  string
	Plugins  []string
	Warnings []string
}

// NewInfoCmd returns "info".
func NewInfoCmd(e *env.Env, build Build) *cobra.Command {
	var source string
	cmd := &cobra.Command{
		Use: "info [OPTIONS]", Short: "Display system-wide information",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := information{ClientInfo: clientInformation{
				Debug: e.Global.Debug, Version: build.Version, Context: e.ContextName(), Plugins: []string{}, Warnings: nil,
			}}
			api, err := e.Client()
			if err != nil {
				return err
			}
			answer, failed := api.Info(cmd.Context())
			if failed == nil {
				all.Info = answer
			} else {
				all.ServerErrors = []string{failed.Error()}
			}
			if source != "" {
				raw, err := json.Marshal(all)
				if err != nil {
					return err
				}
				if failed != nil {
					fmt.Fprintln(e.Err, failed)
				}
				return format.Object(e.Out, source, all, raw)
			}
			printInfo(e.Out, all, failed == nil)
			if failed != nil {
				return failed
			}
			for _, w := range all.Warnings {
				fmt.Fprintln(e.Err, w)
			}
			return nil
		},
	}
	format.ObjectFlags(cmd.Flags(), &source, "f")
	return cmd
}

func printInfo(w io.Writer, all information, answered bool) {
	fmt.Fprintln(w, "Client:")
	line(w, 1, "Version", all.ClientInfo.Version)
	line(w, 1, "Context", all.ClientInfo.Context)
	line(w, 1, "Debug Mode", all.ClientInfo.Debug)
	fmt.Fprintln(w, "\nServer:")
	if answered {
		printServer(w, all.Info)
	}
}

func printServer(w io.Writer, i system.Info) {
	line(w, 1, "Containers", i.Containers)
	line(w, 2, "Running", i.ContainersRunning)
	line(w, 2, "Paused", i.ContainersPaused)
	line(w, 2, "Stopped", i.ContainersStopped)
	line(w, 1, "Images", i.Images)
	line(w, 1, "Server Version", i.ServerVersion)
	line(w, 1, "Storage Driver", i.Driver)
	for _, pair := range i.DriverStatus {
		line(w, 2, pair[0], pair[1])
	}
	line(w, 1, "Logging Driver", i.LoggingDriver)
	line(w, 1, "Cgroup Driver", i.CgroupDriver)
	line(w, 1, "Cgroup Version", i.CgroupVersion)
	fmt.Fprintln(w, " Plugins:")
	line(w, 2, "Volume", strings.Join(i.Plugins.Volume, " "))
	line(w, 2, "Network", strings.Join(i.Plugins.Network, " "))
	line(w, 2, "Authorization", strings.Join(i.Plugins.Authorization, " "))
	line(w, 2, "Log", strings.Join(i.Plugins.Log, " "))
	if len(i.CDISpecDirs) > 0 {
		fmt.Fprintln(w, " CDI spec directories:")
		for _, dir := range i.CDISpecDirs {
			fmt.Fprintln(w, "  "+dir)
		}
	}
	line(w, 1, "Swarm", i.Swarm.LocalNodeState)
	line(w, 1, "Runtimes", strings.Join(slices.Sorted(maps.Keys(i.Runtimes)), " "))
	line(w, 1, "Default Runtime", i.DefaultRuntime)
	line(w, 1, "Init Binary", i.InitBinary)
	line(w, 1, "containerd version", i.ContainerdCommit.ID)
	line(w, 1, "runc version", i.RuncCommit.ID)
	line(w, 1, "init version", i.InitCommit.ID)
	if len(i.SecurityOptions) > 0 {
		fmt.Fprintln(w, " Security Options:")
		for _, option := range i.SecurityOptions {
			printSecurity(w, option)
		}
	}
	line(w, 1, "Kernel Version", i.KernelVersion)
	line(w, 1, "Operating System", i.OperatingSystem)
	line(w, 1, "OSType", i.OSType)
	line(w, 1, "Architecture", i.Architecture)
	line(w, 1, "CPUs", i.NCPU)
	line(w, 1, "Total Memory", units.BytesSize(float64(i.MemTotal)))
	line(w, 1, "Name", i.Name)
	line(w, 1, "ID", i.ID)
	line(w, 1, "Docker Root Dir", i.DockerRootDir)
	line(w, 1, "Debug Mode", i.Debug)
	if i.Debug {
		line(w, 2, "File Descriptors", i.NFd)
		line(w, 2, "Goroutines", i.NGoroutines)
		line(w, 2, "System Time", i.SystemTime)
		line(w, 2, "EventsListeners", i.NEventsListener)
	}
	line(w, 1, "HTTP Proxy", i.HTTPProxy)
	line(w, 1, "HTTPS Proxy", i.HTTPSProxy)
	line(w, 1, "No Proxy", i.NoProxy)
	if len(i.Labels) > 0 {
		fmt.Fprintln(w, " Labels:")
		for _, l := range i.Labels {
			fmt.Fprintln(w, "  "+l)
		}
	}
	line(w, 1, "Experimental", i.ExperimentalBuild)
	printRegistries(w, i)
	line(w, 1, "Live Restore Enabled", i.LiveRestoreEnabled)
	if f := i.FirewallBackend; f != nil {
		line(w, 1, "Firewall Backend", f.Driver)
		for _, pair := range f.Info {
			line(w, 2, pair[0], pair[1])
		}
	}
	if len(i.DefaultAddressPools) > 0 {
		fmt.Fprintln(w, " Default Address Pools:")
		for _, p := range i.DefaultAddressPools {
			fmt.Fprintf(w, "   Base: %s, Size: %d\n", p.Base, p.Size)
		}
	}
	fmt.Fprintln(w)
}

// printSecurity shows "name=seccomp,profile=builtin" over two levels.
func printSecurity(w io.Writer, option string) {
	for i, pair := range strings.Split(option, ",") {
		key, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok:
			fmt.Fprintln(w, "  "+pair)
		case key == "name" && i == 0:
			fmt.Fprintln(w, "  "+value)
		case key == "profile":
			line(w, 3, "Profile", value)
		default:
			line(w, 3, key, value)
		}
	}
}

func printRegistries(w io.Writer, i system.Info) {
	c := i.RegistryConfig
	if c == nil {
		return
	}
	if len(c.InsecureRegistryCIDRs) > 0 || len(c.IndexConfigs) > 0 {
		fmt.Fprintln(w, " Insecure Registries:")
		for _, name := range slices.Sorted(maps.Keys(c.IndexConfigs)) {
			if !c.IndexConfigs[name].Secure {
				fmt.Fprintln(w, "  "+name)
			}
		}
		for _, r := range c.InsecureRegistryCIDRs {
			fmt.Fprintln(w, "  "+r.String())
		}
	}
	if len(c.Mirrors) > 0 {
		fmt.Fprintln(w, " Registry Mirrors:")
		for _, m := range c.Mirrors {
			fmt.Fprintln(w, "  "+m)
		}
	}
}

// line prints "Name: value" indented by level, unless the value is an empty
// text.
func line(w io.Writer, level int, name string, value any) {
	if text := fmt.Sprint(value); text != "" {
		fmt.Fprintf(w, "%s%s: %s\n", strings.Repeat(" ", level), name, text)
	}
}
