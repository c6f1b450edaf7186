/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What differs between machines: where a system call's number and arguments
 * are after the call, the numbers themselves, and where a function's arguments
 * are.
 */
#pragma once

#include "types.h"

/* What is done at the end of a system call. */
enum action {
	A_NONE,
	A_OPEN,
	A_OPENAT,
	A_OPENAT2,
	A_CREAT,
	A_LAST_OPEN = A_CREAT,
	A_OPEN_HANDLE,
	A_TRUNCATE,
	A_RENAME,
	A_RENAMEAT,
	A_UNLINK,
	A_UNLINKAT,
	A_LINK,
	A_LINKAT,
	A_SYMLINK,
	A_SYMLINKAT,
	A_CHMOD,
	A_FCHMOD,
	A_FCHMODAT,
	A_MKDIR,
	A_MKDIRAT,
	A_SETID,
	A_SETSID,
	A_ACCEPT,
	A_SOCKET,
	A_UMOUNT,
	A_MOUNT,
	A_MOVE_MOUNT,
	A_UNSHARE,
	A_SETNS,
	A_URING,
	A_MODULE,
	A_MODULE_FD,
	A_MODULE_DEL,
	A_CHROOT,
	A_PIVOT_ROOT,
	A_MESSAGE,
	/* From here on failures are told too. */
	A_TELL_FAILURE,
	A_CONNECT = A_TELL_FAILURE,
	A_PTRACE,
	A_VM_READ,
	A_VM_WRITE,
	A_BPF,
	A_PIDFD_GETFD,
	A_SOCKETCALL, /* 32-bit x86: the call and its arguments are in memory */
};

struct call {
	u32 action;
	u32 compat;
	u64 arg[4];
};

#define CALLS 512

#if defined(__TARGET_ARCH_x86)

/* arch/x86/entry/syscalls/syscall_64.tbl */
const volatile u8 actions[CALLS] = {
	[2] = A_OPEN,		[257] = A_OPENAT,	[437] = A_OPENAT2,	[85] = A_CREAT,
	[304] = A_OPEN_HANDLE,	[76] = A_TRUNCATE,	[82] = A_RENAME,	[264] = A_RENAMEAT,
	[316] = A_RENAMEAT,	[87] = A_UNLINK,	[84] = A_UNLINK,	[263] = A_UNLINKAT,
	[86] = A_LINK,		[265] = A_LINKAT,	[88] = A_SYMLINK,	[266] = A_SYMLINKAT,
	[90] = A_CHMOD,		[91] = A_FCHMOD,	[268] = A_FCHMODAT,	[452] = A_FCHMODAT,
	[83] = A_MKDIR,		[258] = A_MKDIRAT,	[105] = A_SETID,	[106] = A_SETID,
	[113] = A_SETID,	[114] = A_SETID,	[117] = A_SETID,	[119] = A_SETID,
	[112] = A_SETSID,	[43] = A_ACCEPT,	[288] = A_ACCEPT,	[41] = A_SOCKET,
	[166] = A_UMOUNT,	[165] = A_MOUNT,	[429] = A_MOVE_MOUNT,	[272] = A_UNSHARE,
	[308] = A_SETNS,	[425] = A_URING,	[175] = A_MODULE,	[313] = A_MODULE_FD,
	[176] = A_MODULE_DEL,	[42] = A_CONNECT,	[101] = A_PTRACE,	[310] = A_VM_READ,
	[311] = A_VM_WRITE,	[321] = A_BPF,		[438] = A_PIDFD_GETFD,
	[161] = A_CHROOT,	[155] = A_PIVOT_ROOT,	[47] = A_MESSAGE,
};

