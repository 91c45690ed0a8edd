package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/davit-engine/davit/network/firewall"
)

// option is one thing that can be configured, under dockerd's name where
// dockerd has it.
type option struct {
	flag  string // empty: only in the file
	short string
	key   string // in daemon.json; empty: only as a flag
	help  string // as in --help; empty: hidden there
	value value

	inert  string       // not empty: it changes nothing, for this reason
	refuse func() error // not nil: asked when the option is given
	reload bool         // a reload may change it
	merge  bool         // may be given by flags and in the file at once
	old    []string     // other keys for the same
}

// options is the table of all there is, bound to c. The list of dockerd's is
// that of Docker 29: daemon/command/config.go, config_unix.go and options.go,
// and the keys of daemon/config that have no flag.
func options(c *Config) []option {
	all := [][]option{general(c), listening(c), logging(c), imaging(c), networking(c), containing(c), inert()}
	var list []option
	for _, l := range all {
		list = append(list, l...)
	}
	return list
}

func general(c *Config) []option {
	return []option{
		{flag: "config-file", help: "Daemon configuration file", value: text(&c.File, nil)},
		{flag: "validate", help: "Validate daemon configuration and exit", value: boolean(&c.Validate)},
		{flag: "restore-host", help: "Take back what the engine made on the host's network (packet filter, bridges, kernel parameters) and exit; while it does not run, and no container", value: boolean(&c.RestoreHost)},
		{flag: "help", short: "h", help: "Print usage", value: boolean(&c.Help)},
		{flag: "version", short: "v", help: "Print version information and quit", value: boolean(&c.ShowVer)},
		{flag: "data-root", key: "data-root", help: "Root directory of persistent state", value: text(&c.Paths.DataRoot, notEmpty)},
		{flag: "exec-root", key: "exec-root", help: "Root directory for execution state files", value: text(&c.Paths.ExecRoot, notEmpty)},
		{flag: "pidfile", short: "p", key: "pidfile", help: "Path to use for daemon PID file (default EXEC-ROOT/davitd.pid)", value: text(&c.Paths.PidFile, nil)},
		{flag: "shim-path", key: "shim-path", help: "Path of the davit-shim program (default beside davitd, then in PATH)", value: text(&c.Paths.Shim, nil)},
		{flag: "label", key: "labels", help: "Set key=value labels to the daemon", value: texts(&c.Labels, label)},
		{flag: "shutdown-timeout", key: "shutdown-timeout", help: "Seconds that requests have to end when the daemon stops", value: integer(&c.ShutdownTimeout, -1), reload: true},
		{flag: "experimental", key: "experimental", help: "Enable experimental features", value: boolean(&c.API.Experimental)},
		{flag: "feature", key: "features", help: "Enable feature in the daemon", value: bools(&c.API.Features)},
		{flag: "min-api-version", key: "min-api-version", help: "Oldest API version to serve", value: text(&c.API.MinVersion, apiVersion)},
		{flag: "http-proxy", key: "http-proxy", help: "HTTP proxy URL to use for outgoing traffic", value: text(&c.Proxy.HTTP, nil)},
		{flag: "https-proxy", key: "https-proxy", help: "HTTPS proxy URL to use for outgoing traffic", value: text(&c.Proxy.HTTPS, nil)},
		{flag: "no-proxy", key: "no-proxy", help: "Comma-separated list of hosts or IP addresses for which the proxy is skipped", value: text(&c.Proxy.No, nil)},
	}
}

func listening(c *Config) []option {
	return []option{
		{flag: "host", short: "H", key: "hosts", help: "Socket(s) to listen on: unix://PATH, tcp://HOST:PORT, fd:// (default davit.sock in EXEC-ROOT, and /var/run/docker.sock if it is free)", value: texts(&c.Listen.Hosts, hostForm)},
		{flag: "group", short: "G", key: "group", help: "Group for the unix sockets (default davit or docker, if there is such a group)", value: text(&c.Listen.Group, nil)},
		{flag: "tls", key: "tls", help: "Use TLS; implied by --tlsverify", value: boolean(&c.Listen.TLS)},
		{flag: "tlsverify", key: "tlsverify", help: "Use TLS and verify the remote", value: boolean(&c.Listen.Verify)},
		{flag: "tlscacert", key: "tlscacert", help: "Trust certs signed only by this CA (default ca.pem in DOCKER_CERT_PATH or ~/.docker)", value: text(&c.Listen.CACert, nil)},
		{flag: "tlscert", key: "tlscert", help: "Path to TLS certificate file (default cert.pem there)", value: text(&c.Listen.Cert, nil)},
		{flag: "tlskey", key: "tlskey", help: "Path to TLS key file (default key.pem there)", value: text(&c.Listen.Key, nil)},
	}
}

