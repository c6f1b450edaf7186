/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Paths as the kernel knows them, from an entry up to the root of its mount namespace. */
#pragma once

#include "emit.h"

static long climb_step(u32 i, struct loop *l)
{
	struct scratch *s = l->s;
	struct dentry *entry = (void *)s->climb.entry, *parent;
	struct mount *mount = (void *)s->climb.mount, *above;
	const unsigned char *name;
	u32 len, offset = s->climb.offset;

	if ((u64)entry == s->climb.top) {
		above = BPF_CORE_READ(mount, mnt_parent);
		if (above == mount || !above)
			return 1;
		s->climb.entry = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
		s->climb.mount = (u64)above;
		s->climb.top = (u64)BPF_CORE_READ(above, mnt.mnt_root);
		return 0;
	}
	parent = BPF_CORE_READ(entry, d_parent);
	len = BPF_CORE_READ(entry, d_name.len) & 255; /* NAME_MAX */
	name = BPF_CORE_READ(entry, d_name.name);
	if (offset > PIECE)
		return 1;
	if (offset < len + 1) {
		/* Too deep: what is outermost is left out, and so is the first slash. */
		if (offset < PIECE)
			s->climb.offset = offset + 1;
		return 1;
	}
	offset -= len;
	if (offset > PIECE)
		return 1;
	if (bpf_probe_read_kernel(&s->path[offset], len, name))
		return 1;
	/* The root of a tree that is mounted nowhere has no name but "/". */
	if (parent == entry && s->path[offset] == '/')
		return 1;
	offset--;
	if (offset > PIECE)
		return 1;
	s->path[offset] = '/';
	s->climb.offset = offset;
	s->climb.entry = (u64)parent;
	return parent == entry;
}

/*
 * Writes the path to the end of the path part of a scratch and returns where
 * it begins there.
 */
__noinline int climb(u32 slot, u64 entry, u64 vfsmount)
{
	struct vfsmount *mnt = (void *)vfsmount;
	struct scratch *s;
	struct loop l;
	u32 key = slot;

	s = bpf_map_lookup_elem(&scratches, &key);
	if (!s)
		return PIECE;
	l.s = s;
	s->climb.entry = entry;
	s->climb.mount = (u64)mnt - bpf_core_field_offset(struct mount, mnt);
	s->climb.top = (u64)BPF_CORE_READ(mnt, mnt_root);
	s->climb.offset = PIECE;
	bpf_loop(2200, climb_step, &l, 0);
	if (s->climb.offset >= PIECE) {
		s->path[PIECE - 1] = '/';
		return PIECE - 1;
	}
	return s->climb.offset;
}

/* Copies what climb found to out and returns its length. */
static __always_inline u32 put_path(struct scratch *s, u32 at, u32 offset)
{
	u32 len;

	barrier_var(at);
	if (at > 512 + OUT - PIECE || offset >= PIECE)
		return 0;
	len = PIECE - offset;
	barrier_var(len);
	if (len > PIECE)
		return 0;
	if (bpf_probe_read_kernel(&s->out[at], len, &s->path[offset]))
		return 0;
	return len;
}

static __always_inline struct file *file_of(u64 fd)
{
	/* Types that the verifier knows are read without a helper. */
	struct fdtable *table = bpf_get_current_task_btf()->files->fdt;
	struct file **list = table->fd;
	struct file *file = 0;

	if (fd >= table->max_fds)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), &list[fd]);
	return file;
}
