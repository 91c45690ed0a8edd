package daemon

import (
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/moby/moby/api/types/events"
)

// Reload reads the configuration again, called as the program was, and takes
// over what may change while it runs. A configuration with an error changes
// nothing.
func (d *Daemon) Reload(name string, args []string) {
	d.notify(daemon.SdNotifyReloading + "\n" + monotonic())
	defer d.notify(daemon.SdNotifyReady)
	next, err := Load(name, args)
	if err != nil {
		d.log.Error("keeping the configuration as it is", "error", err)
		return
	}
	now, later := changes(d.cfg, next)
	d.level.Set(next.Log.level())
	d.timeout.Store(int64(next.ShutdownTimeout))
	d.log.Info("configuration reloaded", "changed", strings.Join(now, ","), "at-next-start", strings.Join(later, ","))
	d.cfg.Log.Debug, d.cfg.Log.Level, d.cfg.ShutdownTimeout = next.Log.Debug, next.Log.Level, next.ShutdownTimeout
	if d.publish != nil {
		d.publish(events.Message{Type: events.DaemonEventType, Action: events.ActionReload, Actor: events.Actor{
			Attributes: map[string]string{
				"debug":            strconv.FormatBool(next.Log.Debug),
				"log-level":        next.Log.Level,
				"shutdown-timeout": strconv.Itoa(next.ShutdownTimeout),
			},
		}})
	}
}

// changes lists the options that differ: those that a reload takes over, and
// those that wait for the next start.
func changes(old, next *Config) (now, later []string) {
	a, b := options(old), options(next)
	for i := range a {
		if a[i].key == "" || a[i].value.String() == b[i].value.String() {
			continue
		}
		if a[i].reload {
			now = append(now, a[i].key)
		} else {
			later = append(later, a[i].key)
		}
	}
	slices.Sort(now)
	slices.Sort(later)
	return now, later
}