func logging(c *Config) []option {
	return []option{
		{flag: "debug", short: "D", key: "debug", help: "Enable debug mode", value: boolean(&c.Log.Debug), reload: true},
		{flag: "log-level", short: "l", key: "log-level", help: `Set the logging level ("debug"|"info"|"warn"|"error"|"fatal")`, value: text(&c.Log.Level, logLevel), reload: true},
		{flag: "log-format", key: "log-format", help: `Set the logging format ("text"|"json")`, value: text(&c.Log.Format, oneOf("invalid log format", "text", "json"))},
		{flag: "raw-logs", key: "raw-logs", help: "Full timestamps without ANSI coloring", value: boolean(new(bool)), inert: "the log is never coloured and its timestamps are always full"},
	}
}

func imaging(c *Config) []option {
	return []option{
		{flag: "registry-mirror", key: "registry-mirrors", help: "Preferred registry mirror", value: texts(&c.Images.Mirrors, mirror)},
		{flag: "insecure-registry", key: "insecure-registries", help: "Enable insecure registry communication", value: texts(&c.Images.Insecure, indexName)},
		{flag: "max-concurrent-downloads", key: "max-concurrent-downloads", help: "Set the max concurrent downloads", value: integer(&c.Images.Downloads, 0)},
		{flag: "max-concurrent-uploads", key: "max-concurrent-uploads", help: "Set the max concurrent uploads", value: integer(&c.Images.Uploads, 0)},
		{flag: "max-download-attempts", key: "max-download-attempts", help: "Set the max download attempts for each pull", value: integer(&c.Images.PullAttempts, 0)},
	}
}

func networking(c *Config) []option {
	n := &c.Network
	return []option{
		{flag: "bridge", short: "b", key: "bridge", help: `Attach containers to a network bridge (default davit0; "none": no bridge)`, value: text(&n.Bridge, bridgeName)},
		{flag: "bip", key: "bip", help: "IPv4 address for the default bridge", value: parsed(&n.BIP, "prefix", ipv4Prefix)},
		{flag: "fixed-cidr", key: "fixed-cidr", help: "IPv4 subnet for the default bridge network", value: parsed(&n.FixedCIDR, "prefix", ipv4Prefix)},
		{flag: "ipv6", key: "ipv6", help: "Enable IPv6 for the default bridge network", value: boolean(&n.IPv6)},
		{flag: "bip6", key: "bip6", help: "IPv6 address for the default bridge", value: parsed(&n.BIP6, "prefix", ipv6Prefix)},
		{flag: "fixed-cidr-v6", key: "fixed-cidr-v6", help: "IPv6 subnet for the default bridge network", value: parsed(&n.FixedCIDR6, "prefix", ipv6Prefix)},
		{flag: "default-gateway", key: "default-gateway", help: "Default gateway of containers on the default bridge network, by IPv4", value: parsed(&n.Gateway, "address", netip.ParseAddr)},
		{flag: "default-gateway-v6", key: "default-gateway-v6", help: "Default gateway of containers on the default bridge network, by IPv6", value: parsed(&n.Gateway6, "address", netip.ParseAddr)},
		{flag: "mtu", key: "mtu", help: "Set the MTU for the default bridge network (default that of the host)", value: integer(&n.MTU, 0)},
		{flag: "ip-forward", key: "ip-forward", help: "Enable IP forwarding in system configuration", value: boolean(&n.Forward)},
		{flag: "ip-forward-no-drop", key: "ip-forward-no-drop", help: "Do not drop other forwarded traffic when enabling IP forwarding", value: boolean(&n.NoDrop)},
		{flag: "ip-masq", key: "ip-masq", help: "Enable IP masquerading for the default bridge network", value: boolean(&n.Masquerade)},
		{flag: "iptables", key: "iptables", help: "Write packet filter rules (by nftables); without, nothing is masqueraded", value: boolean(&n.Filter)},
		{flag: "icc", key: "icc", help: "Enable inter-container communication for the default bridge network", value: boolean(&n.ICC)},
		{flag: "firewall-mode", key: "firewall-mode", help: `What the host's own firewall means for published ports ("open": nothing | "respect": it decides who reaches them)`, value: text(&n.Firewall, oneOf("invalid firewall mode", "open", "respect"))},
		{flag: "allow-direct-routing", key: "allow-direct-routing", help: "Allow remote access to published ports on container IP addresses", value: boolean(&n.Direct)},
		{flag: "bridge-accept-fwmark", key: "bridge-accept-fwmark", help: "In bridge networks, accept packets with this firewall mark/mask", value: parsed(&n.Mark, "mark", firewall.ParseMark)},
		{flag: "network-pool", key: "network-pool", help: "Number of network sandboxes to keep ready (negative: none)", value: integer(&n.Pool, -1)},
		{flag: "default-address-pool", key: "default-address-pools", help: "Default address pools for networks: base=CIDR,size=PREFIX-LENGTH", value: addressPools{&n.Ranges}},
		{flag: "ip", key: "ip", help: "Host IP for port publishing from the default bridge network", value: parsed(&n.BridgePublish, "address", hostAddress)},
		{flag: "publish-default-ip", key: "publish-default-ip", help: "Host IP for port publishing from networks that do not say (127.0.0.1: no port is open to others)", value: parsed(&n.Publish, "address", hostAddress)},
		{flag: "userland-proxy", key: "userland-proxy", help: "Pass on what reaches published ports and the packet filter cannot lead to containers", value: boolean(&n.Proxy)},
		{flag: "default-network-opt", key: "default-network-opts", help: "Default network options: driver=option=value", value: grouped(&n.Options)},
		{flag: "dns", key: "dns", help: "DNS server to use", value: list[netip.Addr]{&c.Containers.DNS.Servers, netip.ParseAddr}},
		{flag: "host-gateway-ip", key: "host-gateway-ips", help: "IP addresses that host-gateway stands for in --add-host; the default bridge's by default", value: list[netip.Addr]{&c.Containers.HostGateways, netip.ParseAddr}, old: []string{"host-gateway-ip"}},
		{flag: "dns-opt", key: "dns-opts", help: "DNS options to use", value: texts(&c.Containers.DNS.Options, nil)},
		{flag: "dns-search", key: "dns-search", help: "DNS search domains to use", value: texts(&c.Containers.DNS.Search, dnsSearch)},
	}
}

