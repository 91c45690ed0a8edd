package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/term"
)

type saveOptions struct{ output, platform string }

// NewSaveCmd returns "save".
func NewSaveCmd(e *env.Env) *cobra.Command {
	o := &saveOptions{}
	cmd := &cobra.Command{
		Use: "save [OPTIONS] IMAGE [IMAGE...]", Short: "Save one or more images to a tar archive (streamed to STDOUT by default)",
		Args: env.Arguments(1, -1), ValidArgsFunction: complete.Images(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "Write to a file, instead of STDOUT")
	f.StringVar(&o.platform, "platform", "", `Save only the given platform(s). Formatted as a comma-separated list of "os[/arch[/variant]]" (e.g., "linux/amd64,linux/arm64/v8")`)
	return cmd
}

func (o *saveOptions) run(cmd *cobra.Command, e *env.Env, names []string) (err error) {
	if o.output == "" && e.Out.IsTerminal() {
		return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
	}
	platforms, err := platformList(o.platform)
	if err != nil {
		return err
	}
	if err := writable(o.output); err != nil {
		return fmt.Errorf("failed to save image: %w", err)
	}
	api, err := e.Client()
	if err != nil {
		return err
	}
	archive, err := api.Images.Save(cmd.Context(), names, platforms)
	if err != nil {
		return err
	}
	defer archive.Close()
	if o.output == "" {
		_, err := io.Copy(e.Out, archive)
		return err
	}
	return saveTo(o.output, &watched{r: archive, progress: term.NewProgress(e.Err, time.Now), live: e.Err.IsTerminal(), name: strings.Join(names, " ")})
}

// platformList reads platforms with commas between them.
func platformList(text string) ([]ocispec.Platform, error) {
	var list []ocispec.Platform
	for one := range strings.SplitSeq(text, ",") {
		p, err := flags.Platform(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		if p != nil {
			list = append(list, *p)
		}
	}
	return list, nil
}

// writable finds out before anything is asked for whether a file can be made.
func writable(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("invalid output path: %q is a directory", path)
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return fmt.Errorf("invalid output path: directory %q does not exist", filepath.Dir(path))
		}
		return nil
	}
	return err
}

// saveTo writes a file in one step: a half one never has the name. What is no
// plain file, such as a pipe, is written to as it is.
func saveTo(path string, r io.Reader) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".davit-save-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// watched shows on a terminal how much was read.
type watched struct {
	r        io.Reader
	progress *term.Progress
	live     bool
	name     string
	read     int64
	last     time.Time
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	w.read += int64(n)
	if w.live && (err != nil || time.Since(w.last) > 100*time.Millisecond) {
		w.last = time.Now()
		_ = w.progress.Show(jsonstream.Message{ID: w.name, Status: "Saving", Progress: &jsonstream.Progress{Current: w.read}})
	}
	return n, err
}
