package ship

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/runtime/logfile"
)

// streamServer takes messages that end in a byte, or that are counted.
type streamServer struct {
	inbox
	read   func(r *bufio.Reader) (string, error)
	listen net.Listener
	closed sync.WaitGroup
	mu     sync.Mutex
	conns  []net.Conn // guarded by mu
	ended  bool       // guarded by mu
}

func serveStream(t *testing.T, l net.Listener, read func(r *bufio.Reader) (string, error)) *streamServer {
	s := &streamServer{read: read, listen: l}
	s.closed.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *streamServer) accept() {
	for {
		conn, err := s.listen.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		if s.ended {
			conn.Close()
		}
		s.mu.Unlock()
		s.closed.Go(func() {
			defer conn.Close()
			for r := bufio.NewReader(conn); ; {
				m, err := s.read(r)
				if err != nil {
					return
				}
				s.add(m)
			}
		})
	}
}

// stop ends the server as kill -9 does.
func (s *streamServer) stop() {
	s.listen.Close()
	s.mu.Lock()
	s.ended = true
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.closed.Wait()
}

func until(end byte) func(r *bufio.Reader) (string, error) {
	return func(r *bufio.Reader) (string, error) {
		m, err := r.ReadString(end)
		return strings.TrimSuffix(m, string(end)), err
	}
}

// counted reads frames of RFC 5425.
func counted(r *bufio.Reader) (string, error) {
	length, err := r.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSpace(length))
	if err != nil {
		return "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return string(b), err
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		l, err := net.Listen(network, address)
		if err == nil {
			return l
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// serveDatagrams collects packets.
func serveDatagrams(t *testing.T, network, address string) (*inbox, string) {
	t.Helper()
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	b := &inbox{}
	go func() {
		buf := make([]byte, 1<<17)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			b.add(string(buf[:n]))
		}
	}()
	return b, conn.LocalAddr().String()
}

// certificate makes one for 127.0.0.1, in PEM files.
func certificate(t *testing.T) (cert, key string, pair tls.Certificate) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return cert, key, pair
}

const (
	stampPattern = `[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d`
	isoPattern   = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)`
	microPattern = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)`
)

// TestSyslog sends over each transport in each format.
func TestSyslog(t *testing.T) {
	cert, key, pair := certificate(t)
	formats := map[string]string{
		"":             stampPattern + ` TAG\[\d+\]: `,
		"rfc3164":      stampPattern + ` host TAG\[\d+\]: `,
		"rfc5424":      `1 ` + isoPattern + ` host TAG \d+ TAG - `,
		"rfc5424micro": `1 ` + microPattern + ` host TAG \d+ TAG - `,
	}
	for _, transport := range []string{"udp", "tcp", "tcp+tls", "unix", "unixgram"} {
		for format, pattern := range formats {
			t.Run(transport+" "+format, func(t *testing.T) {
				opts := map[string]string{"syslog-format": format, "tag": "{{.Name}}-x", "syslog-facility": "local3"}
				socket := filepath.Join(t.TempDir(), "s")
				end := "\n"
				var got *inbox
				switch transport {
				case "udp":
					b, address := serveDatagrams(t, "udp", "127.0.0.1:0")
					got, opts["syslog-address"] = b, "udp://"+address
				case "unixgram":
					got, _ = serveDatagrams(t, "unixgram", socket)
					opts["syslog-address"] = "unixgram://" + socket
				case "unix":
					got, end = &serveStream(t, listen(t, "unix", socket), until('\n')).inbox, ""
					opts["syslog-address"] = "unix://" + socket
				case "tcp":
					l := listen(t, "tcp", "127.0.0.1:0")
					got, end = &serveStream(t, l, until('\n')).inbox, ""
					opts["syslog-address"] = "tcp://" + l.Addr().String()
				case "tcp+tls":
					read := until('\n')
					end = ""
					if strings.HasPrefix(format, "rfc5424") {
						read, end = counted, "\n"
					}
					pool := x509.NewCertPool()
					pem, err := os.ReadFile(cert)
					if err != nil || !pool.AppendCertsFromPEM(pem) {
						t.Fatal(err)
					}
					l := listen(t, "tcp", "127.0.0.1:0")
					got = &serveStream(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}), read).inbox
					opts["syslog-address"] = "tcp+tls://" + l.Addr().String()
					opts["syslog-tls-ca-cert"], opts["syslog-tls-cert"], opts["syslog-tls-key"] = cert, key, key
					opts["syslog-tls-cert"] = cert
				}
				s := newSource(t, logfile.Options{})
				s.write(logfile.Stdout, "hello\n")
				s.write(logfile.Stderr, "oops\n")
				r := run(t, s.config("syslog", opts))
				s.write(logfile.Stdout, "\n")
				close(s.done)
				r.finish()
				messages := got.await(t, 3)
				for i, want := range []string{"<158>" + pattern + "hello" + end, "<155>" + pattern + "oops" + end, "<158>" + pattern + end} {
					want = "^" + strings.ReplaceAll(want, "TAG", "web-x") + "$"
					if !regexp.MustCompile(want).MatchString(messages[i]) {
						t.Errorf("message %d: got %q, want %s", i, messages[i], want)
					}
				}
				if p := LoadPosition(s.path); !p.Done || p.End == 0 {
					t.Errorf("position %+v", p)
				}
			})
		}
	}
}

