// Package wire is the protocol between the engine and a container's shim.
//
//	engine                                       shim
//	  | -- hello {version} --------------------> |   both name their version; the lower one is spoken
//	  | <------------------- hello {version} --- |
//	  | -- start {spec, root, ...} + fds ------> |   once, to a warm shim only
//	  | <------ started {pid, ...} | error ----- |   state.json is on disk by then
//	  | -- attach {streams} + client's socket -> |   any number
//	  | -- signal | resize | state ------------> |
//	  | -- dump {where} -----------------------> |   write the processes to files, by criu
//	  | <------------------------- ok | error -- |
//	  | -- serve {add, drop} + sockets --------> |   change what it does for the container
//	  | <-------------------- served | error --- |
//	  | -- exec {process} + client's socket ---> |   one more process; any number
//	  | <----------- exec-started {pid} | error  |
//	  | -- exec-signal | exec-resize ----------> |
//	  | <------------------------- ok | error -- |
//	  | -- exec-list --------------------------> |
//	  | <------------------------- execs ------- |   those that run
//	  | <------------------------- exec-exited - |   event: the exec's exit record is on disk by then, if it has one
//	  | <------------------------- detached ---- |   event: the user typed the detach keys
//	  | <------------------------- exited ------ |   event: exit.json is on disk by then
//
// A frame is
//
//	 0           4                    4+length
//	+-----------+--------------------+
//	| length    | JSON envelope      |    length: big endian, at most MaxFrame
//	+-----------+--------------------+
//
// and file descriptors ride (SCM_RIGHTS) on its first byte. Those that are more
// than the kernel lets ride on one come ahead, on frames of type files. Requests carry a
// sequence number from 1 and are answered once each, in any order; events
// carry 0. A message may gain fields, never lose or re-mean them; an unknown
// type is answered with an error, so a newer engine can ask an older shim.
//
// The package knows the messages only: not what a container is, nor who runs
// it. A Conn may be used by several goroutines at once.
package wire