func containing(c *Config) []option {
	d := &c.Containers
	var rootless bool
	var plugins []string
	return []option{
		{flag: "cgroup-parent", key: "cgroup-parent", help: "Set parent cgroup for all containers", value: text(&d.CgroupParent, nil)},
		{flag: "default-cgroupns-mode", key: "default-cgroupns-mode", help: `Default mode for containers cgroup namespace ("host" | "private")`, value: text(&d.CgroupNS, oneOf("invalid default cgroup namespace", "host", "private"))},
		{flag: "default-ipc-mode", key: "default-ipc-mode", help: `Default mode for containers ipc ("shareable" | "private")`, value: text(&d.IPC, oneOf("IPC mode is not supported as default value", "shareable", "private"))},
		{flag: "default-shm-size", key: "default-shm-size", help: "Default shm size for containers", value: bytesValue(&d.ShmSize)},
		{flag: "default-ulimit", key: "default-ulimits", help: "Default ulimits for containers", value: ulimits(&d.Ulimits)},
		{flag: "init", key: "init", help: "Run an init in the container to forward signals and reap processes", value: boolean(&d.Init)},
		{flag: "init-path", key: "init-path", help: "Path to the init binary", value: text(&d.InitPath, nil), old: []string{"default-init"}},
		{flag: "no-new-privileges", key: "no-new-privileges", help: "Set no-new-privileges by default for new containers", value: boolean(&d.NoNewPrivileges)},
		{flag: "seccomp-profile", key: "seccomp-profile", help: `Path to seccomp profile. Set to "unconfined" to disable the default seccomp profile`, value: text(&d.Seccomp, nil)},
		{flag: "log-driver", key: "log-driver", help: "Default driver for container logs", value: text(&d.LogDriver, nil)},
		{flag: "log-opt", key: "log-opts", help: "Default log driver options for containers", value: strs(&d.LogOpts)},
		{flag: "default-runtime", key: "default-runtime", help: "Default OCI runtime for containers", value: text(&d.Runtime, nil)},
		{flag: "add-runtime", key: "runtimes", help: "Register an additional OCI compatible runtime", value: raws(&d.Runtimes), merge: true},
		{flag: "exec-opt", key: "exec-opts", help: "Runtime execution options", value: texts(&d.ExecOpts, execOption)},
		{flag: "cdi-spec-dir", key: "cdi-spec-dirs", help: "CDI specification directories to use", value: texts(&d.CDIDirs, nil)},
		{flag: "warm-shims", key: "warm-shims", help: "Number of container supervisors to keep ready (negative: none)", value: integer(&d.WarmShims, -1)},
		{flag: "default-userns", key: "default-userns", help: `Default user namespace of containers ("host" | "auto": each one of its own)`, value: text(&d.UserNS, oneOf("invalid default user namespace", "host", "auto"))},
		{flag: "userns-remap", key: "userns-remap", help: "User/Group setting for user namespaces", value: text(&d.UserNSRemap, usernsRemap)},
		{flag: "rootless", key: "rootless", help: "Enable rootless mode; typically used with RootlessKit", value: boolean(&rootless),
			refuse: func() error {
				return unless(!rootless, "rootless mode is not supported yet: remove rootless and start davitd as root")
			}},
		{flag: "authorization-plugin", key: "authorization-plugins", help: "Authorization plugins to load", value: texts(&plugins, nil),
			refuse: func() error {
				return unless(len(plugins) == 0, "authorization plugins are not supported yet, and leaving them out would let everybody in: remove authorization-plugins")
			}},
		{key: "api-cors-header", value: anything{}, refuse: func() error {
			return errors.New("api-cors-header was removed from Docker: use a reverse proxy if you need CORS headers")
		}},
	}
}

