package shape

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Sizes and numbers of linux/pkt_sched.h that the netlink library does not know.
const (
	tickShift      = 6 // a tick of the kernel's packet scheduler is 64 ns
	netemLatency64 = 10
	basicSize      = 12 // gnet_stats_basic: bytes 64, packets 32, padded
	queueSize      = 20 // gnet_stats_queue: waiting packets and bytes, dropped, requeued, over the limit
)

// encode is a discipline as the kernel reads it.
func encode(d discipline) (kind string, options *nl.RtAttr) {
	options = nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	switch d := d.(type) {
	case tbf:
		opt := nl.TcTbfQopt{Limit: d.limit}
		opt.Rate.Rate = uint32(min(d.rate, math.MaxUint32))
		opt.Rate.Linklayer = nl.LINKLAYER_ETHERNET
		options.AddRtAttr(nl.TCA_TBF_PARMS, opt.Serialize())
		options.AddRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(d.rate))
		options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(d.burst))
		return "tbf", options
	case fqCodel:
		options.AddRtAttr(nl.TCA_FQ_CODEL_TARGET, nl.Uint32Attr(uint32(d.target.Microseconds())))
		options.AddRtAttr(nl.TCA_FQ_CODEL_INTERVAL, nl.Uint32Attr(uint32(d.interval.Microseconds())))
		options.AddRtAttr(nl.TCA_FQ_CODEL_ECN, nl.Uint32Attr(1))
		return "fq_codel", options
	case late:
		opt := nl.TcNetemQopt{Limit: d.limit, Loss: netlink.Percentage2u32(float32(d.loss)), Latency: uint32(d.delay.Nanoseconds() >> tickShift)}
		options = nl.NewRtAttr(nl.TCA_OPTIONS, opt.Serialize()) // its attributes follow a structure
		options.AddRtAttr(netemLatency64, nl.Uint64Attr(uint64(d.delay)))
		return "netem", options
	}
	panic(fmt.Sprintf("no such queueing discipline: %T", d))
}

// qdisc is what the kernel says of a discipline.
type qdisc struct {
	kind  string
	rate  uint64 // of tbf, bits per second
	delay time.Duration
	loss  float64
	Queue
}

// request makes a message about a discipline.
func (s *Shaper) request(kind, flags, index int, parent, handle uint32) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = s.sockets
	r.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: handle, Parent: parent})
	return r
}

// set makes a discipline, or changes the one that is there.
func (s *Shaper) set(index int, at step) error {
	parent := at.parent
	if parent == 0 {
		parent = netlink.HANDLE_ROOT
	}
	kind, options := encode(at.kind)
	r := s.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, index, parent, at.handle)
	r.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)))
	r.AddData(options)
	_, err := r.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// drop removes the discipline at parent, and those below it. That there is
// none is no error.
func (s *Shaper) drop(index int, parent uint32) error {
	_, err := s.request(unix.RTM_DELQDISC, unix.NLM_F_ACK, index, parent, 0).Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// get asks for the discipline with a handle, nil if there is none. Without
// NLM_F_ECHO the kernel tells everybody who listens, but not who asks.
func (s *Shaper) get(index int, handle uint32) (*qdisc, error) {
	answers, err := s.request(unix.RTM_GETQDISC, unix.NLM_F_ECHO, index, 0, handle).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(answers) != 1 {
		return nil, fmt.Errorf("the kernel has %d answers to one question", len(answers))
	}
	return decode(answers[0])
}

// decode reads a message of the kernel about a discipline.
func decode(message []byte) (*qdisc, error) {
	if len(message) < nl.SizeofTcMsg {
		return nil, errors.New("a message about a queueing discipline is too short")
	}
	attrs, err := nl.ParseRouteAttr(message[nl.SizeofTcMsg:])
	if err != nil {
		return nil, err
	}
	q := new(qdisc)
	for _, a := range attrs { // the kind comes before its options
		switch a.Attr.Type {
		case nl.TCA_KIND:
			q.kind = nl.BytesToString(a.Value)
		case nl.TCA_OPTIONS:
			err = errors.Join(err, q.decodeOptions(a.Value))
		case nl.TCA_STATS2:
			err = errors.Join(err, q.decodeCounters(a.Value))
		}
	}
	return q, err
}

func (q *qdisc) decodeOptions(data []byte) error {
	switch q.kind {
	case "tbf":
		attrs, err := nl.ParseRouteAttr(data)
		if err != nil {
			return err
		}
		for _, a := range attrs {
			switch {
			case a.Attr.Type == nl.TCA_TBF_PARMS && len(a.Value) >= nl.SizeofTcTbfQopt:
				q.rate = max(q.rate, 8*uint64(nl.DeserializeTcTbfQopt(a.Value).Rate.Rate))
			case a.Attr.Type == nl.TCA_TBF_RATE64 && len(a.Value) >= 8:
				q.rate = 8 * binary.NativeEndian.Uint64(a.Value)
			}
		}
	case "netem":
		if len(data) < nl.SizeofTcNetemQopt {
			return errors.New("what netem says is too short")
		}
		q.delay = time.Duration(binary.NativeEndian.Uint32(data)) << tickShift
		q.loss = float64(binary.NativeEndian.Uint32(data[8:])) / math.MaxUint32 * 100
	}
	return nil
}

func (q *qdisc) decodeCounters(data []byte) error {
	attrs, err := nl.ParseRouteAttr(data)
	if err != nil {
		return err
	}
	for _, a := range attrs {
		v := a.Value
		switch {
		case a.Attr.Type == nl.TCA_STATS_BASIC && len(v) >= basicSize:
			q.Bytes, q.Packets = binary.NativeEndian.Uint64(v), uint64(binary.NativeEndian.Uint32(v[8:]))
		case a.Attr.Type == nl.TCA_STATS_PKT64 && len(v) >= 8:
			q.Packets = binary.NativeEndian.Uint64(v)
		case a.Attr.Type == nl.TCA_STATS_QUEUE && len(v) >= queueSize:
			q.Waiting, q.Dropped = binary.NativeEndian.Uint32(v[4:]), binary.NativeEndian.Uint32(v[8:])
			q.Held = binary.NativeEndian.Uint32(v[16:])
		}
	}
	return nil
}
