/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Files: what was opened, by the opened file; what else was done, by the names given. */
#pragma once

#include "emit.h"
#include "path.h"
#include "process.h"

/*
 * Base names whose opening for reading is told. A whole name ends with its
 * NUL, so that the longest match is either that name or a prefix.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct name_key);
	__type(value, u16); /* F_WATCHED, F_PROC_* */
} watched SEC(".maps");

/* Lengths of watched names by their first byte: bit n for n bytes, 63 for more. */
const volatile u64 watched_first[256];
const volatile u64 own_parts[4]; /* hashes of names of the monitor's own folders */

/*
 * Files that are watched whatever name leads to them: a name alone misses hard
 * links, files that were renamed and bind mounts. The monitor adds a file by
 * opening it with O_PATH, so that nobody else can write the map; a file that is
 * made under a watched name is added as it is made.
 */
struct inode_key {
	u64 inode;
	u32 dev;
	u32 generation; /* the number of a removed file goes to another */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct inode_key);
	__type(value, u8);
} watched_inodes SEC(".maps");

/*
 * Which numbers may be on the list: a look-up in it costs five reads, and
 * hardly any open is of one.
 */
#define LISTED_BITS 16

struct listed {
	u64 bits[1 << (LISTED_BITS - 6)];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct listed);
} listed SEC(".maps");

static __always_inline u64 *listed_word(u64 inode, u64 *bit)
{
	u32 zero = 0, at = inode * 0x9e3779b97f4a7c15ULL >> (64 - LISTED_BITS);
	struct listed *l = bpf_map_lookup_elem(&listed, &zero);

	*bit = 1ULL << (at & 63);
	return l ? &l->bits[at >> 6 & ((1 << (LISTED_BITS - 6)) - 1)] : 0;
}

static __always_inline void identify(struct inode_key *key, struct inode *inode)
{
	key->inode = BPF_CORE_READ(inode, i_ino);
	key->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	key->generation = BPF_CORE_READ(inode, i_generation);
}

static __always_inline void adopt(struct inode *inode)
{
	struct inode_key key;
	struct counters *c;
	u64 *word, bit;
	u8 one = 1;

	identify(&key, inode);
	word = listed_word(key.inode, &bit);
	if (word && bpf_map_update_elem(&watched_inodes, &key, &one, BPF_ANY) == 0) {
		__sync_fetch_and_or(word, bit);
		return;
	}
	c = counting();
	if (c)
		__sync_fetch_and_add(&c->unadopted, 1);
}

/* include/linux/fs.h */
enum { FMODE_READ = 1, FMODE_WRITE = 2, FMODE_PATH = 1 << 14, FMODE_CREATED = 1 << 20 };
enum { O_CREAT = 0100, O_TRUNC = 01000, O_APPEND = 02000 };
enum { S_IFMT = 0170000, S_IFSOCK = 0140000, S_IFREG = 0100000, S_IFDIR = 0040000, S_IFCHR = 0020000 };

#define PROC_SUPER_MAGIC 0x9fa0

/* Whether the list may hold a name, by its first byte and its length. */
static __always_inline bool may_be_watched(u8 first, u32 len)
{
	return watched_first[first] >> (len < 63 ? len : 63) & 1;
}

/* What the list says of a name that ends with a NUL, in the kernel's memory. */
static __always_inline u16 watch_named(const unsigned char *name)
{
	struct name_key key;
	u16 *flags;

	__builtin_memset(&key, 0, sizeof(key));
	key.bits = NAME_BYTES * 8;
	bpf_probe_read_kernel_str(key.name, NAME_BYTES, name);
	flags = bpf_map_lookup_elem(&watched, &key);
	return flags ? *flags : 0;
}

static __always_inline u16 watch_of(struct dentry *entry)
{
	const unsigned char *name = BPF_CORE_READ(entry, d_name.name);
	u8 first = 0;

	bpf_probe_read_kernel(&first, 1, name);
	if (!watched_first[first] || !may_be_watched(first, BPF_CORE_READ(entry, d_name.len)))
		return 0;
	return watch_named(name);
}

/* Whose file of /proc/PID it is. */
static __always_inline struct task_struct *subject(struct inode *inode)
{
	struct proc_inode *p = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	struct pid *pid = BPF_CORE_READ(p, pid);
	struct hlist_node *node = BPF_CORE_READ(pid, tasks[0].first);

	return node ? (void *)node - bpf_core_field_offset(struct task_struct, pid_links) : 0;
}

