package cgroup

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfInstruction is the kernel's struct bpf_insn: one eBPF instruction.
type bpfInstruction struct {
	code   uint8
	dst    uint8
	src    uint8
	offset int16
	imm    int32
}

// Registers of the device program, and the layout of its context, struct
// bpf_cgroup_dev_ctx: access << 16 | type, major, minor (32 bits each).
const (
	regResult = 0
	regCtx    = 1 // the context; a scratch register once it has been read
	regKind   = 2
	regAccess = 3
	regMajor  = 4
	regMinor  = 5

	deviceBlock = 1 // BPF_DEVCG_DEV_BLOCK
	deviceChar  = 2 // BPF_DEVCG_DEV_CHAR
)

const (
	opLoad    = unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM
	opMove    = unix.BPF_ALU | unix.BPF_MOV | unix.BPF_X
	opSet     = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
	opAnd     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opShift   = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	opUnless  = unix.BPF_JMP32 | unix.BPF_JNE | unix.BPF_K
	opIfEqual = unix.BPF_JMP32 | unix.BPF_JEQ | unix.BPF_K
	opExit    = unix.BPF_JMP | unix.BPF_EXIT
)

// program returns the rules as an eBPF program for BPF_CGROUP_DEVICE, whose
// result is 1 to allow. It has no loop and at most seven instructions for an
// exception.
func (r rules) program() []bpfInstruction {
	code := []bpfInstruction{
		{code: opLoad, dst: regKind, src: regCtx, offset: 0},
		{code: opMove, dst: regAccess, src: regKind},
		{code: opAnd, dst: regKind, imm: 0xffff},
		{code: opShift, dst: regAccess, imm: 16},
		{code: opLoad, dst: regMajor, src: regCtx, offset: 4},
		{code: opLoad, dst: regMinor, src: regCtx, offset: 8},
	}
	verdict := func(allow bool) []bpfInstruction {
		set := bpfInstruction{code: opSet, dst: regResult}
		if allow {
			set.imm = 1
		}
		return []bpfInstruction{set, {code: opExit}}
	}
	for _, e := range r.exceptions {
		kind := int32(deviceChar)
		if e.kind == 'b' {
			kind = deviceBlock
		}
		// Conditions under which the next exception is looked at.
		tests := []bpfInstruction{{code: opUnless, dst: regKind, imm: kind}}
		if e.major != wildcard {
			tests = append(tests, bpfInstruction{code: opUnless, dst: regMajor, imm: int32(uint32(e.major))})
		}
		if e.minor != wildcard {
			tests = append(tests, bpfInstruction{code: opUnless, dst: regMinor, imm: int32(uint32(e.minor))})
		}
		switch {
		case r.allow: // names nothing of what is asked for
			tests = append(tests,
				bpfInstruction{code: opMove, dst: regCtx, src: regAccess},
				bpfInstruction{code: opAnd, dst: regCtx, imm: int32(e.access)},
				bpfInstruction{code: opIfEqual, dst: regCtx, imm: 0})
		case e.access != everything: // does not grant all of it
			tests = append(tests,
				bpfInstruction{code: opMove, dst: regCtx, src: regAccess},
				bpfInstruction{code: opAnd, dst: regCtx, imm: int32(everything &^ e.access)},
				bpfInstruction{code: opUnless, dst: regCtx, imm: 0})
		}
		end := verdict(!r.allow)
		for i, t := range tests {
			if t.code == opUnless || t.code == opIfEqual {
				tests[i].offset = int16(len(tests) - i - 1 + len(end))
			}
		}
		code = append(append(code, tests...), end...)
	}
	return append(code, verdict(r.allow)...)
}

// encode returns the instructions as the kernel takes them, in host order.
func encode(code []bpfInstruction) []byte {
	out := make([]byte, 0, 8*len(code))
	for _, in := range code {
		registers := in.dst | in.src<<4 // bit fields: the low half comes first on little endian
		if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
			registers = in.dst<<4 | in.src
		}
		out = append(out, in.code, registers)
		out = binary.NativeEndian.AppendUint16(out, uint16(in.offset))
		out = binary.NativeEndian.AppendUint32(out, uint32(in.imm))
	}
	return out
}

// setDeviceProgram puts a program into force for the v2 group at dir, until
// the group is removed. It takes the place of an earlier one with no moment
// between in which neither or, for devices that only one of them grants, either
// is in force.
func setDeviceProgram(dir string, code []bpfInstruction) error {
	group, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(group)
	text, license := encode(code), []byte("GPL\x00")
	program, err := loadDeviceProgram(text, license, nil)
	if err != nil {
		// Once more, for the verifier's reasons.
		log := make([]byte, 1<<14)
		if _, err := loadDeviceProgram(text, license, log); err != nil {
			return fmt.Errorf("loading the device program: %w: %s", err, unix.ByteSliceToString(log))
		}
		return fmt.Errorf("loading the device program: %w", err)
	}
	defer unix.Close(program)
	old, err := devicePrograms(group)
	if err != nil {
		return fmt.Errorf("looking for device programs: %w", err)
	}
	defer func() {
		for _, fd := range old {
			_ = unix.Close(fd)
		}
	}()
	attr := attachment{target: uint32(group), program: uint32(program), kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI}
	if len(old) == 1 {
		attr.flags |= unix.BPF_F_REPLACE
		attr.replace = uint32(old[0])
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("attaching the device program: %w", err)
	}
	if len(old) == 1 {
		return nil
	}
	// Of several programs all must grant an access. Those of others go last.
	for _, fd := range old {
		attr := attachment{target: uint32(group), program: uint32(fd), kind: unix.BPF_CGROUP_DEVICE}
		if _, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
			return fmt.Errorf("detaching a device program: %w", err)
		}
	}
	return nil
}

// attachment is bpf_attr for BPF_PROG_ATTACH and BPF_PROG_DETACH.
type attachment struct{ target, program, kind, flags, replace uint32 }

// devicePrograms opens the device programs of a group itself.
func devicePrograms(group int) (fds []int, err error) {
	var ids [64]uint32 // the kernel takes no more for a group
	query := struct {
		target, kind, flags, attached uint32
		ids                           uint64
		count                         uint32
		_                             uint32
	}{target: uint32(group), kind: unix.BPF_CGROUP_DEVICE, ids: uint64(uintptr(unsafe.Pointer(&ids))), count: uint32(len(ids))}
	_, err = bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query))
	runtime.KeepAlive(&ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids[:min(int(query.count), len(ids))] {
		attr := struct{ id, next, flags uint32 }{id: id}
		fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
		if err == unix.ENOENT {
			continue // it went meanwhile
		}
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			return nil, err
		}
		unix.CloseOnExec(fd)
		fds = append(fds, fd)
	}
	return fds, nil
}

func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// loadDeviceProgram calls bpf(BPF_PROG_LOAD); log takes the verifier's words.
func loadDeviceProgram(text, license, log []byte) (int, error) {
	attr := struct {
		kind, count   uint32
		code, license uint64
		level, size   uint32
		log           uint64
		version       uint32
		flags         uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(text) / 8),
		code: address(text), license: address(license),
	}
	if log != nil {
		attr.level, attr.size, attr.log = 1, uint32(len(log)), address(log)
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	for err == unix.EAGAIN { // a signal came, such as those of Go's scheduler, while the verifier was at it
		fd, err = bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	}
	runtime.KeepAlive(text)
	runtime.KeepAlive(license)
	runtime.KeepAlive(log)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// address returns where b lies, for a field of a bpf_attr. The caller keeps b
// alive; Go's heap does not move.
func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