/* arch/x86/entry/syscalls/syscall_32.tbl, by int $0x80 also from 64-bit programs */
const volatile u8 actions32[CALLS] = {
	[5] = A_OPEN,		[295] = A_OPENAT,	[437] = A_OPENAT2,	[8] = A_CREAT,
	[342] = A_OPEN_HANDLE,	[92] = A_TRUNCATE,	[193] = A_TRUNCATE,	[38] = A_RENAME,
	[302] = A_RENAMEAT,	[353] = A_RENAMEAT,	[10] = A_UNLINK,	[40] = A_UNLINK,
	[301] = A_UNLINKAT,	[9] = A_LINK,		[303] = A_LINKAT,	[83] = A_SYMLINK,
	[304] = A_SYMLINKAT,	[15] = A_CHMOD,		[94] = A_FCHMOD,	[306] = A_FCHMODAT,
	[452] = A_FCHMODAT,	[39] = A_MKDIR,		[296] = A_MKDIRAT,	[23] = A_SETID,
	[46] = A_SETID,		[70] = A_SETID,		[71] = A_SETID,		[164] = A_SETID,
	[170] = A_SETID,	[203] = A_SETID,	[204] = A_SETID,	[208] = A_SETID,
	[210] = A_SETID,	[213] = A_SETID,	[214] = A_SETID,	[66] = A_SETSID,
	[364] = A_ACCEPT,	[359] = A_SOCKET,	[22] = A_UMOUNT,	[52] = A_UMOUNT,
	[21] = A_MOUNT,		[429] = A_MOVE_MOUNT,	[310] = A_UNSHARE,	[346] = A_SETNS,
	[425] = A_URING,	[128] = A_MODULE,	[350] = A_MODULE_FD,	[129] = A_MODULE_DEL,
	[362] = A_CONNECT,	[26] = A_PTRACE,	[347] = A_VM_READ,	[348] = A_VM_WRITE,
	[357] = A_BPF,		[102] = A_SOCKETCALL,	[438] = A_PIDFD_GETFD,
	[61] = A_CHROOT,	[217] = A_PIVOT_ROOT,	[372] = A_MESSAGE,
};

#define TS_COMPAT 2		/* arch/x86/include/asm/thread_info.h */
#define X32_BIT 0x40000000	/* __X32_SYSCALL_BIT */

/*
 * Fills c and returns whether there is something to do. It runs for every
 * system call of the machine, so it reads the registers as what they are (a
 * helper's call costs as much as all the rest) and asks for the task last.
 */
static __always_inline bool system_call(struct pt_regs *regs, struct call *c)
{
	u64 nr = regs->orig_ax & ~(u64)X32_BIT;

	if (nr >= CALLS || !(actions[nr] | actions32[nr]))
		return false;
	c->compat = (bpf_get_current_task_btf()->thread_info.status & TS_COMPAT) != 0;
	c->action = c->compat ? actions32[nr] : actions[nr];
	return c->action != A_NONE;
}

static __always_inline void arguments(struct pt_regs *regs, struct call *c)
{
	if (c->compat) {
		c->arg[0] = (u32)regs->bx;
		c->arg[1] = (u32)regs->cx;
		c->arg[2] = (u32)regs->dx;
		c->arg[3] = (u32)regs->si;
	} else {
		c->arg[0] = regs->di;
		c->arg[1] = regs->si;
		c->arg[2] = regs->dx;
		c->arg[3] = regs->r10;
	}
}

/* Arguments of a function at its entry, and its result at its return: the System V ABI; and Go's, from 1.17 on. */
#define C_ARG1(ctx) ((ctx)->di)
#define C_ARG2(ctx) ((ctx)->si)
#define C_ARG4(ctx) ((ctx)->cx)
#define C_RESULT(ctx) ((ctx)->ax)
#define GO_ARG1(ctx) ((ctx)->ax)
#define GO_ARG2(ctx) ((ctx)->bx)
#define GO_ARG3(ctx) ((ctx)->cx)

#elif defined(__TARGET_ARCH_arm64)

/* include/uapi/asm-generic/unistd.h: what names a folder is all there is */
const volatile u8 actions[CALLS] = {
	[56] = A_OPENAT,	[437] = A_OPENAT2,	[265] = A_OPEN_HANDLE,	[45] = A_TRUNCATE,
	[38] = A_RENAMEAT,	[276] = A_RENAMEAT,	[35] = A_UNLINKAT,	[37] = A_LINKAT,
	[36] = A_SYMLINKAT,	[52] = A_FCHMOD,	[53] = A_FCHMODAT,	[452] = A_FCHMODAT,
	[34] = A_MKDIRAT,	[143] = A_SETID,	[144] = A_SETID,	[145] = A_SETID,
	[146] = A_SETID,	[147] = A_SETID,	[149] = A_SETID,	[157] = A_SETSID,
	[202] = A_ACCEPT,	[242] = A_ACCEPT,	[198] = A_SOCKET,	[39] = A_UMOUNT,
	[40] = A_MOUNT,		[429] = A_MOVE_MOUNT,	[97] = A_UNSHARE,	[268] = A_SETNS,
	[425] = A_URING,	[105] = A_MODULE,	[273] = A_MODULE_FD,	[106] = A_MODULE_DEL,
	[203] = A_CONNECT,	[117] = A_PTRACE,	[270] = A_VM_READ,	[271] = A_VM_WRITE,
	[280] = A_BPF,		[438] = A_PIDFD_GETFD,	[51] = A_CHROOT,	[41] = A_PIVOT_ROOT,
	[212] = A_MESSAGE,
};

