// Package driver knows the log drivers: their names, what their options mean,
// and what they tell of a container beside its output.
//
// Every driver but none keeps a local file, which the container's supervisor
// writes. With json-file and local that is all; the others have the file as
// their source: what is in it is sent to a target.
//
// The package is pure: it opens nothing, and its errors name the option that
// is wrong, in Docker's words where clients know them.
package driver

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/davit-engine/davit/runtime/wire"
)

// The drivers.
const (
	None     = "none"
	JSONFile = "json-file"
	Local    = "local"
	Journald = "journald"
	Syslog   = "syslog"
	Fluentd  = "fluentd"
	GELF     = "gelf"
)

// Names lists the drivers, sorted.
func Names() []string { return slices.Sorted(maps.Keys(drivers)) }

// Settings are a log configuration, understood.
type Settings struct {
	Driver string
	File   wire.Log // but for its Path and Attrs
	Hidden bool     // the file is not for reading (cache-disabled)
	Tag    string   // a template; empty: the driver's default
	Target any      // JournaldTarget, SyslogTarget, FluentdTarget or GELFTarget; nil: there is none

	labels, labelsRegex, env, envRegex string
}

// Remote reports whether the log is sent somewhere.
func (s *Settings) Remote() bool { return s.Target != nil }

// JournaldTarget is the host's journal.
type JournaldTarget struct{}

// drivers maps each driver to what reads its own options.
var drivers = map[string]func(*options, *Settings){
	None:     nil,
	JSONFile: fileOptions,
	Local:    fileOptions,
	Journald: func(_ *options, s *Settings) { s.Target = JournaldTarget{} },
	Syslog:   syslogOptions,
	Fluentd:  fluentdOptions,
	GELF:     gelfOptions,
}

// Remote reports whether a driver sends the log somewhere.
func Remote(name string) bool {
	switch name {
	case Journald, Syslog, Fluentd, GELF:
		return true
	}
	return false
}

// elsewhere are drivers of Docker's for services and systems that are not
// served from here.
var elsewhere = []string{"awslogs", "splunk", "gcplogs", "etwlogs"}

// Parse reads a log configuration. An empty name means json-file.
func Parse(name string, opts map[string]string) (Settings, error) {
	if name == "" {
		name = JSONFile
	}
	s := Settings{Driver: name}
	own, ok := drivers[name]
	switch {
	case slices.Contains(elsewhere, name):
		return s, fmt.Errorf("log driver '%s' is not supported: use fluentd, gelf, syslog or journald, and a collector that forwards", name)
	case !ok:
		return s, fmt.Errorf("logger: no log driver named '%s' is registered: there are %s; drivers from plugins are not supported", name, strings.Join(Names(), ", "))
	case name == None:
		s.File.Driver = None
		return s, nil // Docker looks at no option
	}
	o := options{driver: name, all: opts, known: map[string]bool{}}
	if mode(&o, &s); o.err == nil {
		own(&o, &s)
	}
	if s.Target != nil {
		s.File.Driver = Local
		keep(&o, "cache-", &s)
	}
	cache(&o, &s)
	s.Tag = o.text("tag")
	s.labels, s.labelsRegex, s.env, s.envRegex = o.text("labels"), o.regex("labels-regex"), o.text("env"), o.regex("env-regex")
	o.rejectUnknown()
	if o.err == nil {
		// A template is known to be right once it has been carried out.
		if _, err := (&Info{ID: strings.Repeat("0", 64), ImageID: strings.Repeat("0", 64)}).Tag(&s); err != nil {
			o.fail("tag", err)
		}
	}
	return s, o.err
}

// mode reads whether output waits for the log.
func mode(o *options, s *Settings) {
	blocking := true
	switch m := o.text("mode"); m {
	case "", "blocking":
	case "non-blocking":
		blocking = false
	default:
		o.refuse("logger: logging mode not supported: %s", m)
	}
	size, set := o.bytes("max-buffer-size")
	switch {
	case set && blocking:
		o.refuse("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	case set && size <= 0:
		o.refuse("max-buffer-size must be a positive number")
	case !blocking:
		s.File.Buffer = 1e6
		if set {
			s.File.Buffer = size
		}
	}
}

// Files are rotated and compressed unless somebody says otherwise: a log that
// grows for ever ends in a full disk.
const (
	defaultMaxSize = 20 << 20
	defaultMaxFile = 5
)

func fileOptions(o *options, s *Settings) {
	s.File.Driver = s.Driver
	keep(o, "", s)
}

// keep reads how the file is kept, from options with a prefix.
func keep(o *options, prefix string, s *Settings) {
	f := &s.File
	f.MaxSize, f.MaxFile, f.Compress = defaultMaxSize, defaultMaxFile, true
	if o.all[prefix+"max-size"] == "-1" {
		f.MaxSize = 0
		o.text(prefix + "max-size")
	} else if size, set := o.humanSize(prefix + "max-size"); set {
		if f.MaxSize = size; size <= 0 && o.err == nil {
			o.refuse("%smax-size must be a positive number, or -1 for no limit", prefix)
		}
	}
	if n, set := o.number(prefix + "max-file"); set {
		if f.MaxFile = n; n < 1 && o.err == nil {
			o.refuse("%smax-file cannot be less than 1", prefix)
		}
	}
	compress, set := o.truth(prefix + "compress")
	if set {
		f.Compress = compress
	}
	if f.MaxSize == 0 || f.MaxFile == 1 { // there is nothing to compress
		if set && compress {
			o.refuse("%scompress cannot be true when %smax-file is less than 2 or %smax-size is not limited", prefix, prefix, prefix)
		}
		f.Compress = false
	}
}

// cache reads the options of the file of drivers that send it, which all
// drivers accept: daemon.json has them for whichever driver comes.
func cache(o *options, s *Settings) {
	hidden, _ := o.truth("cache-disabled")
	s.Hidden = hidden && s.Target != nil
	for _, k := range []string{"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"} {
		o.known["cache-"+k] = true
	}
}
