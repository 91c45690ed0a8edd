package criu

import "os"

// Option is an option of criu, by its number in message criu_opts of
// rpc.proto, which says what it means, as criu(8) does.
type Option int

// The options, by the method of Options that sets them.
const (
	optionImages  Option = 1 // Call.Images
	optionLog     Option = 10
	optionInherit Option = 27
	optionWork    Option = 17 // Call.Work

	// Flag
	LeaveRunning    Option = 3
	ExtUnixSk       Option = 4
	TCPEstablished  Option = 5
	EvasiveDevices  Option = 6
	ShellJob        Option = 7
	FileLocks       Option = 8
	NotifyScripts   Option = 12
	TrackMem        Option = 15
	AutoDedup       Option = 16
	LinkRemap       Option = 18
	ManageCgroups   Option = 24
	RestoreSibling  Option = 26
	ExtMasters      Option = 30
	TCPSkipInFlight Option = 46
	OrphanPtsMaster Option = 50

	// Number
	Pid               Option = 2
	LogLevel          Option = 9
	ManageCgroupsMode Option = 34 // a CgroupMode
	EmptyNS           Option = 38 // CLONE_NEW...
	NetworkLock       Option = 64 // LockIPTables, LockNFTables

	// Text
	Root            Option = 13
	ParentImages    Option = 14
	External        Option = 37
	FreezeCgroup    Option = 44
	ConfigFile      Option = 51
	LSMProfile      Option = 53
	LSMMountContext Option = 63

	// Pair
	ExtMount   Option = 23 // mount point (at dump), a name of our choice; at restore that name, the source
	CgroupRoot Option = 25 // controller, path
	JoinNS     Option = 39 // kind of namespace, file
)

// Values of ManageCgroupsMode.
const (
	CgroupIgnore  = 0
	CgroupSoft    = 3
	CgroupFull    = 4
	CgroupStrict  = 5
	CgroupDefault = 6
)

// Values of NetworkLock: by which program or library criu keeps packets from a
// network namespace meanwhile.
const (
	LockIPTables = 1
	LockNFTables = 2
)

// LogVerbose is the value of LogLevel with which an error can be understood.
const LogVerbose = 4

// Options are what criu is to do, and how. The zero value has none.
type Options struct {
	encoded message
	inherit []*os.File // for descriptors firstInherited and on
}

// Flag sets an option that is on or off.
//
//go:noinline
func (o *Options) Flag(p Option, on bool) {
	if on {
		o.encoded.number(int(p), 1)
	}
}

// Number sets an option that is a number.
func (o *Options) Number(p Option, n uint64) { o.encoded.number(int(p), n) }

// Text sets an option that is a text, or adds one to a list of them; the empty
// text is none.
//
//go:noinline
func (o *Options) Text(p Option, s string) {
	if s != "" {
		o.encoded.text(int(p), s)
	}
}

// Pair adds two texts to an option that is a list of such.
func (o *Options) Pair(p Option, first, second string) {
	var m message
	m.text(1, first)
	m.text(2, second)
	o.encoded.text(int(p), string(m))
}

// Stream has the restored processes get criu's standard stream n in place of
// what was dumped by the name key, such as pipe:[123].
func (o *Options) Stream(key string, n int) {
	var m message
	m.text(1, key)
	m.number(2, uint64(n))
	o.encoded.text(int(optionInherit), string(m))
}

// Inherit is Stream for another file than a standard stream, which stays open
// until the call is over.
func (o *Options) Inherit(key string, f *os.File) {
	o.Stream(key, firstInherited+len(o.inherit))
	o.inherit = append(o.inherit, f)
}
