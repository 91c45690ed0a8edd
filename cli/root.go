// Package cli owns the davit command line as a whole: the tree of commands,
// global options, help, and what becomes of an error.
//
// It is the one place where commands are wired; what they do is in a package
// per noun. It links neither the engine nor anything the engine is made of:
// the engine is reached through its API alone. One invocation is one call of
// Main on the main goroutine.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/checkpoint"
	"github.com/davit-engine/davit/cli/container"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/image"
	"github.com/davit-engine/davit/cli/network"
	"github.com/davit-engine/davit/cli/system"
	"github.com/davit-engine/davit/cli/volume"
)

// Main runs one invocation and returns the exit status. args do not include
// the program's name.
func Main(e *env.Env, build system.Build, args []string) int {
	root := newRoot(e, build, args)
	root.SetArgs(args)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	return report(e, root.ExecuteContext(context.Background()))
}

// report prints an error, with what to do about it if that is known, and
// returns the exit status for it.
func report(e *env.Env, err error) int {
	if err == nil {
		return 0
	}
	status := env.StatusError
	var exit *env.Exit
	if errors.As(err, &exit) {
		status = exit.Status
	}
	text := err.Error()
	if text == "" {
		return status
	}
	fmt.Fprintln(e.Err, text)
	if hint := e.Hint(text); hint != "" {
		fmt.Fprintln(e.Err, hint)
	}
	return status
}

// The groups of davit's help.
const (
	groupCommon     = "common"
	groupManagement = "management"
	groupOther      = "other"
)

// newRoot wires the tree of commands, as far as args may need it.
func newRoot(e *env.Env, build system.Build, args []string) *cobra.Command {
	root := &cobra.Command{
		Use: e.Program + " [OPTIONS] COMMAND", Short: "A fast container engine that speaks Docker",
		SilenceErrors: true, SilenceUsage: true, TraverseChildren: true,
		Args: cobra.ArbitraryArgs, RunE: noun,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	globalFlags(root, e, build)
	root.SetHelpFunc(help)
	root.SetUsageFunc(usage)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return env.UsageError(cmd, env.StatusEngine, err.Error())
	})
	root.SetHelpCommand(helpCommand())

	root.AddGroup(
		&cobra.Group{ID: groupCommon, Title: "Common Commands:"},
		&cobra.Group{ID: groupManagement, Title: "Management Commands:"},
		&cobra.Group{ID: groupOther, Title: "Commands:"},
	)
	commands := []entry{
		{"run", groupCommon, container.NewRunCmd},
		{"exec", groupCommon, container.NewExecCmd},
		{"ps", groupCommon, container.NewPsCmd},
		{"pull", groupCommon, image.NewPullCmd},
		{"push", groupCommon, image.NewPushCmd},
		{"images", groupCommon, image.NewImagesCmd},
		{"version", groupCommon, func(e *env.Env) *cobra.Command { return system.NewVersionCmd(e, build) }},
		{"info", groupCommon, func(e *env.Env) *cobra.Command { return system.NewInfoCmd(e, build) }},
		{"checkpoint", groupManagement, checkpoints},
		{"container", groupManagement, containers},
		{"image", groupManagement, images},
		{"network", groupManagement, networks},
		{"system", groupManagement, func(e *env.Env) *cobra.Command { return systems(e, build) }},
		{"volume", groupManagement, volumes},
		{"attach", groupOther, container.NewAttachCmd},
		{"commit", groupOther, container.NewCommitCmd},
		{"cp", groupOther, container.NewCpCmd},
		{"create", groupOther, container.NewCreateCmd},
		{"debug", groupOther, container.NewDebugCmd},
		{"diff", groupOther, container.NewDiffCmd},
		{"events", groupOther, system.NewEventsCmd},
		{"explain", groupOther, system.NewExplainCmd},
		{"export", groupOther, container.NewExportCmd},
		{"history", groupOther, image.NewHistoryCmd},
		{"import", groupOther, image.NewImportCmd},
		{"inspect", groupOther, system.NewInspectCmd},
		{"kill", groupOther, container.NewKillCmd},
		{"load", groupOther, image.NewLoadCmd},
		{"logs", groupOther, container.NewLogsCmd},
		{"pause", groupOther, container.NewPauseCmd},
		{"port", groupOther, container.NewPortCmd},
		{"rename", groupOther, container.NewRenameCmd},
		{"replace", groupOther, container.NewReplaceCmd},
		{"restart", groupOther, container.NewRestartCmd},
		{"rm", groupOther, container.NewRmCmd},
		{"rmi", groupOther, image.NewRmiCmd},
		{"save", groupOther, image.NewSaveCmd},
		{"start", groupOther, container.NewStartCmd},
		{"stats", groupOther, container.NewStatsCmd},
		{"stop", groupOther, container.NewStopCmd},
		{"tag", groupOther, image.NewTagCmd},
		{"top", groupOther, container.NewTopCmd},
		{"unpause", groupOther, container.NewUnpauseCmd},
		{"update", groupOther, container.NewUpdateCmd},
		{"wait", groupOther, container.NewWaitCmd},
	}
	grow(root, e, commands, only(commands, args))
	return root
}

