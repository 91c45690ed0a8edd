package systemd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/davit-engine/davit/runtime/cgroup/dbus"
)

// fakeSystemd answers as systemd's manager does, over the real protocol, and
// makes the groups of its scopes in the kernel.
type fakeSystemd struct {
	version string
	parent  string   // where the groups go, below each root
	roots   []string // hierarchies that it keeps; none: it makes no groups
	result  string   // of its jobs

	mu     sync.Mutex
	calls  []string            // guarded by mu
	scopes map[string][]string // guarded by mu: directories by unit
	failed map[string]bool     // guarded by mu: units that failed and were not reset
	jobs   int                 // guarded by mu
}

func newFake(roots ...string) *fakeSystemd {
	return &fakeSystemd{version: "252.38-1~deb12u1", result: "done", parent: "/davit-sd-test-" + strconv.Itoa(os.Getpid()), roots: roots,
		scopes: map[string][]string{}, failed: map[string]bool{}}
}

// listen serves a private socket and returns a manager that uses it.
func (f *fakeSystemd) listen(t *testing.T) Manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "private")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				_, _ = in.ReadString('\n')
				_, _ = io.WriteString(c, "DATA\r\n")
				_, _ = in.ReadString('\n')
				_, _ = io.WriteString(c, "OK 0123456789abcdef\r\n")
				_, _ = in.ReadString('\n')
				f.serve(c, in)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return Manager{sockets: []socket{{path: filepath.Join(t.TempDir(), "nobody")}, {path: path}}}
}

// join puts the fake on a bus and returns a manager that finds it there.
func (f *fakeSystemd) join(t *testing.T, bus string) Manager {
	t.Helper()
	c, err := net.Dial("unix", bus)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	_, _ = io.WriteString(c, "\x00AUTH EXTERNAL "+fmt.Sprintf("%x", strconv.Itoa(os.Getuid()))+"\r\n")
	_, _ = in.ReadString('\n')
	_, _ = io.WriteString(c, "BEGIN\r\n")
	ask := func(serial uint32, member string, body func(*dbus.Encoder)) {
		m := &dbus.Message{Kind: dbus.MethodCall, Serial: serial, Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus",
			Interface: "org.freedesktop.DBus", Member: member}
		if body != nil {
			m.SetBody("su", body)
		}
		_, _ = c.Write(m.Encode())
		for {
			m, err := dbus.ReadMessage(in)
			if err != nil || m.Kind == dbus.ErrorReply {
				t.Fatalf("joining the bus: %+v, %v", m, err)
			}
			if m.Kind == dbus.MethodReturn {
				return
			}
		}
	}
	ask(1, "Hello", nil)
	ask(2, "RequestName", func(e *dbus.Encoder) { e.String(service); e.Uint32(0) })
	done := make(chan struct{})
	go func() { defer close(done); f.serve(c, in) }()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return Manager{sockets: []socket{{path: bus, bus: true}}}
}

func (f *fakeSystemd) serve(c net.Conn, in *bufio.Reader) {
	serial := uint32(100)
	send := func(m *dbus.Message, signature string, body func(*dbus.Encoder)) {
		serial++
		m.Serial = serial
		if signature != "" {
			m.SetBody(signature, body)
		}
		_, _ = c.Write(m.Encode())
	}
	for {
		m, err := dbus.ReadMessage(in)
		if err != nil {
			return
		}
		if m.Kind != dbus.MethodCall {
			continue
		}
		answer := &dbus.Message{Kind: dbus.MethodReturn, ReplyTo: m.Serial, Destination: m.Sender}
		refuse := func(name string) {
			answer.Kind, answer.Error = dbus.ErrorReply, name
			send(answer, "s", func(e *dbus.Encoder) { e.String("no: " + m.Member) })
		}
		f.mu.Lock()
		f.calls = append(f.calls, m.Member+" "+f.show(m))
		d := m.Body()
		switch m.Member {
		case "Subscribe":
			send(answer, "", nil)
		case "Get":
			of, name := d.String(), d.String()
			value := f.version
			if of == scoping && name == "ControlGroup" {
				value = f.parent + "/" + unitOf(filepath.Base(m.Path))
			}
			send(answer, "v", func(e *dbus.Encoder) { e.Signature("s"); e.String(value) })
		case "GetUnit":
			unit := d.String()
			send(answer, "o", func(e *dbus.Encoder) { e.String(object + "/unit/" + pathOf(unit)) })
		case "ResetFailedUnit":
			unit := d.String()
			if !f.failed[unit] {
				refuse(errNoUnit)
				break
			}
			delete(f.failed, unit)
			send(answer, "", nil)
		case "SetUnitProperties":
			if _, ok := f.scopes[d.String()]; !ok {
				refuse(errNoUnit)
				break
			}
			send(answer, "", nil)
		case "StartTransientUnit", "StopUnit":
			unit := d.String()
			_, there := f.scopes[unit]
			start := m.Member == "StartTransientUnit"
			switch {
			case start && (there || f.failed[unit]):
				refuse(errExists)
			case !start && !there:
				refuse(errNoUnit)
			default:
				if start {
					f.scopes[unit] = f.makeGroups(unit, foundersOf(m))
				} else {
					delete(f.scopes, unit)
				}
				f.jobs++
				job := fmt.Sprintf("%s/job/%d", object, f.jobs)
				signal := func() {
					s := &dbus.Message{Kind: dbus.Signal, Path: object, Interface: managing, Member: "JobRemoved"}
					send(s, "uoss", func(e *dbus.Encoder) {
						e.Uint32(uint32(f.jobs))
						e.String(job)
						e.String(unit)
						e.String(f.result)
					})
				}
				if f.jobs%2 == 0 { // it may well be done before the answer
					signal()
				}
				send(answer, "o", func(e *dbus.Encoder) { e.String(job) })
				if f.jobs%2 == 1 {
					signal()
				}
			}
		default:
			refuse("org.freedesktop.DBus.Error.UnknownMethod")
		}
		f.mu.Unlock()
	}
}

