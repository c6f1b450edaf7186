/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* TCP by its states; UDP, raw sockets and first bytes by the cgroup hooks. */
#pragma once

#include "emit.h"

/* Who a socket belongs to: who made, connected or last sent by it. */
struct owner {
	u64 start;
	u64 cgroup;
	u32 pid, tid;
	u32 uid, gid;
	u32 first; /* the first bytes of the flow: enum below; of UDP how many QUIC Initials were told */
	u32 base;  /* sequence number of the first of them */
	u32 answer_base;  /* the same of what comes back */
	u32 answer_known; /* whether it is known */
	u32 told;	  /* the change of state that on_state was run for last */
	u32 pad;
};

/* How far the first bytes of a TCP flow have been looked at. */
enum { UNSEEN, SEEN, FOLLOW_DNS, FOLLOW_TLS, FOLLOW_HTTP };

/* An accepted socket starts with the owner of its listener. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

/* Who accepted a socket, or was handed it, by cookie; by its address where it has none. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, u64);
	__type(value, struct owner);
} acceptors SEC(".maps");

/* See tls.h, whose maps hold it. */
struct tls_key;
static __always_inline void tls_sent(struct sock *sk, s32 sent);
static __always_inline bool tls_totals(struct sock_record *r, bool end);

enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_PACKET = 17, AF_VSOCK = 40, AF_XDP = 44 };
enum { IPPROTO_ICMP = 1, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_ICMPV6 = 58 };

/* include/net/tcp_states.h */
enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT, TCP_SYN_RECV, TCP_FIN_WAIT1, TCP_CLOSE = 7, TCP_LAST_ACK = 9, TCP_LISTEN };

#define SOCK_DONE 1 /* include/net/sock.h: a FIN has come */

static __always_inline void own(struct owner *o)
{
	struct task_struct *task = bpf_get_current_task_btf();

	o->pid = task->tgid;
	o->tid = task->pid;
	o->start = start_of(task);
	o->uid = BPF_CORE_READ(task, cred, euid.val);
	o->gid = BPF_CORE_READ(task, cred, egid.val);
	o->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline void owned(struct head *h, u16 type, struct owner *o)
{
	h->time = bpf_ktime_get_boot_ns();
	h->type = type;
	h->flags = 0;
	h->pid = h->tid = h->uid = h->gid = 0;
	h->start = h->cgroup = 0;
	if (!o)
		return;
	h->pid = o->pid;
	h->tid = o->tid;
	h->start = o->start;
	h->uid = o->uid;
	h->gid = o->gid;
	h->cgroup = o->cgroup;
}

static __always_inline void addresses(struct sock_record *r, const struct sock *sk)
{
	r->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (!r->sport) /* it has been given back at the end of a connection */
		r->sport = bpf_ntohs(BPF_CORE_READ((const struct inet_sock *)sk, inet_sport));
	r->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		r->family = 6;
		BPF_CORE_READ_INTO(&r->src, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&r->dst, sk, __sk_common.skc_v6_daddr);
	} else {
		r->family = 4;
		BPF_CORE_READ_INTO((u32 *)r->src, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((u32 *)r->dst, sk, __sk_common.skc_daddr);
	}
}

/* What a connection has carried, without SYN, FIN and what was sent again. */
static __always_inline void payload(struct sock_record *r, struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;

	/* What was sent again is in bytes_sent too; a FIN is in bytes_received. */
	r->sent = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	r->received = BPF_CORE_READ(tp, bytes_received);
	if (r->received && BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << SOCK_DONE))
		r->received--;
}