// entry is a command of the root that is not made yet.
type entry struct {
	name, group string
	make        func(*env.Env) *cobra.Command
}

// grow adds the command called name to root, or all where name is "".
func grow(root *cobra.Command, e *env.Env, commands []entry, name string) {
	for _, c := range commands {
		if name == "" || name == c.name {
			cmd := c.make(e)
			cmd.GroupID = c.group
			cmd.DisableFlagsInUseLine = true
			root.AddCommand(cmd)
		}
	}
}

// only returns the one command that args can mean, "" if that is not plain to
// see or if others are to be shown. Making all of them, with their hundreds of
// options, takes longer than everything else that the client does at start.
func only(commands []entry, args []string) string {
	for i := 0; i < len(args); i++ {
		switch word := args[i]; word {
		case "-H", "--host", "-c", "--context", "--config", "-l", "--log-level":
			i++ // its value
			continue
		case "-D", "--debug":
			continue
		default:
			known := slices.ContainsFunc(commands, func(c entry) bool { return c.name == word })
			if !known || slices.Contains(args, "--help") || slices.Contains(args, "-h") {
				return ""
			}
			return word
		}
	}
	return ""
}

func containers(e *env.Env) *cobra.Command {
	return group("container", "Manage containers",
		container.NewAttachCmd(e),
		container.NewCommitCmd(e),
		container.NewCpCmd(e),
		container.NewCreateCmd(e),
		container.NewDebugCmd(e),
		container.NewDiffCmd(e),
		container.NewExecCmd(e),
		container.NewExportCmd(e),
		system.NewContainerInspectCmd(e),
		container.NewKillCmd(e),
		container.NewLogsCmd(e),
		container.NewLsCmd(e),
		container.NewPauseCmd(e),
		container.NewPortCmd(e),
		container.NewPruneCmd(e),
		container.NewRenameCmd(e),
		container.NewReplaceCmd(e),
		container.NewRestartCmd(e),
		container.NewRmCmd(e),
		container.NewRunCmd(e),
		container.NewStartCmd(e),
		container.NewStatsCmd(e),
		container.NewStopCmd(e),
		container.NewTopCmd(e),
		container.NewUnpauseCmd(e),
		container.NewUpdateCmd(e),
		container.NewWaitCmd(e),
	)
}

func checkpoints(e *env.Env) *cobra.Command {
	return group("checkpoint", "Manage checkpoints",
		checkpoint.NewCreateCmd(e), checkpoint.NewExportCmd(e), checkpoint.NewImportCmd(e), checkpoint.NewLsCmd(e), checkpoint.NewRmCmd(e),
	)
}

func images(e *env.Env) *cobra.Command {
	return group("image", "Manage images",
		image.NewHistoryCmd(e), image.NewImportCmd(e), system.NewImageInspectCmd(e), image.NewLoadCmd(e), image.NewLsCmd(e),
		image.NewPruneCmd(e), image.NewPullCmd(e), image.NewPushCmd(e), image.NewRmCmd(e), image.NewSaveCmd(e), image.NewTagCmd(e),
	)
}

