package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/env"
)

// NewExportCmd returns "checkpoint export".
func NewExportCmd(e *env.Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "export [OPTIONS] CONTAINER CHECKPOINT", Short: "Write a checkpoint with its container to STDOUT, as a tar archive",
		Args: env.Arguments(2, 2), ValidArgsFunction: existing(e, &dir),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.Out.IsTerminal() {
				return errors.New("cowardly refusing to save to a terminal: redirect to a file")
			}
			api, err := e.Client()
			if err != nil {
				return err
			}
			archive, err := api.Checkpoints.Export(cmd.Context(), args[0], dir, args[1])
			if err != nil {
				return err
			}
			defer archive.Close()
			_, err = io.Copy(e.Out, archive)
			return err
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

// NewImportCmd returns "checkpoint import".
func NewImportCmd(e *env.Env) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "import [OPTIONS] [FILE|-]", Short: "Make a container with its checkpoint of what export has written",
		Args: env.Arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in io.Reader = e.In
			switch {
			case len(args) == 1 && args[0] != "-":
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			case e.In.IsTerminal():
				return errors.New("requires an archive: name a file, or redirect one to STDIN")
			}
			api, err := e.Client()
			if err != nil {
				return err
			}
			made, err := api.Checkpoints.Import(cmd.Context(), name, in)
			if err != nil {
				return err
			}
			for _, w := range made.Warnings {
				fmt.Fprintln(e.Err, "WARNING:", w)
			}
			fmt.Fprintln(e.Out, made.ID)
			if e.Err.IsTerminal() {
				fmt.Fprintf(e.Err, "Start it with: davit start --checkpoint %s %.12s\n", made.Checkpoint, made.ID)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "Assign a name to the container (default: the one it had)")
	return cmd
}