static __always_inline int tell_state(struct sock *sk, int old, int new, struct owner *o)
{
	struct sock_record r = {};
	struct owner *acceptor;
	u32 failed;
	u64 key;

	if (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK) {
		/*
		 * Nothing more is written, though the other side has not answered yet and
		 * may not before the recording ends: what was read inside TLS is told.
		 */
		if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
			return 0;
		r.cookie = bpf_get_socket_cookie(sk);
		if (!tls_totals(&r, false))
			return 0;
		if (!o || !o->pid)
			return 0;
		r.proto = IPPROTO_TCP;
		addresses(&r, sk);
		payload(&r, sk);
		owned(&r.h, R_FLOW, o);
		r.h.flags = F_LIVING;
		EMIT(priority, PRIORITY, &r, sizeof(r));
		return 0;
	}
	if (new != TCP_SYN_SENT && new != TCP_LISTEN && new != TCP_CLOSE &&
	    !(new == TCP_ESTABLISHED && old == TCP_SYN_RECV))
		return 0;
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	r.cookie = bpf_get_socket_cookie(sk);
	if (new == TCP_ESTABLISHED)
		return 0; /* the cookie is made here, so that accept(2) can read it */
	r.proto = IPPROTO_TCP;
	addresses(&r, sk);

	if (new != TCP_CLOSE) {
		if (o) {
			own(o);
			o->first = o->answer_known = 0;
		}
		begin(&r.h, new == TCP_LISTEN ? R_LISTEN : R_CONNECT);
		EMIT(priority, PRIORITY, &r, sizeof(r));
		return 0;
	}
	if (old == TCP_LISTEN || old == TCP_SYN_RECV || old == TCP_CLOSE)
		return 0;
	key = r.cookie;
	acceptor = bpf_map_lookup_elem(&acceptors, &key);
	if (!acceptor) {
		barrier_var(o); /* else the two are or-ed, which pointers cannot be */
		if (!o || !o->pid) {
			/* Made before arming, and handed over before it had a cookie. */
			key = (u64)sk;
			acceptor = bpf_map_lookup_elem(&acceptors, &key);
		}
	}
	owned(&r.h, R_FLOW, acceptor ? acceptor : o);
	if (acceptor)
		bpf_map_delete_elem(&acceptors, &key);
	failed = BPF_CORE_READ(sk, sk_err);
	if (old == TCP_SYN_SENT) {
		/* It never was a flow. Without an errno it was given up, not refused. */
		if (!failed)
			return 0;
		r.h.type = R_CONNECT;
	}
	r.err = failed;
	payload(&r, sk);
	tls_totals(&r, true);
	EMIT(priority, PRIORITY, &r, sizeof(r));
	return 0;
}

#define CHANGE(old, new) ((u32)(old) << 8 | (u32)(new))

/* TP_PROTO(const struct sock *sk, const int oldstate, const int newstate) */
SEC("tp_btf/inet_sock_set_state")
int on_state(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int old = ctx[1], new = ctx[2];
	struct owner *o;

	o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (o)
		o->told = CHANGE(old, new);
	return tell_state(sk, old, new, o);
}

/*
 * The kernel runs no program that it interrupts on the same CPU: where a softirq
 * changes a state while on_state tells of another, on_state is skipped, and this
 * one, which comes after it, does its work. A socket's changes come one after the
 * other, whatever CPU they are on, so the mark is the socket's.
 */
SEC("tp_btf/inet_sock_set_state")
int on_state_skipped(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int old = ctx[1], new = ctx[2];
	struct counters *c;
	struct owner *o;

	o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (o && o->told == CHANGE(old, new)) {
		o->told = 0;
		return 0;
	}
	if (o)
		o->told = 0; /* of a change before this one, whose turn was not here */
	c = counting();
	if (c)
		__sync_fetch_and_add(&c->made_up, 1);
	return tell_state(sk, old, new, o);
}

#define SOCK_FS_MODE 0140000

static __always_inline struct sock *sock_of(u64 fd)
{
	struct file *file = file_of(fd);
	struct socket *socket;

	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != SOCK_FS_MODE)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

__noinline int on_accepted(u64 fd)
{
	struct sock *sk = sock_of(fd);
	struct sock_record r = {};
	struct owner o = {};
	u16 family;

	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	r.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	r.proto = IPPROTO_TCP;
	addresses(&r, sk);
	own(&o);
	if (r.cookie)
		bpf_map_update_elem(&acceptors, &r.cookie, &o, BPF_ANY);
	begin(&r.h, R_ACCEPT);
	tell_sock(&r);
	return 0;
}

