#include "textflag.h"

// func child(flags uintptr, userFD, readyFD int) (pid int, errno uintptr)
//
// The child lives in registers: R12 userFD, R13 readyFD, R9 where a byte to write is.
TEXT ·child(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	flags+0(FP), DI
	MOVQ	userFD+8(FP), R12
	MOVQ	readyFD+16(FP), R13
	LEAQ	·child(SB), R9
	MOVQ	$0, SI
	MOVQ	$0, DX
	MOVQ	$0, R10
	MOVQ	$0, R8
	MOVQ	$56, AX		// clone
	SYSCALL
	TESTQ	AX, AX
	JEQ	born
	CMPQ	AX, $0xfffffffffffff001
	JLS	parent
	NEGQ	AX
	MOVQ	$0, pid+24(FP)
	MOVQ	AX, errno+32(FP)
	RET
parent:
	MOVQ	AX, pid+24(FP)
	MOVQ	$0, errno+32(FP)
	RET

born:
	MOVQ	$1, DI		// PR_SET_PDEATHSIG
	MOVQ	$9, SI		// SIGKILL
	MOVQ	$157, AX	// prctl
	SYSCALL
	CMPQ	R12, $0
	JLT	ready
	MOVQ	R12, DI
	MOVQ	$0x10000000, SI	// CLONE_NEWUSER
	MOVQ	$308, AX	// setns
	SYSCALL
	TESTQ	AX, AX
	JNE	fail
	MOVQ	$0x40000000, DI	// CLONE_NEWNET
	MOVQ	$272, AX	// unshare
	SYSCALL
	TESTQ	AX, AX
	JNE	fail
	MOVQ	$1, DI		// entering a namespace has taken it back
	MOVQ	$9, SI
	MOVQ	$157, AX	// prctl
	SYSCALL
ready:
	MOVQ	R13, DI
	MOVQ	R9, SI
	MOVQ	$1, DX
	MOVQ	$1, AX		// write
	SYSCALL
wait:
	MOVQ	$34, AX		// pause
	SYSCALL
	JMP	wait
fail:
	NEGQ	AX
	MOVQ	AX, DI
	MOVQ	$231, AX	// exit_group
	SYSCALL
	JMP	fail
