#include "textflag.h"

// func rawClone(args, size, m, entry uintptr) (r1, err uintptr)
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-48
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	m+16(FP), R12
	MOVQ	entry+24(FP), R13
	MOVQ	$435, AX // clone3
	SYSCALL
	TESTQ	AX, AX
	JEQ	child
	CMPQ	AX, $0xfffffffffffff001
	JLS	ok
	MOVQ	$-1, r1+32(FP)
	NEGQ	AX
	MOVQ	AX, err+40(FP)
	RET
ok:
	MOVQ	AX, r1+32(FP)
	MOVQ	$0, err+40(FP)
	RET
child:
	SUBQ	$32, SP
	MOVQ	R12, 0(SP)
	CALL	R13
	INT	$3

// func entries() (first, second uintptr)
TEXT ·entries(SB),NOSPLIT,$0-16
	MOVQ	$·firstChild(SB), AX
	MOVQ	AX, first+0(FP)
	MOVQ	$·secondChild(SB), AX
	MOVQ	AX, second+8(FP)
	RET