static __always_inline void keep_owner(struct owner *o)
{
	if (o)
		own(o);
}

SEC("cgroup/sock_create")
int on_create(struct bpf_sock *ctx)
{
	keep_owner(bpf_sk_storage_get(&owners, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE));
	return 1;
}

#define BY_ADDRESS(section, name)                                                                     \
	SEC(section)                                                                                  \
	int name(struct bpf_sock_addr *ctx)                                                           \
	{                                                                                             \
		struct bpf_sock *sk = ctx->sk;                                                        \
		if (sk)                                                                               \
			keep_owner(bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE));  \
		return 1;                                                                             \
	}

BY_ADDRESS("cgroup/connect4", on_connect4)
BY_ADDRESS("cgroup/connect6", on_connect6)
BY_ADDRESS("cgroup/sendmsg4", on_sendmsg4)
BY_ADDRESS("cgroup/sendmsg6", on_sendmsg6)

/* Datagrams by destination. The reader tells what was added since it last looked. */
struct send_key {
	u8 dst[16];
	u64 start;
	u32 pid;
	u16 dport;
	u16 proto; /* with bit 8 for IPv6; SEND_PACKET for a packet socket, which has no destination */
};

#define SEND_PACKET (1 << 9)

struct send {
	u64 count, bytes, time;
	u64 cgroup;
	u64 cookie;
	u64 told; /* bytes of the first one, which has a record of its own */
	u64 received; /* bytes of what came from there since */
	u32 tid, uid, gid;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct send_key);
	__type(value, struct send);
} sends SEC(".maps");

struct packet {
	u8 src[16], dst[16];
	u32 payload; /* offset */
	u32 seq;     /* TCP: of the payload's first byte */
	u16 sport, dport;
	u8 proto, v6;
	u8 icmp; /* type */
};

#define HELLO_BYTES 4096   /* of a packet: a DNS datagram, a ClientHello, a request */
#define HEAD_BYTES 8192	   /* of a stream that begins with a ClientHello or a request */
#define STREAM_BYTES 16384 /* of a direction of DNS over TCP */

/*
 * What stands alone is verified once, and not again for each way that leads to
 * it: so are dissect, begins_flow and tell_payload. Inlined they were 60,000
 * instructions to the verifier, half of the time that arming took.
 */
__noinline int dissect(struct __sk_buff *skb, struct packet *p)
{
	u8 b[40];
	u32 at;

	if (!p)
		return false;
	if (skb->protocol == bpf_htons(0x0800)) {
		if (bpf_skb_load_bytes(skb, 0, b, 20))
			return false;
		if (((b[6] & 0x1f) | b[7]) != 0)
			return false; /* a later fragment */
		p->proto = b[9];
		at = (b[0] & 15) * 4;
		__builtin_memcpy(p->src, b + 12, 4);
		__builtin_memcpy(p->dst, b + 16, 4);
	} else if (skb->protocol == bpf_htons(0x86dd)) {
		if (bpf_skb_load_bytes(skb, 0, b, 40))
			return false;
		p->v6 = 1;
		p->proto = b[6];
		__builtin_memcpy(p->src, b + 8, 16);
		__builtin_memcpy(p->dst, b + 24, 16);
		at = 40;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			u8 next = p->proto;

			/* hop-by-hop, routing, fragment, destination options */
			if (next != 0 && next != 43 && next != 44 && next != 60)
				break;
			if (bpf_skb_load_bytes(skb, at, b, 4))
				return false;
			p->proto = b[0];
			if (next == 44) {
				if ((b[2] | (b[3] & 0xf8)) != 0)
					return false;
				at += 8;
			} else {
				at += (b[1] + 1) * 8;
			}
		}
	} else {
		return false;
	}
	if (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, at, b, 8))
			return false;
		p->sport = b[0] << 8 | b[1];
		p->dport = b[2] << 8 | b[3];
		if (p->proto == IPPROTO_TCP) {
			p->seq = (u32)b[4] << 24 | b[5] << 16 | b[6] << 8 | b[7];
			if (bpf_skb_load_bytes(skb, at + 12, b, 1))
				return false;
			at += (b[0] >> 4) * 4;
		} else {
			at += 8;
		}
	} else if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6) {
		bpf_skb_load_bytes(skb, at, &p->icmp, 1);
	}
	p->payload = at;
	return at <= skb->len;
}

