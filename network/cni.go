package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	cni "github.com/containernetworking/cni/pkg/types/100"
	apinet "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/davit-engine/davit/errs"
)

// kindCNI begins the names of drivers that are plugins of the Container Network
// Interface; behind a colon follows the configuration.
const kindCNI = "cni"

// cniPatience is how long the plugins of a network have for one interface.
const cniPatience = 90 * time.Second

// cniDriver makes networks by CNI plugins. It knows nothing of their ranges:
// they give an interface its addresses and routes.
//
// An attachment is noted in a file before the first plugin runs, and the file
// goes when the last one has taken it back, so whatever an engine that died has
// begun is found by the next one.
type cniDriver struct {
	maker   *maker
	confDir string   // where configurations are found by name
	plugins []string // where plugins are
	dir     string   // one folder for each network
}

// newCNIDriver returns the driver of CNI networks; stateDir is where it keeps
// what is attached. CNI_PATH says where plugins are, if they are elsewhere.
func newCNIDriver(m *maker, stateDir string) *cniDriver {
	d := &cniDriver{maker: m, confDir: "/etc/cni/net.d", plugins: []string{"/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"}, dir: filepath.Join(stateDir, "cni")}
	if path := os.Getenv("CNI_PATH"); path != "" {
		d.plugins = filepath.SplitList(path)
	}
	return d
}

// load reads the configuration that the name of a driver, cni:REF, says: a file by its path,
// or one in confDir by the name of the network it describes.
func (d *cniDriver) load(driver string) (*libcni.NetworkConfigList, error) {
	_, ref, _ := strings.Cut(driver, ":")
	if ref == "" {
		return nil, errs.New(errs.InvalidParameter, "driver %s needs a configuration: -d cni:NAME, of a network described in %s, or -d cni:/path/to/file.conflist", driver, d.confDir)
	}
	var list *libcni.NetworkConfigList
	var err error
	switch ext := filepath.Ext(ref); {
	case !filepath.IsAbs(ref):
		list, err = libcni.LoadNetworkConf(d.confDir, ref)
	case ext == ".conflist":
		list, err = libcni.NetworkConfFromFile(ref)
	default:
		list, err = loadOne(ref)
	}
	var none libcni.NoConfigsFoundError
	var other libcni.NotFoundError
	switch {
	case errors.As(err, &none), errors.As(err, &other), errors.Is(err, fs.ErrNotExist):
		return nil, errs.New(errs.NotFound, "CNI configuration %s: %w: put it there, or name a file: -d cni:/path/to/file.conflist", ref, err)
	case err != nil:
		return nil, errs.New(errs.InvalidParameter, "CNI configuration %s: %w", ref, err)
	}
	return list, nil
}

// loadOne reads a file that describes a network of one plugin.
func loadOne(path string) (*libcni.NetworkConfigList, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	one, err := libcni.NetworkPluginConfFromBytes(text)
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(map[string]any{"name": one.Network.Name, "cniVersion": one.Network.CNIVersion, "plugins": []json.RawMessage{text}})
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(list)
}

// plan is that of driver.
func (d *cniDriver) plan(n *apinet.Network) (ranging, error) {
	list, err := d.load(n.Driver)
	if err != nil {
		return rangesDriver, err
	}
	for _, c := range n.IPAM.Config {
		if c.Subnet.IsValid() || c.Gateway.IsValid() || c.IPRange.IsValid() {
			return rangesDriver, errs.New(errs.InvalidParameter, "the addresses of network %s come from its CNI configuration %s: set them there, not with --subnet, --gateway or --ip-range", n.Name, list.Name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), cniPatience)
	defer cancel()
	err = onThread(func() error {
		_, err := d.client(n.ID).ValidateNetworkList(ctx, list)
		return err
	})
	if err != nil {
		return rangesDriver, errs.New(errs.InvalidParameter, "CNI configuration %s: %w: install the plugins in one of %s, or say where they are in the engine's environment (CNI_PATH)", list.Name, err, strings.Join(d.plugins, ", "))
	}
	return rangesDriver, nil
}

// open is that of driver. Plugins are asked for nothing until a container
// comes, so a network whose configuration is not there just now is one still.
func (d *cniDriver) open(_ context.Context, n apinet.Network) (lan, traits, error) {
	if err := os.MkdirAll(filepath.Join(d.dir, n.ID), 0o700); err != nil {
		return nil, traits{}, fmt.Errorf("making the folder of a CNI network: %w", err)
	}
	return &cniNetwork{driver: d, net: n}, traits{ipv6: true, noRoute: n.Internal, tidy: true, foreign: true, nickname: "eth"}, nil
}

// client speaks to the plugins of one network.
func (d *cniDriver) client(network string) *libcni.CNIConfig {
	exec := bareExec{&invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: io.Discard}}}
	return libcni.NewCNIConfigWithCacheDir(d.plugins, filepath.Join(d.dir, network), exec)
}

