package container

import (
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/davit-engine/davit/cli/flags"
)

// creation are the options that describe a container, those that run and
// create share. Zero values are the defaults; what they mean to the engine is
// in request.go.
type creation struct {
	identity
	process
	storage
	networking
	isolation
	limits
	health
}

type identity struct {
	name, platform, pull, cidFile                   string
	quiet                                           bool
	labels, labelFiles, annotations, dependsOn      flags.List
	logDriver, restart, runtime, stopSignal         string
	logOptions, storageOptions                      flags.List
	stopTimeout                                     int
	autoRemove, useInit, disableTrust, useAPISocket bool
	credentials                                     userCredentials // what useAPISocket gives along
	attach                                          flags.List
}

type process struct {
	tty, stdin                                      bool
	env, envFiles, groups                           flags.List
	umask                                           flags.Umask
	user, workdir, entrypoint, hostname, domainname string
}

type storage struct {
	volumes, volumesFrom, tmpfs flags.List
	mounts                      flags.Mounts
	volumeDriver                string
	readOnly                    bool
	shmSize                     flags.Bytes
}

type networking struct {
	networks                          flags.Networks
	aliases, links                    flags.List
	ip, ip6                           flags.Address
	linkLocal                         flags.Addresses
	mac                               flags.MAC
	dns, dnsOptions, dnsSearch, hosts flags.List
	publish, expose                   flags.List
	publishAll                        bool
	rate                              string
}

type isolation struct {
	capAdd, capDrop, security                          flags.List
	privileged                                         bool
	pid, uts, userns, ipc, cgroupns, cgroupParent, how string
	sysctls                                            flags.Map
	devices, deviceRules                               flags.List
	gpus                                               flags.GPUs
	oomScoreAdj                                        int
}

type limits struct {
	memory, memoryReservation, memorySwap, kernelMemory flags.Bytes
	swappiness, pids                                    int64
	oomKillDisable                                      bool
	cpus                                                flags.CPUs
	cpuShares, cpuPeriod, cpuQuota                      int64
	cpuRTPeriod, cpuRTRuntime, cpuCount, cpuPercent     int64
	cpusetCPUs, cpusetMems                              string
	blkioWeight                                         uint16
	weights                                             flags.Weights
	readBps, writeBps, readIOps, writeIOps              flags.Throttles
	ioMaxBandwidth                                      flags.Bytes
	ioMaxIOps                                           uint64
	ulimits                                             flags.Ulimits
}

type health struct {
	command                                       string
	interval, timeout, startPeriod, startInterval time.Duration
	retries                                       int
	disable                                       bool
	onFailure                                     string
}

// addTo registers every option; descriptions and types are those that docker's
// help shows.
func (c *creation) addTo(f *pflag.FlagSet) {
	c.identity.addTo(f)
	c.process.addTo(f)
	c.storage.addTo(f)
	c.networking.addTo(f)
	c.isolation.addTo(f)
	c.limits.addTo(f)
	c.health.addTo(f)
}

func (c *identity) addTo(f *pflag.FlagSet) {
	c.attach.Check = flags.AttachStream
	c.labels.Check = flags.Label
	f.StringVar(&c.name, "name", "", "Assign a name to the container")
	f.StringVar(&c.pull, "pull", "missing", `Pull image before creating ("always", "missing", "never")`)
	f.BoolVarP(&c.quiet, "quiet", "q", false, "Suppress the pull output")
	f.StringVar(&c.platform, "platform", os.Getenv("DOCKER_DEFAULT_PLATFORM"), "Set platform if server is multi-platform capable")
	f.StringVar(&c.cidFile, "cidfile", "", "Write the container ID to the file")
	f.VarP(&c.attach, "attach", "a", "Attach to STDIN, STDOUT or STDERR")
	f.VarP(&c.labels, "label", "l", "Set meta data on a container")
	f.Var(&c.labelFiles, "label-file", "Read in a line delimited file of labels")
	f.Var(&c.dependsOn, "depends-on", "Start another container before, and wait for it (NAME[:started|healthy|completed])")
	f.Var(&c.annotations, "annotation", "Add an annotation to the container (passed through to the OCI runtime)")
	f.StringVar(&c.logDriver, "log-driver", "", "Logging driver for the container")
	f.Var(&c.logOptions, "log-opt", "Log driver options")
	f.StringVar(&c.restart, "restart", "no", "Restart policy to apply when a container exits")
	f.StringVar(&c.runtime, "runtime", "", "Runtime to use for this container")
	f.StringVar(&c.stopSignal, "stop-signal", "", "Signal to stop the container")
	f.IntVar(&c.stopTimeout, "stop-timeout", 0, "Timeout (in seconds) to stop a container")
	f.Var(&c.storageOptions, "storage-opt", "Storage driver options for the container")
	f.BoolVar(&c.autoRemove, "rm", false, "Automatically remove the container and its associated anonymous volumes when it exits")
	f.BoolVar(&c.useInit, "init", false, "Run an init inside the container that forwards signals and reaps processes")
	f.BoolVar(&c.disableTrust, "disable-content-trust", true, "Skip image verification")
	f.BoolVar(&c.useAPISocket, "use-api-socket", false, "Bind mount Docker API socket and required auth")
	_ = f.MarkHidden("disable-content-trust") // content trust is gone from Docker 29; the flag stays accepted
	// Add an explicit help that has no shorthand: -h is --hostname here.
	f.Bool("help", false, "Print usage")
}

