package criu

import (
	"encoding/binary"
	"errors"
)

// message is one in protobuf's encoding, as far as criu's rpc.proto needs it:
// numbers (wire type 0), and bytes for texts and messages (wire type 2).
type message []byte

const (
	wireNumber = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// There are many calls of the two: inlined, they would be half of the package.

//go:noinline
func (m *message) number(field int, v uint64) {
	*m = binary.AppendUvarint(binary.AppendUvarint(*m, uint64(field)<<3|wireNumber), v)
}

//go:noinline
func (m *message) text(field int, s string) {
	*m = binary.AppendUvarint(binary.AppendUvarint(*m, uint64(field)<<3|wireBytes), uint64(len(s)))
	*m = append(*m, s...)
}

// errMessage is an answer that is no protobuf message.
var errMessage = errors.New("criu's answer is garbled")

// next takes the first field off m. Of a number it returns v, of bytes b;
// fields of other kinds have neither.
func (m *message) next() (field int, v uint64, b []byte, err error) {
	key, err := m.uvarint()
	if err != nil {
		return 0, 0, nil, err
	}
	size := uint64(0)
	switch key & 7 {
	case wireNumber:
		v, err = m.uvarint()
	case wire64:
		size = 8
	case wireBytes:
		size, err = m.uvarint()
	case wire32:
		size = 4
	default:
		err = errMessage
	}
	if err == nil && size > uint64(len(*m)) {
		err = errMessage
	}
	if err != nil {
		return 0, 0, nil, err
	}
	if key&7 == wireBytes {
		b = (*m)[:size]
	}
	*m = (*m)[size:]
	return int(key >> 3), v, b, nil
}

func (m *message) uvarint() (uint64, error) {
	v, n := binary.Uvarint(*m)
	if n <= 0 {
		return 0, errMessage
	}
	*m = (*m)[n:]
	return v, nil
}
