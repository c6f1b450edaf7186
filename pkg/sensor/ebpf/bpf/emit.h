/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Maps that all programs share, and the way of a record into its ring. */
#pragma once

#include "types.h"
#include "record.h"

#define min(a, b) ((a) < (b) ? (a) : (b))

/* Set before loading; the map is frozen after. */
const volatile u32 self;		 /* thread group of the monitor; 0 where not known */
const volatile u32 argv_max = 128 << 10; /* bytes of arguments that are sent */
const volatile u64 fill_mark[2];	 /* bytes in a ring from which the reader is woken */

enum { PRIORITY, FILES };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} priority SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} files SEC(".maps");

struct counters {
	u64 seq[2];    /* numbers given out */
	u64 failed[2]; /* records that found no place in the ring */
	u64 busy;      /* records that found no scratch memory */
	u64 forks, execs, exits;
	u64 folded;
	u64 unadopted; /* watched files for which the list had no room */
	u64 woken[2]; /* when this CPU last woke the reader */
	u64 made_up;  /* skipped runs of on_state that on_state_skipped made up for */
	u64 thread_execs; /* execs by another thread than the leader, which takes its place */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* When the reader was last woken because something happened at all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} woken_at SEC(".maps");

#define PIECE 4096
#define OUT (5 * PIECE)

/*
 * Memory for records that are too large for the stack, and for the state of
 * loops: the verifier follows each value of what is on the stack, and would
 * follow a growing length through every iteration.
 */
struct scratch {
	u32 busy;
	struct {
		u32 offset; /* of the path's first byte in path */
		u64 entry, top, mount;
	} climb;
	struct {
		u64 from, to;
		u32 at, end;
		u32 inside; /* the last piece did not end its variable */
	} env;
	struct {
		u64 from, time;
		u32 pid, total, sent;
	} argv;
	struct {
		u64 hash, part;
		u32 base, end; /* of the last part of the name */
		u32 last;      /* the byte before */
		u32 own;       /* a part is named as a folder of the monitor's is */
	} given;
	u8 path[PIECE + 256]; /* a path, filled from its end; or an R_ARGV record */
	u8 out[512 + OUT];
};

#define SCRATCHES 3

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct counters *counting(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/*
 * A program may be interrupted by another on the same CPU (a softirq, or a
 * task where programs can be preempted), so memory is taken, not assumed.
 * Returns its number, or SCRATCHES where all is taken.
 *
 * What many places of a program do is one function: the verifier follows it
 * once, and the kernel makes the program's tables anew for each call that it
 * expands, so that a long program with many of them takes long to load.
 */
__noinline int take_slot(void)
{
	struct counters *c;

#pragma unroll
	for (u32 i = 0; i < SCRATCHES; i++) {
		u32 key = i;
		struct scratch *s = bpf_map_lookup_elem(&scratches, &key);

		if (s && __sync_val_compare_and_swap(&s->busy, 0, 1) == 0)
			return i;
	}
	c = counting();
	if (c)
		__sync_fetch_and_add(&c->busy, 1);
	return SCRATCHES;
}

static __always_inline struct scratch *take(u32 *slot)
{
	u32 key = take_slot();

	*slot = key;
	return bpf_map_lookup_elem(&scratches, &key);
}

/* What a loop is given: only that which does not change. */
struct loop {
	struct scratch *s;
};

static __always_inline void give(struct scratch *s)
{
	s->busy = 0;
}

#define WAKE_GAP 75000000 /* ns */

/*
 * Waking the reader for each record makes an exec seven times dearer. So it is
 * woken where something happens after a quiet moment, and polls while more
 * comes; and where a burst could fill the ring before it does.
 */
static __always_inline u64 wake(void *ring, u32 r, struct counters *c, u64 now)
{
	u32 zero = 0;
	u64 *last;

	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >= fill_mark[r] && now - c->woken[r] >= 1000000) {
		c->woken[r] = now;
		return BPF_RB_FORCE_WAKEUP;
	}
	if (r == PRIORITY) {
		last = bpf_map_lookup_elem(&woken_at, &zero);
		if (last && (s64)(now - *last) > WAKE_GAP) {
			*last = now;
			return BPF_RB_FORCE_WAKEUP;
		}
	}
	return BPF_RB_NO_WAKEUP;
}

