/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The layout of what goes through the rings. layout.go holds the same numbers;
 * a test compares them with the type information of the built object.
 */
#pragma once

enum record_type {
	R_NONE,
	R_FORK,
	R_EXEC,
	R_ARGV, /* a piece of the arguments of the exec record that follows on this CPU */
	R_EXIT,
	R_SETID,
	R_SETSID,
	R_CONNECT,
	R_ACCEPT,
	R_LISTEN,
	R_FLOW,
	R_SEND,
	R_DNS,
	R_TLS,
	R_HTTP,
	R_UNIX,
	R_VSOCK,
	R_RAWSOCK,
	R_OPEN,
	R_RENAME,
	R_UNLINK,
	R_LINK,
	R_SYMLINK,
	R_CHMOD,
	R_MKDIR,
	R_PTRACE,
	R_MEMORY,
	R_KILL,
	R_BPF,
	R_MODULE,
	R_MOUNT,
	R_NAMESPACE,
	R_URING,
	R_CGROUP,
	R_PLAIN, /* what a library of TLS was given; sock_record as in tls.h */
	R_SESSION, /* which socket that of a session goes over */
};

/* head.flags */
enum {
	F_MEMFD = 1,
	F_DELETED = 2,
	F_SCRIPT = 4,
	F_NO_ARGV = 8,      /* the arguments could not be read whole */
	F_WATCHED = 16,
	F_USER_PATH = 32,   /* the path is what the caller gave, below the folder it was relative to */
	F_PROC_MEM = 64,
	F_PROC_MAPS = 128,
	F_PROC_ENVIRON = 256,
	F_ANSWER = 512,
	F_WORKER = 1024,    /* done by a worker of io_uring for the task */
	F_INODE = 2048,     /* the file itself is on the list, whatever its name */
	F_PASSED = 4096,    /* the descriptor came over a Unix socket */
	F_LIVING = 8192,    /* totals of a connection that goes on */
	F_REST = 16384,     /* only acts that were held back: what they were of was told before */
};

struct head {
	u64 time; /* CLOCK_BOOTTIME */
	u64 seq;  /* from 1, per CPU and ring */
	u32 cpu;
	u16 type;
	u16 flags;
	u32 pid, tid;
	u64 start; /* start_boottime of the leader */
	u32 uid, gid;
	u64 cgroup;
};

struct argv_record {
	u64 time, seq;
	u32 cpu;
	u16 type, flags;
	u32 pid;
	u32 offset; /* of this piece in the arguments */
	u32 len;
	u32 pad;
	/* bytes follow */
};

struct fork_record {
	struct head h;
	u64 parent_start;
	u32 parent;
	u32 pad;
};

struct number_record {
	struct head h;
	u32 number; /* wait status, or session */
	u32 pad;
};

struct exec_record {
	struct head h;
	u64 inode;
	u64 argv_bytes; /* in the process */
	u32 dev;        /* as the kernel encodes it */
	u32 argv_sent;  /* in R_ARGV records before this one */
	u32 ns[4];      /* mnt, net, pid, user */
	u32 exe, filename, interp, cwd, argv, env; /* lengths of what follows, in this order */
	u64 old_cgroup; /* of version 1; 0 where old_subsys says that there is none */
	u64 ctime;      /* of the file, in Unix nanoseconds */
	u64 size;       /* of it, in bytes */
};

struct sock_record {
	struct head h;
	u64 cookie;
	u64 sent, received, count;
	u8 src[16], dst[16];
	u16 sport, dport; /* host order */
	u16 proto;
	u16 family; /* 4 or 6 */
	s32 err;
	u32 wire; /* length of the payload */
	u32 len;  /* of the bytes that follow */
	u32 offset; /* of the first of them in its TCP stream */
};

struct file_record {
	struct head h;
	u64 inode;
	u64 count;
	u64 target_start;
	u32 dev;
	u32 mode;
	u32 access; /* as event.Access; or an operation */
	u32 target;
	u32 path, new_path; /* lengths of what follows */
};

struct act_record {
	struct head h;
	u64 target_start;
	u64 count;
	u32 op;
	u32 arg;
	u32 target; /* of R_BPF: the id of an object, whose kind is arg */
	s32 err;
	u32 ns[4];
};

/* A cgroup that was made. */
struct cgroup_record {
	struct head h;
	u64 id;
	u32 old;  /* it is of version 1 */
	u32 path; /* length of what follows */
};

/* event.Access */
enum { ACCESS_READ = 1, ACCESS_WRITE = 2, ACCESS_CREATE = 4, ACCESS_TRUNCATE = 8, ACCESS_APPEND = 16 };

/* act_record.op and, for R_MODULE and R_MOUNT, file_record.access */
enum {
	OP_NONE,
	OP_ATTACH,
	OP_TRACEME,
	OP_PEEK,
	OP_POKE,
	OP_READ,
	OP_WRITE,
	OP_PROG_LOAD,
	OP_MAP_UPDATE,
	OP_DETACH,
	OP_ATTACH_PROG,
	OP_OBJECT,
	OP_LOAD,
	OP_UNLOAD,
	OP_MOUNT,
	OP_UNMOUNT,
	OP_UNSHARE,
	OP_SETNS,
	OP_CLONE,
	OP_SETUP,
	OP_OTHER,
};