func (c *process) addTo(f *pflag.FlagSet) {
	c.env.Check = flags.Env(os.LookupEnv)
	f.BoolVarP(&c.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	f.BoolVarP(&c.stdin, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.VarP(&c.env, "env", "e", "Set environment variables")
	f.Var(&c.envFiles, "env-file", "Read in a file of environment variables")
	f.StringVarP(&c.user, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	f.Var(&c.groups, "group-add", "Add additional groups to join")
	f.Var(&c.umask, "umask", "Set the umask of the container's processes (octal)")
	f.StringVarP(&c.workdir, "workdir", "w", "", "Working directory inside the container")
	f.StringVar(&c.entrypoint, "entrypoint", "", "Overwrite the default ENTRYPOINT of the image")
	f.StringVarP(&c.hostname, "hostname", "h", "", "Container host name")
	f.StringVar(&c.domainname, "domainname", "", "Container NIS domain name")
}

func (c *storage) addTo(f *pflag.FlagSet) {
	f.VarP(&c.volumes, "volume", "v", "Bind mount a volume")
	f.Var(&c.volumesFrom, "volumes-from", "Mount volumes from the specified container(s)")
	f.Var(&c.tmpfs, "tmpfs", "Mount a tmpfs directory")
	f.Var(&c.mounts, "mount", "Attach a filesystem mount to the container")
	f.StringVar(&c.volumeDriver, "volume-driver", "", "Optional volume driver for the container")
	f.BoolVar(&c.readOnly, "read-only", false, "Mount the container's root filesystem as read only")
	f.Var(&c.shmSize, "shm-size", "Size of /dev/shm")
}

func (c *networking) addTo(f *pflag.FlagSet) {
	c.links.Check = flags.Link
	c.dns.Check, c.dnsSearch.Check, c.hosts.Check = flags.DNSServer, flags.DNSSearch, flags.ExtraHost
	f.Var(&c.networks, "network", "Connect a container to a network")
	f.Var(&c.networks, "net", "Connect a container to a network")
	f.Var(&c.aliases, "network-alias", "Add network-scoped alias for the container")
	f.Var(&c.aliases, "net-alias", "Add network-scoped alias for the container")
	_ = f.MarkHidden("net")
	_ = f.MarkHidden("net-alias")
	f.StringVar(&c.rate, "network-rate", "", "Bandwidth on each network (up=10mbit,down=50mbit[,burst=64k][,delay=20ms][,loss=1%])")
	f.Var(&c.links, "link", "Add link to another container")
	f.Var(&c.linkLocal, "link-local-ip", "Container IPv4/IPv6 link-local addresses")
	f.Var(&c.ip, "ip", "IPv4 address (e.g., 172.30.100.104)")
	f.Var(&c.ip6, "ip6", "IPv6 address (e.g., 2001:db8::33)")
	f.Var(&c.mac, "mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)")
	f.Var(&c.dns, "dns", "Set custom DNS servers")
	f.Var(&c.dnsOptions, "dns-option", "Set DNS options")
	f.Var(&c.dnsOptions, "dns-opt", "Set DNS options")
	_ = f.MarkHidden("dns-opt")
	f.Var(&c.dnsSearch, "dns-search", "Set custom DNS search domains")
	f.Var(&c.hosts, "add-host", "Add a custom host-to-IP mapping (host:ip)")
	f.VarP(&c.publish, "publish", "p", "Publish a container's port(s) to the host")
	f.BoolVarP(&c.publishAll, "publish-all", "P", false, "Publish all exposed ports to random ports")
	f.Var(&c.expose, "expose", "Expose a port or a range of ports")
}

func (c *isolation) addTo(f *pflag.FlagSet) {
	c.sysctls.Check = flags.Sysctl
	c.deviceRules.Check = flags.DeviceRule
	f.Var(&c.capAdd, "cap-add", "Add Linux capabilities")
	f.Var(&c.capDrop, "cap-drop", "Drop Linux capabilities")
	f.Var(&c.security, "security-opt", "Security Options")
	f.BoolVar(&c.privileged, "privileged", false, "Give extended privileges to this container")
	f.StringVar(&c.pid, "pid", "", "PID namespace to use")
	f.StringVar(&c.uts, "uts", "", "UTS namespace to use")
	f.StringVar(&c.userns, "userns", "", "User namespace to use (host|auto|private|container:NAME)")
	f.StringVar(&c.ipc, "ipc", "", "IPC mode to use")
	f.StringVar(&c.cgroupns, "cgroupns", "", "Cgroup namespace to use (host|private)")
	f.StringVar(&c.cgroupParent, "cgroup-parent", "", "Optional parent cgroup for the container")
	f.StringVar(&c.how, "isolation", "", "Container isolation technology")
	f.Var(&c.sysctls, "sysctl", "Sysctl options")
	f.Var(&c.devices, "device", "Add a host device to the container")
	f.Var(&c.deviceRules, "device-cgroup-rule", "Add a rule to the cgroup allowed devices list")
	f.Var(&c.gpus, "gpus", "GPU devices to add to the container ('all' to pass all GPUs)")
	f.IntVar(&c.oomScoreAdj, "oom-score-adj", 0, "Tune host's OOM preferences (-1000 to 1000)")
}

func (c *limits) addTo(f *pflag.FlagSet) {
	c.memorySwap.Unlimited = true
	c.readIOps.Ops, c.writeIOps.Ops = true, true
	f.VarP(&c.memory, "memory", "m", "Memory limit")
	f.Var(&c.memoryReservation, "memory-reservation", "Memory soft limit")
	f.Var(&c.memorySwap, "memory-swap", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap")
	f.Int64Var(&c.swappiness, "memory-swappiness", -1, "Tune container memory swappiness (0 to 100)")
	f.Var(&c.kernelMemory, "kernel-memory", "Kernel memory limit")
	_ = f.MarkHidden("kernel-memory")
	f.Int64Var(&c.pids, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	f.BoolVar(&c.oomKillDisable, "oom-kill-disable", false, "Disable OOM Killer")
	f.Var(&c.cpus, "cpus", "Number of CPUs")
	f.Int64VarP(&c.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	f.Int64Var(&c.cpuPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	f.Int64Var(&c.cpuQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	f.Int64Var(&c.cpuRTPeriod, "cpu-rt-period", 0, "Limit CPU real-time period in microseconds")
	f.Int64Var(&c.cpuRTRuntime, "cpu-rt-runtime", 0, "Limit CPU real-time runtime in microseconds")
	f.Int64Var(&c.cpuCount, "cpu-count", 0, "CPU count (Windows only)")
	f.Int64Var(&c.cpuPercent, "cpu-percent", 0, "CPU percent (Windows only)")
	f.StringVar(&c.cpusetCPUs, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	f.StringVar(&c.cpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	f.Uint16Var(&c.blkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable")
	f.Var(&c.weights, "blkio-weight-device", "Block IO weight (relative device weight)")
	f.Var(&c.readBps, "device-read-bps", "Limit read rate (bytes per second) from a device")
	f.Var(&c.readIOps, "device-read-iops", "Limit read rate (IO per second) from a device")
	f.Var(&c.writeBps, "device-write-bps", "Limit write rate (bytes per second) to a device")
	f.Var(&c.writeIOps, "device-write-iops", "Limit write rate (IO per second) to a device")
	f.Var(&c.ioMaxBandwidth, "io-maxbandwidth", "Maximum IO bandwidth limit for the system drive (Windows only)")
	f.Uint64Var(&c.ioMaxIOps, "io-maxiops", 0, "Maximum IOps limit for the system drive (Windows only)")
	for _, name := range [...]string{"cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"} {
		_ = f.MarkHidden(name)
	}
	f.Var(&c.ulimits, "ulimit", "Ulimit options")
}

func (c *health) addTo(f *pflag.FlagSet) {
	f.StringVar(&c.command, "health-cmd", "", "Command to run to check health")
	f.DurationVar(&c.interval, "health-interval", 0, "Time between running the check (ms|s|m|h)")
	f.DurationVar(&c.timeout, "health-timeout", 0, "Maximum time to allow one check to run (ms|s|m|h)")
	f.DurationVar(&c.startPeriod, "health-start-period", 0, "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)")
	f.DurationVar(&c.startInterval, "health-start-interval", 0, "Time between running the check during the start period (ms|s|m|h)")
	f.IntVar(&c.retries, "health-retries", 0, "Consecutive failures needed to report unhealthy")
	f.StringVar(&c.onFailure, "health-on-failure", "", `What to do when the container becomes unhealthy ("none", "kill", "restart", "stop")`)
	f.BoolVar(&c.disable, "no-healthcheck", false, "Disable any container-specified HEALTHCHECK")
}