import (
	"encoding/json"
	"time"

	"github.com/davit-engine/davit/errs"
	"github.com/davit-engine/davit/runtime/program"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Version is the newest version of the protocol that this package speaks.
const Version = 1

// MaxFrame is the largest frame accepted, in bytes.
const MaxFrame = 64 << 20

// Type names a message.
type Type string

// Requests, replies and events.
const (
	TypeHello    Type = "hello"    // request and reply: Hello
	TypeStart    Type = "start"    // request: Start + its descriptors; reply: TypeStarted
	TypeStarted  Type = "started"  // reply: State
	TypeAttach   Type = "attach"   // request: Attach + the client's socket; reply: TypeOK
	TypeSignal   Type = "signal"   // request: Signal; reply: TypeOK
	TypeResize   Type = "resize"   // request: Resize; reply: TypeOK
	TypeState    Type = "state"    // request: empty; reply: TypeStarted
	TypeOK       Type = "ok"       // reply: empty
	TypeError    Type = "error"    // reply: Error
	TypeDetached Type = "detached" // event: Detached
	TypeExited   Type = "exited"   // event: Exit

	TypeFiles  Type = "files"  // no message: the descriptors are the next one's
	TypeDump   Type = "dump"   // request: Dump; reply: TypeOK
	TypeServe  Type = "serve"  // request: Serve + the sockets of what is added; reply: TypeServed
	TypeServed Type = "served" // reply: Served

	TypeExec        Type = "exec"         // request: Exec + the client's socket if it has one; reply: TypeExecStarted
	TypeExecStarted Type = "exec-started" // reply: ExecState
	TypeExecSignal  Type = "exec-signal"  // request: ExecSignal; reply: TypeOK
	TypeExecResize  Type = "exec-resize"  // request: ExecResize; reply: TypeOK
	TypeExecList    Type = "exec-list"    // request: empty; reply: TypeExecs
	TypeExecs       Type = "execs"        // reply: Execs
	TypeExecExited  Type = "exec-exited"  // event: ExecExit
)

// Envelope is what a frame holds.
type Envelope struct {
	Seq     uint64          `json:"seq,omitempty"`
	Type    Type            `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// Hello opens a conversation.
type Hello struct {
	Version int `json:"version"`
}

// Start asks a warm shim to run a container. Its descriptors follow in this
// order: the network namespace if NetNS, the user namespace if UserNS, one
// detached mount for each of Trees, those of Services, then one socket for each
// attachment.
type Start struct {
	ID     string       `json:"id"`
	RunDir string       `json:"runDir"` // exists; takes shim.sock, state.json and exit.json
	Spec   *specs.Spec  `json:"spec"`   // Linux.Seccomp is nil where Seccomp is given
	Root   program.Root `json:"root"`

	Seccomp      []byte `json:"seccomp,omitempty"` // classic BPF, 8 bytes an instruction, host byte order
	SeccompFlags uint32 `json:"seccompFlags,omitempty"`

	Checkpoint *Checkpoint `json:"checkpoint,omitempty"` // make the processes of these files, instead of new ones

	NetNS       bool      `json:"netns,omitempty"`
	UserNS      bool      `json:"userns,omitempty"`  // its maps are those of Spec
	Trees       []string  `json:"trees,omitempty"`   // targets of bind mounts of Spec whose sources are given
	MakeCwd     bool      `json:"makeCwd,omitempty"` // make a working directory that is missing
	Services    []Service `json:"services,omitempty"`
	Runtime     *Runtime  `json:"runtime,omitempty"` // another runtime that makes the container; nil: the shim does
	Stdio       Stdio     `json:"stdio"`
	Log         Log       `json:"log"`
	Attachments []Attach  `json:"attachments,omitempty"`
}

// Runtime is another OCI runtime. Start's Seccomp is empty then, and its Spec
// has the filter.
type Runtime struct {
	Name string   `json:"name"` // as the engine's configuration calls it
	Path string   `json:"path"` // of its program
	Args []string `json:"args,omitempty"`
}

// Stdio says how the container's standard streams are made. Whether it has a
// terminal, and its first size, stand in Spec.Process.
type Stdio struct {
	Stdin     bool `json:"stdin,omitempty"`     // keep standard input open; else it is /dev/null
	StdinOnce bool `json:"stdinOnce,omitempty"` // close it when the first attached client that feeds it goes
}

// Log says where output is kept.
type Log struct {
	Driver   string            `json:"driver"` // "json-file", "local" or "none"
	Path     string            `json:"path,omitempty"`
	MaxSize  int64             `json:"maxSize,omitempty"` // bytes; 0: no rotation
	MaxFile  int               `json:"maxFile,omitempty"` // files kept, the current one included; 0 means 1
	Compress bool              `json:"compress,omitempty"`
	Attrs    map[string]string `json:"attrs,omitempty"`  // written with each line
	Buffer   int64             `json:"buffer,omitempty"` // bytes kept while the file cannot be written, more are dropped; 0: output waits
}

// Attach gives a client's socket to the shim.
type Attach struct {
	ID         uint64 `json:"id"` // chosen by the engine, named again in Detached
	Stdin      bool   `json:"stdin,omitempty"`
	Stdout     bool   `json:"stdout,omitempty"`
	Stderr     bool   `json:"stderr,omitempty"`
	Raw        bool   `json:"raw,omitempty"`        // output comes without frames, as that of a terminal always does
	DetachKeys []byte `json:"detachKeys,omitempty"` // key bytes; empty: none
	Input      []byte `json:"input,omitempty"`      // bytes that were already read from the client
}

// Signal asks for a signal to the container's first process.
type Signal struct {
	Signal int  `json:"signal"`
	All    bool `json:"all,omitempty"` // to each process of the container's cgroup
}

// Resize sets the terminal's size, in characters.
type Resize struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// State is what the shim knows of its container: the answer to TypeStart and
// TypeState, and the content of state.json.
type State struct {
	Version   int               `json:"version"` // of the protocol, as written
	ID        string            `json:"id"`
	ShimPid   int               `json:"shimPid"`
	Pid       int               `json:"pid"`
	PidStart  uint64            `json:"pidStart"` // field 22 of /proc/PID/stat: tells a reused pid; 0: it had ended already
	StartedAt time.Time         `json:"startedAt"`
	Cgroup    map[string]string `json:"cgroup,omitempty"` // controller, "" for v2 -> directory
}

// Exit says how the container ended: the content of exit.json too.
type Exit struct {
	ID        string    `json:"id"`
	ExitCode  int       `json:"exitCode"` // 0-255; 128+n for signal n
	Signal    int       `json:"signal,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	ExitedAt  time.Time `json:"exitedAt"`
	Error     string    `json:"error,omitempty"` // trouble while ending, such as a full disk under the log
}

// Detached says that a client left with the detach keys.
type Detached struct {
	ID   uint64 `json:"id"`
	Exec string `json:"exec,omitempty"` // the exec whose client it was; empty: the container's
}

// Error is a failed request. ExitCode is what a container that could not be
// started reports: 127 not found, 126 not executable, 128 for the rest.
type Error struct {
	Kind     errs.Kind `json:"kind"`
	Message  string    `json:"message"`
	ExitCode int       `json:"exitCode,omitempty"`
}

func (e *Error) Error() string { return e.Message }