/* Devices that everybody writes to and nothing can be hidden in. */
static __always_inline bool dull(struct inode *inode, u32 mode)
{
	u32 dev, major, minor;

	if ((mode & S_IFMT) != S_IFCHR)
		return false;
	dev = BPF_CORE_READ(inode, i_rdev);
	major = dev >> 20;
	minor = dev & 0xfffff;
	if (major == 1)
		return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9;
	return major == 4 || major == 5 || (major >= 136 && major <= 143);
}

/* File, inode and path of an opened file; returns the length of the record, 0 for none. */
static __always_inline u32 describe(struct scratch *s, u32 slot, struct file_record *r, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	r->inode = BPF_CORE_READ(inode, i_ino);
	r->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	r->path = put_path(s, sizeof(*r), climb(slot, (u64)BPF_CORE_READ(file, f_path.dentry), (u64)BPF_CORE_READ(file, f_path.mnt)));
	return sizeof(*r) + r->path;
}

static __always_inline void begin_file(struct file_record *r, u16 type)
{
	begin(&r->h, type);
	r->inode = r->count = r->target_start = 0;
	r->dev = r->mode = r->access = r->target = r->path = r->new_path = 0;
}

/* The monitor has opened a file to have it watched. */
__noinline int on_adopt(u64 fd)
{
	struct file *file = file_of(fd);

	if (file && BPF_CORE_READ(file, f_mode) & FMODE_PATH)
		adopt(BPF_CORE_READ(file, f_inode));
	return 0;
}

/* What is told of an open. */
struct opened {
	u64 file;
	u64 count;
	u64 target_start;
	u32 target;
	u32 flags, mode, access;
};

__noinline int tell_open(struct opened *o)
{
	struct file_record *r;
	struct scratch *s;
	u32 slot, size;

	if (!o)
		return 0;
	s = take(&slot);
	if (!s)
		return 0;
	r = (void *)s->out;
	begin_file(r, R_OPEN);
	r->h.flags |= o->flags;
	r->mode = o->mode;
	r->access = o->access;
	r->count = o->count;
	r->target = o->target;
	r->target_start = o->target_start;
	size = describe(s, slot, r, (struct file *)o->file);
	tell_out(slot, size, FILES);
	give(s);
	return 0;
}

/* Whether a file is watched, by its name or for what it is: F_WATCHED and its like. */
__noinline int watched_as(u64 inode, u64 entry)
{
	u16 flags = watch_of((struct dentry *)entry);
	struct inode_key key;
	u64 *word, bit;

	word = listed_word(BPF_CORE_READ((struct inode *)inode, i_ino), &bit);
	if (word && *word & bit) {
		identify(&key, (struct inode *)inode);
		if (bpf_map_lookup_elem(&watched_inodes, &key))
			flags |= F_WATCHED | F_INODE;
	}
	return flags;
}

__noinline int on_open(u64 fd, u64 how)
{
	struct file *file = file_of(fd);
	struct task_struct *task = bpf_get_current_task_btf(), *other;
	struct opened o = {.count = 1};
	struct inode *inode;
	u32 fmode, mode;
	u16 flags;

	if (!file)
		return 0;
	fmode = BPF_CORE_READ(file, f_mode);
	if (fmode & FMODE_PATH)
		return 0; /* it can be neither read nor written */
	inode = BPF_CORE_READ(file, f_inode);
	flags = watched_as((u64)inode, (u64)BPF_CORE_READ(file, f_path.dentry));
	if (!flags && !(fmode & (FMODE_WRITE | FMODE_CREATED)))
		return 0;
	mode = BPF_CORE_READ(inode, i_mode);
	if (flags & F_WATCHED && fmode & FMODE_CREATED && (mode & S_IFMT) == S_IFREG)
		adopt(inode);
	if ((mode & S_IFMT) == S_IFDIR || dull(inode, mode))
		return 0;
	if (flags & (F_PROC_MEM | F_PROC_MAPS | F_PROC_ENVIRON)) {
		other = 0;
		if (BPF_CORE_READ(inode, i_sb, s_magic) == PROC_SUPER_MAGIC)
			other = subject(inode);
		o.target = other ? BPF_CORE_READ(other, tgid) : 0;
		if (!o.target || o.target == task->tgid) {
			o.target = 0;
			flags &= F_WATCHED | F_INODE;
		} else {
			o.target_start = start_of(other);
		}
	}
	if (!flags && !(fmode & (FMODE_WRITE | FMODE_CREATED)))
		return 0;
	o.mode = mode;
	o.access = fmode & (FMODE_READ | FMODE_WRITE);
	if (fmode & FMODE_CREATED)
		o.access |= ACCESS_CREATE;
	if (how & O_TRUNC)
		o.access |= ACCESS_TRUNCATE;
	if (BPF_CORE_READ(file, f_flags) & O_APPEND)
		o.access |= ACCESS_APPEND;
	/*
	 * The number of a removed file goes to the next that is made. So a file that
	 * this open made is never folded, and another life of a number is another file.
	 */
	if (!(fmode & FMODE_CREATED))
		o.count = folding(BPF_CORE_READ(inode, i_ino) ^ (u64)BPF_CORE_READ(inode, i_generation) << 32,
				BPF_CORE_READ(inode, i_sb, s_dev), R_OPEN << 8 | o.access, BPF_CORE_READ(inode, i_ino));
	if (!o.count)
		return 0;
	o.file = (u64)file;
	o.flags = flags;
	return tell_open(&o);
}

