#include "textflag.h"

// func child(flags uintptr, userFD, readyFD int) (pid int, errno uintptr)
//
// The child lives in registers: R9 userFD, R10 readyFD, R11 where a byte to write is.
TEXT ·child(SB),NOSPLIT|NOFRAME,$0-40
	MOVD	flags+0(FP), R0
	MOVD	userFD+8(FP), R9
	MOVD	readyFD+16(FP), R10
	MOVD	$·child(SB), R11
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$0, R4
	MOVD	$220, R8	// clone
	SVC
	CBZ	R0, born
	CMN	$4095, R0
	BCC	parent
	NEG	R0, R0
	MOVD	ZR, pid+24(FP)
	MOVD	R0, errno+32(FP)
	RET
parent:
	MOVD	R0, pid+24(FP)
	MOVD	ZR, errno+32(FP)
	RET

born:
	MOVD	$1, R0		// PR_SET_PDEATHSIG
	MOVD	$9, R1		// SIGKILL
	MOVD	$167, R8	// prctl
	SVC
	CMP	$0, R9
	BLT	ready
	MOVD	R9, R0
	MOVD	$0x10000000, R1	// CLONE_NEWUSER
	MOVD	$268, R8	// setns
	SVC
	CBNZ	R0, fail
	MOVD	$0x40000000, R0	// CLONE_NEWNET
	MOVD	$97, R8		// unshare
	SVC
	CBNZ	R0, fail
	MOVD	$1, R0		// entering a namespace has taken it back
	MOVD	$9, R1
	MOVD	$167, R8	// prctl
	SVC
ready:
	MOVD	R10, R0
	MOVD	R11, R1
	MOVD	$1, R2
	MOVD	$64, R8		// write
	SVC
wait:
	MOVD	$0, R0
	MOVD	$0, R1
	MOVD	$0, R2
	MOVD	$0, R3
	MOVD	$73, R8		// ppoll, of nothing and without end
	SVC
	B	wait
fail:
	NEG	R0, R0
	MOVD	$94, R8		// exit_group
	SVC
	B	fail
