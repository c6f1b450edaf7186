/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What one process does to another, to the machine, or to the monitor. */
#pragma once

#include "emit.h"
#include "path.h"
#include "process.h"
#include "socket.h"
#include "file.h"

__noinline int on_act(u64 type, u64 op, u64 target, u64 arg, u64 err)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct act_record r = {};

	r.count = folding(target, op, type << 8, 0);
	if (!r.count)
		return 0;
	begin(&r.h, type);
	r.op = op;
	r.target = target;
	r.arg = arg;
	r.err = err;
	if (type == R_NAMESPACE)
		namespaces(task, r.ns);
	tell_act(&r);
	return 0;
}

__noinline int on_number(u64 type)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct number_record r = {};
	struct pid *session;

	begin(&r.h, type);
	if (type == R_SETSID) {
		session = BPF_CORE_READ(task, signal, pids[3]);
		r.number = BPF_CORE_READ(session, numbers[0].nr);
	}
	EMIT(priority, PRIORITY, &r, sizeof(r));
	return 0;
}

/* include/uapi/linux/ptrace.h */
static __always_inline u32 ptrace_op(u64 request)
{
	switch (request) {
	case 0:
		return OP_TRACEME;
	case 1: case 2: case 3:
	case 12: case 14: case 18: /* PTRACE_GETREGS, GETFPREGS, GETFPXREGS */
	case 0x4204:		   /* PTRACE_GETREGSET */
		return OP_PEEK;
	case 4: case 5: case 6:
	case 13: case 15: case 19:
	case 0x4205:
		return OP_POKE;
	case 16:
	case 0x4206: /* PTRACE_SEIZE */
		return OP_ATTACH;
	}
	return OP_NONE;
}

/* enum bpf_cmd, include/uapi/linux/bpf.h */
static __always_inline u32 bpf_op(u64 cmd)
{
	switch (cmd) {
	case 5:
		return OP_PROG_LOAD;
	case 2: case 3: case 21: case 22: case 25: case 26: case 27:
		return OP_MAP_UPDATE;
	case 9: case 29: case 34:
		return OP_DETACH;
	case 8: case 17: case 28:
		return OP_ATTACH_PROG;
	case 7: case 13: case 14: case 30:
		return OP_OBJECT;
	}
	return OP_NONE;
}

enum { EPERM = 1, EBADF = 9, EACCES = 13, EINVAL = 22, EADDRNOTAVAIL = 99, ENETUNREACH = 101 };

/* What a call of bpf(2) names, by its command; the attributes begin with it or hold it at an offset. */
enum { OF_NOTHING, OF_MAP, OF_PROG, OF_LINK };

/*
 * Which of the kernel's objects it is: the kind above the id, 0 where that is
 * not known. A descriptor that is of no such object the kernel has refused with
 * EBADF or EINVAL.
 */
static __always_inline u64 bpf_object(u64 cmd, u64 attr, u64 err)
{
	u64 kind = OF_NOTHING, at = 0;
	struct file *file;
	void *object;
	u32 word = 0, id = 0;
	bool by_id = false;

	switch (cmd) {
	case 2: case 3: case 21: case 22: /* BPF_MAP_UPDATE_ELEM, DELETE_ELEM, LOOKUP_AND_DELETE_ELEM, FREEZE */
		kind = OF_MAP;
		break;
	case 25: case 26: case 27: /* BPF_MAP_LOOKUP_AND_DELETE_BATCH, UPDATE_BATCH, DELETE_BATCH */
		kind = OF_MAP;
		at = 36;
		break;
	case 9: /* BPF_PROG_DETACH: attach_bpf_fd */
		kind = OF_PROG;
		at = 4;
		break;
	case 29: case 34: /* BPF_LINK_UPDATE, LINK_DETACH */
		kind = OF_LINK;
		break;
	case 13: case 14: case 30: /* BPF_PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID, LINK_GET_FD_BY_ID */
		kind = cmd == 13 ? OF_PROG : cmd == 14 ? OF_MAP : OF_LINK;
		by_id = true;
		break;
	default:
		return 0;
	}
	if (bpf_probe_read_user(&word, sizeof(word), (void *)(attr + at)))
		return 0;
	if (by_id)
		return kind << 32 | word;
	if (err == EBADF || err == EINVAL)
		return 0;
	file = file_of(word);
	if (!file)
		return 0;
	object = BPF_CORE_READ(file, private_data);
	if (kind == OF_MAP)
		id = BPF_CORE_READ((struct bpf_map *)object, id);
	else if (kind == OF_PROG)
		id = BPF_CORE_READ((struct bpf_prog *)object, aux, id);
	else
		id = BPF_CORE_READ((struct bpf_link *)object, id);
	return id ? kind << 32 | id : 0;
}