#define AT_FDCWD -100

#define AS_GIVEN (1ULL << 63) /* a folder that says: not a path, or not to be completed */

/* The folder that a name which begins with first is relative to. */
static __always_inline struct dentry *folder_of(u8 first, u64 folder, struct vfsmount **mnt)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file;

	if (first == '/') {
		*mnt = BPF_CORE_READ(task, fs, root.mnt);
		return BPF_CORE_READ(task, fs, root.dentry);
	}
	if ((s32)folder == AT_FDCWD) {
		*mnt = BPF_CORE_READ(task, fs, pwd.mnt);
		return BPF_CORE_READ(task, fs, pwd.dentry);
	}
	file = file_of((u32)folder);
	*mnt = BPF_CORE_READ(file, f_path.mnt);
	return BPF_CORE_READ(file, f_path.dentry);
}

/*
 * Writes to out the folder that the name is relative to, a slash, and the
 * name; returns how long that is. The kernel does not say what it made of the
 * name, so links in it are not followed. Verified once, as dissect is.
 */
__noinline int put_name(u32 slot, u32 at, u64 folder, u64 name, u64 kernel)
{
	struct vfsmount *mnt;
	struct dentry *entry;
	struct scratch *s;
	u32 key = slot, len = 0;
	u8 first = 0;
	long n;

	s = bpf_map_lookup_elem(&scratches, &key);
	if (!s)
		return 0;
	if (folder != AS_GIVEN) {
		if (kernel)
			bpf_probe_read_kernel(&first, 1, (void *)name);
		else
			bpf_probe_read_user(&first, 1, (void *)name);
		entry = folder_of(first, folder, &mnt);
		len = put_path(s, at, climb(slot, (u64)entry, (u64)mnt));
		at += len;
		barrier_var(at);
		if (at > 512 + OUT - PIECE)
			return len;
		s->out[at] = '/';
		at++;
		len++;
	}
	barrier_var(at);
	if (at > 512 + OUT - PIECE)
		return len;
	if (kernel)
		n = bpf_probe_read_kernel_str(&s->out[at], PIECE, (void *)name);
	else
		n = bpf_probe_read_user_str(&s->out[at], PIECE, (void *)name);
	if (n > 1)
		len += n - 1;
	return len;
}

#define NAMES_IN_KERNEL (1ULL << 40)
#define NAMES_WATCHED (1ULL << 41)

/*
 * What was done, or tried, by name. how is the type, from bit 8 on a mode or an
 * operation, and the bits above.
 */
__noinline int on_names(u64 how, u64 folder, u64 name, u64 new_folder, u64 new_name)
{
	struct file_record *r;
	struct scratch *s;
	u32 slot, at, len;
	u16 type = how & 0xff;
	bool kernel = how & NAMES_IN_KERNEL;

	s = take(&slot);
	if (!s)
		return 0;
	r = (void *)s->out;
	begin_file(r, type);
	r->h.flags |= F_USER_PATH | (how & NAMES_WATCHED ? F_WATCHED : 0);
	r->mode = r->access = (u32)how >> 8;
	at = sizeof(*r);
	if (name) {
		len = put_name(slot, at, folder, name, kernel);
		r->path = len;
		at += len;
	}
	if (new_name) {
		barrier_var(at);
		if (at > 512 + OUT - PIECE)
			goto out;
		len = put_name(slot, at, new_folder, new_name, kernel);
		r->new_path = len;
		at += len;
	}
	tell_out(slot, at, type == R_MOUNT || type == R_MODULE ? PRIORITY : FILES);
out:
	give(s);
	return 0;
}

/* chmod and module loading by descriptor. */
__noinline int on_file(u64 how, u64 fd)
{
	struct file *file = file_of(fd);
	struct file_record *r;
	struct scratch *s;
	u32 slot, size;
	u16 type = how & 0xff;

	if (!file)
		return 0;
	s = take(&slot);
	if (!s)
		return 0;
	r = (void *)s->out;
	begin_file(r, type);
	r->mode = r->access = how >> 8;
	size = describe(s, slot, r, file);
	tell_out(slot, size, type == R_MODULE ? PRIORITY : FILES);
	give(s);
	return 0;
}