/* The first bytes of a packet that are told, and the offset in their stream; limit is HELLO_BYTES or STREAM_BYTES. */
struct tell {
	u32 limit, offset;
	u16 type, flags;
	u32 ingress;
};

__noinline int tell_payload(struct __sk_buff *skb, struct packet *p, struct owner *o, struct tell *t)
{
	u64 cookie = bpf_get_socket_cookie(skb);
	struct sock_record *r;
	struct owner *taker;
	struct scratch *s;
	u32 slot, len;

	if (!p || !t)
		return 0;
	/* Who accepted it, or was handed it, says what is said on it. */
	taker = bpf_map_lookup_elem(&acceptors, &cookie);
	len = skb->len - p->payload;
	s = take(&slot);
	if (!s)
		return 0;
	r = (void *)s->out;
	owned(&r->h, t->type, taker ? taker : o);
	r->h.flags = t->flags;
	r->cookie = cookie;
	r->sent = r->received = r->count = 0;
	r->err = 0;
	r->offset = t->offset;
	r->proto = p->proto;
	r->family = p->v6 ? 6 : 4;
	r->wire = len;
	if (t->ingress) {
		r->sport = p->dport;
		r->dport = p->sport;
		__builtin_memcpy(r->src, p->dst, 16);
		__builtin_memcpy(r->dst, p->src, 16);
	} else {
		r->sport = p->sport;
		r->dport = p->dport;
		__builtin_memcpy(r->src, p->src, 16);
		__builtin_memcpy(r->dst, p->dst, 16);
	}
	if (len > t->limit)
		len = t->limit;
	if (len == 0)
		goto out;
	/* The verifier of 6.1 does not conclude from this that it is at least 1. */
	len--;
	barrier_var(len);
	len &= STREAM_BYTES - 1;
	len++;
	if (bpf_skb_load_bytes(skb, p->payload, s->out + sizeof(*r), len))
		goto out;
	r->len = len;
	EMIT(priority, PRIORITY, r, len + sizeof(*r));
out:
	give(s);
	return 0;
}

static __always_inline struct bpf_sock *full(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_fullsock(sk) : 0;
}

/* Four bytes at once: compared one by one each is a branch, which the verifier follows with all that comes after. */
#define WORD(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

static __always_inline u32 first_word(const u8 *b)
{
	u32 word;

	__builtin_memcpy(&word, b, sizeof(word));
	return word;
}

/* Whether a request may begin so: the methods of RFC 9110, 9.1, and RFC 5789. */
static __always_inline bool begins_method(u32 word)
{
	switch (word) {
	case WORD('G', 'E', 'T', ' '):
	case WORD('P', 'U', 'T', ' '):
	case WORD('P', 'O', 'S', 'T'):
	case WORD('H', 'E', 'A', 'D'):
	case WORD('P', 'A', 'T', 'C'):
	case WORD('D', 'E', 'L', 'E'):
	case WORD('O', 'P', 'T', 'I'):
	case WORD('C', 'O', 'N', 'N'):
		return true;
	}
	return false;
}

/*
 * The first bytes of a flow that may be what it begins with. What has fewer
 * than six of them is not decided yet.
 */
