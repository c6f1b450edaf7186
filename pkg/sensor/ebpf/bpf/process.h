/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* fork, exec and exit. */
#pragma once

#include "cgroup.h"
#include "emit.h"
#include "path.h"

/* Process ids inside pid namespaces, for system calls that name a target so. */
struct inner_pid {
	u32 ns;
	u32 nr;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct inner_pid);
	__type(value, u32); /* thread group */
} inner_pids SEC(".maps");

static __always_inline void innermost(struct pid *pid, struct inner_pid *inner)
{
	u32 level = BPF_CORE_READ(pid, level);
	struct pid_namespace *ns = 0;
	void *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid);

	inner->ns = inner->nr = 0;
	if (!level)
		return;
	bpf_probe_read_kernel(&inner->nr, sizeof(inner->nr), at + bpf_core_field_offset(struct upid, nr));
	bpf_probe_read_kernel(&ns, sizeof(ns), at + bpf_core_field_offset(struct upid, ns));
	inner->ns = BPF_CORE_READ(ns, ns.inum);
}

/* The thread group that the current task means by a process id; 0 where not known. */
static __always_inline u32 global_pid(u32 nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct inner_pid inner;
	u32 *tgid;

	innermost(BPF_CORE_READ(task, thread_pid), &inner);
	if (!inner.ns)
		return nr;
	inner.nr = nr;
	tgid = bpf_map_lookup_elem(&inner_pids, &inner);
	return tgid ? *tgid : 0;
}

/* TP_PROTO(struct task_struct *parent, struct task_struct *child) */
SEC("tp_btf/sched_process_fork")
int on_fork(u64 *ctx)
{
	struct task_struct *child = (void *)ctx[1];
	struct task_struct *task = bpf_get_current_task_btf();
	struct fork_record r = {};
	struct act_record ns = {};
	struct inner_pid inner;
	struct counters *c;
	u32 tgid = child->tgid;

	innermost(BPF_CORE_READ(child, thread_pid), &inner);
	if (inner.ns)
		bpf_map_update_elem(&inner_pids, &inner, &tgid, BPF_ANY);
	if (child->pid != tgid)
		return 0;
	c = counting();
	if (c)
		__sync_fetch_and_add(&c->forks, 1);
	begin(&r.h, R_FORK);
	r.parent = r.h.pid;
	r.parent_start = r.h.start;
	r.h.pid = r.h.tid = tgid;
	r.h.start = child->start_boottime;
	EMIT(priority, PRIORITY, &r, sizeof(r));

	if (BPF_CORE_READ(child, nsproxy) == BPF_CORE_READ(task, nsproxy) &&
	    BPF_CORE_READ(child, cred, user_ns) == BPF_CORE_READ(task, cred, user_ns))
		return 0;
	begin(&ns.h, R_NAMESPACE);
	ns.op = OP_CLONE;
	ns.target = tgid;
	ns.target_start = r.h.start;
	namespaces(child, ns.ns);
	EMIT(priority, PRIORITY, &ns, sizeof(ns));
	return 0;
}

/*
 * The names of environment variables whose values may leave the process, each
 * with its "=". Everything else stays where it is.
 */
#define NAME_BYTES 64

struct name_key {
	u32 bits;
	u8 name[NAME_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct name_key);
	__type(value, u8);
} env_names SEC(".maps");

const volatile u8 env_first[256]; /* whether a name begins so */

#define ENV_SCAN (32 << 10)
#define ENV_VALUE 512

static long env_step(u32 i, struct loop *l)
{
	struct scratch *s = l->s;
	struct name_key *key;
	u32 at = s->env.at;
	u64 from = s->env.from;
	bool inside = s->env.inside;
	long len;

	if (from >= s->env.to || at > s->env.end)
		return 1;
	barrier_var(at);
	if (at > 512 + OUT - PIECE)
		return 1;
	len = bpf_probe_read_user_str(&s->out[at], ENV_VALUE, (void *)from);
	if (len <= 0)
		return 1;
	/* One that is longer than the buffer fills it and goes on after ENV_VALUE-1 bytes. */
	s->env.inside = len == ENV_VALUE;
	s->env.from = from + len - (len == ENV_VALUE);
	if (inside || !env_first[s->out[at]])
		return 0;
	key = (void *)s->path;
	key->bits = NAME_BYTES * 8;
	bpf_probe_read_kernel(key->name, NAME_BYTES, &s->out[at]);
	if (bpf_map_lookup_elem(&env_names, key))
		s->env.at = at + (u32)len;
	return 0;
}

