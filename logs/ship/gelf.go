package ship

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/davit-engine/davit/logs/driver"
)

// gelf makes GELF 1.1 messages: JSON objects. What all have in common comes
// last, as encoded once.
type gelf struct {
	host   []byte // as JSON
	common []byte // `,"_name":...}`
}

func newGELF(i *driver.Info, tag string, attrs map[string]string) (*gelf, error) {
	all := map[string]any{
		"_container_id": i.ID, "_container_name": i.Name, "_image_id": i.ImageID, "_image_name": i.ImageName,
		"_command": strings.Join(i.Command, " "), "_tag": tag, "_created": i.Created,
	}
	for k, v := range attrs {
		if k[0] != '_' {
			k = "_" + k
		}
		all[k] = v
	}
	common, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	host, err := json.Marshal(hostname(i))
	if err != nil {
		return nil, err
	}
	common[0] = ','
	return &gelf{host, common}, nil
}

func (g *gelf) append(dst []byte, m *message) ([]byte, error) {
	text, err := json.Marshal(string(m.line))
	if err != nil {
		return dst, err
	}
	level := severityInfo
	if m.stderr {
		level = severityError
	}
	dst = append(dst, `{"version":"1.1","host":`...)
	dst = append(dst, g.host...)
	dst = append(dst, `,"short_message":`...)
	dst = append(dst, text...)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendFloat(dst, math.Round(float64(m.time.UnixNano())/1e6)/1e3, 'f', 3, 64)
	dst = append(dst, `,"level":`...)
	dst = strconv.AppendInt(dst, int64(level), 10)
	return append(dst, g.common...), nil
}

// gelfPause is the first pause between attempts, which is the user's by tcp.
func gelfPause(t driver.GELFTarget) time.Duration {
	if t.Address.Network == "tcp" {
		return t.Delay
	}
	return 0
}

func dialGELF(ctx context.Context, t driver.GELFTarget, g *gelf) (sender, error) {
	if t.Address.Network == "tcp" {
		s, err := dialStream(ctx, t.Address, nil)
		if err != nil {
			return nil, err
		}
		return &gelfStream{s, g}, nil
	}
	d, err := dialDatagrams(ctx, t.Address)
	if err != nil {
		return nil, err
	}
	return &gelfDatagrams{datagrams: d, gelf: g, target: t}, nil
}

// gelfStream ends each message with a zero byte.
type gelfStream struct {
	*stream
	gelf *gelf
}

func (s *gelfStream) send(m *message) (err error) {
	if len(m.line) == 0 { // Graylog takes no empty message
		return s.added(m.end)
	}
	if len(s.buf) == 0 {
		if err := s.alive(); err != nil {
			return err
		}
	}
	if s.buf, err = s.gelf.append(s.buf, m); err != nil {
		return err
	}
	s.buf = append(s.buf, 0)
	return s.added(m.end)
}

// Chunks of a message that is too large for one packet: each begins with
//
//	0x1e 0x0f, id (8 bytes), number (1), how many there are (1)
const (
	gelfChunk  = 1420
	gelfHead   = 12
	gelfChunks = 128 // at most
)

// gelfDatagrams sends packets, compressed if asked.
type gelfDatagrams struct {
	*datagrams
	gelf   *gelf
	target driver.GELFTarget
	zipped bytes.Buffer
	buf    []byte
}

type compressor interface {
	io.WriteCloser
	Reset(w io.Writer)
}

func (s *gelfDatagrams) send(m *message) (err error) {
	if len(m.line) == 0 {
		s.done = m.end
		return nil
	}
	if s.buf, err = s.gelf.append(s.buf[:0], m); err != nil {
		return err
	}
	body := s.buf
	if s.target.Compression != "none" {
		if err := s.compress(); err != nil {
			return err
		}
		body = s.zipped.Bytes()
	}
	if len(body) <= gelfChunk {
		return s.write(m.end, body)
	}
	return s.write(m.end, gelfChunked(body)...)
}

func (s *gelfDatagrams) compress() error {
	pools := &gzips
	if s.target.Compression == "zlib" {
		pools = &zlibs
	}
	pool := &pools[s.target.Level-flate.DefaultCompression]
	zip, _ := pool.Get().(compressor)
	if zip == nil {
		zip = newCompressor(s.target.Compression, s.target.Level)
	}
	defer pool.Put(zip)
	s.zipped.Reset()
	zip.Reset(&s.zipped)
	if _, err := zip.Write(s.buf); err != nil {
		return err
	}
	return zip.Close()
}

// Compressors are shared by all containers, by level: each takes a megabyte.
var gzips, zlibs [flate.BestCompression - flate.DefaultCompression + 1]sync.Pool

// newCompressor makes one; the level was checked.
func newCompressor(kind string, level int) compressor {
	if kind == "zlib" {
		z, _ := zlib.NewWriterLevel(nil, level)
		return z
	}
	z, _ := gzip.NewWriterLevel(nil, level)
	return z
}

func gelfChunked(body []byte) (packets [][]byte) {
	const room = gelfChunk - gelfHead
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	count := (len(body) + room - 1) / room
	if count > gelfChunks {
		return nil // attributes of a megabyte: nobody would take it
	}
	for i := range count {
		packet := append([]byte{0x1e, 0x0f}, id[:]...)
		packet = append(packet, byte(i), byte(count))
		packets = append(packets, append(packet, body[i*room:min((i+1)*room, len(body))]...))
	}
	return packets
}
