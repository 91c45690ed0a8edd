package ship

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/runtime/logfile"
)

// unpack decodes one value of MessagePack: what a server of the forward
// protocol needs.
func unpack(r *bufio.Reader) (any, error) {
	head, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	number := func(n int) (int, error) {
		var b [8]byte
		if _, err := io.ReadFull(r, b[8-n:]); err != nil {
			return 0, err
		}
		return int(binary.BigEndian.Uint64(b[:])), nil
	}
	text := func(n int, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		b := make([]byte, n)
		_, err = io.ReadFull(r, b)
		return string(b), err
	}
	list := func(n int, err error) (any, error) {
		var l []any
		for ; err == nil && n > 0; n-- {
			var v any
			v, err = unpack(r)
			l = append(l, v)
		}
		return l, err
	}
	dict := func(n int, err error) (any, error) {
		m := map[string]any{}
		for ; err == nil && n > 0; n-- {
			var k, v any
			if k, err = unpack(r); err == nil {
				v, err = unpack(r)
				m[fmt.Sprint(k)] = v
			}
		}
		return m, err
	}
	switch {
	case head < 0x80:
		return int(head), nil
	case head>>4 == 8:
		return dict(int(head&15), nil)
	case head>>4 == 9:
		return list(int(head&15), nil)
	case head>>5 == 5:
		return text(int(head&31), nil)
	}
	switch head {
	case 0xd7: // EventTime
		b := make([]byte, 9)
		if _, err := io.ReadFull(r, b); err != nil || b[0] != 0 {
			return nil, fmt.Errorf("type %d, %v", b[0], err)
		}
		return fmt.Sprintf("%d.%09d", binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:])), nil
	case 0xce:
		return number(4)
	case 0xd9:
		return text(number(1))
	case 0xda:
		return text(number(2))
	case 0xdb:
		return text(number(4))
	case 0xdd:
		return list(number(4))
	case 0xde:
		return dict(number(2))
	}
	return nil, fmt.Errorf("byte %#x", head)
}

// forwardServer takes batches; with ack it acknowledges them, but for the
// first of each connection if moody.
func forwardServer(t *testing.T, l net.Listener, moody bool) *inbox {
	b := &inbox{}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					v, err := unpack(r)
					batch, ok := v.([]any)
					if err != nil || !ok || len(batch) != 3 {
						return
					}
					options := batch[2].(map[string]any)
					if options["size"] != len(batch[1].([]any)) {
						b.add(fmt.Sprintf("wrong size %v", options["size"]))
					}
					if moody {
						moody = false
						return // it has read the batch, and forgets it
					}
					for _, e := range batch[1].([]any) {
						event := e.([]any)
						text, _ := json.Marshal(event[1])
						b.add(fmt.Sprintf("%v %v %s", batch[0], event[0], text))
					}
					if chunk, ok := options["chunk"].(string); ok {
						if _, err := conn.Write(appendPair([]byte{0x81}, "ack", chunk)); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return b
}

func TestFluentd(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, ack := range []string{"false", "true"} {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l := listen(t, network, address)
			got := forwardServer(t, l, ack == "true")
			s := newSource(t, logfile.Options{})
			s.write(logfile.Stdout, "hello\n")
			s.write(logfile.Stderr, strings.Repeat("x", logfile.PartSize)+"rest\n")
			c := s.config("fluentd", map[string]string{"fluentd-address": network + "://" + l.Addr().String(), "fluentd-request-ack": ack, "tag": "t.{{.Name}}",
				"labels": "l", "env": "A", "fluentd-sub-second-precision": ack})
			s.count(0, 5000)
			close(s.done)
			run(t, c).finish()
			messages := got.await(t, 5003)
			want := fmt.Sprintf(`{"A":"1","container_id":"%s","container_name":"/web","l":"v","log":"hello","source":"stdout"}`, info.ID)
			if m := messages[0]; !strings.HasPrefix(m, "t.web ") || !strings.HasSuffix(m, want) || strings.Contains(strings.Fields(m)[1], ".") != (ack == "true") {
				t.Errorf("%s, ack %s: got %s, want %s", network, ack, m, want)
			}
			for i, fields := range []string{`"partial_last":"false","partial_message":"true","partial_ordinal":"1","source":"stderr"`, `"log":"rest","partial_id":`} {
				if !strings.Contains(messages[1+i], fields) {
					t.Errorf("part %d: %.200s ... %s", i, messages[1+i], messages[1+i][max(0, len(messages[1+i])-200):])
				}
			}
			if !strings.Contains(messages[2], `"partial_last":"true","partial_message":"true","partial_ordinal":"2"`) {
				t.Errorf("last part: %s", messages[2])
			}
			for i, m := range messages[3:] {
				if !strings.Contains(m, fmt.Sprintf(`"log":"line %d"`, i)) {
					t.Fatalf("%s, ack %s: message %d: %s", network, ack, i, m)
				}
			}
		}
	}
}