#define PID_FS_MAGIC 0x50494446 /* include/uapi/linux/magic.h */

/* Whose pidfd it is: the pid is in the file, and from 6.9 on in the inode of pidfs. */
static __always_inline u32 pidfd_target(u64 fd)
{
	struct file *file = file_of(fd);
	struct hlist_node *node;
	struct task_struct *task;
	struct pid *pid;

	if (!file)
		return 0;
	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) == PID_FS_MAGIC)
		pid = BPF_CORE_READ(file, f_inode, i_private);
	else
		pid = BPF_CORE_READ(file, private_data);
	node = BPF_CORE_READ(pid, tasks[0].first);
	if (!node)
		return 0;
	task = (void *)node - bpf_core_field_offset(struct task_struct, pid_links);
	return BPF_CORE_READ(task, tgid);
}

struct passed {
	u64 fds; /* in the process */
};


/*
 * A connect that was refused on this machine, by a route or a filter, before
 * its socket came to any state that is told.
 */
static __always_inline int on_refused(u64 fd, u64 addr, u16 family, u64 err)
{
	struct sock *sk = sock_of(fd);
	struct sock_record r = {};
	u16 port = 0;

	if (!sk)
		return 0;
	bpf_probe_read_user(&port, sizeof(port), (void *)(addr + 2));
	r.dport = bpf_ntohs(port);
	if (family == AF_INET6) {
		r.family = 6;
		bpf_probe_read_user(r.dst, 16, (void *)(addr + 8));
	} else {
		r.family = 4;
		bpf_probe_read_user(r.dst, 4, (void *)(addr + 4));
	}
	r.proto = BPF_CORE_READ(sk, sk_protocol);
	r.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	r.err = err;
	begin(&r.h, R_CONNECT);
	tell_sock(&r);
	return 0;
}

/* The name in a struct sockaddr_un, as it was given; returns its length. */
static __always_inline u32 put_unix(struct scratch *s, u32 slot, struct file_record *r, u64 addr)
{
	u32 at = sizeof(*r);
	u8 first = 0;
	long n;

	bpf_probe_read_user(&first, 1, (void *)(addr + 2));
	if (first) {
		r->h.flags |= F_USER_PATH;
		return put_name(slot, at, (u64)AT_FDCWD, addr + 2, false);
	}
	/* An abstract name begins with a NUL; it is written as @. */
	s->out[at] = '@';
	n = bpf_probe_read_user_str(&s->out[at + 1], 108, (void *)(addr + 3));
	return n > 0 ? n : 1;
}

/*
 * A connect to a Unix or vsock socket, which no socket's state shows. Of sk,
 * where it is known and connected, the other end says which file it is; else it
 * is told by the address that was asked for.
 */
