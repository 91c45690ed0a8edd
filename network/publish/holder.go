package publish

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Holder names the process whose socket keeps others from a port: "nginx
// (process 123)"; "" where there is none to be found. It reads the descriptors
// of all processes, which takes some milliseconds.
func Holder(p Port) string {
	proto := map[string]uint8{TCP: unix.IPPROTO_TCP, UDP: unix.IPPROTO_UDP, SCTP: unix.IPPROTO_SCTP}[p.Proto]
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := sockets(family, proto, p.HostPort)
		if err != nil {
			continue // a kernel without sock_diag for it
		}
		for _, s := range sockets {
			if !overlap(p.HostIP, s.local) {
				continue
			}
			if name := processWith(s.inode); name != "" {
				return name
			}
		}
	}
	return ""
}

// local is a socket's own end.
type local struct {
	local netip.Addr // invalid: all of both families
	inode uint32
}

const (
	diagRequestSize = 56 // struct inet_diag_req_v2
	diagMessageSize = 72 // struct inet_diag_msg
	stateListen     = 10 // TCP_LISTEN
	stateClose      = 7  // TCP_CLOSE: bound, of UDP any that is not connected
	stateBound      = 13 // TCP_BOUND_INACTIVE, Linux 6.8
)

// diagRequest is struct inet_diag_req_v2, with what is asked for here.
type diagRequest struct {
	family, proto uint8
	states        uint32
	port          uint16
}

func (r *diagRequest) Len() int { return diagRequestSize }

func (r *diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestSize)
	b[0], b[1] = r.family, r.proto
	binary.NativeEndian.PutUint32(b[4:], r.states)
	binary.BigEndian.PutUint16(b[8:], r.port)
	return b
}

// sockets lists those that are bound to a port and connected to nobody.
func sockets(family, proto uint8, port uint16) ([]local, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(&diagRequest{family, proto, 1<<stateListen | 1<<stateClose | 1<<stateBound, port})
	messages, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil {
		return nil, fmt.Errorf("listing sockets: %w", err)
	}
	var list []local
	for _, m := range messages {
		if s, ok := parseLocal(m, port); ok {
			list = append(list, s)
		}
	}
	return list, nil
}

// parseLocal reads a struct inet_diag_msg.
func parseLocal(m []byte, port uint16) (local, bool) {
	if len(m) < diagMessageSize || binary.BigEndian.Uint16(m[4:]) != port {
		return local{}, false
	}
	s := local{inode: binary.NativeEndian.Uint32(m[68:])}
	switch m[0] {
	case unix.AF_INET:
		s.local = netip.AddrFrom4([4]byte(m[8:]))
	case unix.AF_INET6:
		if a := netip.AddrFrom16([16]byte(m[8:])).Unmap(); a != netip.IPv6Unspecified() { // which most often means both families
			s.local = a
		}
	}
	return s, s.inode != 0
}

// processWith finds the process that has a socket.
func processWith(inode uint32) string {
	want := fmt.Sprintf("socket:[%d]", inode)
	links, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != want {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		return describe(dir, filepath.Base(dir))
	}
	return ""
}

// describe names a process; a shim by its container, which is its first
// argument.
func describe(dir, pid string) string {
	comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
	name := strings.TrimSpace(string(comm))
	if name == "" {
		name = "a process"
	}
	if name == "davit-shim" {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if words := bytes.Split(line, []byte{0}); len(words) > 1 && len(words[1]) >= 12 {
			name = "container " + string(words[1][:12])
		}
	}
	if _, err := strconv.Atoi(pid); err != nil {
		return name
	}
	return name + " (process " + pid + ")"
}