static __always_inline u16 first_words(struct __sk_buff *skb, u32 at)
{
	u32 len = skb->len - at;
	u8 b[8] __attribute__((aligned(8))) = {};

	if (len >= 6) {
		if (bpf_skb_load_bytes(skb, at, b, 6))
			return R_NONE;
	} else {
#pragma unroll
		for (int i = 0; i < 5; i++)
			if (i < len && bpf_skb_load_bytes(skb, at + i, b + i, 1))
				return R_NONE;
	}
	/* A handshake record that begins with a ClientHello; receivers ignore its version (RFC 8446, 5.1). */
	if (b[0] == 0x16 && b[1] < 0x10 && (b[5] == 1 || len < 6))
		return R_TLS;
	if (len < 4)
		return b[0] == 'G' || b[0] == 'P' || b[0] == 'H' || b[0] == 'D' || b[0] == 'O' || b[0] == 'C' ? R_HTTP : R_NONE;
	/* An HTTP method is letters and a space (RFC 9110, 9.1); PRI begins HTTP/2. */
	return begins_method(first_word(b)) || first_word(b) == WORD('P', 'R', 'I', ' ') ? R_HTTP : R_NONE;
}

/* Whether the first segment holds all of the head, so that none after it need be looked at. */
static __always_inline bool head_in_segment(struct __sk_buff *skb, u32 at, u16 type)
{
	u32 len = skb->len - at, record, hello;
	u8 b[16] __attribute__((aligned(8)));

	if (len >= HELLO_BYTES)
		return true;
	if (len < 9)
		return false;
	if (type == R_TLS) {
		if (bpf_skb_load_bytes(skb, at, b, 9))
			return true;
		record = b[3] << 8 | b[4];
		hello = b[6] << 16 | b[7] << 8 | b[8];
		return hello + 4 <= record && record + 5 <= len;
	}
	if (bpf_skb_load_bytes(skb, skb->len - 4, b, 4))
		return true;
	return first_word(b) == WORD('\r', '\n', '\r', '\n');
}

/* What a flow begins with, and whether that is told whole at once. */
#define WHOLE (1 << 16)

__noinline int begins_flow(struct __sk_buff *skb, u32 at)
{
	u16 type = first_words(skb, at);

	if (type == R_NONE || head_in_segment(skb, at, type))
		return type | WHOLE;
	return type;
}

/* RFC 1035, 4.1.1: id, flags, and how many questions, answers, authorities and additional records follow. */
#define DNS_HEADER 12
#define DNS_ANSWER 0x80

/*
 * Whether a datagram to or from any port begins as a DNS question, or an
 * answer to one: opcode QUERY, one question, and in a question no answer and
 * little beside it. Few others do by chance, and the reader reads the rest.
 */
static __always_inline bool begins_as_dns(struct __sk_buff *skb, u32 at, u8 answer)
{
	u8 b[DNS_HEADER];

	if (skb->len < at + DNS_HEADER + 5 || bpf_skb_load_bytes(skb, at, b, sizeof(b)))
		return false;
	if ((b[2] & 0xf8) != answer || b[4] != 0 || b[5] != 1 || b[6] != 0 || b[8] != 0 || b[10] != 0)
		return false;
	return answer || (b[7] == 0 && b[9] == 0 && b[11] <= 2);
}

#define QUIC_INITIALS 256 /* that a socket tells */

/* An Initial packet of version 1, RFC 9000 17.2: its first byte, and the version. */
static __always_inline bool begins_as_quic(struct __sk_buff *skb, u32 at)
{
	u8 b[5];

	/* A client makes the datagram at least 1200 bytes long, RFC 9000 14.1. */
	if (skb->len < at + 1200 || bpf_skb_load_bytes(skb, at, b, sizeof(b)))
		return false;
	return (b[0] & 0xf0) == 0xc0 && b[1] == 0 && b[2] == 0 && b[3] == 0 && b[4] == 1;
}

