package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/davit-engine/davit/errs"
)

// parents are the interfaces of the host that macvlan and ipvlan networks stand
// on. They are the host's own, or are made here: a sub-interface of an 802.1q
// VLAN where its name says so (eth0.10), and one that leads nowhere for a
// network without parent. Those that are made bear a mark, and go with the last
// network that uses them.
type parents struct {
	maker *maker
	mark  string // alias of the interfaces that this engine has made

	mu    sync.Mutex
	users map[string][]tenant // guarded by mu; by parent
}

// tenant is a network that uses a parent.
type tenant struct {
	id, kind string
	sole     bool // with no other network
}

// parent is an interface of the host.
type parent struct {
	index, mtu int
	mac        net.HardwareAddr
}

// nowhere begins the name of the parent of a network that has none, as in
// Docker; twelve digits of the network's ID follow.
const nowhere = "dm-"

// newParents returns the parents of the engine whose networks are kept in
// stateDir.
func newParents(m *maker, stateDir string) *parents {
	sum := sha256.Sum256([]byte(stateDir))
	return &parents{maker: m, mark: fmt.Sprintf("davit %x", sum[:6]), users: map[string][]tenant{}}
}

// check says why there can be no parent of this name. Errors: NotFound,
// InvalidParameter.
func (p *parents) check(name string) error {
	p.maker.hostMu.Lock()
	defer p.maker.hostMu.Unlock()
	_, err := p.maker.links.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); !errors.As(err, &missing) {
		return explain(err, "looking at interface "+name)
	}
	if strings.HasPrefix(name, nowhere) {
		return nil
	}
	_, _, err = p.trunk(name)
	return err
}

// open has t use the parent of this name, which is made if it is not there.
// One that comes later, such as a VPN's, is no error: the zero parent. Errors:
// Conflict when t or another network wants it for itself.
func (p *parents) open(name string, t tenant) (parent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range p.users[name] {
		switch {
		case other.id == t.id || other.kind != t.kind:
		case t.sole && t.kind == kindMacvlan:
			return parent{}, errs.New(errs.Conflict, "cannot use mode passthru, macvlan network %s is already using parent interface %s", other.id, name)
		case other.sole && t.kind == kindMacvlan:
			return parent{}, errs.New(errs.Conflict, "macvlan network %s is already using parent interface %s in mode passthru", other.id, name)
		case t.sole:
			return parent{}, errs.New(errs.Conflict, "network %s is already using parent interface %s: give it several subnets instead, or use another parent, such as a VLAN of it (%[2]s.10)", other.id, name)
		}
	}
	found, err := p.obtain(name)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return parent{}, err
	}
	p.users[name] = append(slices.DeleteFunc(p.users[name], func(u tenant) bool { return u.id == t.id }), t)
	return found, nil
}

// find returns a parent that is open. One that somebody has removed from the
// host is made again if it can be.
func (p *parents) find(name string) (parent, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.obtain(name)
}

// close says that a network uses its parent no more; with remove the parent
// goes if it was made here and no other network uses it.
func (p *parents) close(name, id string, remove bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[name] = slices.DeleteFunc(p.users[name], func(u tenant) bool { return u.id == id })
	if len(p.users[name]) > 0 {
		return nil
	}
	delete(p.users, name)
	if !remove {
		return nil
	}
	p.maker.hostMu.Lock()
	defer p.maker.hostMu.Unlock()
	link, err := p.maker.links.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil
	}
	if err == nil && link.Attrs().Alias == p.mark {
		err = p.maker.links.LinkDel(link)
	}
	return explain(err, "removing interface "+name)
}

// obtain returns a parent, made here if it is not there and can be.
func (p *parents) obtain(name string) (parent, error) {
	p.maker.hostMu.Lock()
	defer p.maker.hostMu.Unlock()
	h := p.maker.links
	link, err := h.LinkByName(name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		if strings.HasPrefix(name, nowhere) {
			err = p.make(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name}})
			if errors.Is(err, unix.EOPNOTSUPP) {
				// It loses what is sent to it too.
				err = p.make(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: name}})
			}
			if errors.Is(err, unix.EOPNOTSUPP) {
				return parent{}, errs.New(errs.System, "making an interface for a network without parent: %w: load a module that has one (modprobe dummy), or name a parent (-o parent=eth0)", err)
			}
			err = explain(err, "making an interface for a network without parent")
		} else {
			err = p.makeVLAN(name)
		}
		if err == nil {
			link, err = h.LinkByName(name)
		}
	}
	if err != nil {
		return parent{}, err
	}
	at := link.Attrs()
	return parent{at.Index, at.MTU, at.HardwareAddr}, nil
}

// trunk returns the interface that a name such as eth0.10 is a VLAN of, and
// which.
func (p *parents) trunk(name string) (under netlink.Link, id int, err error) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 1 {
		return nil, 0, errs.New(errs.NotFound, "-o parent interface was not found on the host: %s: name one that is there (ip link), or a VLAN to be made of one, such as eth0.10", name)
	}
	trunk, number := name[:dot], name[dot+1:]
	if id, err = strconv.Atoi(number); err != nil || strconv.Itoa(id) != number {
		return nil, 0, errs.New(errs.InvalidParameter, "unable to parse a valid vlan id from: %s (ex. eth0.10 for vlan 10)", number)
	}
	if id < 1 || id > 4094 {
		return nil, 0, errs.New(errs.InvalidParameter, "vlan id must be between 1-4094, received: %d", id)
	}
	under, err = p.maker.links.LinkByName(trunk)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return nil, 0, errs.New(errs.NotFound, "-o parent interface was not found on the host: %s, for VLAN %d of it: name one that is there (ip link)", trunk, id)
	}
	return under, id, explain(err, "looking at interface "+trunk)
}

// makeVLAN makes the sub-interface that a name such as eth0.10 describes.
func (p *parents) makeVLAN(name string) error {
	under, id, err := p.trunk(name)
	if err != nil {
		return err
	}
	trunk := under.Attrs().Name
	err = p.make(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: under.Attrs().Index}, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return errs.New(errs.System, "making VLAN interface %s: %w: the kernel knows no 802.1q VLANs: load the module (modprobe 8021q)", name, err)
	case errors.Is(err, unix.EEXIST):
		return errs.New(errs.Conflict, "making VLAN interface %s: %w: interface %s has this VLAN under another name (ip -d link): use that as parent", name, err, trunk)
	case errors.Is(err, unix.ENETDOWN):
		return errs.New(errs.Conflict, "switching VLAN interface %s on: %w: switch %s on first (ip link set %[3]s up)", name, err, trunk)
	}
	return explain(err, "making VLAN interface "+name)
}

// make makes an interface, marks it and switches it on, or leaves nothing.
func (p *parents) make(link netlink.Link) error {
	h := p.maker.links
	if err := h.LinkAdd(link); err != nil {
		return err
	}
	err := errors.Join(h.LinkSetAlias(link, p.mark), h.LinkSetUp(link))
	if err != nil {
		err = errors.Join(err, h.LinkDel(link))
	}
	return err
}
