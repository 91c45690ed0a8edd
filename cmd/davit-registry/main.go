// davit-registry serves a directory of images as a registry (OCI distribution
// specification). It reads flags, listens, and hands requests to package
// registry; it knows nothing of the engine, which may run on another machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/davit-engine/davit/registry"
)

const usage = `Usage: davit-registry serve [flags]

Serves images from a directory. Prints the address it listens on.

Flags:
  --addr host:port   where to listen (default 127.0.0.1:5000; port 0 takes a free one)
  --root dir         where the images are (default /var/lib/davit/registry)
  --addr-file file   write the address there once it is ready
  --debug            log each request
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "davit-registry:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
		_, err := io.WriteString(stdout, usage)
		return err
	}
	if len(args) == 0 || args[0] != "serve" {
		return fmt.Errorf("what to do? try: davit-registry serve --addr 127.0.0.1:5000 --root dir")
	}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	addr := flags.String("addr", "127.0.0.1:5000", "")
	root := flags.String("root", "/var/lib/davit/registry", "")
	addrFile := flags.String("addr-file", "", "")
	debug := flags.Bool("debug", false, "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	registry.RouteLogs(log)
	return serve(ctx, log, *addr, *root, *addrFile, stdout)
}

func serve(ctx context.Context, log *slog.Logger, addr, root, addrFile string, stdout io.Writer) error {
	server, err := registry.New(ctx, root, log)
	if err != nil {
		return err
	}
	defer server.Close()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	at := l.Addr().String()
	if addrFile != "" {
		// Renamed into place, so that whoever waits for it never reads half of it.
		tmp := addrFile + ".new"
		if err := os.WriteFile(tmp, []byte(at+"\n"), 0o644); err != nil {
			return fmt.Errorf("writing the address: %w", err)
		}
		if err := os.Rename(tmp, addrFile); err != nil {
			return fmt.Errorf("writing the address: %w", err)
		}
		defer os.Remove(addrFile)
	}
	fmt.Fprintln(stdout, at)
	log.Info("registry is ready", "address", at, "root", root)
	err = server.Serve(ctx, l, 10*time.Second)
	log.Info("registry has stopped")
	return err
}
