package daemon

import (
	"encoding/json"
	"net/netip"
	"path/filepath"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"

	"github.com/davit-engine/davit/network/firewall"
	"github.com/davit-engine/davit/network/ipam"
)

// Config is everything that an engine can be told, with defaults filled in.
// Load makes one.
type Config struct {
	Name        string // the program's name: davitd, or dockerd where it stands in for it
	Version     string // Davit's version; set by whoever calls Load
	File        string // daemon.json; empty or missing: none
	Validate    bool   // check the configuration and end
	RestoreHost bool   // take back what was made on the host's network and end
	Help        bool
	ShowVer     bool
	Labels      []string // key=value, shown by info
	Paths       Paths
	Listen      Listen
	Log         Log
	API         API
	Network     Network
	Images      Images
	Containers  Containers
	Proxy       Proxy
	// ShutdownTimeout is how many seconds requests have to end when the engine
	// stops; negative: no limit.
	ShutdownTimeout int

	set   map[string]bool // by key: given by a flag or in the file
	notes []Note
}

// Paths says where the engine keeps things.
type Paths struct {
	DataRoot string // containers, images, volumes: survives a reboot
	ExecRoot string // sockets and exit records: need not
	PidFile  string // empty: ExecRoot/davitd.pid
	Shim     string // the davit-shim program; empty: found beside davitd, then in PATH
}

// Listen says where clients may come from.
type Listen struct {
	Hosts             []string // unix://path, tcp://host:port, fd:// or fd://name; none: the default sockets
	Group             string   // of unix sockets; empty: davit or docker, whichever exists
	TLS, Verify       bool     // of tcp
	CACert, Cert, Key string
}

// Log says what the engine writes to its standard error.
type Log struct {
	Level  string // debug, info, warn, error; trace, fatal and panic are understood
	Format string // text or json
	Debug  bool   // the same as level debug
}

// API says how the API presents itself.
type API struct {
	MinVersion   string // such as 1.24; empty: the oldest there is
	Experimental bool
	Features     map[string]bool
}

// Network describes the default bridge.
type Network struct {
	Bridge     string // device; empty: davit0; none: no bridge
	BIP        netip.Prefix
	FixedCIDR  netip.Prefix
	IPv6       bool
	BIP6       netip.Prefix
	FixedCIDR6 netip.Prefix
	Gateway    netip.Addr // of containers; zero: the bridge
	Gateway6   netip.Addr
	MTU        int // bytes; 0: as the host's
	Forward    bool
	NoDrop     bool // leave the host's policy for forwarded packets alone
	Masquerade bool
	Filter     bool          // write packet filter rules at all
	ICC        bool          // containers may reach each other
	Firewall   string        // open or respect; empty: open
	Direct     bool          // published ports are open at containers' own addresses too
	Mark       firewall.Mark // packets with it reach containers
	Pool       int           // sandboxes kept ready; 0: the network's default; negative: none
	Ranges     []ipam.Pool   // what new networks get addresses from; a family without: the defaults

	// Where ports are published if nobody says, on all networks and on the
	// default bridge; zero: on all addresses.
	Publish, BridgePublish netip.Addr
	Proxy                  bool                         // pass on what reaches published ports by ways that the packet filter cannot lead
	Options                map[string]map[string]string // of new networks, by driver
}

// apiPools are the address pools as the API shows them.
func (n Network) apiPools() (all []system.NetworkAddressPool) {
	for _, p := range n.Ranges {
		all = append(all, system.NetworkAddressPool(p))
	}
	return all
}

// Images describes pulls and pushes.
type Images struct {
	Mirrors, Insecure                []string
	Downloads, Uploads, PullAttempts int
}

// Containers are defaults for new containers.
type Containers struct {
	CgroupParent    string
	CgroupNS        string // host or private; empty: private on cgroup v2
	IPC             string // private or shareable
	ShmSize         int64  // bytes
	Ulimits         map[string]*container.Ulimit
	Init            bool
	InitPath        string
	UserNS          string // host or auto
	UserNSRemap     string // user, user:group or default; empty: containers have the host's ids
	NoNewPrivileges bool
	Seccomp         string // a file, "builtin" or "unconfined"
	LogDriver       string
	LogOpts         map[string]string
	DNS             DNS
	HostGateways    []netip.Addr // what host-gateway stands for in --add-host
	Runtime         string
	Runtimes        map[string]json.RawMessage
	ExecOpts        []string
	CDIDirs         []string // where devices are described, if that was given
	WarmShims       int      // supervisors kept ready; 0: the engine's default; negative: none
}

// DNS is what containers ask for names, where it is not the host's.
type DNS struct {
	Servers []netip.Addr
	Options []string
	Search  []string
}

// Proxy is for the engine's own requests to registries.
type Proxy struct{ HTTP, HTTPS, No string }

// Note is an option that was given and changes nothing, with the reason.
type Note struct{ Option, Reason string }

// Notes lists the options that were given and change nothing.
func (c *Config) Notes() []Note { return c.notes }

// Given reports whether a key was set by a flag or in the file.
func (c *Config) Given(key string) bool { return c.set[key] }

// Defaults returns what holds when nothing is said. name is how the program
// was called: as dockerd it reads Docker's file.
func Defaults(name string) *Config {
	c := &Config{
		Name: filepath.Base(name), File: "/etc/davit/daemon.json", ShutdownTimeout: 15,
		Paths:   Paths{DataRoot: "/var/lib/davit", ExecRoot: "/run/davit"},
		Log:     Log{Level: "info", Format: "text"},
		Network: Network{Forward: true, Masquerade: true, Filter: true, ICC: true, Proxy: true},
		Images:  Images{Downloads: 3, Uploads: 5, PullAttempts: 5},
		Containers: Containers{
			IPC: "private", UserNS: "host", ShmSize: 64 << 20, Seccomp: "builtin", LogDriver: "json-file", CgroupParent: "/davit",
		},
		API: API{Features: map[string]bool{}},
		set: map[string]bool{},
	}
	if c.Name == "dockerd" {
		c.File = "/etc/docker/daemon.json"
	}
	return c
}

// pidFile returns where the process ID is written.
func (c *Config) pidFile() string {
	if c.Paths.PidFile != "" {
		return c.Paths.PidFile
	}
	return filepath.Join(c.Paths.ExecRoot, "davitd.pid")
}
