package system

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/env"
)

// NewDialStdioCmd returns "system dial-stdio", the far end of an ssh:// host:
// it joins stdin and stdout to the engine's socket.
func NewDialStdioCmd(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use: "dial-stdio", Short: "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
		Args: env.Arguments(0, 0), Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := e.Client()
			if err != nil {
				return err
			}
			conn, err := api.Dial(cmd.Context())
			if err != nil {
				return err
			}
			defer conn.Close()
			go func() {
				_, _ = io.Copy(conn, e.In)
				_ = client.CloseWrite(conn) // the answer ends the command
			}()
			// The engine's end of the conversation ends ours.
			_, err = io.Copy(e.Out, conn)
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return err
		},
	}
}
