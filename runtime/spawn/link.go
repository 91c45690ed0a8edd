package spawn

import (
	"encoding/binary"
	"unsafe"

	"github.com/davit-engine/davit/runtime/program"
)

// link lays a program out in memory. inputs are the descriptors of its needs.
func link(p *program.Program, inputs []int) *machine {
	size := 0
	at := make([]int, len(p.Blocks))
	for i := range p.Blocks {
		at[i] = size
		size += (p.Blocks[i].Size + 7) &^ 7
	}
	m := &machine{
		report:       -1,
		walk:         (*machine).path,
		copyAll:      (*machine).copyTree,
		step:         -1,
		memory:       make([]byte, size+8),
		registers:    make([]uintptr, p.Regs+1),
		instructions: make([]instruction, len(p.Steps)+1),
	}
	base := uintptr(unsafe.Pointer(&m.memory[0]))
	for i := range p.Blocks {
		k := &p.Blocks[i]
		b := m.memory[at[i]:]
		if k.Data != nil {
			copy(b, k.Data)
		} else {
			copy(b, k.Text)
		}
		for _, r := range k.Refs {
			// What Data holds there is an offset into the block meant.
			binary.NativeEndian.PutUint64(b[r.Off:], binary.NativeEndian.Uint64(b[r.Off:])+uint64(base)+uint64(at[r.Block]))
		}
	}
	for i, fd := range inputs {
		m.registers[i] = uintptr(fd)
	}
	for i := range p.Steps {
		s, o := &p.Steps[i], &m.instructions[i]
		o.nr, o.op, o.out, o.next, o.catch = uintptr(s.Nr), s.Op, s.Out, s.Next, s.Catch
		if s.Next == 0 {
			o.next = int32(i + 1)
		}
		for j, a := range s.Args[:s.N] {
			switch a.Kind {
			case program.InReg:
				o.args[j], o.inReg = uintptr(a.Val), o.inReg|1<<j
			case program.Mem:
				o.args[j] = base + uintptr(at[a.Val]) + uintptr(a.Off)
			default:
				o.args[j] = uintptr(a.Val)
			}
		}
	}
	m.code, m.regs = &m.instructions[0], &m.registers[0]
	m.scratch = base + uintptr(at[program.Scratch])
	return m
}
