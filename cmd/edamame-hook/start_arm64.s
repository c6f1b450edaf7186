#include "textflag.h"

// edamame_hook_start is where the kernel begins, by rebuild.sh. It makes so much of
// a thread that code of Go's runs, calls fast, and where that returns begins anew
// where any program of Go's does.
TEXT edamame_hook_start(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD RSP, R0
	MOVD R0, ·stack(SB)
	MOVD $·goroutine(SB), g
	SUB  $32, RSP
	MOVD R0, 8(RSP)
	CALL ·fast(SB)
	MOVD ·stack(SB), R0
	MOVD R0, RSP
	JMP  _rt0_arm64_linux(SB)
