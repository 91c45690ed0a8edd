package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
)

// NewExportCmd returns "export".
func NewExportCmd(e *env.Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] CONTAINER", Short: "Export a container's filesystem as a tar archive",
		Args: env.Arguments(1, 1), ValidArgsFunction: complete.Containers(e, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" && e.Out.IsTerminal() {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			if output != "" {
				if err := validOutput(output); err != nil {
					return fmt.Errorf("failed to export container: %w", err)
				}
			}
			api, err := e.Client()
			if err != nil {
				return err
			}
			content, err := api.Containers.Export(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer content.Close()
			if output == "" {
				_, err = io.Copy(e.Out, content)
				return err
			}
			return writeWhole(output, content)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	return cmd
}

// writeWhole writes a file that is there when it is whole, and not before.
func writeWhole(path string, content io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".davit-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = io.Copy(f, content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