static __always_inline int on_named_connect(struct sock *sk, u64 addr, u16 family, u64 err)
{
	struct act_record v = {};
	struct vfsmount *mnt = 0;
	struct dentry *entry = 0;
	struct file_record *r;
	struct scratch *s;
	struct sock *peer;
	u32 slot, at, vsock[2] = {};

	if (family == AF_VSOCK) {
		begin(&v.h, R_VSOCK);
		/* struct sockaddr_vm: family, reserved, port, cid */
		bpf_probe_read_user(vsock, sizeof(vsock), (void *)(addr + 4));
		v.op = vsock[0];
		v.arg = vsock[1];
		v.err = err;
		v.count = 1;
		tell_act(&v);
		return 0;
	}
	s = take(&slot);
	if (!s)
		return 0;
	r = (void *)s->out;
	begin_file(r, R_UNIX);
	r->mode = err;
	at = sizeof(*r);
	peer = sk && !err ? BPF_CORE_READ((struct unix_sock *)sk, peer) : 0;
	if (peer) {
		entry = BPF_CORE_READ((struct unix_sock *)peer, path.dentry);
		mnt = BPF_CORE_READ((struct unix_sock *)peer, path.mnt);
	}
	if (entry) {
		r->inode = BPF_CORE_READ(entry, d_inode, i_ino);
		r->dev = BPF_CORE_READ(entry, d_inode, i_sb, s_dev);
		r->path = put_path(s, at, climb(slot, (u64)entry, (u64)mnt));
	} else {
		r->path = put_unix(s, slot, r, addr);
	}
	at += r->path;
	tell_out(slot, at, PRIORITY);
	give(s);
	return 0;
}

__noinline int on_connect(u64 fd, u64 addr, u64 err)
{
	struct sock *sk = 0;
	u16 family = 0;

	bpf_probe_read_user(&family, sizeof(family), (void *)addr);
	if ((family == AF_INET || family == AF_INET6) &&
	    (err == EPERM || err == EACCES || err == EADDRNOTAVAIL || err == ENETUNREACH))
		return on_refused(fd, addr, family, err);
	if (family == AF_UNIX) {
		sk = sock_of(fd);
		if (!sk || (err && err != EACCES && err != EPERM))
			return 0;
	} else if (family != AF_VSOCK) {
		return 0;
	}
	return on_named_connect(sk, addr, family, err);
}

/*
 * Descriptors that came over a Unix socket: what was opened or connected by
 * another is now this process's to use. Read from where recvmsg(2) has put the
 * control message, which another thread may have changed meanwhile.
 */
enum { SOL_SOCKET = 1, SCM_RIGHTS = 1 };

#define PASSED 16 /* descriptors of one message that are looked at */

/* A function of its own: with its record on the stack of who calls on_open, 6.1 refuses them all. */
__noinline int on_passed_socket(u64 at)
{
	struct sock *sk = (void *)at;
	struct sock_record r = {};
	struct owner o = {};
	u64 key;
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

	if ((family != AF_INET && family != AF_INET6) || !BPF_CORE_READ(sk, __sk_common.skc_dport))
		return 0;
	r.proto = BPF_CORE_READ(sk, sk_protocol);
	if (r.proto == IPPROTO_TCP && (state == TCP_CLOSE || state == TCP_LISTEN))
		return 0;
	r.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	addresses(&r, sk);
	own(&o);
	/* A socket of before has no cookie until somebody asks for it: see on_state. */
	key = r.cookie ? r.cookie : (u64)sk;
	if (r.proto == IPPROTO_TCP)
		bpf_map_update_elem(&acceptors, &key, &o, BPF_ANY);
	begin(&r.h, R_CONNECT);
	r.h.flags |= F_PASSED;
	tell_sock(&r);
	return 0;
}

static long passed_step(u32 i, struct passed *p)
{
	struct sock *sk;
	s32 fd = -1;

	if (bpf_probe_read_user(&fd, sizeof(fd), (void *)(p->fds + i * sizeof(fd))) || fd < 0)
		return 1;
	sk = sock_of((u32)fd);
	if (sk)
		on_passed_socket((u64)sk);
	else
		on_open((u32)fd, 0);
	return 0;
}

