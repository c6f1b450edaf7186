/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What goes into TLS: the bytes that a program gives its library, before they
 * are encrypted. The programs stand at the entry and the return of SSL_write
 * and its like, and at the entry of Go's crypto/tls.(*Conn).Write.
 *
 * All that is read here is the process's own memory: it says what the library
 * was given, and a process can give it anything. Which connection it went over
 * the kernel says.
 */
#pragma once

#include "emit.h"
#include "socket.h"

#define TLS_BYTES 4096	 /* of one write */
#define TLS_FOLLOW 8192	 /* behind the first write of a request whose head is not whole */

/* A library's object for one connection, by its address. */
struct tls_key {
	u64 session;
	u64 start; /* of the process */
	u32 pid;
	u32 pad;
};

/* What a connection carries, by how it begins. */
enum { TLS_FRESH, TLS_HTTP1, TLS_HTTP2, TLS_OTHER };

struct tls_session {
	u64 cookie; /* 0 while it is not known which socket it is */
	u64 plain;  /* bytes that the library has taken */
	u32 writes;
	u32 kind;
	u32 follow; /* bytes that are still told of a head that is not whole */
	u16 family;
	u16 sport, dport;
	u16 pad;
	u8 src[16], dst[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tls_key);
	__type(value, struct tls_session);
} tls_sessions SEC(".maps");

struct tls_socket {
	struct tls_key key; /* of no session where it was freed */
	u64 plain;
	u32 writes;
	u32 pad;
};

/* By cookie: the session, or what it had taken when it was freed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct tls_socket);
} tls_sockets SEC(".maps");

/* What a thread is doing in a library, or did at last. */
enum { CALL_NONE, CALL_RUNS, CALL_WAITS };

