// Package program turns an OCI runtime spec into a program: the flat list of
// system calls by which a newly cloned process becomes the container's first
// process, or one more in a running container, ending in execve.
//
//	needs  r0 = tree "/srv/data" recursive        descriptors that the caller opens first
//	clone  NEWNS|NEWPID|...                       how the process is made
//	    0  prctl(PR_SET_PDEATHSIG, SIGKILL)
//	    :
//	   41  r17 = openat2(r9, "proc", {...})       a result goes into a register,
//	   42  move_mount(r16, "", r17, "", ...)      a later step takes it from there
//	    :                                         "ENOENT: 97" goes on at step 97 when the kernel says so
//	   96  execve("/bin/sh", ...)
//	   97  r17 = path(r9, "proc", dir)            what is rarely needed stands behind execve
//
// Paths inside the root filesystem are only ever resolved from a descriptor
// of the root with RESOLVE_IN_ROOT, and mounts are moved from descriptor to
// descriptor, so an image or a racing process cannot redirect them. A step
// that waits for the caller (a read from a pipe), or tells it something (a
// write), is a system call like any other.
//
// The package is pure: the same Input gives the same Program, no system call
// is made and nothing is looked up. What it needs to know of the machine comes
// in as Facts. It must not know who runs the program, nor how. A Program is
// immutable once it has been returned and may be used by several goroutines.
package program

import "github.com/opencontainers/runtime-spec/specs-go"

// Program is a compiled start of a process.
type Program struct {
	Clone  uint64  // CLONE_NEW* flags that the process is made with
	Needs  []Need  // opened by the caller; the result of Needs[i] is register i
	Steps  []Step  // run in order, but for Next and Catch
	Blocks []Block // the memory that steps point at
	Regs   int     // number of registers

	// Texts that steps refer to; the first is empty. A context says what steps
	// serve, such as `error mounting "proc" to rootfs at "/proc"`.
	Contexts, Messages []string

	Last  int // index of the first step that may replace the process by the user's
	LowFD int // what Needs open must be this or higher: lower numbers are the user's

	Warnings []string // what the spec asks for and the process will not have, for a log

	Twice  bool // the process makes another that stays (OpClone), and ends
	Borrow bool // the process may run in the caller's memory; of two the second too if nothing is told to the caller (NeedSync)
}

// What a process tells its caller on the socket NeedSync: messages of two
// 32-bit words. The number of a step, and the errno that it gave, are the last
// message; the rest begins with one of these. After those that say so, it
// waits for a byte.
const (
	TellCreated  = -1 - iota // namespaces and mounts are there; it waits, for linux.netDevices too
	TellReady                // all that is left is execve, and before it what Hold waits for
	TellListener             // it has the seccomp notify descriptor of this number; it waits
	TellBorn                 // OpClone has made the process of this number, whose own messages may come earlier
)

// Scratch is the block that steps and OpPath use for intermediate results.
const Scratch = 0

// Reg is the number of a register. None means that there is none.
type Reg int16

// None is no register.
const None Reg = -1

// Op says what a step does.
type Op uint8

// What steps do. Everything but OpCall is an operation of the interpreter:
// it either succeeds or gives an errno just as a system call does.
const (
	OpCall    Op = iota // the system call Nr
	OpPath              // open Args[1] (a path) below directory Args[0], and make what is missing; Args[2] holds Path flags
	OpTest              // compare memory: width Args[1] bytes at Args[0], masked by Args[2], must equal Args[3], else errno Args[4]
	OpStore             // store register Args[1] as 32 bits at Args[0]
	OpFail              // fail with errno Args[0]
	OpJump              // do nothing
	OpClose             // close all descriptors from Args[0] on but the registers Args[1] and Args[2]
	OpLoad              // the result is the width Args[1] bytes of memory at Args[0]
	OpCopy              // copy all that directory Args[0] holds into directory Args[1]
	OpSignals           // default action for every signal, and none blocked
	OpClone             // make the process that goes on with the next step, as another child of the caller; this one tells TellBorn and ends
)

// Flags of OpPath.
const (
	PathDir     = 1 << iota // the last component is a directory, else a regular file
	PathNoLinks             // no component may be a symbolic link: ELOOP
)

// Step is one operation.
type Step struct {
	Args    [6]Arg
	Doing   string // what it does, in words
	Context int32  // what it serves: index of Program.Contexts
	Message int32  // index of Program.Messages: the whole error text, where neither errno nor Context belong in it; 0: none
	Next    int32  // step to go on with after success; 0: the next one
	Out     Reg    // takes the result
	Nr      uint16 // system call number
	Op      Op
	N       uint8 // number of Args
	Catch   [MaxCatch]Catch
}

// MaxCatch is how many errors a step catches at most.
const MaxCatch = 4

// Catch says where to go on when a step gives an errno.
type Catch struct {
	Errno int16 // AnyErrno: any
	To    int16 // 0: the Catch is unused
}

// AnyErrno in a Catch stands for every error.
const AnyErrno = 0

// Kind says what an argument is.
type Kind uint8

// Kinds of argument.
const (
	Imm   Kind = iota // Val itself
	InReg             // the content of register Val
	Mem               // the address of block Val, plus Off
)

// Arg is an argument of a step.
type Arg struct {
	Kind Kind
	form form
	Off  uint32
	Val  uint64
}

// Block is memory that a step points at: Text with a NUL behind it, or Data;
// then zeros up to Size bytes. It starts at a multiple of 8.
type Block struct {
	Text string
	Data []byte
	Size int
	Refs []Ref
	form form
}

// Ref is a pointer inside a block: 8 bytes at Off hold the address of Block.
type Ref struct{ Off, Block int }

// NeedKind says what the caller has to open.
type NeedKind uint8

// What a program can need.
const (
	NeedTree      NeedKind = iota // a detached copy (open_tree) of the mount at Path, Recursive or not
	NeedNamespace                 // the namespace file Path, of type Flag
	NeedPidNS                     // as NeedNamespace, but the caller enters it before cloning, for its children only
	NeedNetNS                     // the network namespace that the caller holds
	NeedCaller                    // a pidfd of the caller itself
	NeedStdio                     // standard stream Index
	NeedConsole                   // a unix socket; one message on it carries the terminal's master
	NeedCgroup                    // tasks file Index of cgroup v1
	NeedSync                      // a unix socket that keeps messages apart: see TellCreated
	NeedHold                      // the file that the process reads one byte from before execve
	NeedPreserved                 // file Index of those that become descriptors 3, 4, ...
	NeedTarget                    // a pidfd of the container's first process
	NeedRoot                      // the root directory of that process
	NeedTimeNS                    // its time namespace
	NeedUserNS                    // the user namespace at Path; else the one that the caller holds; else a new one with the maps UIDs and GIDs
	NeedGiven                     // detached mount Index of those that the caller holds
	NeedIDMap                     // a user namespace with the maps UIDs and GIDs, for a mount
)

// Need is a descriptor that exists before the process is made. It must be
// Program.LowFD or higher and close-on-exec.
type Need struct {
	Kind      NeedKind
	Path      string
	Recursive bool
	Flag      int // CLONE_NEW*
	Index     int
	UIDs      []specs.LinuxIDMapping
	GIDs      []specs.LinuxIDMapping
	Context   string // what it serves, as for a step
}
