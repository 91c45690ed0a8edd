package ship

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"strconv"
	"time"

	"github.com/davit-engine/davit/logs/driver"
)

// Severities (RFC 5424, 6.2.1).
const (
	severityError = 3
	severityInfo  = 6
)

// hostSyslog are the places where a host's own syslog listens.
var hostSyslog = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}

// syslogLine writes messages in the formats that Docker's driver has:
//
//	""            <priority>Mmm dd hh:mm:ss tag[pid]: text
//	rfc3164       <priority>Mmm dd hh:mm:ss hostname tag[pid]: text
//	rfc5424       <priority>1 time hostname tag pid tag - text
//	rfc5424micro  the same, with microseconds
//
// each ended by a newline, but for RFC 5424 over TLS: there the length stands
// before it (RFC 5425). The time is the entry's own.
type syslogLine struct {
	target   driver.SyslogTarget
	tag      string
	hostname string
}

func (l *syslogLine) append(dst []byte, m *message) []byte {
	severity := severityInfo
	if m.stderr {
		severity = severityError
	}
	counted := l.target.Address.Network == "tcp+tls" && l.modern()
	begin := len(dst)
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(l.target.Facility<<3|severity), 10)
	dst = append(dst, '>')
	switch l.target.Format {
	case "rfc5424", "rfc5424micro":
		dst = append(dst, "1 "...)
		form := time.RFC3339
		if l.target.Format == "rfc5424micro" {
			form = "2006-01-02T15:04:05.000000Z07:00"
		}
		dst = m.time.Local().AppendFormat(dst, form)
		dst = append(dst, ' ')
		dst = append(dst, l.hostname...)
		dst = append(dst, ' ')
		dst = append(dst, l.tag...)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(os.Getpid()), 10)
		dst = append(dst, ' ')
		dst = append(dst, l.tag...)
		dst = append(dst, " - "...)
	default:
		dst = m.time.Local().AppendFormat(dst, time.Stamp)
		dst = append(dst, ' ')
		if l.target.Format == "rfc3164" {
			dst = append(dst, l.hostname...)
			dst = append(dst, ' ')
		}
		dst = append(dst, l.tag...)
		dst = append(dst, '[')
		dst = strconv.AppendInt(dst, int64(os.Getpid()), 10)
		dst = append(dst, "]: "...)
	}
	dst = append(dst, m.line...)
	dst = append(dst, '\n')
	if !counted {
		return dst
	}
	length := strconv.Itoa(len(dst)-begin) + " "
	dst = append(dst, length...)
	copy(dst[begin+len(length):], dst[begin:len(dst)-len(length)])
	copy(dst[begin:], length)
	return dst
}

func (l *syslogLine) modern() bool {
	return l.target.Format == "rfc5424" || l.target.Format == "rfc5424micro"
}

func dialSyslog(ctx context.Context, local string, l *syslogLine) (sender, error) {
	a := l.target.Address
	switch a.Network {
	case "":
		return dialHostSyslog(ctx, local, l)
	case "udp", "unixgram":
		d, err := dialDatagrams(ctx, a)
		if err != nil {
			return nil, err
		}
		return &syslogDatagrams{datagrams: d, line: l}, nil
	}
	var config *tls.Config
	if a.Network == "tcp+tls" {
		var err error
		if config, err = clientTLS(a, l.target.CA, l.target.Cert, l.target.Key, l.target.Insecure); err != nil {
			return nil, err
		}
	}
	s, err := dialStream(ctx, a, config)
	if err != nil {
		return nil, err
	}
	return &syslogStream{stream: s, line: l}, nil
}

// dialHostSyslog tries the places where the host's syslog may be; only names
// one if it is not empty.
func dialHostSyslog(ctx context.Context, only string, l *syslogLine) (sender, error) {
	places := hostSyslog
	if only != "" {
		places = []string{only}
	}
	var failed []error
	for _, path := range places {
		d, err := dialDatagrams(ctx, driver.Address{Network: "unixgram", Host: path})
		if err == nil {
			return &syslogDatagrams{datagrams: d, line: l}, nil
		}
		failed = append(failed, err)
		if s, err := dialStream(ctx, driver.Address{Network: "unix", Host: path}, nil); err == nil {
			return &syslogStream{stream: s, line: l}, nil
		}
	}
	return nil, errors.Join(failed...)
}

type syslogDatagrams struct {
	*datagrams
	line *syslogLine
	buf  []byte
}

func (s *syslogDatagrams) send(m *message) error {
	s.buf = s.line.append(s.buf[:0], m)
	return s.write(m.end, s.buf)
}

type syslogStream struct {
	*stream
	line *syslogLine
}

func (s *syslogStream) send(m *message) error {
	if len(s.buf) == 0 {
		if err := s.alive(); err != nil {
			return err
		}
	}
	s.buf = s.line.append(s.buf, m)
	return s.added(m.end)
}
