/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What is told when the reader asks: what goes on, and what was held back. */
#pragma once

#include "emit.h"
#include "socket.h"
#include "file.h"

/*
 * An act that was folded and has not come again tells how often it was. The
 * record has no name: the one that came first has it. One that has rested for
 * two intervals goes: who found it before could not count in it any more.
 */
static long tell_fold(void *map, struct fold_key *key, struct fold *f, void *unused)
{
	u16 type = key->verb >> 8;
	u64 n;

	if (f->count && (n = __sync_lock_test_and_set(&f->count, 0))) {
		if (type == R_OPEN) {
			struct file_record r = {};

			r.h.time = f->told;
			r.h.type = type;
			r.h.pid = r.h.tid = key->pid;
			r.h.start = key->start;
			r.count = n;
			r.inode = f->inode;
			r.access = key->verb & (REFUSED - 1);
			if (key->verb & REFUSED) {
				r.h.flags = F_WATCHED | F_REST | F_USER_PATH;
				r.target_start = key->part;
			} else {
				r.h.flags = F_WATCHED | F_REST | F_INODE;
				r.dev = key->part;
			}
			EMIT(files, FILES, &r, sizeof(r));
		} else {
			struct act_record r = {};

			r.h.time = f->told;
			r.h.type = type;
			r.h.flags = F_REST;
			r.h.pid = r.h.tid = key->pid;
			r.h.start = key->start;
			r.count = n;
			if (type == R_KILL) {
				r.arg = key->verb & 0xff;
				r.target = key->part;
				r.target_start = key->object;
			} else {
				r.target = key->object;
				r.op = key->part;
			}
			EMIT(priority, PRIORITY, &r, sizeof(r));
		}
	}
	if (bpf_ktime_get_boot_ns() - f->told >= 2 * FOLD_NS)
		bpf_map_delete_elem(&folds, key);
	return 0;
}

struct carried {
	u64 sent, received;
};

/* What living connections have told, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct carried);
} living SEC(".maps");

/*
 * Run over all open files, every few seconds: a connection that lives tells
 * what it has carried since. ctx is struct bpf_iter__task_file: meta, task, fd,
 * file. (Some kernels refuse to go through the sockets' own storage.)
 */
SEC("iter/task_file")
int on_living(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[1];
	struct file *file = (void *)ctx[3];
	struct carried *told, now;
	struct sock_record r = {};
	struct socket *socket;
	struct owner *acceptor;
	struct sock *sk;
	u64 *meta = (void *)ctx[0]; /* struct bpf_iter_meta: seq, session_id, seq_num */
	u64 key;
	u8 state;

	if (meta[2] == 0)
		bpf_for_each_map_elem(&folds, tell_fold, 0, 0);
	if (!task || !file || (BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != SOCK_FS_MODE)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((state != AF_INET && state != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_CLOSE || state == TCP_LISTEN || state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return 0;
	payload(&r, sk);
	r.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	key = r.cookie ? r.cookie : (u64)sk;
	told = bpf_map_lookup_elem(&living, &key);
	if (told ? told->sent == r.sent && told->received == r.received : !r.sent && !r.received)
		return 0;
	now.sent = r.sent;
	now.received = r.received;
	bpf_map_update_elem(&living, &key, &now, BPF_ANY);
	r.proto = IPPROTO_TCP;
	addresses(&r, sk);
	acceptor = bpf_map_lookup_elem(&acceptors, &key);
	owned(&r.h, R_FLOW, acceptor);
	if (!acceptor) {
		r.h.pid = r.h.tid = BPF_CORE_READ(task, tgid);
		r.h.start = start_of(task);
		r.h.uid = BPF_CORE_READ(task, cred, euid.val);
		r.h.gid = BPF_CORE_READ(task, cred, egid.val);
		r.h.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	}
	r.h.flags |= F_LIVING;
	tls_totals(&r, false);
	EMIT(priority, PRIORITY, &r, sizeof(r));
	return 0;
}