/*
 * Opens that were refused, which need no right at all and so can come in any
 * number: only those of names on the list, and below folders that may be the
 * monitor's, are told, folded by the name that was given, and of each image a
 * limited number of names in a second.
 */
#define REFUSED_NAMES 1024

struct refusing {
	u64 start;
	u32 pid;
	u32 image;
};

struct refusals {
	u64 since;
	u64 names;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct refusing);
	__type(value, struct refusals);
} refusals SEC(".maps");

static __always_inline bool one_more_name(struct fold_key *fold, u64 now)
{
	struct refusing key = { .start = fold->start, .pid = fold->pid, .image = fold->image };
	struct refusals *r = bpf_map_lookup_elem(&refusals, &key), first = { .since = now, .names = 1 };

	if (!r) {
		bpf_map_update_elem(&refusals, &key, &first, BPF_NOEXIST);
		return true;
	}
	if (now - r->since >= FOLD_NS) {
		r->since = now;
		r->names = 0;
	}
	return __sync_fetch_and_add(&r->names, 1) < REFUSED_NAMES;
}

/* Hashes a name (FNV-1a) and finds its last part, as a path that is cleaned would have it. */
static long name_step(u32 i, struct loop *l)
{
	struct scratch *s = l->s;
	u8 c, next;

	if (i >= PIECE)
		return 1;
	c = s->out[i];
	next = s->out[i + 1];
	if (!c || c == '/') {
		if (!s->given.end)
			s->given.end = i;
		if (s->given.part == own_parts[0] || s->given.part == own_parts[1] || s->given.part == own_parts[2] ||
		    s->given.part == own_parts[3])
			s->given.own = 1;
		s->given.part = 0xcbf29ce484222325ULL;
	} else {
		s->given.part = (s->given.part ^ c) * 0x100000001b3ULL;
	}
	if (!c)
		return 1;
	s->given.hash = (s->given.hash ^ c) * 0x100000001b3ULL;
	if (c != '/' && s->given.last == '/' && !(c == '.' && (!next || next == '/'))) {
		s->given.base = i;
		s->given.end = 0;
	}
	s->given.last = c;
	return 0;
}

/* Who was not let in has tried all the same; whether it matters the reader says. */
__noinline int on_refused_open(u64 err, u64 folder, u64 name)
{
	struct fold_key key;
	struct fold *f, one = {};
	struct vfsmount *mnt;
	struct file_record *r;
	struct scratch *s;
	struct loop l;
	u64 now, count = 1;
	u32 slot, at, base, end;

	s = take(&slot);
	if (!s)
		return 0;
	if (bpf_probe_read_user_str(s->out, PIECE, (void *)name) <= 1)
		goto out;
	s->given.hash = 0xcbf29ce484222325ULL ^ (u64)folder_of(s->out[0], folder, &mnt);
	s->given.part = 0xcbf29ce484222325ULL;
	s->given.base = s->given.end = s->given.own = 0;
	s->given.last = '/';
	l.s = s;
	bpf_loop(PIECE, name_step, &l, 0);
	base = s->given.base;
	end = s->given.end;
	barrier_var(base);
	barrier_var(end);
	if (base >= PIECE || end >= PIECE || end <= base)
		goto out;
	if (!s->given.own) {
		if (!may_be_watched(s->out[base], end - base))
			goto out;
		s->out[end] = 0;
		if (!watch_named(&s->out[base]))
			goto out;
	}

	fold_key(&key, s->given.hash, err, R_OPEN << 8 | REFUSED | ACCESS_READ);
	f = bpf_map_lookup_elem(&folds, &key);
	now = bpf_ktime_get_boot_ns();
	if (f) {
		count = once_more(f, now);
	} else if (one_more_name(&key, now)) {
		one.told = now;
		one.inode = key.object;
		bpf_map_update_elem(&folds, &key, &one, BPF_NOEXIST);
	} else {
		held_back();
		count = 0;
	}
	if (!count)
		goto out;
	r = (void *)s->out;
	begin_file(r, R_OPEN);
	r->h.flags |= F_USER_PATH | F_WATCHED;
	r->mode = r->access = ACCESS_READ;
	r->inode = key.object;
	r->count = count;
	r->target_start = err;
	at = sizeof(*r);
	r->path = put_name(slot, at, folder, name, false);
	at += r->path;
	tell_out(slot, at, FILES);
out:
	give(s);
	return 0;
}