static __always_inline void count_received(struct __sk_buff *skb, struct packet *p, struct owner *o)
{
	struct send_key key = {};
	struct send *known;

	__builtin_memcpy(key.dst, p->src, 16);
	key.dport = p->sport;
	key.proto = p->proto | p->v6 << 8;
	if (o) {
		key.pid = o->pid;
		key.start = o->start;
	}
	/* Who never was sent anything is no destination. */
	known = bpf_map_lookup_elem(&sends, &key);
	if (!known)
		return;
	__sync_fetch_and_add(&known->received, skb->len - p->payload);
	known->time = bpf_ktime_get_boot_ns();
}

static __always_inline void count_send(struct __sk_buff *skb, struct packet *p, struct owner *o)
{
	struct send_key key = {};
	struct send *known, first = {};
	struct sock_record r = {};
	u32 len = skb->len - p->payload;

	__builtin_memcpy(key.dst, p->dst, 16);
	key.dport = p->dport;
	key.proto = p->proto | p->v6 << 8;
	if (o) {
		key.pid = o->pid;
		key.start = o->start;
	}
	known = bpf_map_lookup_elem(&sends, &key);
	if (known) {
		__sync_fetch_and_add(&known->count, 1);
		__sync_fetch_and_add(&known->bytes, len);
		known->time = bpf_ktime_get_boot_ns();
		return;
	}
	owned(&r.h, R_SEND, o);
	first.count = 1;
	first.bytes = first.told = len;
	first.time = r.h.time;
	first.cgroup = r.h.cgroup;
	first.cookie = r.cookie = bpf_get_socket_cookie(skb);
	first.tid = r.h.tid;
	first.uid = r.h.uid;
	first.gid = r.h.gid;
	bpf_map_update_elem(&sends, &key, &first, BPF_ANY);
	r.proto = p->proto;
	r.family = p->v6 ? 6 : 4;
	r.sport = p->sport;
	r.dport = p->dport;
	r.count = 1;
	r.sent = len;
	__builtin_memcpy(r.src, p->src, 16);
	__builtin_memcpy(r.dst, p->dst, 16);
	EMIT(priority, PRIORITY, &r, sizeof(r));
}

/*
 * TP_PROTO(struct sock *sk, int ret, int flags), from 6.4 on: what a packet
 * socket sends passes no cgroup hook, and with PACKET_QDISC_BYPASS no other
 * tracepoint either.
 */