func TestGELF(t *testing.T) {
	for _, compression := range []string{"gzip", "zlib", "none", "tcp"} {
		opts := map[string]string{"labels": "l", "tag": "mytag"}
		var got *inbox
		if compression == "tcp" {
			l := listen(t, "tcp", "127.0.0.1:0")
			got = &serveStream(t, l, until(0)).inbox
			opts["gelf-address"] = "tcp://" + l.Addr().String()
		} else {
			b, address := serveDatagrams(t, "udp", "127.0.0.1:0")
			got, opts["gelf-address"], opts["gelf-compression-type"] = b, "udp://"+address, compression
		}
		s := newSource(t, logfile.Options{})
		long := strings.Repeat("a<\"\xff", 4000)
		s.write(logfile.Stdout, "hello\n\n")
		s.write(logfile.Stderr, long+"\n")
		c := s.config("gelf", opts)
		close(s.done)
		run(t, c).finish()
		n := 2
		if compression == "none" {
			n = 1 + (len(`\u003c\"\ufffda`)*4000+gelfChunk)/(gelfChunk-gelfHead)
		}
		messages := bodies(t, got.await(t, n), compression)
		if len(messages) != 2 {
			t.Fatalf("%s: %d messages", compression, len(messages))
		}
		m := messages[0]
		if m["version"] != "1.1" || m["host"] != "host" || m["short_message"] != "hello" || m["level"] != 6.0 || m["_container_name"] != "web" || m["_tag"] != "mytag" ||
			m["_l"] != "v" || m["_command"] != "sh -c x" || m["_image_name"] != "busybox" || m["_created"] != "2024-01-02T03:04:05Z" || m["timestamp"].(float64) < 1.7e9 {
			t.Errorf("%s: got %v", compression, m)
		}
		if m := messages[1]; m["level"] != 3.0 || m["short_message"] != strings.ReplaceAll(long, "\xff", "\ufffd") {
			t.Errorf("%s: got %.300v", compression, m)
		}
	}
}

// bodies puts chunks together and decompresses.
func bodies(t *testing.T, packets []string, compression string) (messages []map[string]any) {
	t.Helper()
	var whole []string
	joined := ""
	for _, p := range packets {
		if !strings.HasPrefix(p, "\x1e\x0f") {
			whole = append(whole, p)
			continue
		}
		joined += p[gelfHead:]
		if p[10]+1 == p[11] {
			whole = append(whole, joined)
			joined = ""
		}
	}
	for _, w := range whole {
		var r io.Reader = strings.NewReader(w)
		var err error
		switch compression {
		case "gzip":
			r, err = gzip.NewReader(r)
		case "zlib":
			r, err = zlib.NewReader(r)
		}
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.NewDecoder(r).Decode(&m); err != nil {
			t.Fatalf("%.100q: %v", w, err)
		}
		messages = append(messages, m)
	}
	return messages
}

// journalServer takes entries as journald does: packets, or files in memory.
func journalServer(t *testing.T, path string) *inbox {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	b := &inbox{}
	go func() {
		buf, oob := make([]byte, 1<<18), make([]byte, unix.CmsgSpace(4))
		for {
			n, m, _, _, err := conn.ReadMsgUnix(buf, oob)
			if err != nil {
				return
			}
			body := append([]byte(nil), buf[:n]...)
			if m > 0 {
				messages, _ := unix.ParseSocketControlMessage(oob[:m])
				fds, _ := unix.ParseUnixRights(&messages[0])
				seals, _ := unix.FcntlInt(uintptr(fds[0]), unix.F_GET_SEALS, 0)
				f := os.NewFile(uintptr(fds[0]), "entry")
				_, _ = f.Seek(0, io.SeekStart)
				body, _ = io.ReadAll(f)
				f.Close()
				if seals&unix.F_SEAL_WRITE == 0 {
					body = []byte("MESSAGE=not sealed\n")
				}
			}
			b.add(string(body))
		}
	}()
	return b
}

