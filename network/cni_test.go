package network

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/test/alone"
	apinet "github.com/moby/moby/api/types/network"
)

// needCNI skips a test where the reference plugins are not installed.
func needCNI(t testing.TB) {
	t.Helper()
	for _, dir := range []string{"/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni"} {
		if _, err := os.Stat(filepath.Join(dir, "host-local")); err == nil {
			return
		}
	}
	t.Skip("needs the CNI plugins (Debian: containernetworking-plugins)")
}

// cniConf writes a configuration of the reference plugins for the network
// 10.88.0.0/24, followed by other plugins, and returns its path and the folder
// of leases.
func cniConf(t testing.TB, others ...string) (path, leases string) {
	t.Helper()
	dir := t.TempDir()
	leases = filepath.Join(dir, "leases")
	plugins := append([]string{`{
		"type": "bridge", "bridge": "cni7", "isGateway": true, "hairpinMode": true, "capabilities": {"ips": true, "mac": true},
		"ipam": {"type": "host-local", "dataDir": "` + leases + `", "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd88::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
	}`}, others...)
	path = filepath.Join(dir, "77-test.conflist")
	text := `{"cniVersion": "0.4.0", "name": "testnet", "plugins": [` + strings.Join(plugins, ",") + `]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, filepath.Join(leases, "testnet")
}

// leased lists the addresses that host-local has given out.
func leased(t testing.TB, dir string) (all []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if a, err := netip.ParseAddr(f.Name()); err == nil {
			all = append(all, a.String())
		}
	}
	return all
}

// TestCNI: plugins connect containers, and take it all back.
func TestCNI(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needCNI(t)
	path, leases := cniConf(t)
	s := open(t, testConfig(t))
	s.drivers[kindCNI].(*cniDriver).confDir = filepath.Dir(path)
	n := create(t, s, apinet.CreateRequest{Name: "pods", Driver: "cni:testnet"})
	if len(n.IPAM.Config) != 0 {
		t.Errorf("ranges %v", n.IPAM.Config)
	}
	a := acquire(t, s, Wish{Network: n.ID})
	b := acquire(t, s, Wish{Network: "pods", Address4: netip.MustParseAddr("10.88.0.77"), MAC: apinet.HardwareAddr{2, 0, 0, 0, 0, 9}})
	e := a.place()
	if e.Address4.String() != "10.88.0.2/24" || e.Address6.String() != "fd88::2/64" || e.Gateway4.String() != "10.88.0.1" || e.Gateway6.String() != "fd88::1" || e.Interface != "eth0" {
		t.Errorf("endpoint %+v", e)
	}
	if _, err := net.InterfaceByName(e.HostVeth); err != nil {
		t.Errorf("interface %q on the host: %v", e.HostVeth, err)
	}
	if p := b.place(); p.Address4.String() != "10.88.0.77/24" || p.MAC.String() != "02:00:00:00:00:09" {
		t.Errorf("wished for: %+v", p)
	}
	if got, want := look(t, a.NetNS), "eth0: 10.88.0.2/24 fd88::2/64\nlo: 127.0.0.1/8 ::1/128\ndefault via 10.88.0.1 dev eth0\ndefault via fd88::1 dev eth0\n"; got != want {
		t.Errorf("inside:\n%swant\n%s", got, want)
	}
	serve(t, b.NetNS)
	if who, err := ask(t, a.NetNS, b.place().Address4.Addr(), 5*time.Second); err != nil || who != "10.88.0.2" {
		t.Errorf("from one to the other: %q, %v", who, err)
	}
	if err := s.Remove(t.Context(), n.ID); errs.KindOf(err) != errs.Forbidden {
		t.Errorf("removing a network in use: %v", err)
	}
	for _, x := range []*Sandbox{a, b} {
		x.NetNS.Close()
		s.Release(*x.place())
	}
	eventually(t, "leases given back", func() bool { return len(leased(t, leases)) == 0 })
	// It joins a container that runs beside the default bridge, and leaves it.
	box := acquire(t, s, Wish{})
	joined, err := s.Connect(t.Context(), box.NetNS, box.Endpoints, Wish{Network: n.ID})
	if err != nil {
		t.Fatal(err)
	}
	if joined.Interface != "eth1" || len(leased(t, leases)) != 2 {
		t.Errorf("joined: %+v, leases %v", joined, leased(t, leases))
	}
	if err := s.Disconnect(t.Context(), box.NetNS, joined, box.Endpoints); err != nil {
		t.Fatal(err)
	}
	if got := look(t, box.NetNS); strings.Contains(got, "eth1") || len(leased(t, leases)) != 0 {
		t.Errorf("after it left, leases %v, inside:\n%s", leased(t, leases), got)
	}
	if err := s.Remove(t.Context(), n.ID); err != nil {
		t.Error(err)
	}
}

// TestCNILeftovers: what an engine that died has attached is taken back by the
// next one, but for what belongs to a container that runs, even if the
// configuration is gone by then.
func TestCNILeftovers(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needCNI(t)
	path, leases := cniConf(t)
	config := testConfig(t)
	s := open(t, config)
	n := create(t, s, apinet.CreateRequest{Name: "pods", Driver: "cni:" + path})
	kept, lost := acquire(t, s, Wish{Network: n.ID}), acquire(t, s, Wish{Network: n.ID})
	// As if the engine had died before it knew what the plugins made.
	begun := attachment{Endpoint: Endpoint{ID: lost.place().ID, Interface: "eth0"}}
	var full attachment
	c := s.drivers[kindCNI].(*cniDriver)
	note := filepath.Join(c.dir, n.ID, lost.place().ID+".json")
	text, err := os.ReadFile(note)
	if err == nil {
		err = json.Unmarshal(text, &full)
	}
	if err != nil {
		t.Fatal(err)
	}
	begun.Name, begun.Version, begun.Plugins = full.Name, full.Version, full.Plugins
	if text, err = json.Marshal(begun); err == nil {
		err = os.WriteFile(note, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(false); err != nil {
		t.Fatal(err)
	}
	lost.NetNS.Close()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	s = adopt(t, config)
	if err := s.Reserve(*kept.place()); err != nil {
		t.Fatal(err)
	}
	s.Ready()
	eventually(t, "one lease given back", func() bool {
		return fmt.Sprint(leased(t, leases)) == fmt.Sprint([]string{kept.place().Address4.Addr().String(), kept.place().Address6.Addr().String()})
	})
	if got := look(t, kept.NetNS); !strings.Contains(got, "default via 10.88.0.1 dev eth0") {
		t.Errorf("of the container that runs:\n%s", got)
	}
	if _, err := s.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil); errs.KindOf(err) != errs.NotFound {
		t.Errorf("a new one: %v", err)
	}
	kept.NetNS.Close()
	s.Release(*kept.place())
	eventually(t, "all leases given back", func() bool { return len(leased(t, leases)) == 0 })
	if err := s.Remove(t.Context(), n.ID); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(note)); err == nil {
		t.Error("the network's folder stays")
	}
}

// plugin writes a plugin of this test's own, a script, and returns its folder.
func plugin(t testing.TB, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\n[ \"$CNI_COMMAND\" != VERSION ] || { echo '{\"cniVersion\":\"0.4.0\",\"supportedVersions\":[\"0.4.0\"]}'; exit 0; }\n" + script
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCNIFailures: what a plugin says is what the user reads, and nothing of
// an attempt stays.
func TestCNIFailures(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needCNI(t)
	path, leases := cniConf(t, `{"type": "odd"}`)
	calls := filepath.Join(t.TempDir(), "calls")
	dir := plugin(t, "odd", `echo "$CNI_COMMAND $CNI_IFNAME $DAVIT_NETWORK_TEST" >>`+calls+`
[ $CNI_COMMAND = DEL ] || { echo '{"cniVersion":"0.4.0","code":101,"msg":"the mesh is down","details":"no peer answers"}'; exit 1; }
`)
	config := testConfig(t)
	s := open(t, config)
	c := s.drivers[kindCNI].(*cniDriver)
	request := apinet.CreateRequest{Name: "pods", Driver: "cni:" + path}
	if _, _, err := s.Create(t.Context(), request); errs.KindOf(err) != errs.InvalidParameter || !strings.Contains(err.Error(), `"odd"`) || !strings.Contains(err.Error(), "install the plugins in one of ") {
		t.Errorf("without the plugin: %v", err)
	}
	c.plugins = append(c.plugins, dir)
	n := create(t, s, request)
	_, err := s.Acquire(t.Context(), []Wish{{Network: n.ID}}, nil)
	if errs.KindOf(err) != errs.System || !strings.Contains(err.Error(), `CNI network pods: plugin type="odd" failed (add): the mesh is down; no peer answers`) {
		t.Errorf("%v", err)
	}
	if got := leased(t, leases); len(got) != 0 {
		t.Errorf("leases %v", got)
	}
	if text, _ := os.ReadFile(calls); string(text) != "ADD eth0 \nDEL eth0 \n" {
		t.Errorf("the plugin was called for %q", text)
	}
	if files, _ := filepath.Glob(filepath.Join(c.dir, n.ID, "*.json")); len(files) != 0 {
		t.Errorf("notes %v", files)
	}
	if got := s.Status(n.ID); len(got.IPAM.Subnets) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestManyAtOnce: containers come to and leave networks without bridge side by
// side; each has addresses of its own, and nothing of them stays.
func TestManyAtOnce(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needKind(t, kindMacvlan)
	needCNI(t)
	newWorld(t, 0)
	path, leases := cniConf(t)
	config := testConfig(t)
	config.PoolSize = -1
	s := open(t, config)
	lan := create(t, s, onLAN("lan", "macvlan", "parent", "uplink"))
	pods := create(t, s, apinet.CreateRequest{Name: "pods", Driver: "cni:" + path})
	files := openFiles(t)
	const count = 12
	boxes := make([]*Sandbox, count)
	var wg sync.WaitGroup
	for i := range boxes {
		wg.Go(func() {
			box, err := s.Acquire(t.Context(), []Wish{{Network: lan.ID}, {Network: pods.ID}}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			boxes[i] = box
		})
	}
	wg.Wait()
	seen := map[netip.Prefix]bool{}
	for _, box := range boxes {
		if box == nil {
			continue
		}
		for _, e := range box.Endpoints {
			if !e.Address4.IsValid() || seen[e.Address4] {
				t.Errorf("%s is given twice, or none", e.Address4)
			}
			seen[e.Address4] = true
		}
		wg.Go(func() {
			box.NetNS.Close()
			for _, e := range box.Endpoints {
				s.Release(e)
			}
		})
	}
	wg.Wait()
	eventually(t, "leases given back", func() bool { return len(leased(t, leases)) == 0 })
	if left := s.drivers[kindMacvlan].(*stackedDriver).parents; len(left.users["uplink"]) != 1 {
		t.Errorf("%v", left.users)
	}
	eventually(t, "files closed", func() bool { return openFiles(t) <= files })
}

func TestCNIRefusals(t *testing.T) {
	if !alone.Run(t) {
		return
	}
	needCNI(t)
	path, _ := cniConf(t)
	broken := filepath.Join(t.TempDir(), "broken.conflist")
	if err := os.WriteFile(broken, []byte(`{"name": "x", "plugins": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, testConfig(t))
	s.drivers[kindCNI].(*cniDriver).confDir = filepath.Dir(path)
	for _, c := range []struct {
		driver, subnet string
		kind           errs.Kind
		text           string
	}{
		{"cni:", "", errs.InvalidParameter, "needs a configuration: -d cni:NAME"},
		{"cni", "", errs.InvalidParameter, "needs a configuration: -d cni:NAME"},
		{"cni:other", "", errs.NotFound, "CNI configuration other: "},
		{"cni:/nothing/there.conflist", "", errs.NotFound, "CNI configuration /nothing/there.conflist: "},
		{"cni:" + broken, "", errs.InvalidParameter, "CNI configuration " + broken + ": "},
		{"cni:testnet", "10.0.0.0/24", errs.InvalidParameter, "the addresses of network x come from its CNI configuration testnet: set them there"},
	} {
		r := apinet.CreateRequest{Name: "x", Driver: c.driver, IPAM: &apinet.IPAM{}}
		if c.subnet != "" {
			r.IPAM.Config = []apinet.IPAMConfig{{Subnet: netip.MustParsePrefix(c.subnet)}}
		}
		if _, _, err := s.Create(t.Context(), r); errs.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("%s: %v (%v), want %v with %q", c.driver, err, errs.KindOf(err), c.kind, c.text)
		}
	}
	one := filepath.Join(t.TempDir(), "one.conf")
	if err := os.WriteFile(one, []byte(`{"cniVersion": "0.4.0", "name": "one", "type": "bridge", "bridge": "cni8", "ipam": {"type": "host-local", "dataDir": "`+t.TempDir()+`", "ranges": [[{"subnet": "10.89.0.0/24"}]]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	single := create(t, s, apinet.CreateRequest{Name: "single", Driver: "cni:" + one})
	if got := acquire(t, s, Wish{Network: single.ID}).place().Address4.String(); got != "10.89.0.2/24" {
		t.Errorf("by a file of one plugin: %s", got)
	}
	n := create(t, s, apinet.CreateRequest{Name: "pods", Driver: "cni:testnet"})
	if _, err := s.Acquire(t.Context(), []Wish{{Network: n.ID, Address4: netip.MustParseAddr("10.99.0.1")}}, nil); err == nil {
		t.Error("an address of another range was given")
	}
}