// bareExec runs plugins with nothing of the engine's environment but a PATH.
type bareExec struct{ *invoke.DefaultExec }

// ExecPlugin is that of invoke.Exec.
func (b bareExec) ExecPlugin(ctx context.Context, path string, input []byte, environ []string) ([]byte, error) {
	environ = slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		return !strings.HasPrefix(v, "CNI_") && !strings.HasPrefix(v, "PATH=")
	})
	return b.DefaultExec.ExecPlugin(ctx, path, input, environ)
}

// cniNetwork is a network of cniDriver.
type cniNetwork struct {
	driver *cniDriver
	net    apinet.Network
}

// attachment is an interface that plugins make or have made, as it is kept: to
// be taken back it needs the configuration that it was made by, whatever the
// user has made of that since.
type attachment struct {
	Endpoint
	Name, Version string            // of the configuration
	Plugins       []json.RawMessage // in the order they were run
}

func newAttachment(e Endpoint, list *libcni.NetworkConfigList) attachment {
	a := attachment{Endpoint: e, Name: list.Name, Version: list.CNIVersion}
	for _, p := range list.Plugins {
		a.Plugins = append(a.Plugins, p.Bytes)
	}
	return a
}

func (a attachment) list() (*libcni.NetworkConfigList, error) {
	list := &libcni.NetworkConfigList{Name: a.Name, CNIVersion: a.Version}
	for _, text := range a.Plugins {
		p, err := libcni.NetworkPluginConfFromBytes(text)
		if err != nil {
			return nil, err
		}
		list.Plugins = append(list.Plugins, p)
	}
	return list, nil
}

func (c *cniNetwork) path(endpoint string) string {
	return filepath.Join(c.driver.dir, c.net.ID, endpoint+".json")
}

