/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Files by io_uring, which no system call shows: told when they are asked for,
 * since a completion can be left out (IOSQE_CQE_SKIP_SUCCESS). The names are
 * the kernel's own copies, so nobody can change them in between. Connects by
 * io_uring are seen as any others. Accepts are told by their completions: only
 * those hold the descriptor.
 */
#pragma once

#include "file.h"
#include "power.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct io_cqe {
	u64 user_data;
};
struct io_kiocb {
	u8 opcode;
	struct io_cqe cqe;
	void *ctx;
};
struct io_uring_cqe {
	u64 user_data;
	s32 res;
	u32 flags;
};
struct io_accept {
	u32 file_slot; /* where a direct descriptor is to go, from 1; 0 for none */
};
struct filename {
	const char *name;
};
struct open_how {
	u64 flags;
};
struct io_open {
	int dfd;
	struct filename *filename;
	struct open_how how;
};
struct io_rename {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
};
struct io_link {
	int old_dfd;
	int new_dfd;
	struct filename *oldpath;
	struct filename *newpath;
};
struct io_unlink {
	int dfd;
	struct filename *filename;
};
struct io_mkdir {
	int dfd;
	u16 mode;
	struct filename *filename;
};
struct io_connect {
	void *addr; /* in the process */
};
struct io_socket {
	int domain;
	int type;
};
#pragma clang attribute pop

/* enum io_uring_op, include/uapi/linux/io_uring.h */
enum {
	IORING_OP_ACCEPT = 13,
	IORING_OP_CONNECT = 16,
	IORING_OP_OPENAT = 18,
	IORING_OP_OPENAT2 = 28,
	IORING_OP_RENAMEAT = 35,
	IORING_OP_UNLINKAT = 36,
	IORING_OP_MKDIRAT = 37,
	IORING_OP_SYMLINKAT = 38,
	IORING_OP_LINKAT = 39,
	IORING_OP_SOCKET = 45,
};

enum { O_ACCMODE = 3, O_WRONLY = 1, O_RDWR = 2 };

#define IORING_CQE_F_MORE 2 /* a request goes on: this is one of its completions */

/* Requests to accept, by their ring and what the process called them. */
struct uring_key {
	u64 ring, user_data;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct uring_key);
	__type(value, u8);
} uring_accepts SEC(".maps");

static __always_inline void on_uring_accept(struct io_kiocb *req)
{
	struct io_accept *a = (void *)req;
	struct uring_key key = {};
	u8 one = 1;

	if (BPF_CORE_READ(a, file_slot))
		return; /* what comes is in the ring's own table, where no number leads to it */
	key.ring = (u64)BPF_CORE_READ(req, ctx);
	key.user_data = BPF_CORE_READ(req, cqe.user_data);
	bpf_map_update_elem(&uring_accepts, &key, &one, BPF_ANY);
}

/*
 * A completion, in the process whose request it is. One of a request that goes
 * on has no request with it, and is known by what the process called that.
 */
static __always_inline int on_completion(u64 ring, struct io_kiocb *req, u64 user_data, s32 res, u32 flags)
{
	struct uring_key key = {};

	if (res < 0)
		return 0;
	if (req) {
		struct io_accept *a = (void *)req;

		if (BPF_CORE_READ(req, opcode) != IORING_OP_ACCEPT || BPF_CORE_READ(a, file_slot))
			return 0;
		return on_accepted(res);
	}
	if (!(flags & IORING_CQE_F_MORE))
		return 0;
	key.ring = ring;
	key.user_data = user_data;
	if (!bpf_map_lookup_elem(&uring_accepts, &key))
		return 0;
	return on_accepted(res);
}

/* TP_PROTO(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe), as of 6.18 */
SEC("tp_btf/io_uring_complete")
int on_uring_done(u64 *ctx)
{
	struct io_uring_cqe *cqe = (void *)ctx[2];

	return on_completion(ctx[0], (void *)ctx[1], BPF_CORE_READ(cqe, user_data), BPF_CORE_READ(cqe, res), BPF_CORE_READ(cqe, flags));
}

/* TP_PROTO(void *ctx, void *req, u64 user_data, int res, unsigned cflags, u64 extra1, u64 extra2), before */
SEC("tp_btf/io_uring_complete")
int on_uring_done7(u64 *ctx)
{
	return on_completion(ctx[0], (void *)ctx[1], ctx[2], ctx[3], ctx[4]);
}