/* TCP is looked at too: what a library of TLS wrote goes over that socket. */
SEC("tp_btf/sock_send_length")
int on_send_length(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int ret = ctx[1];
	struct send_key key = {};
	struct send *known, first = {};
	struct owner o = {};
	u16 family = sk->__sk_common.skc_family;

	if (ret < 0)
		return 0;
	if ((family == AF_INET || family == AF_INET6) && sk->sk_protocol == IPPROTO_TCP)
		tls_sent(sk, ret);
	if (family != AF_PACKET)
		return 0;
	own(&o);
	key.pid = o.pid;
	key.start = o.start;
	key.proto = SEND_PACKET;
	known = bpf_map_lookup_elem(&sends, &key);
	if (known) {
		__sync_fetch_and_add(&known->count, 1);
		__sync_fetch_and_add(&known->bytes, ret);
		known->time = bpf_ktime_get_boot_ns();
		return 0;
	}
	first.count = 1;
	first.bytes = ret;
	first.time = bpf_ktime_get_boot_ns();
	first.cgroup = o.cgroup;
	first.tid = o.tid;
	first.uid = o.uid;
	first.gid = o.gid;
	bpf_map_update_elem(&sends, &key, &first, BPF_ANY);
	return 0;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	struct packet p = {};
	struct bpf_sock *sk = full(skb);
	struct bpf_tcp_sock *tp;
	struct owner *o = 0;
	struct tell t = {.limit = HELLO_BYTES};
	u32 limit, begins;

	if (sk && sk->protocol == IPPROTO_TCP) {
		/* Nothing of its first bytes can come again; what TCP knows is at hand, our own is not. */
		tp = bpf_tcp_sock(sk);
		if (tp && tp->bytes_acked > STREAM_BYTES)
			return 1;
	}
	if (sk)
		o = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (o && o->first == SEEN && sk->protocol == IPPROTO_TCP)
		return 1;
	if (!dissect(skb, &p))
		return 1;
	if (p.proto == IPPROTO_TCP) {
		if (p.payload >= skb->len)
			return 1;
		/* A socket from before arming, or one whose owner found no memory. */
		if (!o && sk)
			o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!o)
			return 1;
		if (o->first == UNSEEN) {
			o->base = p.seq;
			if (p.dport == 53) {
				t.type = R_DNS;
				o->first = FOLLOW_DNS;
			} else {
				begins = begins_flow(skb, p.payload);
				t.type = begins;
				if (begins & WHOLE)
					o->first = SEEN;
				else
					o->first = t.type == R_TLS ? FOLLOW_TLS : FOLLOW_HTTP;
			}
		} else {
			t.type = o->first == FOLLOW_DNS ? R_DNS : o->first == FOLLOW_TLS ? R_TLS : R_HTTP;
		}
		if (t.type == R_NONE)
			return 1;
		/* Every byte comes this way in order, but for what is sent again. */
		t.offset = p.seq - o->base;
		limit = t.type == R_DNS ? STREAM_BYTES : HEAD_BYTES;
		if (t.offset >= limit) {
			if (t.offset < 1U << 31)
				o->first = SEEN;
			return 1;
		}
		if (t.type == R_DNS)
			t.limit = STREAM_BYTES;
		tell_payload(skb, &p, o, &t);
		return 1;
	}
	if (p.proto == IPPROTO_UDP && (p.dport == 53 || begins_as_dns(skb, p.payload, 0))) {
		t.type = R_DNS;
		tell_payload(skb, &p, o, &t);
		if (p.dport == 53)
			return 1;
	}
	if (p.proto == IPPROTO_UDP && o && o->first < QUIC_INITIALS && begins_as_quic(skb, p.payload)) {
		o->first++;
		t.type = R_TLS;
		tell_payload(skb, &p, o, &t);
	}
	/* What the kernel itself says by ICMP has no owner; an echo request has a sender. */
	if (!o && ((p.proto == IPPROTO_ICMP && p.icmp != 8) || (p.proto == IPPROTO_ICMPV6 && p.icmp != 128)))
		return 1;
	if (!sk)
		return 1;
	count_send(skb, &p, o);
	return 1;
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	struct packet p = {};
	struct bpf_sock *sk = full(skb);
	struct bpf_tcp_sock *tp;
	struct owner *o;
	struct tell t = {.type = R_DNS, .flags = F_ANSWER, .limit = HELLO_BYTES, .ingress = true};

	if (!sk || (sk->protocol != IPPROTO_UDP && sk->protocol != IPPROTO_TCP))
		return 1;
	if (sk->protocol == IPPROTO_TCP && bpf_ntohs(sk->dst_port) != 53)
		return 1;
	if (!dissect(skb, &p) || p.payload >= skb->len)
		return 1;
	o = bpf_sk_storage_get(&owners, sk, 0, 0);
	if (p.proto == IPPROTO_UDP && p.sport != 53) {
		count_received(skb, &p, o);
		if (!begins_as_dns(skb, p.payload, DNS_ANSWER))
			return 1;
	} else if (p.sport != 53) {
		return 1;
	}
	if (p.proto == IPPROTO_TCP) {
		/* Before TCP has put them in order, so by what it has received. */
		if (!o)
			o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!o)
			return 1;
		/* Once: another CPU that takes in what waited moves the two one after the other. */
		if (!o->answer_known) {
			tp = bpf_tcp_sock(sk);
			if (!tp)
				return 1;
			o->answer_base = tp->rcv_nxt - (u32)tp->bytes_received;
			o->answer_known = 1;
		}
		t.offset = p.seq - o->answer_base;
		t.limit = STREAM_BYTES;
		if (t.offset >= STREAM_BYTES)
			return 1;
	}
	tell_payload(skb, &p, o, &t);
	return 1;
}