static long argv_step(u32 i, struct loop *l)
{
	struct scratch *s = l->s;
	struct argv_record *r;
	u32 offset = i * PIECE, len;

	if (offset >= s->argv.total)
		return 1;
	len = s->argv.total - offset;
	if (len > PIECE)
		len = PIECE;
	barrier_var(len);
	if (len > PIECE)
		return 1;
	r = (void *)s->path;
	if (bpf_probe_read_user(s->path + sizeof(*r), len, (void *)(s->argv.from + offset)))
		return 1;
	r->time = s->argv.time;
	r->type = R_ARGV;
	r->flags = 0;
	r->pid = s->argv.pid;
	r->offset = offset;
	r->len = len;
	r->pad = 0;
	if (EMIT(priority, PRIORITY, r, len + sizeof(*r)))
		return 1;
	s->argv.sent = offset + len;
	return 0;
}

#define TMPFS_MAGIC 0x01021994

#define CTIME_QUERIED (1U << 31) /* include/linux/fs.h, I_CTIME_QUERIED, from 6.13 on */

/* When an inode was changed last, in Unix nanoseconds; 0 where the kernel keeps it elsewhere. */
static __always_inline u64 changed(struct inode *inode)
{
	struct inode___seconds *seconds = (void *)inode;
	struct inode___hidden *hidden = (void *)inode;
	struct inode___plain *plain = (void *)inode;

	if (bpf_core_field_exists(seconds->i_ctime_sec))
		return BPF_CORE_READ(seconds, i_ctime_sec) * 1000000000ULL +
		       (BPF_CORE_READ(seconds, i_ctime_nsec) & ~CTIME_QUERIED);
	if (bpf_core_field_exists(hidden->__i_ctime))
		return BPF_CORE_READ(hidden, __i_ctime.tv_sec) * 1000000000ULL + BPF_CORE_READ(hidden, __i_ctime.tv_nsec);
	if (bpf_core_field_exists(plain->i_ctime))
		return BPF_CORE_READ(plain, i_ctime.tv_sec) * 1000000000ULL + BPF_CORE_READ(plain, i_ctime.tv_nsec);
	return 0;
}

static __always_inline void image(struct exec_record *r, struct file *file, struct dentry *entry)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	const unsigned char *at = BPF_CORE_READ(entry, d_name.name);
	char name[8] = {};

	r->inode = BPF_CORE_READ(inode, i_ino);
	r->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	r->ctime = changed(inode);
	r->size = BPF_CORE_READ(inode, i_size);
	if (BPF_CORE_READ(inode, i_nlink) && BPF_CORE_READ(entry, d_hash.pprev))
		return;
	bpf_probe_read_kernel(name, 6, at);
	if (BPF_CORE_READ(entry, d_parent) == entry && BPF_CORE_READ(inode, i_sb, s_magic) == TMPFS_MAGIC &&
	    name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':')
		r->h.flags |= F_MEMFD;
	else if (!BPF_CORE_READ(inode, i_nlink) || BPF_CORE_READ(entry, d_parent) != entry)
		r->h.flags |= F_DELETED;
}

/* TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm) */
SEC("tp_btf/sched_process_exec")
int on_exec(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct linux_binprm *bprm = (void *)ctx[2];
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *file = BPF_CORE_READ(bprm, file);
	struct dentry *entry = BPF_CORE_READ(file, f_path.dentry);
	struct dentry *cwd = BPF_CORE_READ(task, fs, pwd.dentry);
	struct counters *c = counting();
	struct exec_record *r;
	struct cgroup *old;
	struct scratch *s;
	struct loop l;
	u64 argv_from, argv_to;
	u32 slot, at, len, argv;
	const char *name, *interp;
	long n;

	if (c) {
		__sync_fetch_and_add(&c->execs, 1);
		if ((u32)ctx[1] != task->pid)
			__sync_fetch_and_add(&c->thread_execs, 1);
	}
	s = take(&slot);
	if (!s)
		return 0;
	r = (void *)s->out;
	begin(&r->h, R_EXEC);
	r->exe = r->filename = r->interp = r->cwd = r->argv = r->env = 0;
	image(r, file, entry);
	namespaces(task, r->ns);
	old = old_cgroup(task);
	r->old_cgroup = old ? BPF_CORE_READ(old, kn, id) : 0;

	argv_from = BPF_CORE_READ(mm, arg_start);
	argv_to = BPF_CORE_READ(mm, arg_end);
	r->argv_bytes = argv_to - argv_from;
	r->argv_sent = 0;
	argv = min(r->argv_bytes, (u64)argv_max);
	l.s = s;
	if (argv > PIECE) {
		s->argv.from = argv_from;
		s->argv.time = r->h.time;
		s->argv.pid = r->h.pid;
		s->argv.total = argv;
		s->argv.sent = 0;
		bpf_loop((argv + PIECE - 1) / PIECE, argv_step, &l, 0);
		r->argv_sent = s->argv.sent;
		if (s->argv.sent < argv)
			r->h.flags |= F_NO_ARGV;
	}

	at = sizeof(*r);
	len = put_path(s, at, climb(slot, (u64)entry, (u64)BPF_CORE_READ(file, f_path.mnt)));
	r->exe = len;
	at += len;

	name = BPF_CORE_READ(bprm, filename);
	interp = BPF_CORE_READ(bprm, interp);
	barrier_var(at);
	if (at > 512 + OUT - PIECE)
		goto out;
	n = bpf_probe_read_kernel_str(&s->out[at], PIECE, name);
	if (n > 1) {
		r->filename = n - 1;
		at += n - 1;
	}
	if (interp != name) {
		r->h.flags |= F_SCRIPT;
		barrier_var(at);
		if (at > 512 + OUT - PIECE)
			goto out;
		n = bpf_probe_read_kernel_str(&s->out[at], 256, interp);
		if (n > 1) {
			r->interp = n - 1;
			at += n - 1;
		}
	}
	len = put_path(s, at, climb(slot, (u64)cwd, (u64)BPF_CORE_READ(task, fs, pwd.mnt)));
	r->cwd = len;
	at += len;

	if (argv && argv <= PIECE) {
		barrier_var(at);
		if (at > 512 + OUT - PIECE)
			goto out;
		len = argv;
		barrier_var(len);
		if (len > PIECE)
			goto out;
		if (bpf_probe_read_user(&s->out[at], len, (void *)argv_from)) {
			r->h.flags |= F_NO_ARGV;
		} else {
			r->argv = len;
			at += len;
		}
	}

	s->env.from = BPF_CORE_READ(mm, env_start);
	s->env.to = min(BPF_CORE_READ(mm, env_end), s->env.from + ENV_SCAN);
	s->env.at = at;
	s->env.end = at + PIECE - ENV_VALUE;
	s->env.inside = 0;
	bpf_loop(1024, env_step, &l, 0);
	r->env = s->env.at - at;
	at = s->env.at;
	barrier_var(at);
	if (at > sizeof(s->out))
		goto out;
	EMIT(priority, PRIORITY, r, at);
	give(s);
	return 0;
out:
	if (c)
		__sync_fetch_and_add(&c->busy, 1);
	give(s);
	return 0;
}

#define SIGNAL_GROUP_EXIT 4 /* include/linux/sched/signal.h */

struct ended {
	u64 start;
	u32 pid;
	u32 pad;
};

/* Thread groups whose end has been told: two last threads may both see none alive. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct ended);
	__type(value, u8);
} told_ended SEC(".maps");

/* TP_PROTO(struct task_struct *p), and from 6.16 on bool group_dead */
SEC("tp_btf/sched_process_exit")
int on_exit(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct number_record r = {};
	struct counters *c;
	struct ended key = {};
	u8 one = 1;

	if (task->pid == task->tgid) {
		c = counting();
		if (c)
			__sync_fetch_and_add(&c->exits, 1);
	}
	if (BPF_CORE_READ(signal, live.counter) != 0)
		return 0;
	begin(&r.h, R_EXIT);
	key.start = r.h.start;
	key.pid = r.h.pid;
	if (task->pid == task->tgid && BPF_CORE_READ(signal, nr_threads) == 1) {
		/* The others are gone altogether: one that saw the end has told it. */
		if (bpf_map_lookup_elem(&told_ended, &key))
			return 0;
	} else if (bpf_map_update_elem(&told_ended, &key, &one, BPF_NOEXIST)) {
		return 0;
	}
	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		r.number = BPF_CORE_READ(signal, group_exit_code);
	else
		r.number = BPF_CORE_READ(leader, exit_code);
	EMIT(priority, PRIORITY, &r, sizeof(r));
	return 0;
}
