#include "textflag.h"

// edamame_hook_start is where the kernel begins, by rebuild.sh. It makes so much of
// a thread that code of Go's runs, calls fast, and where that returns begins anew
// where any program of Go's does.
TEXT edamame_hook_start(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ SP, ·stack(SB)
	LEAQ ·goroutine(SB), AX
	MOVQ AX, ·thread(SB)
	LEAQ ·thread+8(SB), SI // the goroutine stands before it
	MOVQ $0x1002, DI       // ARCH_SET_FS
	MOVQ $158, AX          // arch_prctl
	SYSCALL
	TESTQ AX, AX
	JNE  runtime
	MOVQ ·stack(SB), AX
	SUBQ $32, SP
	MOVQ AX, 0(SP)
	CALL ·fast(SB)
runtime:
	MOVQ ·stack(SB), SP
	JMP  _rt0_amd64_linux(SB)
