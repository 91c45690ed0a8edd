package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/archive"
	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

type cpOptions struct {
	owners, follow, quiet bool
	container             string
	source, destination   string // paths, "-" for a stream
}

// NewCpCmd returns "cp".
func NewCpCmd(e *env.Env) *cobra.Command {
	o := &cpOptions{}
	cmd := &cobra.Command{
		Use:   "cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\t" + e.Program + " cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
		Short: "Copy files/folders between a container and the local filesystem",
		Long: "Copy files/folders between a container and the local filesystem\n\n" +
			"Use '-' as the source to read a tar archive from stdin\n" +
			"and extract it to a directory destination in a container.\n" +
			"Use '-' as the destination to stream a tar archive of a\n" +
			"container source to stdout.",
		Args: env.Arguments(2, 2), ValidArgsFunction: completeCopy(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("quiet") {
				o.quiet = !e.Err.IsTerminal()
			}
			return o.run(cmd.Context(), e, args[0], args[1])
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow-link", "L", false, "Always follow symbol link in SRC_PATH")
	f.BoolVarP(&o.owners, "archive", "a", false, "Archive mode (copy all uid/gid information)")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached")
	return cmd
}

// completeCopy offers containers, with the colon that their path comes after,
// and files.
func completeCopy(e *env.Env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 1 || strings.HasPrefix(word, ".") || strings.HasPrefix(word, "/") || strings.Contains(word, ":") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		names, _ := complete.Containers(e, true)(cmd, nil, word)
		for i := range names {
			names[i] += ":"
		}
		return names, cobra.ShellCompDirectiveNoSpace
	}
}

// splitCopy cuts CONTAINER:PATH; the container is "" for a path of this
// machine. A relative one with a colon begins with a dot.
func splitCopy(arg string) (container, path string) {
	if filepath.IsAbs(arg) {
		return "", arg
	}
	container, path, ok := strings.Cut(arg, ":")
	if !ok || strings.HasPrefix(container, ".") {
		return "", arg
	}
	return container, path
}

func (o *cpOptions) run(ctx context.Context, e *env.Env, source, destination string) error {
	switch {
	case source == "":
		return errors.New("source can not be empty")
	case destination == "":
		return errors.New("destination can not be empty")
	}
	from, to := "", ""
	from, o.source = splitCopy(source)
	to, o.destination = splitCopy(destination)
	switch {
	case from != "" && to != "":
		return errors.New("copying between containers is not supported")
	case from == "" && to == "":
		return errors.New("must specify at least one container source")
	}
	o.container = from + to
	api, err := e.Client()
	if err != nil {
		return err
	}
	if from != "" {
		return o.out(ctx, e, api)
	}
	return o.in(ctx, e, api)
}

// linkTarget is where the link at path leads.
func linkTarget(path, target string) string {
	if filepath.IsAbs(target) {
		return target
	}
	dir, _ := archive.Split(path)
	return filepath.Join(dir, target)
}

// out copies from the container.
func (o *cpOptions) out(ctx context.Context, e *env.Env, api *client.Client) (err error) {
	destination := o.destination
	if destination != "-" {
		if destination, err = archive.Absolute(destination); err != nil {
			return err
		}
	}
	if err := validOutput(destination); err != nil {
		return err
	}
	source := archive.Info{Path: o.source, Exists: true}
	if o.follow {
		st, err := api.Containers.StatPath(ctx, o.container, source.Path)
		if err == nil && st.Mode&fs.ModeSymlink != 0 {
			source.Path, source.Rebase = archive.Renamed(source.Path, linkTarget(source.Path, st.LinkTarget))
		}
	}
	content, st, err := api.Containers.CopyFrom(ctx, o.container, source.Path)
	if err != nil {
		return err
	}
	defer content.Close()
	if destination == "-" {
		_, err := io.Copy(e.Out, content)
		return err
	}
	source.IsDir = st.Mode.IsDir()
	meter := o.meter(e, "Copying from container", content)
	stream := io.Reader(meter)
	if source.Rebase != "" {
		_, base := archive.Split(source.Path)
		rebased := archive.Rebase(stream, base, source.Rebase)
		defer rebased.Close()
		stream = rebased
	}
	err = archive.Extract(stream, source, destination, archive.Options{Owners: o.owners})
	meter.done(err, destination)
	return err
}

// in copies to the container.
func (o *cpOptions) in(ctx context.Context, e *env.Env, api *client.Client) error {
	destination := archive.Info{Path: o.destination}
	st, err := api.Containers.StatPath(ctx, o.container, destination.Path)
	if err == nil && st.Mode&fs.ModeSymlink != 0 {
		destination.Path = linkTarget(destination.Path, st.LinkTarget)
		st, err = api.Containers.StatPath(ctx, o.container, destination.Path)
	}
	if err == nil {
		if err := validMode(st); err != nil {
			return fmt.Errorf(`destination "%s:%s" must be a directory or a regular file: %w`, o.container, o.destination, err)
		}
		destination.Exists, destination.IsDir = true, st.Mode.IsDir()
	}
	// A destination that is not there may be made; what is above it is the engine's to find.
	if o.source == "-" {
		if !destination.IsDir {
			return fmt.Errorf("destination \"%s:%s\" must be a directory", o.container, o.destination)
		}
		return api.Containers.CopyTo(ctx, o.container, destination.Path, e.In, o.owners)
	}
	path, err := archive.Absolute(o.source)
	if err != nil {
		return err
	}
	source, err := archive.Source(path, o.follow)
	if err != nil {
		return err
	}
	dir, name, err := archive.Plan(source, destination)
	if err != nil {
		return err
	}
	content := archive.Pack(source, name)
	defer content.Close()
	meter := o.meter(e, "Copying to container", content)
	err = api.Containers.CopyTo(ctx, o.container, dir, meter, o.owners)
	meter.done(err, o.container+":"+destination.Path)
	return err
}

// validMode refuses what no file can be copied to.
func validMode(st container.PathStat) error {
	switch {
	case st.Mode&fs.ModeDevice != 0:
		return errors.New("got a device")
	case st.Mode&fs.ModeIrregular != 0:
		return errors.New("got an irregular file")
	}
	return nil
}

// validOutput refuses a path of this machine that nothing can be written to.
func validOutput(path string) error {
	if dir := filepath.Dir(filepath.Clean(path)); dir != "" && dir != "." {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("invalid output path: directory %q does not exist", dir)
		}
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := validMode(container.PathStat{Mode: st.Mode()}); err != nil {
		return fmt.Errorf("invalid output path: %q must be a directory or a regular file: %w", path, err)
	}
	return nil
}

// meter counts what passes and shows it on a terminal.
type meter struct {
	io.Reader
	e     *env.Env
	what  string
	quiet bool
	n     int64
	shown time.Time
}

func (o *cpOptions) meter(e *env.Env, what string, r io.Reader) *meter {
	return &meter{Reader: r, e: e, what: what, quiet: o.quiet, shown: time.Now()}
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.add(n)
	return n, err
}

func (m *meter) add(n int) {
	m.n += int64(n)
	if !m.quiet && m.e.Err.IsTerminal() && time.Since(m.shown) > 200*time.Millisecond {
		m.shown = time.Now()
		fmt.Fprintf(m.e.Err, "\r\x1b[2K%s - %s", m.what, m.size())
	}
}

// WriteTo implements io.WriterTo, for what can write itself.
func (m *meter) WriteTo(w io.Writer) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{&meteredWriter{m, w}}, m.Reader, make([]byte, 256<<10))
}

// meteredWriter is a writer whose bytes are counted.
type meteredWriter struct {
	m *meter
	w io.Writer
}

func (w *meteredWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.m.add(n)
	return n, err
}

func (m *meter) size() string { return units.HumanSizeWithPrecision(float64(m.n), 3) }

// done ends the display.
func (m *meter) done(err error, where string) {
	if m.quiet {
		return
	}
	if m.e.Err.IsTerminal() {
		fmt.Fprint(m.e.Err, "\r\x1b[2K")
	}
	if err == nil {
		fmt.Fprintln(m.e.Err, "Successfully copied", m.size(), "to", where)
	}
}
