package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/davit-engine/davit/network"
	"golang.org/x/sys/unix"
)

// Program is what a main function knows.
type Program struct {
	Args           []string // os.Args
	Stdout, Stderr io.Writer
	Version        string
}

// Main runs davitd and returns its exit code: 0 after a stop that was asked
// for, 1 otherwise.
func Main(p Program) int {
	c, err := Load(p.Args[0], p.Args[1:])
	switch {
	case err != nil:
		fmt.Fprintln(p.Stderr, err)
		return 1
	case c.Help:
		fmt.Fprint(p.Stdout, Usage(p.Args[0]))
		return 0
	case c.ShowVer:
		fmt.Fprintf(p.Stdout, "%s version %s\n", c.Name, p.Version)
		return 0
	case c.Validate:
		fmt.Fprintln(p.Stderr, "configuration OK")
		return 0
	}
	if err := requireRoot(c.Name); err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 1
	}
	c.Version = p.Version
	unix.Umask(0o022)
	log, level := newLog(p.Stderr, c.Log)
	adoptLibraryLog(log)
	if c.RestoreHost {
		if err := restoreHost(c, log); err != nil {
			log.Error("the host's network is not as it was", "error", err)
			return 1
		}
		return 0
	}

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	type outcome struct {
		d   *Daemon
		err error
	}
	made, ended := make(chan outcome, 1), make(chan error, 1)
	go func() {
		d, err := newDaemon(ctx, c, log, level, wire)
		made <- outcome{d, err}
	}()
	var d *Daemon
	for asked := 0; ; {
		select {
		case o := <-made:
			if o.err != nil {
				log.Error("cannot start", "error", o.err)
				return 1
			}
			d = o.d
			go func() { ended <- d.Run(ctx) }()
		case err := <-ended:
			if err != nil {
				return 1
			}
			return 0
		case s := <-signals:
			switch {
			case s == unix.SIGHUP && d != nil:
				d.Reload(p.Args[0], p.Args[1:])
			case s == unix.SIGUSR1 && d != nil:
				d.Stacks()
			case s == unix.SIGINT || s == unix.SIGTERM:
				cancel()
				if asked++; asked > 2 {
					log.Warn("ending at once: asked three times")
					return 128 + int(s.(unix.Signal))
				}
			}
		}
	}
}

// restoreHost takes back what an engine that no longer runs made on the host's
// network.
func restoreHost(c *Config, log *slog.Logger) error {
	lock, err := lockRoot(c.Paths.DataRoot)
	if err != nil {
		return err
	}
	defer lock.Close()
	return network.TakeBack(context.Background(), networkConfig(c, log))
}
