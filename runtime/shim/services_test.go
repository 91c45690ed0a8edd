package shim

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/resolver"
	"github.com/davit-engine/davit/runtime/wire"
)

// bound returns a socket that listens on a port of the loopback interface.
func bound(t *testing.T) (net.Addr, syscall.Conn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr(), l.(*net.TCPListener)
}

func free(a net.Addr) bool {
	l, err := net.Listen("tcp4", a.String())
	if err == nil {
		l.Close()
	}
	return err == nil
}

func forwarding(name string) wire.Service {
	return wire.Service{Name: name, Sockets: 1, Forward: &wire.Forward{Proto: "tcp", Address: "127.0.0.1", Port: 1}}
}

// TestServices has services begin with the container, change while it runs, and
// end with it.
func TestServices(t *testing.T) {
	ctx := context.Background()
	s := warmShim(t, kind{fake: true}).sh(`read x`)
	s.start.Stdio = wire.Stdio{Stdin: true, StdinOnce: true}
	client, theirs := s.attachBefore(wire.Attach{Stdin: true})
	first, socket := bound(t)
	s.start.Services = []wire.Service{forwarding("first")}
	s.run(socket, theirs)
	theirs.Close()
	socket.(net.Listener).Close()
	if free(first) {
		t.Error("the port of a service is free")
	}

	second, socket := bound(t)
	now, err := s.Serve(ctx, &wire.Serve{Add: []wire.Service{forwarding("second")}}, socket)
	socket.(net.Listener).Close()
	slices.Sort(now.Names)
	if err != nil || !slices.Equal(now.Names, []string{"first", "second"}) {
		t.Fatal(now, err)
	}
	if free(second) {
		t.Error("the port of a service is free that was added")
	}

	third, socket := bound(t)
	_, another := bound(t)
	_, err = s.Serve(ctx, &wire.Serve{Add: []wire.Service{forwarding("third"), forwarding("second")}}, socket, another)
	socket.(net.Listener).Close()
	if !errs.Is(err, errs.Conflict) || !free(third) {
		t.Errorf("adding a name twice: %v; the other one's port is free: %v", err, free(third))
	}
	if _, err = s.Serve(ctx, &wire.Serve{Add: []wire.Service{forwarding("third")}}); !errs.Is(err, errs.InvalidParameter) {
		t.Errorf("adding without a socket: %v", err)
	}
	if _, err = s.Serve(ctx, &wire.Serve{Add: []wire.Service{{Name: "third"}}}); !errs.Is(err, errs.NotImplemented) {
		t.Errorf("adding what the shim does not know: %v", err)
	}

	now, err = s.Serve(ctx, &wire.Serve{Drop: []string{"first", "unheard of"}})
	if err != nil || !slices.Equal(now.Names, []string{"second"}) || !free(first) || free(second) {
		t.Errorf("%v, %v; ports free: %v, %v", now, err, free(first), free(second))
	}
	client.Close()
	s.waitExit()
	if !free(second) {
		t.Error("a service outlives its container")
	}
}

// TestServicesOfFailedStart has no shim keep what it was given.
func TestServicesOfFailedStart(t *testing.T) {
	s := warmShim(t, kind{fake: true})
	s.start.Spec.Process.Args = []string{"/does/not/exist"}
	a, socket := bound(t)
	s.start.Services = []wire.Service{forwarding("first")}
	_, err := s.Start(context.Background(), &s.start, socket)
	var refused *wire.Error
	if !errors.As(err, &refused) || strings.Contains(refused.Message, "service") {
		t.Fatal(err)
	}
	socket.(net.Listener).Close()
	eventually(t, "the port is free", func() bool { return free(a) })
}

// TestResolverService asks a shim for a name.
func TestResolverService(t *testing.T) {
	s := warmShim(t, kind{fake: true}).sh(`read x`)
	s.start.Stdio = wire.Stdio{Stdin: true, StdinOnce: true}
	client, theirs := s.attachBefore(wire.Attach{Stdin: true})
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, tcp := bound(t)
	dir := t.TempDir()
	plan := resolver.Plan{Networks: []resolver.Network{{Name: "front", Names: filepath.Join(dir, "names")}}}
	text, err := plan.Text()
	if err != nil {
		t.Fatal(err)
	}
	names := resolver.NamesFile([]resolver.Entry{{Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}, Names: []string{"db"}}})
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "plan"), text, 0o600), os.WriteFile(filepath.Join(dir, "names"), names, 0o600)); err != nil {
		t.Fatal(err)
	}
	s.start.Services = []wire.Service{{Name: "resolver", Sockets: 2, Resolver: &wire.Resolver{Plan: filepath.Join(dir, "plan")}}}
	s.run(udp.(*net.UDPConn), tcp, theirs)
	theirs.Close()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", udp.LocalAddr().String())
	}}
	udp.Close() // the shim's is another descriptor
	list, err := r.LookupHost(context.Background(), "db.front.")
	if err != nil || !slices.Equal(list, []string{"172.18.0.2"}) {
		t.Error(list, err)
	}
	client.Close()
	s.waitExit()
}