/* arch/arm/tools/syscall.tbl: of 32-bit programs, where the processor runs them */
const volatile u8 actions32[CALLS] = {
	[5] = A_OPEN,		[322] = A_OPENAT,	[437] = A_OPENAT2,	[8] = A_CREAT,
	[371] = A_OPEN_HANDLE,	[92] = A_TRUNCATE,	[193] = A_TRUNCATE,	[38] = A_RENAME,
	[329] = A_RENAMEAT,	[382] = A_RENAMEAT,	[10] = A_UNLINK,	[40] = A_UNLINK,
	[328] = A_UNLINKAT,	[9] = A_LINK,		[330] = A_LINKAT,	[83] = A_SYMLINK,
	[331] = A_SYMLINKAT,	[15] = A_CHMOD,		[94] = A_FCHMOD,	[333] = A_FCHMODAT,
	[452] = A_FCHMODAT,	[39] = A_MKDIR,		[323] = A_MKDIRAT,	[23] = A_SETID,
	[46] = A_SETID,		[70] = A_SETID,		[71] = A_SETID,		[164] = A_SETID,
	[170] = A_SETID,	[203] = A_SETID,	[204] = A_SETID,	[208] = A_SETID,
	[210] = A_SETID,	[213] = A_SETID,	[214] = A_SETID,	[66] = A_SETSID,
	[285] = A_ACCEPT,	[366] = A_ACCEPT,	[281] = A_SOCKET,	[52] = A_UMOUNT,
	[21] = A_MOUNT,		[429] = A_MOVE_MOUNT,	[337] = A_UNSHARE,	[375] = A_SETNS,
	[425] = A_URING,	[128] = A_MODULE,	[379] = A_MODULE_FD,	[129] = A_MODULE_DEL,
	[283] = A_CONNECT,	[26] = A_PTRACE,	[376] = A_VM_READ,	[377] = A_VM_WRITE,
	[386] = A_BPF,		[438] = A_PIDFD_GETFD,	[61] = A_CHROOT,	[218] = A_PIVOT_ROOT,
	[297] = A_MESSAGE,
};

#define TIF_32BIT 22 /* arch/arm64/include/asm/thread_info.h */

/* As above. The kernel keeps the number beside the registers (struct pt_regs). */
static __always_inline bool system_call(struct pt_regs *regs, struct call *c)
{
	u64 nr = (u32)regs->syscallno;

	if (nr >= CALLS || !(actions[nr] | actions32[nr]))
		return false;
	c->compat = bpf_get_current_task_btf()->thread_info.flags >> TIF_32BIT & 1;
	c->action = c->compat ? actions32[nr] : actions[nr];
	return c->action != A_NONE;
}

static __always_inline void arguments(struct pt_regs *regs, struct call *c)
{
	/* The result is where the first argument was. */
	c->arg[0] = regs->orig_x0;
	c->arg[1] = regs->regs[1];
	c->arg[2] = regs->regs[2];
	c->arg[3] = regs->regs[3];
	if (c->compat) {
		c->arg[0] = (u32)c->arg[0];
		c->arg[1] = (u32)c->arg[1];
		c->arg[2] = (u32)c->arg[2];
		c->arg[3] = (u32)c->arg[3];
	}
}

/* As above: AAPCS64; and Go's, from 1.18 on. */
#define C_ARG1(ctx) ((ctx)->regs[0])
#define C_ARG2(ctx) ((ctx)->regs[1])
#define C_ARG4(ctx) ((ctx)->regs[3])
#define C_RESULT(ctx) ((ctx)->regs[0])
#define GO_ARG1(ctx) ((ctx)->regs[0])
#define GO_ARG2(ctx) ((ctx)->regs[1])
#define GO_ARG3(ctx) ((ctx)->regs[2])

#else
#error "add the system calls and registers of this machine here, and its pt_regs to types.h"
#endif
