package driver

import (
	"compress/flate"
	"strconv"
	"time"
)

// SyslogTarget is a syslog server.
type SyslogTarget struct {
	Address  Address // its zero value: the host's own
	Facility int     // 0 to 23
	Format   string  // "", "rfc3164", "rfc5424" or "rfc5424micro"
	CA       string  // paths of PEM files; empty: the host's certificates, no certificate of one's own
	Cert     string
	Key      string
	Insecure bool // the server's certificate is not verified
}

// facilities are in the order of their numbers (RFC 5424, 6.2.1).
var facilities = []string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}

const facilityDaemon = 3

func syslogOptions(o *options, s *Settings) {
	t := SyslogTarget{
		Address:  o.address("syslog-address", 514, "udp", "tcp", "tcp+tls", "unix", "unixgram"),
		Facility: facility(o),
		CA:       o.text("syslog-tls-ca-cert"), Cert: o.text("syslog-tls-cert"), Key: o.text("syslog-tls-key"),
	}
	// Docker turns verification off as soon as the option is there; a value
	// that says false keeps it on here.
	if _, there := o.all["syslog-tls-skip-verify"]; there {
		value, set := o.truth("syslog-tls-skip-verify")
		t.Insecure = value || !set
	}
	switch t.Format = o.text("syslog-format"); t.Format {
	case "", "rfc3164", "rfc5424", "rfc5424micro":
	default:
		o.refuse("Invalid syslog format")
	}
	o.known["syslog-tls-skip-verify"] = true
	s.Target = t
}

func facility(o *options) int {
	v, set := o.value("syslog-facility")
	if !set {
		return facilityDaemon
	}
	for i, name := range facilities {
		if v == name {
			return i
		}
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 23 {
		o.refuse("invalid syslog facility")
	}
	return n
}

// FluentdTarget is a server of Fluentd's forward protocol.
type FluentdTarget struct {
	Address      Address
	Ack          bool          // the server confirms each batch
	SubSecond    bool          // times with nanoseconds
	WriteTimeout time.Duration // 0: the sender's own
	RetryWait    time.Duration // the first pause after a failure; 0: the sender's own
	MaxRetries   int           // 0: for ever
}

func fluentdOptions(o *options, s *Settings) {
	const key, port = "fluentd-address", 24224
	t := FluentdTarget{}
	switch v := o.text(key); {
	case v == "":
		t.Address = Address{"tcp", "127.0.0.1:24224"}
	case containsScheme(v):
		t.Address = o.address(key, port, "tcp", "tls", "unix")
	default:
		t.Address = Address{"tcp", o.hostPort(key, v, port)}
	}
	t.Ack, _ = o.truth("fluentd-request-ack")
	t.SubSecond, _ = o.truth("fluentd-sub-second-precision")
	t.WriteTimeout, _ = o.duration("fluentd-write-timeout")
	t.RetryWait, _ = o.duration("fluentd-retry-wait")
	var set bool
	if t.MaxRetries, set = o.number("fluentd-max-retries"); set && t.MaxRetries < 0 {
		o.refuse("invalid value for fluentd-max-retries: must not be negative")
	}
	// Nothing waits for the server and nothing is kept in memory, so these
	// only have to be well-formed.
	_, async := o.truth("fluentd-async")
	if _, connect := o.truth("fluentd-async-connect"); connect && async {
		o.refuse("conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'")
	}
	if every, set := o.duration("fluentd-async-reconnect-interval"); set && every != 0 && (every < 100*time.Millisecond || every > 10*time.Second) {
		o.refuse("invalid value for fluentd-async-reconnect-interval: must be between 100ms and 10s")
	}
	o.bytes("fluentd-buffer-limit")
	o.duration("fluentd-read-timeout")
	s.Target = t
}

func containsScheme(v string) bool {
	for i := range len(v) - 2 {
		if v[i:i+3] == "://" {
			return true
		}
	}
	return false
}

// GELFTarget is a Graylog server.
type GELFTarget struct {
	Address      Address
	Compression  string // "gzip", "zlib" or "none"; by udp only
	Level        int    // of compress/flate
	MaxReconnect int    // attempts in a row before a longer pause; by tcp only
	Delay        time.Duration
}

func gelfOptions(o *options, s *Settings) {
	t := GELFTarget{Compression: "gzip", Level: flate.BestSpeed, MaxReconnect: 3, Delay: time.Second}
	if o.all["gelf-address"] == "" {
		o.refuse("gelf-address is a required parameter")
	}
	t.Address = o.address("gelf-address", 0, "udp", "tcp")
	tcp := t.Address.Network == "tcp"
	if v, set := o.value("gelf-compression-type"); set {
		switch v {
		case "gzip", "zlib", "none":
		default:
			o.refuse("unknown value %q for log opt \"gelf-compression-type\" for gelf log driver", v)
		}
		if t.Compression = v; tcp {
			o.refuse("compression is only supported on UDP")
		}
	}
	if v, set := o.value("gelf-compression-level"); set {
		i, err := strconv.Atoi(v)
		if err != nil || i < flate.DefaultCompression || i > flate.BestCompression {
			o.refuse("unknown value %q for log opt \"gelf-compression-level\" for gelf log driver", v)
		}
		if t.Level = i; tcp {
			o.refuse("compression is only supported on UDP")
		}
	}
	for _, n := range []struct {
		key string
		set func(int)
	}{
		{"gelf-tcp-max-reconnect", func(n int) { t.MaxReconnect = n }},
		{"gelf-tcp-reconnect-delay", func(n int) { t.Delay = time.Duration(n) * time.Second }},
	} {
		v, set := o.value(n.key)
		if !set {
			continue
		}
		i, err := strconv.Atoi(v)
		if err != nil || i < 0 {
			o.refuse("%q must be a positive integer", n.key)
		}
		if n.set(i); !tcp {
			o.refuse("%q is only valid for TCP", n.key)
		}
	}
	if tcp {
		t.Compression = "none"
	}
	s.Target = t
}