// The bus takes no dots and dashes in paths.
func pathOf(s string) string {
	return strings.NewReplacer("_", "_5f", ".", "_2e", "-", "_2d").Replace(s)
}
func unitOf(s string) string {
	return strings.NewReplacer("_2e", ".", "_2d", "-", "_5f", "_").Replace(s)
}

func (f *fakeSystemd) makeGroups(unit string, pids []uint32) (dirs []string) {
	for _, root := range f.roots {
		dir := root + f.parent + "/" + unit
		passOn(root)
		_ = os.Mkdir(root+f.parent, 0o755)
		passOn(root + f.parent)
		_ = os.Mkdir(dir, 0o755)
		for _, pid := range pids {
			_ = os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(int(pid))), 0)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

// passOn gives a v2 group's controllers to the groups inside.
func passOn(dir string) {
	list, _ := os.ReadFile(dir + "/cgroup.controllers")
	for name := range strings.FieldsSeq(string(list)) {
		_ = os.WriteFile(dir+"/cgroup.subtree_control", []byte("+"+name), 0)
	}
}

func foundersOf(m *dbus.Message) (pids []uint32) {
	d := m.Body()
	_, _ = d.String(), d.String()
	d.Array(8, func() {
		d.Struct()
		if d.String() != "PIDs" {
			d.Skip("v")
			return
		}
		d.Expect("au")
		d.Array(4, func() { pids = append(pids, d.Uint32()) })
	})
	return pids
}

// show prints a message's body, with the numbers of processes left out.
func (f *fakeSystemd) show(m *dbus.Message) string {
	d, rest := m.Body(), m.Signature
	var parts []string
	for rest != "" && d.Err() == nil {
		var part string
		part, rest = show(d, rest)
		parts = append(parts, part)
	}
	if d.Err() != nil {
		return d.Err().Error()
	}
	return strings.Join(parts, " ")
}

func show(d *dbus.Decoder, signature string) (text, rest string) {
	rest = signature[1:]
	switch signature[0] {
	case 's', 'o':
		return strconv.Quote(d.String()), rest
	case 'b':
		return strconv.FormatBool(d.Bool()), rest
	case 'y':
		return strconv.Itoa(int(d.Byte())), rest
	case 'i':
		return strconv.Itoa(int(int32(d.Uint32()))), rest
	case 'x':
		return strconv.FormatInt(int64(d.Uint64()), 10), rest
	case 'u':
		if n := d.Uint32(); n != uint32(os.Getpid()) {
			return "a pid", rest
		}
		return "our pid", rest
	case 't':
		if n := d.Uint64(); n != infinity {
			return strconv.FormatUint(n, 10), rest
		}
		return "infinity", rest
	case 'v':
		text, _ = show(d, d.Signature())
		return text, rest
	case '(':
		d.Struct()
		var fields []string
		for rest[0] != ')' && d.Err() == nil {
			var field string
			field, rest = show(d, rest)
			fields = append(fields, field)
		}
		return strings.Join(fields, "="), rest[1:]
	case 'a':
		if rest[0] == 'y' {
			return fmt.Sprintf("%x", d.Bytes()), rest[1:]
		}
		element, alignment := rest[:1], 4
		if rest[0] == '(' {
			depth := 0
			for i, c := range rest {
				if c == '(' {
					depth++
				} else if c == ')' {
					if depth--; depth == 0 {
						element, alignment = rest[:i+1], 8
						break
					}
				}
			}
		}
		var list []string
		d.Array(alignment, func() {
			one, _ := show(d, element)
			list = append(list, one)
		})
		return "[" + strings.Join(list, ", ") + "]", rest[len(element):]
	}
	return "?", ""
}
