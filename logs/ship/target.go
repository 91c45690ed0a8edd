package ship

import (
	"context"
	"fmt"

	"github.com/davit-engine/davit/logs/driver"
)

// newTarget chooses what c's driver asks for. What can be wrong with the
// container's side of it, such as the tag, is found now.
func newTarget(c *Config) (target, error) {
	tag, err := c.Info.Tag(c.Settings)
	if err != nil {
		return target{}, fmt.Errorf("log option tag: %w", err)
	}
	attrs, err := c.Info.Attributes(c.Settings)
	if err != nil {
		return target{}, err
	}
	switch t := c.Settings.Target.(type) {
	case driver.JournaldTarget:
		fields := journalFields(c.Info, tag, attrs)
		path := c.Journal
		if path == "" {
			path = "/run/systemd/journal/socket"
		}
		return target{dial: func(ctx context.Context) (sender, error) { return dialJournal(ctx, path, fields) }}, nil
	case driver.SyslogTarget:
		l := &syslogLine{target: t, tag: tag, hostname: hostname(c.Info)}
		return target{dial: func(ctx context.Context) (sender, error) { return dialSyslog(ctx, c.Syslog, l) }}, nil
	case driver.FluentdTarget:
		r := newRecord(c.Info, tag, attrs, t.SubSecond)
		return target{dial: func(ctx context.Context) (sender, error) { return dialFluentd(ctx, t, r) }, pause: t.RetryWait, tries: t.MaxRetries}, nil
	case driver.GELFTarget:
		m, err := newGELF(c.Info, tag, attrs)
		if err != nil {
			return target{}, err
		}
		return target{dial: func(ctx context.Context) (sender, error) { return dialGELF(ctx, t, m) }, pause: gelfPause(t), tries: t.MaxReconnect}, nil
	}
	return target{}, fmt.Errorf("log driver %s has no target", c.Settings.Driver)
}