struct tls_call {
	u64 session;
	u64 buf;
	u64 written; /* where the call tells how much it took; 0 where its result does */
	u64 wrote;
	u32 state;
	u32 sent; /* the thread has sent on a socket in this call */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

static __always_inline void tls_key(struct tls_key *key, u64 session)
{
	struct task_struct *task = bpf_get_current_task_btf();

	key->session = session;
	key->start = start_of(task);
	key->pid = task->tgid;
	key->pad = 0;
}

static __always_inline struct tls_session *tls_session(struct tls_key *key)
{
	struct tls_session *s = bpf_map_lookup_elem(&tls_sessions, key), fresh = {};

	if (s)
		return s;
	bpf_map_update_elem(&tls_sessions, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tls_sessions, key);
}

/* Fills a record of the session; its payload is still to come. */
static __always_inline void tls_record(struct sock_record *r, struct tls_key *key, struct tls_session *s, u16 type)
{
	begin(&r->h, type);
	r->cookie = s->cookie;
	r->sent = s->plain;
	r->received = key->session;
	r->count = 0;
	__builtin_memcpy(r->src, s->src, 16);
	__builtin_memcpy(r->dst, s->dst, 16);
	r->sport = s->sport;
	r->dport = s->dport;
	r->family = s->family;
	r->proto = IPPROTO_TCP;
	r->err = 0;
	r->wire = r->len = 0;
	r->offset = s->kind;
}

/* The session's bytes go over this socket. r holds its cookie and addresses. */
static __always_inline void tls_link(struct tls_key *key, struct sock_record *r)
{
	struct tls_socket taken = {};
	struct tls_session *s = tls_session(key);
	u64 cookie = r->cookie;

	if (!s || s->cookie == cookie)
		return;
	if (s->cookie) {
		/* Another object at the same address, whose end was not seen. */
		s->plain = 0;
		s->writes = s->follow = 0;
		s->kind = TLS_FRESH;
	}
	s->cookie = cookie;
	__builtin_memcpy(s->src, r->src, 16);
	__builtin_memcpy(s->dst, r->dst, 16);
	s->sport = r->sport;
	s->dport = r->dport;
	s->family = r->family;
	taken.key = *key;
	bpf_map_update_elem(&tls_sockets, &cookie, &taken, BPF_ANY);
	if (s->plain) {
		tls_record(r, key, s, R_SESSION);
		EMIT(files, FILES, r, sizeof(*r));
	}
}

/* WebDAV's (RFC 4918, RFC 3253) too: what is said here is read whole, and few begin so by chance. */
static __always_inline bool tls_method(u8 *b)
{
	u32 word = first_word(b);

	return begins_method(word) || word == WORD('P', 'R', 'O', 'P') || word == WORD('R', 'E', 'P', 'O');
}

/* Tells the first len of n bytes that the library has taken. */
__noinline int tell_plain(u64 session, u64 buf, u64 n, u32 len)
{
	struct tls_session *s;
	struct sock_record *r;
	struct counters *c;
	struct tls_key key;
	struct scratch *m;
	u32 slot;

	/* Made here: before 6.2 what a function is given by its address is no key of a map. */
	tls_key(&key, session);
	s = bpf_map_lookup_elem(&tls_sessions, &key);
	if (!s) { /* others took its place just now */
		c = counting();
		if (c)
			__sync_fetch_and_add(&c->busy, 1);
		return 0;
	}
	m = take(&slot);
	if (!m)
		return 0;
	r = (void *)m->out;
	tls_record(r, &key, s, R_PLAIN);
	r->wire = n > 0xffffffffULL ? 0xffffffff : n;
	len--;
	barrier_var(len);
	len &= TLS_BYTES - 1;
	len++;
	r->len = bpf_probe_read_user(m->out + sizeof(*r), len, (void *)buf) ? 0 : len;
	len = r->len;
	barrier_var(len);
	len &= 2 * TLS_BYTES - 1;
	EMIT(files, FILES, r, len + sizeof(*r));
	give(m);
	return 0;
}

/* The library has taken n bytes. Tells the first of them where they may hold a request. */
static __always_inline void tls_took(struct tls_key *key, u64 buf, u64 n)
{
	struct tls_session *s = tls_session(key);
	u8 b[16] __attribute__((aligned(8))) = {}, end[8] __attribute__((aligned(8))) = {};
	bool tell = false;
	u32 len;

	if (!s || !n)
		return;
	if (n >= 12)
		bpf_probe_read_user(b, 12, (void *)buf);
	else
		bpf_probe_read_user(b, n & 15 ? n & 15 : 1, (void *)buf);
	len = n > TLS_BYTES ? TLS_BYTES : n;
	if (s->kind == TLS_FRESH)
		s->kind = first_word(b) == WORD('P', 'R', 'I', ' ') ? TLS_HTTP2 : tls_method(b) ? TLS_HTTP1 : TLS_OTHER;
	if (s->kind == TLS_HTTP2) {
		tell = true;
		/* A write of nothing but the body of a request: its length is enough. */
		if (n > 9 && b[3] == 0 && 9 + ((u64)b[0] << 16 | b[1] << 8 | b[2]) >= n)
			len = 9;
	} else if (s->kind == TLS_HTTP1 && tls_method(b)) {
		tell = true;
		if (n >= 4 && n <= TLS_BYTES)
			bpf_probe_read_user(end, 4, (void *)buf + n - 4);
		s->follow = first_word(end) == WORD('\r', '\n', '\r', '\n') ? 0 : TLS_FOLLOW;
	} else if (s->follow) {
		tell = true;
		s->follow = s->follow > n ? s->follow - n : 0;
	}
	if (tell)
		tell_plain(key->session, buf, n, len);
	s->plain += n;
	s->writes++;
}

static __always_inline int tls_entered(u64 session, u64 buf, u64 written)
{
	struct tls_call *call = bpf_task_storage_get(&tls_calls, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!call)
		return 0;
	call->session = session;
	call->buf = buf;
	call->written = written;
	call->state = CALL_RUNS;
	call->sent = 0;
	return 0;
}

/* int SSL_write(SSL *, const void *, int); ssize_t gnutls_record_send(session, const void *, size_t) */
SEC("uprobe")
int on_tls_write(struct pt_regs *ctx)
{
	return tls_entered(C_ARG1(ctx), C_ARG2(ctx), 0);
}

/* int SSL_write_ex(SSL *, const void *, size_t, size_t *written) */
SEC("uprobe")
int on_tls_write_ex(struct pt_regs *ctx)
{
	return tls_entered(C_ARG1(ctx), C_ARG2(ctx), C_ARG4(ctx));
}

SEC("uprobe")
int on_tls_written(struct pt_regs *ctx)
{
	struct tls_call *call = bpf_task_storage_get(&tls_calls, bpf_get_current_task_btf(), 0, 0);
	struct tls_key key;
	s32 result = C_RESULT(ctx);
	u64 n = 0;

	if (!call || call->state != CALL_RUNS)
		return 0;
	call->state = CALL_NONE;
	/* One that is to be called again has taken nothing, and will be given the same. */
	if (result <= 0)
		return 0;
	if (!call->written)
		n = result;
	else if (bpf_probe_read_user(&n, sizeof(n), (void *)call->written))
		return 0;
	tls_key(&key, call->session);
	tls_took(&key, call->buf, n);
	/* Where the library writes to memory the program sends that next. */
	if (!call->sent) {
		call->state = CALL_WAITS;
		call->wrote = n;
	}
	return 0;
}

/* void SSL_free(SSL *); void gnutls_deinit(session): its address may be another's next. */
SEC("uprobe")
int on_tls_free(struct pt_regs *ctx)
{
	struct tls_socket taken = {};
	struct tls_session *s;
	struct tls_key key;
	u64 cookie;

	tls_key(&key, C_ARG1(ctx));
	s = bpf_map_lookup_elem(&tls_sessions, &key);
	if (!s)
		return 0;
	cookie = s->cookie;
	if (cookie) {
		taken.plain = s->plain;
		taken.writes = s->writes;
		bpf_map_update_elem(&tls_sockets, &cookie, &taken, BPF_EXIST);
	}
	bpf_map_delete_elem(&tls_sessions, &key);
	return 0;
}

/*
 * func (c *Conn) Write(b []byte), in Go's register ABI: c, b's address, length
 * and capacity. Its first field is the net.Conn below it, an interface; of a
 * *net.TCPConn that leads to internal/poll.FD, which has the descriptor.
 */
SEC("uprobe")
int on_go_write(struct pt_regs *ctx)
{
	u64 conn = GO_ARG1(ctx), data = 0, fd_struct = 0;
	struct sock_record r = {};
	struct tls_key key;
	struct sock *sk;
	u16 family;
	s32 fd = -1;

	tls_key(&key, conn);
	if (bpf_probe_read_user(&data, 8, (void *)conn + 8) == 0 &&
	    bpf_probe_read_user(&fd_struct, 8, (void *)data) == 0 &&
	    bpf_probe_read_user(&fd, 4, (void *)fd_struct + 16) == 0 && fd >= 0) {
		sk = sock_of(fd);
		if (sk) {
			family = BPF_CORE_READ(sk, __sk_common.skc_family);
			if ((family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP) {
				r.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
				addresses(&r, sk);
				if (r.cookie)
					tls_link(&key, &r);
			}
		}
	}
	tls_took(&key, GO_ARG2(ctx), GO_ARG3(ctx));
	return 0;
}

/*
 * A thread has sent on a TCP socket. In a call of the library that is the
 * session's own; after one it is where the length fits what was written: the
 * bytes and what TLS puts around them, with the last message of a handshake.
 */
static __always_inline void tls_sent(struct sock *sk, s32 sent)
{
	struct tls_call *call = bpf_task_storage_get(&tls_calls, bpf_get_current_task_btf(), 0, 0);
	struct sock_record r = {};
	struct tls_key key;

	if (!call || call->state == CALL_NONE)
		return;
	if (call->state == CALL_WAITS) {
		call->state = CALL_NONE;
		if (sent <= call->wrote || sent - call->wrote > 256 + call->wrote / 64)
			return;
	} else {
		call->sent = 1;
	}
	r.cookie = bpf_get_socket_cookie(sk);
	addresses(&r, sk);
	tls_key(&key, call->session);
	tls_link(&key, &r);
}

/* What the library was given for a connection, and in how many writes; at its end for the last time. */
static __always_inline bool tls_totals(struct sock_record *r, bool end)
{
	u64 cookie = r->cookie;
	struct tls_socket *taken = bpf_map_lookup_elem(&tls_sockets, &cookie);
	struct tls_session *s;

	if (!taken)
		return false;
	r->count = taken->plain;
	r->wire = taken->writes;
	s = bpf_map_lookup_elem(&tls_sessions, &taken->key);
	if (s && s->cookie == cookie) {
		r->count = s->plain;
		r->wire = s->writes;
	}
	if (end)
		bpf_map_delete_elem(&tls_sockets, &cookie);
	return true;
}