/* The number is taken first, so that a record without a place leaves a hole. */
#define EMIT(ring, r, rec, size)                                                                  \
	({                                                                                        \
		struct head *__h = (struct head *)(rec);                                          \
		struct counters *__c = counting();                                                \
		long __err = -1;                                                                  \
		if (__c) {                                                                        \
			__h->cpu = bpf_get_smp_processor_id();                                    \
			__h->seq = __sync_fetch_and_add(&__c->seq[r], 1) + 1;                     \
			__err = bpf_ringbuf_output(&ring, rec, size, wake(&ring, r, __c, __h->time));\
			if (__err)                                                                \
				__sync_fetch_and_add(&__c->failed[r], 1);                         \
		}                                                                                 \
		__err;                                                                            \
	})

/* Tells the record that a scratch holds. */
__noinline int tell_out(u32 slot, u32 size, u32 r)
{
	u32 key = slot;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &key);

	if (!s)
		return 0;
	/* What is bounded must be what is passed on: 6.1 knows no bounds of a copy. */
	barrier_var(size);
	if (size > sizeof(s->out))
		return 0;
	if (r == PRIORITY)
		EMIT(priority, PRIORITY, s->out, size);
	else
		EMIT(files, FILES, s->out, size);
	return 0;
}

__noinline int tell_act(struct act_record *r)
{
	if (r)
		EMIT(priority, PRIORITY, r, sizeof(*r));
	return 0;
}

__noinline int tell_sock(struct sock_record *r)
{
	if (r)
		EMIT(priority, PRIORITY, r, sizeof(*r));
	return 0;
}

#define PF_IO_WORKER 0x10 /* include/linux/sched.h */

static __always_inline u64 start_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, group_leader, start_boottime);
}

/* Fills the head of a record of the current task. */
__noinline int begin(struct head *h, u32 type)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!h)
		return 0;
	h->time = bpf_ktime_get_boot_ns();
	h->type = type;
	h->flags = task->flags & PF_IO_WORKER ? F_WORKER : 0;
	h->pid = task->tgid;
	h->tid = task->pid;
	h->start = start_of(task);
	h->uid = BPF_CORE_READ(task, cred, euid.val);
	h->gid = BPF_CORE_READ(task, cred, egid.val);
	h->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	return 0;
}

static __always_inline void namespaces(struct task_struct *task, u32 ns[4])
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	struct pid_namespace *pidns = 0;

	bpf_probe_read_kernel(&pidns, sizeof(pidns),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, ns));
	ns[0] = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	ns[1] = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	ns[2] = BPF_CORE_READ(pidns, ns.inum);
	ns[3] = BPF_CORE_READ(task, cred, user_ns, ns.inum);
}

/*
 * Folding: what one actor does to one object again and again is told at first
 * and then at most once a second, with how often it was. What is held back when
 * nothing follows is told when the reader asks, and what has rested is then
 * forgotten. Nothing makes room otherwise: an act for which there is none is
 * told each time, since what is thrown out would never be told.
 */
struct fold_key {
	u64 object;
	u64 start;
	u32 part; /* of the object: its device */
	u32 pid;
	u32 image;
	u32 verb;
};

#define REFUSED 0x80 /* in a verb: the object is the hash of a name, the part an errno */

struct fold {
	u64 told;
	u64 count; /* what is held back */
	u64 inode;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct fold_key);
	__type(value, struct fold);
} folds SEC(".maps");

#define FOLD_NS 1000000000ULL

static __always_inline void fold_key(struct fold_key *key, u64 object, u32 part, u32 verb)
{
	struct task_struct *task = bpf_get_current_task_btf();

	key->object = object;
	key->part = part;
	key->verb = verb;
	key->pid = task->tgid;
	key->start = start_of(task);
	key->image = task->self_exec_id;
}

/* Counts an act that no record of its own tells. */
static __always_inline void held_back(void)
{
	struct counters *c = counting();

	if (c)
		__sync_fetch_and_add(&c->folded, 1);
}

/* An act that was told before: returns how many times it is to be told as, 0 for not now. */
static __always_inline u64 once_more(struct fold *f, u64 now)
{
	if (now - f->told >= FOLD_NS) {
		f->told = now;
		return __sync_lock_test_and_set(&f->count, 0) + 1;
	}
	__sync_fetch_and_add(&f->count, 1);
	held_back();
	return 0;
}

/* Returns how many times it is to be told as, 0 for not now. */
static __always_inline u64 folding(u64 object, u32 part, u32 verb, u64 inode)
{
	struct fold_key key;
	struct fold *f, first = { .inode = inode };

	fold_key(&key, object, part, verb);
	f = bpf_map_lookup_elem(&folds, &key);
	first.told = bpf_ktime_get_boot_ns();
	if (f)
		return once_more(f, first.told);
	bpf_map_update_elem(&folds, &key, &first, BPF_NOEXIST);
	return 1;
}
