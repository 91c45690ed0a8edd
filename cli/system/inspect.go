package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/errs"
)

type inspectOptions struct {
	format, kind, platform string
	size, verbose          bool
}

// object is something inspected: as a type for templates, and as it was sent.
type object struct {
	value any
	raw   []byte
}

// kinds are what there is to inspect.
var kinds = []string{"container", "image", "network", "volume"}

// NewInspectCmd returns "inspect", which finds containers, images,
// networks and volumes.
func NewInspectCmd(e *env.Env) *cobra.Command {
	o := &inspectOptions{}
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] NAME|ID [NAME|ID...]", Short: "Return low-level information on Docker objects",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Any(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("type") && !slices.Contains(kinds, o.kind) {
				return fmt.Errorf(`unknown type: %q: must be one of "%s"`, o.kind, strings.Join(kinds, `", "`))
			}
			return o.run(cmd.Context(), e, args)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "f", "", format.ObjectUsage)
	f.StringVar(&o.kind, "type", "", "Only inspect objects of the given type")
	f.BoolVarP(&o.size, "size", "s", false, "Display total file sizes if the type is container")
	_ = cmd.RegisterFlagCompletionFunc("type", complete.Words(kinds...))
	return cmd
}

// NewContainerInspectCmd returns "container inspect".
func NewContainerInspectCmd(e *env.Env) *cobra.Command {
	o := &inspectOptions{kind: "container"}
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] CONTAINER [CONTAINER...]", Short: "Display detailed information on one or more containers",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Containers(e, true),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args) },
	}
	cmd.Flags().StringVarP(&o.format, "format", "f", "", format.ObjectUsage)
	cmd.Flags().BoolVarP(&o.size, "size", "s", false, "Display total file sizes")
	return cmd
}

// NewImageInspectCmd returns "image inspect".
func NewImageInspectCmd(e *env.Env) *cobra.Command {
	o := &inspectOptions{kind: "image"}
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] IMAGE [IMAGE...]", Short: "Display detailed information on one or more images",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Images(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args) },
	}
	cmd.Flags().StringVarP(&o.format, "format", "f", "", format.ObjectUsage)
	cmd.Flags().StringVar(&o.platform, "platform", "", `Inspect a specific platform of the multi-platform image.
'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)`)
	return cmd
}

// NewNetworkInspectCmd returns "network inspect".
func NewNetworkInspectCmd(e *env.Env) *cobra.Command {
	o := &inspectOptions{kind: "network"}
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] NETWORK [NETWORK...]", Short: "Display detailed information on one or more networks",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Networks(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args) },
	}
	cmd.Flags().StringVarP(&o.format, "format", "f", "", format.ObjectUsage)
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "Verbose output for diagnostics")
	return cmd
}

// NewVolumeInspectCmd returns "volume inspect".
func NewVolumeInspectCmd(e *env.Env) *cobra.Command {
	o := &inspectOptions{kind: "volume"}
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] VOLUME [VOLUME...]", Short: "Display detailed information on one or more volumes",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Volumes(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), e, args) },
	}
	cmd.Flags().StringVarP(&o.format, "format", "f", "", format.ObjectUsage)
	return cmd
}

func (o *inspectOptions) run(ctx context.Context, e *env.Env, names []string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	var found []object
	var failures []error
	for _, name := range names {
		one, err := o.find(ctx, api, name)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if o.format != "" && o.format != "json" {
			// Printed as they come, so that the good ones are seen in any case.
			if err := format.Object(e.Out, o.format, one.value, one.raw); err != nil {
				return err
			}
			continue
		}
		found = append(found, one)
	}
	if o.format == "" || o.format == "json" {
		text, err := array(found, o.format == "")
		if err != nil {
			return err
		}
		if _, err := e.Out.Write(text); err != nil {
			return err
		}
	}
	return errors.Join(failures...)
}

// find asks for a container of that name, then for an image, a network and a
// volume, unless the kind was given.
func (o *inspectOptions) find(ctx context.Context, api *client.Client, name string) (object, error) {
	// done says that nobody else is to be asked.
	done := func(kind string, err error) bool { return err == nil || o.kind == kind || !errs.Is(err, errs.NotFound) }
	if o.kind == "" || o.kind == "container" {
		c, raw, err := api.Containers.Inspect(ctx, name, o.size)
		if done("container", err) {
			return object{c, raw}, err
		}
	}
	if o.kind == "" || o.kind == "image" {
		platform, err := flags.Platform(o.platform)
		if err != nil {
			return object{}, err
		}
		i, raw, err := api.Images.Inspect(ctx, name, platform)
		if done("image", err) {
			return object{i, raw}, err
		}
	}
	if o.kind == "" || o.kind == "network" {
		n, raw, err := api.Networks.Inspect(ctx, name, o.verbose)
		if done("network", err) {
			return object{n, raw}, err
		}
	}
	v, raw, err := api.Volumes.Inspect(ctx, name)
	if o.kind == "" && errs.Is(err, errs.NotFound) {
		return object{}, fmt.Errorf("error: no such object: %s", name)
	}
	return object{v, raw}, err
}

// array joins the objects, as they were sent, into a JSON array; indented by
// four blanks, or in one line.
func array(objects []object, indent bool) ([]byte, error) {
	var all, out bytes.Buffer
	all.WriteByte('[')
	for i, o := range objects {
		if i > 0 {
			all.WriteByte(',')
		}
		all.Write(bytes.TrimSpace(o.raw))
	}
	all.WriteByte(']')
	var err error
	if indent {
		err = json.Indent(&out, all.Bytes(), "", "    ")
	} else {
		err = json.Compact(&out, all.Bytes())
	}
	out.WriteByte('\n')
	return out.Bytes(), err
}