func networks(e *env.Env) *cobra.Command {
	return group("network", "Manage networks",
		network.NewConnectCmd(e), network.NewCreateCmd(e), network.NewDisconnectCmd(e), system.NewNetworkInspectCmd(e), network.NewLsCmd(e),
		network.NewPruneCmd(e), network.NewRmCmd(e),
	)
}

func volumes(e *env.Env) *cobra.Command {
	return group("volume", "Manage volumes",
		volume.NewCreateCmd(e), system.NewVolumeInspectCmd(e), volume.NewLsCmd(e), volume.NewPruneCmd(e), volume.NewRmCmd(e),
	)
}

func systems(e *env.Env, build system.Build) *cobra.Command {
	return group("system", "Manage Davit",
		system.NewDfCmd(e), system.NewDialStdioCmd(e), system.NewEventsCmd(e), system.NewInfoCmd(e, build), system.NewPruneCmd(e),
	)
}

// group returns a noun with its commands.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.ArbitraryArgs, RunE: noun}
	for _, c := range commands {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

// noun is what a command does that only has commands below it: show them, or
// say which one may have been meant.
func noun(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	text := fmt.Sprintf("%s: unknown command: %s %s\n", cmd.Root().Name(), cmd.CommandPath(), args[0])
	if near := suggestions(cmd, args[0]); len(near) > 0 {
		text += "\nDid you mean this?\n"
		for _, n := range near {
			text += "  " + cmd.CommandPath() + " " + n + "\n"
		}
	}
	text += fmt.Sprintf("\nRun '%s --help' for more information", cmd.CommandPath())
	return &env.Exit{Status: env.StatusError, Text: text}
}

// globalFlags adds the options that stand before the command.
func globalFlags(root *cobra.Command, e *env.Env, build system.Build) {
	g := &e.Global
	f := root.Flags()
	f.SetInterspersed(false)
	hosts := &flags.List{}
	f.StringVar(&g.ConfigDir, "config", g.ConfigDir, "Location of client config files")
	f.StringVarP(&g.Context, "context", "c", "", `Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with "docker context use")`)
	f.BoolVarP(&g.Debug, "debug", "D", false, "Enable debug mode")
	f.VarP(hosts, "host", "H", "Daemon socket to connect to")
	f.StringVarP(&g.LogLevel, "log-level", "l", "info", `Set the logging level ("debug", "info", "warn", "error", "fatal")`)
	f.BoolVar(&g.TLS, "tls", false, "Use TLS; implied by --tlsverify")
	f.StringVar(&g.TLSCA, "tlscacert", "", `Trust certs signed only by this CA (default "ca.pem" in the config directory)`)
	f.StringVar(&g.TLSCert, "tlscert", "", `Path to TLS certificate file (default "cert.pem" there)`)
	f.StringVar(&g.TLSKey, "tlskey", "", `Path to TLS key file (default "key.pem" there)`)
	f.BoolVar(&g.TLSVerify, "tlsverify", false, "Use TLS and verify the remote")
	version := f.BoolP("version", "v", false, "Print version information and quit")
	root.PersistentFlags().BoolP("help", "h", false, "Print usage")
	_ = root.PersistentFlags().MarkShorthandDeprecated("help", "use --help")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		g.Hosts = hosts.Values
		switch g.LogLevel {
		case "debug", "info", "warn", "error", "fatal":
		default:
			return &env.Exit{Status: env.StatusError, Text: "unable to parse logging level: " + g.LogLevel}
		}
		return nil
	}
	show := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version {
			build := build.Complete()
			_, err := io.WriteString(e.Out, "Davit version "+build.Version+", build "+build.Commit+"\n")
			return err
		}
		return show(cmd, args)
	}
}

// helpCommand is `davit help COMMAND`.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about the command", Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if target == nil || err != nil || len(rest) > 0 {
				return &env.Exit{Status: env.StatusError, Text: "unknown help topic: " + strings.Join(args, " ")}
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
	}
}