// journalEntry decodes fields.
func journalEntry(t *testing.T, body string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for rest := []byte(body); len(rest) > 0; {
		i := bytes.IndexAny(rest, "=\n")
		if i < 0 {
			t.Fatalf("%q", rest)
		}
		name, after := string(rest[:i]), rest[i+1:]
		n := 0
		if rest[i] == '=' {
			n = bytes.IndexByte(after, '\n')
		} else {
			n = int(binary.LittleEndian.Uint64(after))
			after = after[8:]
		}
		fields[name], rest = string(after[:n]), after[n+1:]
	}
	return fields
}

func TestJournald(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	got := journalServer(t, path)
	s := newSource(t, logfile.Options{})
	s.write(logfile.Stdout, "hello\n")
	s.write(logfile.Stderr, strings.Repeat("y", logfile.PartSize)+"rest\n")
	c := s.config("journald", map[string]string{"labels": "l", "env": "A", "tag": "{{.Name}}"})
	c.Journal = path
	big := *info
	big.Env = []string{"A=one\ntwo"}
	c.Info = &big
	close(s.done)
	run(t, c).finish()
	messages := got.await(t, 3)
	e := journalEntry(t, messages[0])
	for k, want := range map[string]string{"MESSAGE": "hello", "PRIORITY": "6", "CONTAINER_ID": "0123456789ab", "CONTAINER_ID_FULL": info.ID, "CONTAINER_NAME": "web",
		"CONTAINER_TAG": "web", "SYSLOG_IDENTIFIER": "web", "IMAGE_NAME": "busybox", "L": "v", "A": "one\ntwo", "CONTAINER_PARTIAL_MESSAGE": ""} {
		if e[k] != want {
			t.Errorf("%s: got %q, want %q", k, e[k], want)
		}
	}
	one, two := journalEntry(t, messages[1]), journalEntry(t, messages[2])
	if one["PRIORITY"] != "3" || one["CONTAINER_PARTIAL_MESSAGE"] != "true" || len(one["MESSAGE"]) != logfile.PartSize || one["CONTAINER_PARTIAL_ID"] != two["CONTAINER_PARTIAL_ID"] {
		t.Errorf("first part: %.300v", one)
	}
	if two["MESSAGE"] != "rest" || two["CONTAINER_PARTIAL_LAST"] != "true" || two["CONTAINER_PARTIAL_ORDINAL"] != "2" || two["CONTAINER_PARTIAL_MESSAGE"] != "" {
		t.Errorf("last part: %v", two)
	}
}

// TestJournaldLarge: what no packet can hold goes in a file.
func TestJournaldLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	got := journalServer(t, path)
	s := newSource(t, logfile.Options{})
	s.write(logfile.Stdout, "hello\n")
	c := s.config("journald", map[string]string{"env": "A"})
	big := *info
	big.Env = []string{"A=" + strings.Repeat("z", 1<<20)}
	c.Info, c.Journal = &big, path
	c.Outage = func(err error) { t.Error(err) }
	close(s.done)
	run(t, c).finish()
	if e := journalEntry(t, got.await(t, 1)[0]); e["MESSAGE"] != "hello" || len(e["A"]) != 1<<20 {
		t.Errorf("got %.200q, %d", e["MESSAGE"], len(e["A"]))
	}
}

func TestJournalName(t *testing.T) {
	for in, want := range map[string]string{"com.example/x-1": "COM_EXAMPLE_X_1", "__a": "A", "é": "", "9": "9", "": ""} {
		if got := journalName(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

// FuzzAck: whatever a server answers, it is taken or refused.
func FuzzAck(f *testing.F) {
	f.Add([]byte("\xa3ack"))
	f.Add([]byte("\xd9\x05hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readString(bufio.NewReader(bytes.NewReader(b)))
	})
}