__noinline int on_message(u64 header, u64 compat)
{
	u64 control = 0, length = 0;
	u32 words[3] = {};
	struct passed p;
	u32 head, n;

	/* struct user_msghdr, struct compat_msghdr: msg_control, msg_controllen */
	if (compat) {
		bpf_probe_read_user(&control, 4, (void *)(header + 16));
		bpf_probe_read_user(&length, 4, (void *)(header + 20));
		head = 12;
	} else {
		bpf_probe_read_user(&control, 8, (void *)(header + 32));
		bpf_probe_read_user(&length, 8, (void *)(header + 40));
		head = 16;
	}
	/* Credentials or a pidfd may stand before. */
#pragma unroll
	for (u32 i = 0; i < 3; i++) {
		if (!control || length < head + 4)
			return 0;
		/* struct cmsghdr: its length is a size_t, level and type follow */
		bpf_probe_read_user(&words[0], 4, (void *)control);
		bpf_probe_read_user(&words[1], 8, (void *)(control + head - 8));
		if (words[0] < head || words[0] > length)
			return 0;
		if (words[1] == SOL_SOCKET && words[2] == SCM_RIGHTS) {
			p.fds = control + head;
			n = (words[0] - head) / 4;
			bpf_loop(n < PASSED ? n : PASSED, passed_step, &p, 0);
			return 0;
		}
		n = (words[0] + (compat ? 3 : 7)) & ~(compat ? 3U : 7U);
		if (n > length)
			return 0;
		control += n;
		length -= n;
	}
	return 0;
}

/* include/uapi/linux/net.h */
enum { SYS_SOCKET = 1, SYS_CONNECT = 3, SYS_ACCEPT = 5, SYS_RECVMSG = 17, SYS_ACCEPT4 = 18 };

#define SOCK_RAW 3

static __always_inline void on_socket(u64 domain, u64 type)
{
	if (domain == AF_PACKET || domain == AF_XDP || ((domain == AF_INET || domain == AF_INET6) && (type & 15) == SOCK_RAW))
		on_act(R_RAWSOCK, 0, 0, domain, 0);
}

/*
 * Some kernels preempt the programs of this tracepoint, and run none anew on the
 * CPU that one of them is held up on: each call of others there would be skipped
 * for a whole slice of time. So three stand there, which the kernel tells apart,
 * and do the work of those before them that were skipped. What has been told is
 * the task's own mark; only calls that are told of have one.
 */
enum { UNTOLD, TOLD, TOLD_AND_SEEN, BY_SECOND, BY_THIRD };

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u32);
} told_calls SEC(".maps");

/* on_sys_exit itself, for those that do its work. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} sys_exits SEC(".maps");

/* Whether the kernel preempts them. Where not, there is one. */
const volatile u8 preempted;

/* Whether a call is one that is told of. */
static __always_inline bool tells(struct pt_regs *regs, long ret, struct call *c)
{
	return system_call(regs, c) &&
	       !(ret < 0 && c->action < A_TELL_FAILURE && !(c->action <= A_LAST_OPEN && (ret == -EACCES || ret == -EPERM)));
}

static __always_inline void mark_call(struct task_struct *task)
{
	u32 *mark = bpf_task_storage_get(&told_calls, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!mark)
		return;
	*mark = *mark == BY_SECOND ? TOLD_AND_SEEN : *mark == BY_THIRD ? UNTOLD : TOLD;
}