func (c *cniNetwork) keep(a attachment) error {
	text, err := json.Marshal(a)
	if err == nil {
		err = os.WriteFile(c.path(a.ID), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting an attachment to CNI network %s: %w", c.net.Name, err)
	}
	return nil
}

// attach is that of lan. The plugins do all of it.
func (c *cniNetwork) attach(ctx context.Context, e *Endpoint, at entry, _ map[string]string) (plug, error) {
	list, err := c.driver.load(c.net.Driver)
	if err != nil {
		return plug{}, err
	}
	wished := []netip.Prefix{e.Address4, e.Address6}
	run := c.run(*e, at.ns)
	if err := c.keep(newAttachment(*e, list)); err != nil {
		return plug{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, cniPatience)
	defer cancel()
	// Plugins start in the engine's namespace, not in that of this thread.
	var result types.Result
	err = onThread(func() (err error) {
		result, err = c.driver.client(c.net.ID).AddNetworkList(ctx, list, run)
		return err
	})
	if err == nil {
		err = c.describe(e, result)
	}
	for _, w := range wished {
		if err == nil && w.IsValid() && w.Addr() != e.Address4.Addr() && w.Addr() != e.Address6.Addr() {
			err = errs.New(errs.InvalidParameter, "the plugins of network %s did not give the address %s that was asked for: its configuration must allow that (capability ips)", c.net.Name, w.Addr())
		}
	}
	if err == nil {
		e.HostVeth = c.hostVeth(at, e.Interface)
		err = c.keep(newAttachment(*e, list))
	}
	if err != nil {
		back := c.detach([]Endpoint{{ID: e.ID, Interface: e.Interface}}, leaving{ns: at.ns})
		return plug{}, c.explain(errors.Join(err, back))
	}
	return plug{done: true}, nil
}

// run says what plugins are told of an endpoint.
func (c *cniNetwork) run(e Endpoint, ns *os.File) *libcni.RuntimeConf {
	r := &libcni.RuntimeConf{ContainerID: e.ID, IfName: e.Interface, CapabilityArgs: map[string]any{}}
	if ns != nil {
		r.NetNS = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd())
	}
	if len(e.MAC) > 0 {
		r.CapabilityArgs["mac"] = e.MAC.String()
	}
	var ips []string
	for _, p := range []netip.Prefix{e.Address4, e.Address6} {
		if p.IsValid() {
			ips = append(ips, p.Addr().String())
		}
	}
	if len(ips) > 0 {
		r.CapabilityArgs["ips"] = ips
	}
	return r
}

// describe fills in an endpoint by what plugins say they have made, and has
// the engine's table pass on what is from and to their interfaces on the host.
func (c *cniNetwork) describe(e *Endpoint, result types.Result) error {
	r, err := cni.GetResult(result)
	if err != nil {
		return fmt.Errorf("reading the plugins' answer: %w", err)
	}
	if err := c.pass(r.Interfaces); err != nil {
		return err
	}
	e.Address4, e.Address6, e.Gateway4, e.Gateway6 = netip.Prefix{}, netip.Prefix{}, netip.Addr{}, netip.Addr{}
	for _, i := range r.Interfaces {
		if i.Sandbox == "" || i.Name != e.Interface {
			continue
		}
		if mac, err := net.ParseMAC(i.Mac); err == nil {
			e.MAC = apinet.HardwareAddr(mac)
		}
	}
	for _, ip := range r.IPs {
		if ip.Interface != nil && *ip.Interface < len(r.Interfaces) && r.Interfaces[*ip.Interface].Name != e.Interface {
			continue
		}
		p := prefixOf(&ip.Address)
		gateway, _ := netip.AddrFromSlice(ip.Gateway)
		gateway = gateway.Unmap()
		if !hasDefault(r.Routes, p.Addr().Is4(), &gateway) {
			gateway = netip.Addr{}
		}
		switch {
		case p.Addr().Is4() && !e.Address4.IsValid():
			e.Address4, e.Gateway4 = p, gateway
		case p.Addr().Is6() && !e.Address6.IsValid():
			e.Address6, e.Gateway6 = p, gateway
		}
	}
	return nil
}

// pass puts the host's interfaces among these into the group whose packets are
// forwarded also where the host was no router before the engine came.
func (c *cniNetwork) pass(interfaces []*cni.Interface) error {
	m := c.driver.maker
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	for _, i := range interfaces {
		if i.Sandbox != "" {
			continue
		}
		link, err := m.links.LinkByName(i.Name)
		if err == nil && link.Attrs().Group == 0 {
			err = m.links.LinkSetGroup(link, linkGroup)
		}
		if missing := (netlink.LinkNotFoundError{}); err != nil && !errors.As(err, &missing) {
			return explain(err, "putting interface "+i.Name+" into its group")
		}
	}
	return nil
}

// hasDefault tells whether there is a default route of a family, and changes
// the gateway to that of the route, if it has one.
func hasDefault(routes []*types.Route, v4 bool, gateway *netip.Addr) bool {
	for _, r := range routes {
		if p := prefixOf(&r.Dst); p.Bits() != 0 || p.Addr().Is4() != v4 {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.GW); ok {
			*gateway = a.Unmap()
		}
		return true
	}
	return false
}

// hostVeth returns the name of the interface on the host that the container's
// is connected to, "" if it is none of a pair.
func (c *cniNetwork) hostVeth(at entry, name string) string {
	peer := 0
	links, err := dump(netlink.LinkList) // the thread is in the container's namespace
	if err != nil {
		return ""
	}
	for _, l := range links {
		if l.Attrs().Name == name && l.Type() == "veth" {
			peer = l.Attrs().ParentIndex
		}
	}
	if peer == 0 {
		return ""
	}
	m := c.driver.maker
	m.hostMu.Lock()
	defer m.hostMu.Unlock()
	link, err := m.links.LinkByIndex(peer)
	if err != nil || link.Type() != "veth" {
		return ""
	}
	return link.Attrs().Name
}

// detach is that of lan.
func (c *cniNetwork) detach(es []Endpoint, at leaving) error {
	var failed []error
	for _, e := range es {
		failed = append(failed, c.explain(c.takeBack(e, at.ns)))
	}
	return errors.Join(failed...)
}

func (c *cniNetwork) takeBack(e Endpoint, ns *os.File) error {
	text, err := os.ReadFile(c.path(e.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var a attachment
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return fmt.Errorf("reading an attachment: %w", err)
	}
	list, err := a.list()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), cniPatience)
	defer cancel()
	err = onThread(func() error { return c.driver.client(c.net.ID).DelNetworkList(ctx, list, c.run(a.Endpoint, ns)) })
	if err != nil {
		return err
	}
	return os.Remove(c.path(e.ID))
}

// explain says whose words an error has.
func (c *cniNetwork) explain(err error) error {
	if err == nil {
		return nil
	}
	kind := errs.KindOf(err)
	if kind == errs.Unknown {
		kind = errs.System
	}
	return errs.New(kind, "CNI network %s: %w", c.net.Name, err)
}

// found is that of lan: what is noted, made or begun.
func (c *cniNetwork) found() ([]Endpoint, error) {
	files, err := os.ReadDir(filepath.Join(c.driver.dir, c.net.ID))
	if err != nil {
		return nil, fmt.Errorf("reading the attachments of CNI network %s: %w", c.net.Name, err)
	}
	var all []Endpoint
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		var a attachment
		text, err := os.ReadFile(c.path(id))
		if err != nil || json.Unmarshal(text, &a) != nil {
			continue // half-written by an engine that died before it ran a plugin
		}
		all = append(all, a.Endpoint)
	}
	return all, nil
}

// restore is that of lan: what plugins made, they alone can make again.
func (c *cniNetwork) restore([]Endpoint) (bool, error) { return false, nil }

// close is that of lan.
func (c *cniNetwork) close(remove bool) error {
	if !remove {
		return nil
	}
	return os.RemoveAll(filepath.Join(c.driver.dir, c.net.ID))
}
