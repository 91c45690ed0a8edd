package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	groupNFTables = 7                      // NFNLGRP_NFTABLES: changes of rule sets
	settle        = 10 * time.Millisecond  // after the last change, before the table is looked at
	latest        = 500 * time.Millisecond // after the first change, however many follow
	pause         = 100 * time.Millisecond // between two looks, where others change things all the time
	retryRepair   = time.Second
	pollLegacy    = time.Second // iptables-legacy, whose changes the kernel does not tell
)

// watcher repairs the table when somebody else changes it: `nft flush
// ruleset`, a firewall that reloads. The kernel tells of each change, so it
// costs nothing while there is none.
type watcher struct {
	socket *os.File
	done   chan struct{}
}

// watch starts repairing t, in the network namespace of the caller's thread.
func watch(t *Table) (*watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, explain(err, "opening a netfilter socket")
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNFTables - 1)}); err != nil {
		unix.Close(fd)
		return nil, explain(err, "watching nftables")
	}
	w := &watcher{os.NewFile(uintptr(fd), "nftables events"), make(chan struct{})}
	go w.run(t)
	return w, nil
}

func (w *watcher) close() {
	w.socket.Close()
	<-w.done
}

func (w *watcher) run(t *Table) {
	defer close(w.done)
	buf := make([]byte, 64<<10)
	log, name := t.config.Log, t.config.Name
	watched := name
	if t.config.Respect {
		watched = "" // what the host lets in may be in any table
	}
	var since, looked time.Time // of the first change that was not looked at yet, and of the last look
	rest := func() {
		since = time.Time{}
		w.socket.SetReadDeadline(time.Time{})
		if t.config.Respect {
			w.socket.SetReadDeadline(time.Now().Add(pollLegacy))
		}
	}
	rest()
	for {
		n, err := w.socket.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && since.IsZero() && !t.legacyChanged():
			rest()
		case errors.Is(err, os.ErrDeadlineExceeded):
			rest()
			wrote, followed, err := t.repair()
			looked = time.Now()
			switch {
			case err != nil:
				log.Error("the firewall table was damaged and cannot be repaired yet", "table", name, "error", err)
				since = time.Now()
				w.socket.SetReadDeadline(since.Add(retryRepair))
			case wrote && followed:
				log.Info("published ports follow a change of what the host lets in", "table", name)
			case wrote:
				log.Warn("the firewall table was changed by somebody else and is repaired", "table", name)
			}
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			log.Error("the firewall table is no longer watched", "table", name, "error", fmt.Errorf("reading nftables events: %w", err))
			return
		case err != nil || concerns(buf[:n], watched, t.socketNumber()): // ENOBUFS: events were lost
			now := time.Now()
			if since.IsZero() {
				since = now
			}
			w.socket.SetReadDeadline(nextLook(now, since, looked))
		}
	}
}

// nextLook says when to look at the table after a change now.
func nextLook(now, since, looked time.Time) time.Time {
	at := now.Add(settle)
	if end := since.Add(latest); end.Before(at) {
		at = end
	}
	if rested := looked.Add(pause); at.Before(rested) {
		at = rested
	}
	return at
}

// concerns reports whether one of the events is of the table, or of any if it
// is "", and not caused by the socket of the number own. In all of them but the
// counter of generations the first attribute that has the number 1 is the
// table's name.
func concerns(packet []byte, table string, own uint32) bool {
	const nfgenmsg = 4
	events, err := syscall.ParseNetlinkMessage(packet)
	if err != nil {
		return true
	}
	for _, e := range events {
		if e.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || e.Header.Type&0xff == unix.NFT_MSG_NEWGEN || len(e.Data) < nfgenmsg || e.Header.Pid == own {
			continue
		}
		for rest := e.Data[nfgenmsg:]; len(rest) >= unix.SizeofRtAttr; {
			size := int(binary.NativeEndian.Uint16(rest))
			if size < unix.SizeofRtAttr || size > len(rest) {
				break
			}
			if binary.NativeEndian.Uint16(rest[2:])&^uint16(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == 1 {
				if table == "" || string(rest[unix.SizeofRtAttr:size]) == table+"\x00" {
					return true
				}
				break
			}
			rest = rest[min(len(rest), (size+3)&^3):]
		}
	}
	return false
}
