package driver

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/wire"
)

type opts = map[string]string

func TestFileOptions(t *testing.T) {
	standard := wire.Log{MaxSize: 20 << 20, MaxFile: 5, Compress: true}
	for name, c := range map[string]struct {
		opts opts
		want func(*wire.Log)
	}{
		"defaults":      {nil, func(*wire.Log) {}},
		"size":          {opts{"max-size": "10m"}, func(l *wire.Log) { l.MaxSize = 10_000_000 }},
		"no limit":      {opts{"max-size": "-1"}, func(l *wire.Log) { l.MaxSize, l.Compress = 0, false }},
		"one file":      {opts{"max-file": "1"}, func(l *wire.Log) { l.MaxFile, l.Compress = 1, false }},
		"all":           {opts{"max-size": "1k", "max-file": "3", "compress": "false"}, func(l *wire.Log) { l.MaxSize, l.MaxFile, l.Compress = 1000, 3, false }},
		"non-blocking":  {opts{"mode": "non-blocking"}, func(l *wire.Log) { l.Buffer = 1e6 }},
		"buffer":        {opts{"mode": "non-blocking", "max-buffer-size": "4m"}, func(l *wire.Log) { l.Buffer = 4 << 20 }},
		"for the cache": {opts{"cache-max-size": "1m", "cache-disabled": "true", "mode": "blocking"}, func(*wire.Log) {}},
	} {
		for _, d := range []string{JSONFile, Local} {
			want := standard
			want.Driver = d
			c.want(&want)
			s, err := Parse(d, c.opts)
			if err != nil || !reflect.DeepEqual(s.File, want) || s.Hidden || s.Remote() {
				t.Errorf("%s, %s: got %+v, %v", d, name, s, err)
			}
		}
	}
	s, err := Parse(Syslog, opts{"cache-max-size": "1k", "cache-max-file": "2", "cache-compress": "false", "cache-disabled": "1"})
	if want := (wire.Log{Driver: Local, MaxSize: 1000, MaxFile: 2}); err != nil || !reflect.DeepEqual(s.File, want) || !s.Hidden || !s.Remote() {
		t.Errorf("cache of syslog: %+v, %v", s, err)
	}
	if s, err := Parse("", nil); err != nil || s.Driver != JSONFile {
		t.Errorf("no name: %+v, %v", s, err)
	}
	if s, err := Parse(None, opts{"whatever": "x"}); err != nil || s.File.Driver != None {
		t.Errorf("none: %+v, %v", s, err)
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		driver string
		opts   opts
		want   any
	}{
		{Journald, nil, JournaldTarget{}},
		{Syslog, nil, SyslogTarget{Facility: 3}},
		{Syslog, opts{"syslog-address": "udp://1.2.3.4", "syslog-facility": "local7", "syslog-format": "rfc5424micro"},
			SyslogTarget{Address: Address{"udp", "1.2.3.4:514"}, Facility: 23, Format: "rfc5424micro"}},
		{Syslog, opts{"syslog-address": "tcp+tls://[::1]:6514", "syslog-facility": "0", "syslog-tls-ca-cert": "/ca", "syslog-tls-cert": "/c", "syslog-tls-key": "/k", "syslog-tls-skip-verify": ""},
			SyslogTarget{Address: Address{"tcp+tls", "[::1]:6514"}, CA: "/ca", Cert: "/c", Key: "/k", Insecure: true}},
		{Syslog, opts{"syslog-address": "unixgram:///dev/log", "syslog-tls-skip-verify": "false"}, SyslogTarget{Address: Address{"unixgram", "/dev/log"}, Facility: 3}},
		{Fluentd, nil, FluentdTarget{Address: Address{"tcp", "127.0.0.1:24224"}}},
		{Fluentd, opts{"fluentd-address": "h"}, FluentdTarget{Address: Address{"tcp", "h:24224"}}},
		{Fluentd, opts{"fluentd-address": "tls://h:1", "fluentd-request-ack": "true", "fluentd-async": "true", "fluentd-retry-wait": "2s", "fluentd-max-retries": "7",
			"fluentd-sub-second-precision": "1", "fluentd-write-timeout": "100ms", "fluentd-buffer-limit": "8m", "fluentd-async-reconnect-interval": "1s"},
			FluentdTarget{Address: Address{"tls", "h:1"}, Ack: true, SubSecond: true, WriteTimeout: 100 * time.Millisecond, RetryWait: 2 * time.Second, MaxRetries: 7}},
		{Fluentd, opts{"fluentd-address": "unix:///run/f.sock"}, FluentdTarget{Address: Address{"unix", "/run/f.sock"}}},
		{GELF, opts{"gelf-address": "udp://h:12201"}, GELFTarget{Address: Address{"udp", "h:12201"}, Compression: "gzip", Level: 1, MaxReconnect: 3, Delay: time.Second}},
		{GELF, opts{"gelf-address": "udp://h:1", "gelf-compression-type": "zlib", "gelf-compression-level": "9"},
			GELFTarget{Address: Address{"udp", "h:1"}, Compression: "zlib", Level: 9, MaxReconnect: 3, Delay: time.Second}},
		{GELF, opts{"gelf-address": "tcp://h:1", "gelf-tcp-max-reconnect": "5", "gelf-tcp-reconnect-delay": "10"},
			GELFTarget{Address: Address{"tcp", "h:1"}, Compression: "none", Level: 1, MaxReconnect: 5, Delay: 10 * time.Second}},
	} {
		if s, err := Parse(c.driver, c.opts); err != nil || !reflect.DeepEqual(s.Target, c.want) {
			t.Errorf("%s %v: got %+v, %v", c.driver, c.opts, s.Target, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		driver string
		opts   opts
		want   string
	}{
		{"carrier-pigeon", nil, "logger: no log driver named 'carrier-pigeon' is registered"},
		{"grafana/loki:latest", nil, "drivers from plugins are not supported"},
		{"awslogs", nil, "log driver 'awslogs' is not supported: use fluentd"},
		{"splunk", nil, "'splunk'"}, {"gcplogs", nil, "'gcplogs'"}, {"etwlogs", nil, "'etwlogs'"},
		{JSONFile, opts{"x": "y"}, "unknown log opt 'x' for json-file log driver"},
		{JSONFile, opts{"syslog-address": "y"}, "unknown log opt 'syslog-address' for json-file log driver"},
		{JSONFile, opts{"max-size": "big"}, `invalid value for log opt max-size: "big"`},
		{JSONFile, opts{"max-size": "0"}, "max-size must be a positive number"},
		{JSONFile, opts{"max-size": "-5"}, "max-size"},
		{JSONFile, opts{"max-file": "0"}, "max-file cannot be less than 1"},
		{JSONFile, opts{"max-file": "many"}, `"many" is not a number`},
		{JSONFile, opts{"compress": "perhaps"}, `"perhaps" is neither true nor false`},
		{JSONFile, opts{"compress": "true", "max-file": "1"}, "compress cannot be true when max-file is less than 2"},
		{JSONFile, opts{"labels-regex": "("}, "invalid value for log opt labels-regex"},
		{JSONFile, opts{"tag": "{{.Nope}}"}, "invalid value for log opt tag"},
		{JSONFile, opts{"tag": "{{"}, "invalid value for log opt tag"},
		{JSONFile, opts{"mode": "later"}, "logger: logging mode not supported: later"},
		{JSONFile, opts{"max-buffer-size": "4m"}, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{JSONFile, opts{"mode": "non-blocking", "max-buffer-size": "0"}, "max-buffer-size must be a positive number"},
		{Local, opts{"x": "y"}, "unknown log opt 'x' for local log driver"},
		{Syslog, opts{"max-size": "1m"}, "unknown log opt 'max-size' for syslog log driver"},
		{Syslog, opts{"cache-max-file": "0"}, "cache-max-file cannot be less than 1"},
		{Syslog, opts{"cache-disabled": "so"}, `"so" is neither`},
		{Syslog, opts{"syslog-address": "here"}, "syslog-address should be in form proto://address"},
		{Syslog, opts{"syslog-address": "http://here"}, "syslog-address should be in form proto://address"},
		{Syslog, opts{"syslog-address": "tcp://h:port"}, "syslog-address"},
		{Syslog, opts{"syslog-address": "tcp://h:1/x"}, "should not contain a path element"},
		{Syslog, opts{"syslog-address": "unix://h"}, "absolute path"},
		{Syslog, opts{"syslog-facility": "24"}, "invalid syslog facility"},
		{Syslog, opts{"syslog-facility": "nobody"}, "invalid syslog facility"},
		{Syslog, opts{"syslog-format": "rfc1"}, "Invalid syslog format"},
		{Fluentd, opts{"fluentd-address": "udp://h"}, "fluentd-address should be in form"},
		{Fluentd, opts{"fluentd-async": "1", "fluentd-async-connect": "1"}, "conflicting options"},
		{Fluentd, opts{"fluentd-write-timeout": "-1s"}, "invalid value for fluentd-write-timeout:"},
		{Fluentd, opts{"fluentd-write-timeout": "1"}, "invalid value for fluentd-write-timeout:"},
		{Fluentd, opts{"fluentd-async-reconnect-interval": "1h"}, "between 100ms and 10s"},
		{GELF, nil, "gelf-address is a required parameter"},
		{GELF, opts{"gelf-address": "udp://h"}, "please provide it as host:port"},
		{GELF, opts{"gelf-address": "tcp://h:1", "gelf-compression-type": "gzip"}, "compression is only supported on UDP"},
		{GELF, opts{"gelf-address": "udp://h:1", "gelf-compression-type": "lz4"}, `unknown value "lz4" for log opt "gelf-compression-type" for gelf log driver`},
		{GELF, opts{"gelf-address": "udp://h:1", "gelf-compression-level": "10"}, "unknown value"},
		{GELF, opts{"gelf-address": "udp://h:1", "gelf-tcp-max-reconnect": "1"}, `"gelf-tcp-max-reconnect" is only valid for TCP`},
		{GELF, opts{"gelf-address": "tcp://h:1", "gelf-tcp-reconnect-delay": "-1"}, "must be a positive integer"},
		{Journald, opts{"gelf-address": "udp://h:1"}, "unknown log opt 'gelf-address' for journald log driver"},
	} {
		if _, err := Parse(c.driver, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: got %v, want %q", c.driver, c.opts, err, c.want)
		}
	}
}

func TestInfo(t *testing.T) {
	i := &Info{
		ID: strings.Repeat("0123456789ab", 6)[:64], Name: "web", ImageID: "sha256:" + strings.Repeat("fedc", 16), ImageName: "busybox:1", Command: []string{"sh", "-c", "x"},
		Env: []string{"A=1", "AB=2", "B=3=4", "C"}, Labels: map[string]string{"l1": "x", "l2": "y", "m": "z"}, Daemon: "davit", Hostname: "host",
	}
	for tag, want := range map[string]string{
		"":                               "0123456789ab",
		"fixed":                          "fixed",
		"{{.Name}}/{{.ID}}":              "web/0123456789ab",
		"{{.FullID}}":                    i.ID,
		"{{.ImageName}} {{.ImageID}}":    "busybox:1 fedcfedcfedc",
		"{{.ImageFullID}}":               i.ImageID,
		"{{.DaemonName}} {{.Hostname}}":  "davit host",
		"{{.Command}}":                   "sh -c x",
		"{{.ContainerName}}":             "/web",
		`{{index .ContainerLabels "m"}}`: "z",
		`{{upper .Name}}{{truncate .FullID 3}}{{join (split .ImageName ":") "-"}}`: "WEB012busybox-1",
		"{{json .ContainerArgs}} {{title .Name}} {{pad .Name 1 2}}|{{lower `X`}}":  `["-c","x"] Web  web  |x`,
	} {
		if got, err := i.Tag(&Settings{Tag: tag}); err != nil || got != want {
			t.Errorf("tag %q: got %q, %v", tag, got, err)
		}
	}
	for _, c := range []struct {
		driver string
		opts   opts
		want   map[string]string
	}{
		{JSONFile, nil, nil},
		{JSONFile, opts{"labels": "l1,nope,m"}, opts{"l1": "x", "m": "z"}},
		{JSONFile, opts{"labels-regex": "^l"}, opts{"l1": "x", "l2": "y"}},
		{JSONFile, opts{"env": "B,C", "env-regex": "^A"}, opts{"A": "1", "AB": "2", "B": "3=4"}},
		{Local, opts{"tag": "{{.Name}}"}, opts{"tag": "web"}},
		{Syslog, opts{"tag": "{{.Name}}", "labels": "m"}, opts{"m": "z"}},
	} {
		s, err := Parse(c.driver, c.opts)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := i.Attributes(&s); err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s %v: got %v, %v", c.driver, c.opts, got, err)
		}
	}
}

// FuzzParse: whatever the values are, there is an answer.
func FuzzParse(f *testing.F) {
	f.Add("syslog", "syslog-address", "tcp://[::1]:1", "tag", "{{.ID}}")
	f.Add("gelf", "gelf-address", "udp://h:1", "max-buffer-size", "1k")
	f.Add("fluentd", "fluentd-address", "h", "env-regex", "^a")
	f.Fuzz(func(t *testing.T, driver, k1, v1, k2, v2 string) {
		if strings.Contains(v1+v2, "{{") && (strings.Contains(v1+v2, "range") || strings.Contains(v1+v2, "template") || strings.Contains(v1+v2, "printf")) {
			t.Skip("a template may run as long as it likes")
		}
		_, _ = Parse(driver, opts{k1: v1, k2: v2})
	})
}
