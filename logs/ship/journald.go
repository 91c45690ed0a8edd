package ship

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/logs/driver"
)

// journal writes entries in journald's own protocol: a datagram of fields,
//
//	NAME=value\n                                    or, where the value has a newline,
//	NAME\n length (8 bytes, little endian) value\n
//
// or, where that is too large for one, a sealed file in memory in its place
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
type journal struct {
	*datagrams
	fields []byte // that each entry has
	buf    []byte
}

func dialJournal(ctx context.Context, path string, fields []byte) (sender, error) {
	d, err := dialDatagrams(ctx, driver.Address{Network: "unixgram", Host: path})
	if err != nil {
		return nil, err
	}
	return &journal{datagrams: d, fields: fields}, nil
}

// journalFields are what Docker's driver tells of a container.
func journalFields(i *driver.Info, tag string, attrs map[string]string) (fields []byte) {
	all := map[string]string{
		"CONTAINER_ID": i.ID[:min(12, len(i.ID))], "CONTAINER_ID_FULL": i.ID, "CONTAINER_NAME": i.Name, "CONTAINER_TAG": tag,
		"IMAGE_NAME": i.ImageName, "SYSLOG_IDENTIFIER": tag,
	}
	for k, v := range attrs {
		if name := journalName(k); name != "" {
			all[name] = v
		}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fields = appendField(fields, k, []byte(all[k]))
	}
	return fields
}

// journalName makes a field's name of anything: upper case letters, digits and
// underscores, of which none is the first.
func journalName(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
	return strings.TrimLeft(name, "_")
}

func appendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	if bytes.IndexByte(value, '\n') < 0 {
		dst = append(dst, '=')
	} else {
		dst = append(dst, '\n')
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	}
	dst = append(dst, value...)
	return append(dst, '\n')
}

func (j *journal) send(m *message) error {
	b := append(j.buf[:0], j.fields...)
	b = appendField(b, "MESSAGE", m.line)
	priority := severityInfo
	if m.stderr {
		priority = severityError
	}
	b = fmt.Appendf(b, "PRIORITY=%d\nSYSLOG_TIMESTAMP=%s\n", priority, m.time.UTC().Format(time.RFC3339Nano))
	if p := m.part; p != nil {
		b = fmt.Appendf(b, "CONTAINER_PARTIAL_ID=%s\nCONTAINER_PARTIAL_ORDINAL=%d\nCONTAINER_PARTIAL_LAST=%s\n", p.id, p.ordinal, strconv.FormatBool(p.last))
		if !p.last {
			b = append(b, "CONTAINER_PARTIAL_MESSAGE=true\n"...)
		}
	}
	j.buf = b
	_, err := j.conn.Write(b)
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		err = j.sendFile(b)
	}
	if err == nil {
		j.done = m.end
	}
	return err
}

// sendFile passes an entry in a file.
func (j *journal) sendFile(b []byte) error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a file in memory: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, b); err != nil {
		return fmt.Errorf("writing a file in memory: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("sealing a file in memory: %w", err)
	}
	raw, err := j.conn.(*net.UnixConn).SyscallConn() // whose own method wants no connection
	if err != nil {
		return err
	}
	werr := raw.Write(func(to uintptr) bool {
		err = unix.Sendmsg(int(to), nil, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
		return err != unix.EAGAIN
	})
	if err == nil {
		err = werr
	}
	return err
}