/* TP_PROTO(struct pt_regs *regs, long ret) */
SEC("tp_btf/sys_exit")
int on_sys_exit(u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	struct task_struct *task;
	long ret = ctx[1];
	struct call c;
	u32 which[4] = {};
	u64 err, flags, object;
	u32 op;

	if (!tells(regs, ret, &c))
		return 0;
	task = bpf_get_current_task_btf();
	/* The monitor's own files are its log; its sockets are told as any. */
	if (task->tgid == self && c.action != A_ACCEPT)
		return c.action == A_OPENAT2 ? on_adopt(ret) : 0;
	if (preempted)
		mark_call(task);
	/*
	 * Never taken. The second and the third program run this one where it runs
	 * already, preempted; from 6.13 on the kernel may give its frames memory of
	 * the processor's, which both would write, unless it has a tail call itself.
	 */
	if (preempted > 1)
		bpf_tail_call(ctx, &sys_exits, 0);
	arguments(regs, &c);
	err = ret < 0 ? -ret : 0;
	if (err && c.action <= A_LAST_OPEN)
		return c.action == A_OPEN || c.action == A_CREAT ? on_refused_open(err, AT_FDCWD, c.arg[0])
								 : on_refused_open(err, (u32)c.arg[0], c.arg[1]);

	switch (c.action) {
	case A_OPEN:
		return on_open(ret, c.arg[1]);
	case A_OPENAT:
	case A_OPEN_HANDLE:
		return on_open(ret, c.arg[2]);
	case A_OPENAT2:
		flags = 0;
		bpf_probe_read_user(&flags, sizeof(flags), (void *)c.arg[2]);
		return on_open(ret, flags);
	case A_CREAT:
		return on_open(ret, O_TRUNC);
	case A_TRUNCATE:
		return on_names(R_OPEN | (ACCESS_WRITE | ACCESS_TRUNCATE) << 8, AT_FDCWD, c.arg[0], 0, 0);
	case A_RENAME:
		return on_names(R_RENAME, AT_FDCWD, c.arg[0], AT_FDCWD, c.arg[1]);
	case A_RENAMEAT:
		return on_names(R_RENAME, (u32)c.arg[0], c.arg[1], (u32)c.arg[2], c.arg[3]);
	case A_UNLINK:
		return on_names(R_UNLINK, AT_FDCWD, c.arg[0], 0, 0);
	case A_UNLINKAT:
		return on_names(R_UNLINK, (u32)c.arg[0], c.arg[1], 0, 0);
	case A_LINK:
		return on_names(R_LINK, AT_FDCWD, c.arg[0], AT_FDCWD, c.arg[1]);
	case A_LINKAT:
		return on_names(R_LINK, (u32)c.arg[0], c.arg[1], (u32)c.arg[2], c.arg[3]);
	case A_SYMLINK:
		return on_names(R_SYMLINK, AS_GIVEN, c.arg[0], AT_FDCWD, c.arg[1]);
	case A_SYMLINKAT:
		return on_names(R_SYMLINK, AS_GIVEN, c.arg[0], (u32)c.arg[1], c.arg[2]);
	case A_CHMOD:
		return on_names(R_CHMOD | (c.arg[1] & 07777) << 8, AT_FDCWD, c.arg[0], 0, 0);
	case A_FCHMOD:
		return on_file(R_CHMOD | (c.arg[1] & 07777) << 8, (u32)c.arg[0]);
	case A_FCHMODAT:
		return on_names(R_CHMOD | (c.arg[2] & 07777) << 8, (u32)c.arg[0], c.arg[1], 0, 0);
	case A_MKDIR:
		return on_names(R_MKDIR | (c.arg[1] & 07777) << 8, AT_FDCWD, c.arg[0], 0, 0);
	case A_MKDIRAT:
		return on_names(R_MKDIR | (c.arg[2] & 07777) << 8, (u32)c.arg[0], c.arg[1], 0, 0);
	case A_SETID:
		return on_number(R_SETID);
	case A_SETSID:
		return on_number(R_SETSID);
	case A_ACCEPT:
		return on_accepted(ret);
	case A_SOCKET:
		on_socket(c.arg[0], c.arg[1]);
		return 0;
	case A_UMOUNT:
		return on_names(R_MOUNT | OP_UNMOUNT << 8, 0, 0, AT_FDCWD, c.arg[0]);
	case A_MOUNT:
		return on_names(R_MOUNT | OP_MOUNT << 8, AS_GIVEN, c.arg[0], AT_FDCWD, c.arg[1]);
	case A_MOVE_MOUNT:
		return on_names(R_MOUNT | OP_MOUNT << 8, (u32)c.arg[0], c.arg[1], (u32)c.arg[2], c.arg[3]);
	case A_UNSHARE:
		return on_act(R_NAMESPACE, OP_UNSHARE, 0, c.arg[0], 0);
	case A_CHROOT:
		return on_names(R_MOUNT | OP_OTHER << 8, 0, 0, AT_FDCWD, c.arg[0]);
	case A_PIVOT_ROOT:
		return on_names(R_MOUNT | OP_OTHER << 8, AT_FDCWD, c.arg[1], AT_FDCWD, c.arg[0]);
	case A_MESSAGE:
		return on_message(c.arg[1], c.compat);
	case A_SETNS:
		return on_act(R_NAMESPACE, OP_SETNS, 0, c.arg[1], 0);
	case A_URING:
		return on_act(R_URING, OP_SETUP, 0, 0, 0);
	case A_MODULE:
		return on_names(R_MODULE | OP_LOAD << 8, 0, 0, 0, 0);
	case A_MODULE_FD:
		return on_file(R_MODULE | OP_LOAD << 8, (u32)c.arg[0]);
	case A_MODULE_DEL:
		return on_names(R_MODULE | OP_UNLOAD << 8, AS_GIVEN, c.arg[0], 0, 0);
	case A_CONNECT:
		return on_connect((u32)c.arg[0], c.arg[1], err);
	case A_PTRACE:
		op = ptrace_op(c.arg[0]);
		if (op == OP_NONE)
			return 0;
		return on_act(R_PTRACE, op, op == OP_TRACEME ? 0 : global_pid(c.arg[1]), 0, err);
	case A_VM_READ:
		return on_act(R_MEMORY, OP_READ, global_pid(c.arg[0]), 0, err);
	case A_VM_WRITE:
		return on_act(R_MEMORY, OP_WRITE, global_pid(c.arg[0]), 0, err);
	case A_BPF:
		op = bpf_op(c.arg[0]);
		if (op == OP_NONE)
			return 0;
		object = bpf_object(c.arg[0], c.arg[1], err);
		return on_act(R_BPF, op, object, object >> 32, err);
	case A_PIDFD_GETFD:
		return on_act(R_PTRACE, OP_OTHER, pidfd_target((u32)c.arg[0]), 0, err);
	case A_SOCKETCALL:
		bpf_probe_read_user(which, sizeof(which), (void *)c.arg[1]);
		if (c.arg[0] == SYS_CONNECT)
			return on_connect(which[0], which[1], err);
		if (ret < 0)
			return 0;
		if (c.arg[0] == SYS_ACCEPT || c.arg[0] == SYS_ACCEPT4)
			return on_accepted(ret);
		if (c.arg[0] == SYS_SOCKET)
			on_socket(which[0], which[1]);
		if (c.arg[0] == SYS_RECVMSG)
			return on_message(which[1], 1);
		return 0;
	}
	return 0;
}

