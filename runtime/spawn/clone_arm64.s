#include "textflag.h"

// func rawClone(args, size, m, entry uintptr) (r1, err uintptr)
TEXT ·rawClone(SB),NOSPLIT|NOFRAME,$0-48
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	m+16(FP), R20
	MOVD	entry+24(FP), R21
	MOVD	$435, R8 // clone3
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCC	ok
	MOVD	$-1, R4
	MOVD	R4, r1+32(FP)
	NEG	R0, R0
	MOVD	R0, err+40(FP)
	RET
ok:
	MOVD	R0, r1+32(FP)
	MOVD	ZR, err+40(FP)
	RET
child:
	SUB	$32, RSP
	MOVD	R20, 8(RSP)
	CALL	(R21)
	BRK

// func entries() (first, second uintptr)
TEXT ·entries(SB),NOSPLIT,$0-16
	MOVD	$·firstChild(SB), R0
	MOVD	R0, first+0(FP)
	MOVD	$·secondChild(SB), R0
	MOVD	R0, second+8(FP)
	RET