/* struct io_kiocb begins with the operation's own struct (io_kiocb.cmd, from 6.0 on). */
static __always_inline int on_request(struct io_kiocb *req)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u8 opcode = BPF_CORE_READ(req, opcode);
	u64 how, access, addr;
	u16 family = 0;

	if (task->tgid == self)
		return 0;
	switch (opcode) {
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2: {
		struct io_open *o = (void *)req;
		u64 flags = BPF_CORE_READ(o, how.flags);

		access = (flags & O_ACCMODE) == O_WRONLY ? ACCESS_WRITE
		       : (flags & O_ACCMODE) == O_RDWR   ? ACCESS_READ | ACCESS_WRITE
							 : ACCESS_READ;
		if (flags & O_CREAT)
			access |= ACCESS_CREATE;
		if (flags & O_TRUNC)
			access |= ACCESS_TRUNCATE;
		if (flags & O_APPEND)
			access |= ACCESS_APPEND;
		how = R_OPEN | access << 8 | NAMES_IN_KERNEL;
		/* What name it is in the end is not known yet: let the reader decide. */
		if (access == ACCESS_READ)
			how |= NAMES_WATCHED;
		return on_names(how, (u32)BPF_CORE_READ(o, dfd), (u64)BPF_CORE_READ(o, filename, name), 0, 0);
	}
	case IORING_OP_RENAMEAT: {
		struct io_rename *r = (void *)req;

		return on_names(R_RENAME | NAMES_IN_KERNEL, (u32)BPF_CORE_READ(r, old_dfd),
				(u64)BPF_CORE_READ(r, oldpath, name), (u32)BPF_CORE_READ(r, new_dfd),
				(u64)BPF_CORE_READ(r, newpath, name));
	}
	case IORING_OP_LINKAT:
	case IORING_OP_SYMLINKAT: {
		struct io_link *l = (void *)req;

		if (opcode == IORING_OP_LINKAT)
			return on_names(R_LINK | NAMES_IN_KERNEL, (u32)BPF_CORE_READ(l, old_dfd),
					(u64)BPF_CORE_READ(l, oldpath, name), (u32)BPF_CORE_READ(l, new_dfd),
					(u64)BPF_CORE_READ(l, newpath, name));
		return on_names(R_SYMLINK | NAMES_IN_KERNEL, AS_GIVEN, (u64)BPF_CORE_READ(l, oldpath, name),
				(u32)BPF_CORE_READ(l, new_dfd), (u64)BPF_CORE_READ(l, newpath, name));
	}
	case IORING_OP_UNLINKAT: {
		struct io_unlink *u = (void *)req;

		return on_names(R_UNLINK | NAMES_IN_KERNEL, (u32)BPF_CORE_READ(u, dfd),
				(u64)BPF_CORE_READ(u, filename, name), 0, 0);
	}
	case IORING_OP_MKDIRAT: {
		struct io_mkdir *m = (void *)req;

		return on_names(R_MKDIR | (u64)(BPF_CORE_READ(m, mode) & 07777) << 8 | NAMES_IN_KERNEL,
				(u32)BPF_CORE_READ(m, dfd), (u64)BPF_CORE_READ(m, filename, name), 0, 0);
	}
	case IORING_OP_ACCEPT:
		on_uring_accept(req);
		return 0;
	case IORING_OP_CONNECT: {
		struct io_connect *c = (void *)req;

		addr = (u64)BPF_CORE_READ(c, addr);
		bpf_probe_read_user(&family, sizeof(family), (void *)addr);
		/* IP connects show by their states. */
		return family == AF_UNIX || family == AF_VSOCK ? on_named_connect(0, addr, family, 0) : 0;
	}
	case IORING_OP_SOCKET: {
		struct io_socket *s = (void *)req;

		on_socket((u32)BPF_CORE_READ(s, domain), (u32)BPF_CORE_READ(s, type));
		return 0;
	}
	}
	return 0;
}

/* TP_PROTO(struct io_kiocb *req), from 6.3 on */
SEC("tp_btf/io_uring_submit_req")
int on_uring_req(u64 *ctx)
{
	return on_request((void *)ctx[0]);
}

/* TP_PROTO(struct io_kiocb *req, bool force_nonblock), before */
SEC("tp_btf/io_uring_submit_sqe")
int on_uring_sqe(u64 *ctx)
{
	return on_request((void *)ctx[0]);
}