/* Does the work of on_sys_exit where it, and who stands before this one, was skipped. */
static __always_inline int in_its_place(u64 *ctx, u32 by)
{
	struct task_struct *task;
	struct call c;
	u32 *mark;

	if (!tells((void *)ctx[0], ctx[1], &c))
		return 0;
	task = bpf_get_current_task_btf();
	if (task->tgid == self && c.action != A_ACCEPT)
		return 0;
	mark = bpf_task_storage_get(&told_calls, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	/* Where there is no memory for a mark, told twice is better than not. */
	if (mark) {
		if (by == BY_SECOND ? *mark == TOLD : *mark != UNTOLD) {
			*mark = by == BY_SECOND ? TOLD_AND_SEEN : UNTOLD;
			return 0;
		}
		*mark = by;
	}
	bpf_tail_call(ctx, &sys_exits, 0);
	if (mark)
		*mark = UNTOLD; /* it was not there */
	return 0;
}

SEC("tp_btf/sys_exit")
int on_sys_exit_second(u64 *ctx)
{
	return in_its_place(ctx, BY_SECOND);
}

SEC("tp_btf/sys_exit")
int on_sys_exit_third(u64 *ctx)
{
	return in_its_place(ctx, BY_THIRD);
}

/*
 * Who last tried to end or stop the monitor. A monitor that is killed tells
 * nothing any more, so this is where the client of ours can still read it: it
 * has the page mapped. What kills is the last thing that is written, and stays.
 */
#define ABOVE 16
#define LAST_EXE 512

struct ancestor {
	u64 start;
	u32 pid;
	u32 pad;
};

struct last_act {
	u64 time, start;
	u32 pid, uid;
	u32 signal;
	u8 comm[16];
	u32 exe_len;
	struct ancestor above[ABOVE]; /* the parent first; ends with pid 0 */
	u8 exe[LAST_EXE];	      /* its end, where it is longer */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct last_act);
} last_acts SEC(".maps");

