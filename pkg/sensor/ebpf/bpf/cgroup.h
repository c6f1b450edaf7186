/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Cgroups by their ids: an exec tells which it is in, and a cgroup that is made
 * tells its path, so that the path is known however soon the cgroup is gone.
 */
#pragma once

#include "emit.h"

/*
 * Set before loading: the controller (enum cgroup_subsys_id) whose hierarchy of
 * version 1 tells containers apart. Where there is none the verifier takes out
 * what asks for it.
 */
#define NO_SUBSYS 0xffffffff
const volatile u32 old_subsys = NO_SUBSYS;

/* The cgroup of version 1 that a task is in; null where there is none. */
static __always_inline struct cgroup *old_cgroup(struct task_struct *task)
{
	struct cgroup_subsys_state *css = 0;
	void *set;

	if (old_subsys == NO_SUBSYS)
		return 0;
	set = BPF_CORE_READ(task, cgroups);
	bpf_probe_read_kernel(&css, sizeof(css),
			      set + bpf_core_field_offset(struct css_set, subsys) + old_subsys * sizeof(css));
	return BPF_CORE_READ(css, cgroup);
}

/* TRACE_CGROUP_PATH_LEN, kernel/cgroup/cgroup-internal.h: the kernel cuts the path's end off. */
#define CGROUP_PATH 1024

/*
 * TP_PROTO(struct cgroup *cgrp, const char *path). It comes before anything can
 * be put into the cgroup. The path is that from the hierarchy's root, whatever
 * cgroup namespace the maker is in. A container has a cgroup in each hierarchy
 * of version 1: only those are told that an exec may name.
 */
SEC("tp_btf/cgroup_mkdir")
int on_cgroup(u64 *ctx)
{
	struct cgroup *cgroup = (void *)ctx[0];
	const char *path = (void *)ctx[1];
	struct cgroup_root *root = BPF_CORE_READ(cgroup, root);
	bool old = BPF_CORE_READ(root, hierarchy_id) != 0;
	struct cgroup_record *r;
	struct scratch *s;
	u32 slot;
	long n;

	if (old && root != BPF_CORE_READ(old_cgroup(bpf_get_current_task_btf()), root))
		return 0;
	s = take(&slot);
	if (!s)
		return 0;
	r = (void *)s->out;
	begin(&r->h, R_CGROUP);
	r->id = BPF_CORE_READ(cgroup, kn, id);
	r->old = old;
	n = bpf_probe_read_kernel_str(&s->out[sizeof(*r)], CGROUP_PATH, path);
	if (n > 1) {
		r->path = n - 1;
		EMIT(priority, PRIORITY, r, sizeof(*r) + n - 1);
	}
	give(s);
	return 0;
}