// TestHostSyslog finds the socket of the host's own.
func TestHostSyslog(t *testing.T) {
	for _, network := range []string{"unixgram", "unix"} {
		socket := filepath.Join(t.TempDir(), "log")
		var got *inbox
		if network == "unix" {
			got = &serveStream(t, listen(t, "unix", socket), until('\n')).inbox
		} else {
			got, _ = serveDatagrams(t, "unixgram", socket)
		}
		s := newSource(t, logfile.Options{})
		s.write(logfile.Stdout, "hello\n")
		c := s.config("syslog", nil)
		c.Syslog = socket
		close(s.done)
		run(t, c).finish()
		if m := got.await(t, 1)[0]; !strings.HasPrefix(m, "<30>") || !strings.Contains(m, " 0123456789ab[") {
			t.Errorf("%s: got %q", network, m)
		}
	}
}

// TestCertificateIsChecked: a server that nobody vouches for gets nothing,
// unless that is wanted.
func TestCertificateIsChecked(t *testing.T) {
	_, _, pair := certificate(t)
	l := listen(t, "tcp", "127.0.0.1:0")
	server := serveStream(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}}), until('\n'))
	s := newSource(t, logfile.Options{})
	s.count(0, 1)
	failed := make(chan error, 10)
	c := s.config("syslog", map[string]string{"syslog-address": "tcp+tls://" + l.Addr().String()})
	c.Outage = func(err error) { failed <- err }
	r := run(t, c)
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	if r.ship.Outage() == nil {
		t.Error("no outage is told of")
	}
	r.stop()
	if got := server.all(); len(got) != 0 {
		t.Fatalf("got %q", got)
	}
	c = s.config("syslog", map[string]string{"syslog-address": "tcp+tls://" + l.Addr().String(), "syslog-tls-skip-verify": "true"})
	close(s.done)
	run(t, c).finish()
	complete(t, server.await(t, 1), 1)
}

// TestOutage: the server is not there, comes, is killed again and again in the
// middle, and has everything in the end.
func TestOutage(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := filepath.Join(t.TempDir(), "s")
			if network == "tcp" {
				l := listen(t, "tcp", "127.0.0.1:0")
				address = l.Addr().String()
				l.Close()
			}
			s := newSource(t, logfile.Options{MaxSize: 100_000, MaxFile: 100, Compress: true})
			const batch = 3000
			s.count(0, batch)
			var outages inbox
			c := s.config("syslog", map[string]string{"syslog-address": network + "://" + address})
			c.Outage = func(err error) { outages.add(fmt.Sprint(err != nil)) }
			r := run(t, c)
			outages.await(t, 1)
			var got []string
			total := batch
			for round := range 4 {
				server := serveStream(t, listen(t, network, address), until('\n'))
				if round == 3 {
					close(s.done)
					r.finish()
					got = append(got, server.all()...)
					break
				}
				server.await(t, 100)
				s.count(total, total+batch)
				total += batch
				server.stop()
				s.count(total, total+100) // there is something to send
				total += 100
				got = append(got, server.all()...)
			}
			complete(t, got, total)
			if n := len(outages.all()); n < 2 {
				t.Errorf("told of %d changes", n)
			}
		})
	}
}

// TestEngineAway: who sends is ended again and again, and begins where it was.
func TestEngineAway(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	server := serveStream(t, l, until('\n'))
	s := newSource(t, logfile.Options{MaxSize: 50_000, MaxFile: 100, Compress: true})
	c := s.config("syslog", map[string]string{"syslog-address": "tcp://" + l.Addr().String()})
	const batch = 1000
	for round := range 5 {
		r := run(t, c)
		s.count(round*batch, (round+1)*batch)
		server.await(t, round*batch+batch/2)
		r.stop()
	}
	s.count(5*batch, 6*batch) // while nobody sends
	close(s.done)
	run(t, c).finish()
	complete(t, server.awaitLast(t, 6*batch-1), 6*batch)
	if n := len(server.all()); n > 8*batch {
		t.Errorf("%d messages: much was sent twice", n)
	}
}

// TestRotatedAway: what nobody can send any more is told of.
func TestRotatedAway(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	server := serveStream(t, l, until('\n'))
	s := newSource(t, logfile.Options{MaxSize: 10_000, MaxFile: 2})
	c := s.config("syslog", map[string]string{"syslog-address": "tcp://" + l.Addr().String()})
	s.count(0, 10)
	r := run(t, c)
	server.await(t, 10)
	r.stop()
	s.count(10, 2000)
	close(s.done)
	run(t, c).finish()
	got := server.await(t, 12)
	lost := 0
	for _, m := range got {
		if i := strings.Index(m, "[davit: "); i >= 0 {
			if _, err := fmt.Sscanf(m[i:], "[davit: %d bytes of the log were rotated away before they could be sent]", &lost); err != nil {
				t.Errorf("%q: %v", m, err)
			}
		}
	}
	if lost < 50_000 || !strings.HasSuffix(got[len(got)-1], "line 1999") {
		t.Errorf("told of %d bytes; last is %q", lost, got[len(got)-1])
	}
}

// TestNothingToSend connects to nobody.
func TestNothingToSend(t *testing.T) {
	s := newSource(t, logfile.Options{})
	close(s.done)
	run(t, s.config("syslog", map[string]string{"syslog-address": "tcp://127.0.0.1:1"})).finish()
	s = newSource(t, logfile.Options{})
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	close(s.done)
	run(t, s.config("syslog", map[string]string{"syslog-address": "tcp://127.0.0.1:1"})).finish()
}
