package system

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/format"
)

// Build is what the linker or the Go tool knows of this program.
type Build struct {
	Version, Commit, Time string
}

// Complete fills what the linker was not told from the build information. It
// is read on demand: parsing it takes longer than anything else at start.
func (b Build) Complete() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && b.Commit == "":
			b.Commit = s.Value[:min(7, len(s.Value))]
		case s.Key == "vcs.time" && b.Time == "":
			b.Time = s.Value
		}
	}
	return b
}

type versionOptions struct {
	format string
	client bool
}

// versions is what templates of version see; names and nesting are Docker's.
type versions struct {
	Client clientVersion
	Server *serverVersion
}

type clientVersion struct {
	Platform          *struct{ Name string } `json:",omitempty"`
	Version           string
	APIVersion        string `json:"ApiVersion"`
	DefaultAPIVersion string `json:"DefaultAPIVersion,omitempty"`
	GitCommit         string
	GoVersion         string
	Os                string
	Arch              string
	BuildTime         string `json:",omitempty"`
	Context           string
}

type serverVersion struct {
	Platform      system.PlatformInfo `json:",omitempty"`
	Version       string
	APIVersion    string `json:"ApiVersion"`
	MinAPIVersion string `json:"MinAPIVersion,omitempty"`
	Os            string
	Arch          string
	Components    []component `json:",omitempty"`
	GitCommit     string      `json:",omitempty"`
	GoVersion     string      `json:",omitempty"`
	KernelVersion string      `json:",omitempty"`
	Experimental  bool        `json:",omitempty"`
	BuildTime     string      `json:",omitempty"`
}

type component struct {
	Name    string
	Version string
	Details map[string]string `json:",omitempty"`
}

// NewVersionCmd returns "version".
func NewVersionCmd(e *env.Env, build Build) *cobra.Command {
	o := &versionOptions{}
	cmd := &cobra.Command{
		Use: "version [OPTIONS]", Short: "Show the Davit version information",
		Args: env.Arguments(0, 0), ValidArgsFunction: complete.Words(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), e, build) },
	}
	f := cmd.Flags()
	format.ObjectFlags(f, &o.format, "f")
	f.BoolVar(&o.client, "client", false, "Show the client's version only, without asking the engine")
	return cmd
}

func (o *versionOptions) run(ctx context.Context, e *env.Env, build Build) error {
	if build.Commit == "" {
		build = build.Complete()
	}
	v := versions{Client: clientVersion{
		Version: build.Version, APIVersion: client.MaxAPIVersion, DefaultAPIVersion: client.MaxAPIVersion,
		GitCommit: build.Commit, GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH,
		BuildTime: reformat(build.Time), Context: e.ContextName(),
	}}
	var failed error
	if !o.client {
		v.Server, failed = server(ctx, e)
		if failed == nil {
			api, _ := e.Client()
			v.Client.APIVersion = api.APIVersion()
		}
	}
	if err := o.print(e.Out, v); err != nil {
		return err
	}
	return failed
}

func (o *versionOptions) print(w io.Writer, v versions) error {
	if o.format != "" {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return format.Object(w, o.format, v, raw)
	}
	return v.print(w)
}

func server(ctx context.Context, e *env.Env) (*serverVersion, error) {
	api, err := e.Client()
	if err != nil {
		return nil, err
	}
	a, err := api.ServerVersion(ctx)
	if err != nil {
		return nil, err
	}
	s := &serverVersion{
		Platform: a.Platform, Version: a.Version, APIVersion: a.APIVersion, MinAPIVersion: a.MinAPIVersion,
		Os: a.Os, Arch: a.Arch,
	}
	for _, c := range a.Components {
		s.Components = append(s.Components, component{c.Name, c.Version, c.Details})
		if c.Name == "Engine" {
			s.GitCommit, s.GoVersion, s.KernelVersion = c.Details["GitCommit"], c.Details["GoVersion"], c.Details["KernelVersion"]
			s.BuildTime, s.Experimental = c.Details["BuildTime"], c.Details["Experimental"] == "true"
		}
	}
	return s, nil
}

// print shows the versions as Docker lays them out. Without components, as old
// engines answer, the engine's own fields stand for its one component.
func (v versions) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 20, 1, 1, ' ', 0)
	c := v.Client
	fmt.Fprintln(t, "Client:")
	api := c.APIVersion
	if c.DefaultAPIVersion != "" && c.DefaultAPIVersion != api {
		api += " (downgraded from " + c.DefaultAPIVersion + ")"
	}
	for _, l := range [...][2]string{
		{"Version", c.Version}, {"API version", api}, {"Go version", c.GoVersion}, {"Git commit", c.GitCommit},
		{"Built", c.BuildTime}, {"OS/Arch", c.Os + "/" + c.Arch}, {"Context", c.Context},
	} {
		if l[1] != "" {
			fmt.Fprintf(t, " %s:\t%s\n", l[0], l[1])
		}
	}
	if v.Server == nil {
		return t.Flush()
	}
	s := v.Server
	fmt.Fprintln(t)
	fmt.Fprintln(t, strings.TrimSpace("Server: "+s.Platform.Name))
	components := s.Components
	if len(components) == 0 {
		components = []component{{Name: "Engine", Version: s.Version, Details: map[string]string{
			"ApiVersion": s.APIVersion, "MinAPIVersion": s.MinAPIVersion, "Os": s.Os, "Arch": s.Arch,
		}}}
	}
	for _, c := range components {
		fmt.Fprintf(t, " %s:\n", c.Name)
		fmt.Fprintf(t, "  Version:\t%s\n", c.Version)
		details := c.Details
		if c.Name == "Engine" {
			fmt.Fprintf(t, "  API version:\t%s (minimum version %s)\n", details["ApiVersion"], details["MinAPIVersion"])
			for _, l := range [...][2]string{
				{"Go version", details["GoVersion"]}, {"Git commit", details["GitCommit"]}, {"Built", reformat(details["BuildTime"])},
				{"OS/Arch", details["Os"] + "/" + details["Arch"]}, {"Experimental", details["Experimental"]},
			} {
				if l[1] != "" {
					fmt.Fprintf(t, "  %s:\t%s\n", l[0], l[1])
				}
			}
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(details)) {
			fmt.Fprintf(t, "  %s:\t%s\n", name, details[name])
		}
	}
	return t.Flush()
}

// reformat shows a time in RFC 3339 as Docker shows it, others as they are.
func reformat(text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return t.Format(time.ANSIC)
}