func unless(ok bool, message string) error {
	if ok {
		return nil
	}
	return errors.New(message)
}

// inert lists dockerd's options that change nothing here, and why.
func inert() []option {
	const (
		noPublished = "no ports are published yet"
		noSwarm     = "there is no swarm mode"
		ownStore    = "images and layers are kept by the engine itself: there is no separate containerd"
	)
	var flag bool
	var number int
	var word string
	b, n, s := boolean(&flag), integer(&number, 0), text(&word, nil)
	l := texts(new([]string), nil)
	return []option{
		{flag: "live-restore", key: "live-restore", value: b, inert: "containers always keep running when the daemon stops", help: "Containers keep running without the daemon (always on)"},
		{flag: "restart", short: "r", value: b, inert: "each container's restart policy decides"},
		{flag: "storage-driver", short: "s", key: "storage-driver", value: s, inert: "overlay file systems are the only storage driver"},
		{flag: "storage-opt", key: "storage-opts", value: l, inert: "the storage driver has no options"},
		{flag: "containerd", key: "containerd", value: s, inert: ownStore},
		{flag: "containerd-namespace", key: "containerd-namespace", value: s, inert: ownStore},
		{flag: "containerd-plugins-namespace", key: "containerd-plugins-namespace", value: s, inert: ownStore, old: []string{"containerd-plugin-namespace"}},
		{flag: "cri-containerd", key: "cri-containerd", value: b, inert: ownStore},
		{flag: "nri-opts", key: "nri-opts", value: anything{}, inert: "node resource plugins are not supported"},
		{flag: "selinux-enabled", key: "selinux-enabled", value: b, inert: "containers get no SELinux labels yet"},
		{flag: "cpu-rt-period", key: "cpu-rt-period", value: n, inert: "real-time scheduling is set per container only"},
		{flag: "cpu-rt-runtime", key: "cpu-rt-runtime", value: n, inert: "real-time scheduling is set per container only"},
		{flag: "metrics-addr", key: "metrics-addr", value: s, inert: "there are no Prometheus metrics yet"},
		{flag: "firewall-backend", key: "firewall-backend", value: text(&word, oneOf("invalid firewall-backend", "", "iptables", "nftables")), inert: "the packet filter is always nftables, in a table of the engine's own"},
		{flag: "ip6tables", key: "ip6tables", value: b, inert: "packet filter rules for IPv6 are written where those for IPv4 are (iptables)"},
		{flag: "userland-proxy-path", key: "userland-proxy-path", value: s, inert: "no proxy program is used for published ports"},
		{flag: "network-control-plane-mtu", key: "network-control-plane-mtu", value: n, inert: noSwarm},
		{flag: "network-diagnostic-port", key: "network-diagnostic-port", value: n, inert: "there is no network diagnostic server"},
		{flag: "swarm-default-advertise-addr", key: "swarm-default-advertise-addr", value: s, inert: noSwarm},
		{flag: "node-generic-resource", key: "node-generic-resources", value: l, inert: noSwarm},
		{key: "swarm-raft-heartbeat-tick", value: n, inert: noSwarm},
		{key: "swarm-raft-election-tick", value: n, inert: noSwarm},
		{key: "builder", value: anything{}, inert: "there is no builder yet"},
		{key: "resolv-conf", value: s, inert: "containers start from the host's /etc/resolv.conf"},
		{key: "extension-config", value: anything{}, inert: "extensions are not supported"},
		{key: "deprecated-key-path", value: anything{}, inert: "image manifests of schema 1 are not signed any more"},
		{key: "allow-nondistributable-artifacts", value: l, inert: "layers are pushed wherever they come from"},
	}
}

func bridgeName(s string) error {
	if len(s) > 15 { // IFNAMSIZ
		return fmt.Errorf("invalid bridge name %s: the kernel allows 15 characters, these are %s", strconv.Quote(s), strconv.Itoa(len(s)))
	}
	return nil
}