/* include/uapi/asm-generic/signal.h */
enum { SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGSEGV = 11, SIGTERM = 15, SIGSTOP = 19, SIGSYS = 31 };

/* The signals that end or stop the monitor, whatever it would like to do. */
#define ENDING                                                                                     \
	(1U << SIGILL | 1U << SIGTRAP | 1U << SIGABRT | 1U << SIGBUS | 1U << SIGFPE | 1U << SIGKILL | \
	 1U << SIGSEGV | 1U << SIGTERM | 1U << SIGSTOP | 1U << SIGSYS)

/* The kernel holds the lock of the monitor's signals, so two never write at once. */
static __always_inline void remember(struct task_struct *task, u32 signal)
{
	struct task_struct *above = task;
	struct dentry *entry;
	struct file *exe;
	struct last_act *a;
	struct scratch *s;
	u32 zero = 0, slot, offset, len;

	a = bpf_map_lookup_elem(&last_acts, &zero);
	if (!a || a->signal == SIGKILL)
		return;
	a->pid = task->tgid;
	a->start = start_of(task);
	a->uid = BPF_CORE_READ(task, cred, euid.val);
	BPF_CORE_READ_INTO(&a->comm, task, comm);
#pragma unroll
	for (u32 i = 0; i < ABOVE; i++) {
		above = BPF_CORE_READ(above, group_leader, real_parent);
		a->above[i].pid = BPF_CORE_READ(above, tgid);
		a->above[i].start = start_of(above);
	}
	a->exe_len = 0;
	exe = BPF_CORE_READ(task, mm, exe_file);
	s = exe ? take(&slot) : 0;
	if (s) {
		entry = BPF_CORE_READ(exe, f_path.dentry);
		offset = climb(slot, (u64)entry, (u64)BPF_CORE_READ(exe, f_path.mnt));
		if (offset < PIECE - LAST_EXE)
			offset = PIECE - LAST_EXE;
		barrier_var(offset);
		if (offset < PIECE) {
			len = PIECE - offset;
			barrier_var(len);
			if (len <= LAST_EXE && bpf_probe_read_kernel(a->exe, len, &s->path[offset]) == 0)
				a->exe_len = len;
		}
		give(s);
	}
	a->signal = signal;
	a->time = bpf_ktime_get_boot_ns();
}

/* include/uapi/asm-generic/siginfo.h */
enum { SI_USER = 0, SI_QUEUE = -1, SI_TKILL = -6 };

/* TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int type, int result) */
SEC("tp_btf/signal_generate")
int on_signal(u64 *ctx)
{
	struct task_struct *target = (void *)ctx[2], *task = bpf_get_current_task_btf();
	struct kernel_siginfo *info = (void *)ctx[1];
	struct act_record r = {};
	int code;

	/* SEND_SIG_PRIV: the kernel itself. SEND_SIG_NOINFO is 0 and a user's. */
	if ((u64)info == 1 || target->tgid == task->tgid)
		return 0;
	if (info) {
		code = BPF_CORE_READ(info, si_code);
		if (code > 0)
			return 0;
	}
	if (target->tgid == self && ctx[0] < 32 && ENDING >> ctx[0] & 1)
		remember(task, ctx[0]);
	r.count = folding(start_of(target), target->tgid, R_KILL << 8 | (u8)ctx[0], 0);
	if (!r.count)
		return 0;
	begin(&r.h, R_KILL);
	r.op = OP_NONE;
	r.arg = ctx[0];
	r.target = target->tgid;
	r.target_start = start_of(target);
	tell_act(&r);
	return 0;
}
