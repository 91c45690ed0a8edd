package program

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/davit-engine/davit/errs"
	"golang.org/x/sys/unix"
)

// label is a place in the program that is not known yet: an index into
// code.labels. In steps it stands as ^label until finish puts the index of
// the step there.
type label int

// code collects steps and what they point to. Its first error sticks.
type code struct {
	in      Input
	p       *Program
	caps    uint64 // the caller's, of in.Facts; a user namespace changes those
	err     error
	labels  []int
	cold    []func()
	context string
	index   int32 // of context in the program; -1: not there yet
	hows    map[[4]uint64]int
	empty   int // block of ""
	dot     int // block of "."
}

// builder is code that speaks in system calls, and knows what the program has
// opened so far.
type builder struct {
	*code
	root  Reg            // root directory of the new filesystem, O_PATH
	made  map[string]Reg // directories that this program has mounted and nobody else can write to yet
	proc  Reg            // the container's own procfs
	pts   Reg            // its devpts
	dev   Reg            // its /dev
	slave Reg            // its terminal
}

// maxSteps is what fits a Catch and a Reg.
const maxSteps = 1<<15 - 1

func newBuilder(in Input) *builder {
	b := &builder{code: &code{in: in, caps: in.Facts.Caps, p: &Program{}, hows: map[[4]uint64]int{}}, made: map[string]Reg{},
		root: None, proc: None, pts: None, dev: None, slave: None}
	b.p.Steps = make([]Step, 0, 512)
	b.p.Blocks = make([]Block, 0, 256)
	b.p.Contexts, b.p.Messages = make([]string, 1, 64), make([]string, 1, 16)
	b.block(Block{Size: 3 * unix.PathMax, form: formScratch})
	b.empty = b.block(Block{Text: "", form: formText})
	b.dot = b.block(Block{Text: ".", form: formText})
	return b
}

// rootless reports whether the caller is not root of the host.
func (b *code) rootless() bool {
	return b.in.Facts.InUserNS || b.caps&(1<<unix.CAP_SYS_ADMIN) == 0
}

// fail records an error about the spec.
func (b *code) fail(kind errs.Kind, format string, args ...any) {
	if b.err == nil {
		b.err = errs.New(kind, format, args...)
	}
}

// during sets what the following steps serve.
func (b *code) during(context string) {
	if b.context, b.index = context, -1; context == "" {
		b.index = 0
	}
}

func (b *code) block(k Block) int {
	if k.form == formText {
		if strings.IndexByte(k.Text, 0) >= 0 {
			b.fail(errs.InvalidParameter, "%q holds a NUL byte", k.Text)
		}
		k.Size = len(k.Text) + 1
	} else if k.Size < len(k.Data) {
		k.Size = len(k.Data)
	}
	b.p.Blocks = append(b.p.Blocks, k)
	return len(b.p.Blocks) - 1
}

func (b *code) reg() Reg {
	b.p.Regs++
	return Reg(b.p.Regs - 1)
}

// need asks for a descriptor. All needs come before the first step's result.
func (b *code) need(n Need) Reg {
	if len(b.p.Needs) != b.p.Regs {
		panic("program: a need after a register was used")
	}
	b.p.Needs = append(b.p.Needs, n)
	return b.reg()
}

func (b *code) label() label {
	b.labels = append(b.labels, -1)
	return label(len(b.labels) - 1)
}

func (b *code) place(l label) { b.labels[l] = len(b.p.Steps) }

// later puts the steps that f makes behind the last one of the program; they
// begin at the returned label and go on at back.
func (b *code) later(back label, f func()) label {
	l, context := b.label(), b.context
	b.cold = append(b.cold, func() {
		b.place(l)
		b.during(context)
		f()
		b.jump(back)
	})
	return l
}

// on is a Catch with a label.
func on(e unix.Errno, l label) Catch { return Catch{int16(e), ^int16(l)} }

// add appends an empty step; the pointer is good until the next call.
func (b *code) add(op Op, doing string, args ...Arg) *Step {
	if b.index < 0 {
		b.p.Contexts = append(b.p.Contexts, b.context)
		b.index = int32(len(b.p.Contexts) - 1)
	}
	if len(b.p.Steps) == cap(b.p.Steps) {
		b.p.Steps = slices.Grow(b.p.Steps, 128)
	}
	b.p.Steps = b.p.Steps[:len(b.p.Steps)+1]
	s := &b.p.Steps[len(b.p.Steps)-1]
	s.Op, s.Doing, s.Context, s.Out, s.N = op, doing, b.index, None, uint8(len(args))
	copy(s.Args[:], args)
	return s
}

// message makes text the whole error text of a step.
func (b *code) message(s *Step, text string) {
	b.p.Messages = append(b.p.Messages, text)
	s.Message = int32(len(b.p.Messages) - 1)
}

// finish resolves the labels.
func (b *code) finish() (*Program, error) {
	for i := 0; i < len(b.cold); i++ { // a cold part may add another
		b.cold[i]()
	}
	for i := range b.p.Steps {
		s := &b.p.Steps[i]
		if s.Next < 0 {
			s.Next = int32(b.labels[^s.Next])
		}
		for j := range s.Catch {
			if c := &s.Catch[j]; c.To < 0 {
				c.To = int16(b.labels[^c.To])
			}
		}
	}
	if len(b.p.Steps) > maxSteps || len(b.labels) > maxSteps || b.p.Regs > maxSteps {
		b.fail(errs.InvalidParameter, "the spec asks for too many mounts, paths or devices: %d steps", len(b.p.Steps))
	}
	if b.err != nil {
		return nil, b.err
	}
	return b.p, nil
}

// Arguments.

func imm(v uint64, f form) Arg      { return Arg{Kind: Imm, Val: v, form: f} }
func num[T ~int | ~uint32](v T) Arg { return Arg{Kind: Imm, Val: uint64(v)} }
func fd(r Reg) Arg                  { return Arg{Kind: InReg, Val: uint64(r)} }
func mem(block int) Arg             { return Arg{Kind: Mem, Val: uint64(block)} }
func memAt(block, off int) Arg      { return Arg{Kind: Mem, Val: uint64(block), Off: uint32(off)} }

var cwd = imm(uint64(uint32(0xffffff9c)), formFD) // AT_FDCWD

func (b *code) text(s string) Arg {
	switch s {
	case "":
		return mem(b.empty)
	case ".":
		return mem(b.dot)
	}
	return mem(b.block(Block{Text: s, form: formText}))
}

// how returns a block of up to four 64-bit words, the same for the same words.
func (b *code) how(f form, words ...uint64) Arg {
	key := [4]uint64{uint64(f)<<56 | uint64(len(words))<<48}
	for i, w := range words {
		key[i] ^= w
	}
	i, ok := b.hows[key]
	if !ok {
		data := make([]byte, 8*len(words))
		for j, w := range words {
			binary.NativeEndian.PutUint64(data[8*j:], w)
		}
		i = b.block(Block{Data: data, form: f})
		b.hows[key] = i
	}
	return mem(i)
}

// vector is a NULL-terminated array of strings.
func (b *code) vector(list []string) Arg {
	k := Block{Size: 8 * (len(list) + 1), Refs: make([]Ref, 0, len(list)), form: formVector}
	for i, s := range list {
		k.Refs = append(k.Refs, Ref{8 * i, b.block(Block{Text: s, form: formText})})
	}
	return mem(b.block(k))
}
