// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The programs of the eBPF sensor. They need BTF-typed raw tracepoints and
 * cgroup hooks of Linux 5.17 (bpf_loop) or newer: no kprobe, no fentry and no
 * LSM, which a kernel in lockdown, or built without them, refuses.
 *
 * rebuild.sh builds the object that is committed beside this file.
 */
#include "types.h"
#include "arch.h"
#include "record.h"
#include "emit.h"
#include "path.h"
#include "cgroup.h"
#include "process.h"
#include "socket.h"
#include "tls.h"
#include "file.h"
#include "living.h"
#include "power.h"
#include "uring.h"

/* Types of the records, so that they stand in the object and can be compared. */
struct head *const volatile layout_head = 0;
struct argv_record *const volatile layout_argv = 0;
struct fork_record *const volatile layout_fork = 0;
struct number_record *const volatile layout_number = 0;
struct exec_record *const volatile layout_exec = 0;
struct sock_record *const volatile layout_sock = 0;
struct file_record *const volatile layout_file = 0;
struct act_record *const volatile layout_act = 0;
struct cgroup_record *const volatile layout_cgroup = 0;
const volatile enum record_type layout_type = R_NONE;

char LICENSE[] SEC("license") = "Dual MIT/GPL";
