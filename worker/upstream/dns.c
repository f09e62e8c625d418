/*
 * It alone knows c-ares. c-ares opens its sockets and reads them through functions given here, so that
 * edge-triggered readiness is kept in struct io (whoever meets EAGAIN clears the flag), and a turn
 * reads a bounded number of messages; what is left waits for the next.
 *
 * Invariants: a socket is on the loop as long as c-ares has it open; c-ares is entered only from here, never
 * from one of its own callbacks; the timer is set while anything is asked for.
 */
#include "worker/upstream/dns.h"

#include <ares.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/base/log.h"
#include "worker/base/loop.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define TIMEOUT_MS 2000         /* of the first try; c-ares doubles it */
#define TRIES 2                 /* at each name server */
#define READS_A_TURN 64
#define FOUND_MOST 4096         /* records that are looked at */

struct wire {
    struct io io;
    bool reads, writes;         /* what c-ares waits for */
    struct deferred deferred;
    struct wire *next;
};

struct question {
    void (*done)(void *data, const struct dns_answer *answer);
    void *data;
};

static ares_channel channel;    /* NULL: none is open */
static struct str_list servers;
static struct timespec configured;      /* of resolv.conf, when the channel was opened */
static struct wire *wires;
static struct timer timer;
static struct task more;
static unsigned asked, reads_left;
static struct question *being_asked;    /* ares_getaddrinfo has not returned yet */
static bool closing;

static void wait_for(void);

/* --- sockets --- */

static struct wire *
wire_of(ares_socket_t fd)
{
    struct wire *w = wires;

    while (w != NULL && w->io.fd != fd)
        w = w->next;
    return w;
}

static void
wire_free(struct deferred *d)
{
    free((char *)d - offsetof(struct wire, deferred));
}

static void
ready(struct io *io)
{
    (void)io;
    loop_post(&more);
}

static ares_socket_t
open_socket(int domain, int type, int protocol, void *data)
{
    int fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    struct wire *w;

    (void)data;
    if (fd < 0)
        return ARES_SOCKET_BAD;
    w = xcalloc(1, sizeof(*w));
    w->io.fd = fd;
    w->io.ready = ready;
    w->deferred.free = wire_free;
    if (!loop_add(&w->io)) {
        close(fd);
        free(w);
        return ARES_SOCKET_BAD;
    }
    w->next = wires;
    wires = w;
    return fd;
}

static int
close_socket(ares_socket_t fd, void *data)
{
    struct wire **at = &wires, *w;

    (void)data;
    while (*at != NULL && (*at)->io.fd != fd)
        at = &(*at)->next;
    w = *at;
    check(w != NULL);
    *at = w->next;
    loop_remove(&w->io);
    loop_defer(&w->deferred);
    return close(fd);
}

static int
connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t n, void *data)
{
    (void)data;
    return connect(fd, to, n);
}

static ares_ssize_t
receive(ares_socket_t fd, void *to, size_t n, int flags, struct sockaddr *from, ares_socklen_t *from_n, void *data)
{
    struct wire *w = wire_of(fd);
    ares_ssize_t got;

    (void)data;
    if (reads_left == 0) {
        errno = EAGAIN;
        return -1;
    }
    reads_left--;
    got = recvfrom(fd, to, n, flags, from, from_n);
    if (got < 0 && errno == EAGAIN && w != NULL)
        w->io.readable = false;
    return got;
}

static ares_ssize_t
transmit(ares_socket_t fd, const struct iovec *iov, int n, void *data)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
    struct wire *w = wire_of(fd);
    ares_ssize_t sent = sendmsg(fd, &msg, MSG_NOSIGNAL);

    (void)data;
    if (sent < 0 && errno == EAGAIN && w != NULL)
        w->io.writable = false;
    return sent;
}

static const struct ares_socket_functions functions = {
    open_socket, close_socket, connect_socket, receive, transmit,
};

static void
note(void *data, ares_socket_t fd, int readable, int writable)
{
    struct wire *w = wire_of(fd);

    (void)data;
    if (w == NULL)
        return;
    w->reads = readable != 0;
    w->writes = writable != 0;
}

/* --- the channel --- */

static bool
is_due(const struct wire *w)
{
    return (w->reads && w->io.readable) || (w->writes && w->io.writable);
}

static struct wire *
due(void)
{
    struct wire *w = wires;

    while (w != NULL && !is_due(w))
        w = w->next;
    return w;
}

/* c-ares reads UDP until EAGAIN, but TCP once: so again and again, up to what a turn may cost. */
static void
go_on(struct task *t)
{
    struct wire *w = NULL;

    reads_left = READS_A_TURN;
    for (int i = 0; i < READS_A_TURN && channel != NULL && reads_left > 0 && (w = due()) != NULL; i++)
        ares_process_fd(channel, w->reads && w->io.readable ? w->io.fd : ARES_SOCKET_BAD,
                        w->writes && w->io.writable ? w->io.fd : ARES_SOCKET_BAD);
    if (channel != NULL && due() != NULL)
        loop_post(t);
    wait_for();
}

static void
fire(struct timer *t)
{
    (void)t;
    reads_left = READS_A_TURN;
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    wait_for();
}

static void
wait_for(void)
{
    struct timeval tv;

    if (channel == NULL || ares_timeout(channel, NULL, &tv) == NULL)
        timer_stop(&timer);
    else
        timer_set(&timer, (int64_t)tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1);
}

static int
name_servers(void)
{
    struct arena *a = arena_new();
    struct str csv = STR_NONE;
    int status;

    for (size_t i = 0; i < servers.n; i++)
        csv = arena_printf(a, "%.*s%s%.*s", STR_ARG(csv), i > 0 ? "," : "", STR_ARG(servers.v[i]));
    status = ares_set_servers_ports_csv(channel, arena_cstr(a, csv));
    arena_free(a);
    return status;
}

static struct timespec
changed(void)
{
    struct stat st;

    return stat(RESOLV_CONF, &st) == 0 ? st.st_mtim : (struct timespec){0};
}

static int
open_channel(void)
{
    struct ares_options options = {.timeout = TIMEOUT_MS, .tries = TRIES, .sock_state_cb = note};
    int status = ares_library_init(ARES_LIB_INIT_ALL), extra = 0;

#ifdef ARES_OPT_QUERY_CACHE     /* of later versions: TTLs are ours to keep */
    options.qcache_max_ttl = 0;
    extra = ARES_OPT_QUERY_CACHE;
#endif

    configured = changed();
    if (status == ARES_SUCCESS)
        status = ares_init_options(&channel, &options,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | extra);
    if (status != ARES_SUCCESS) {
        channel = NULL;
        return status;
    }
    ares_set_socket_functions(channel, &functions, NULL);
    if (servers.n > 0 && (status = name_servers()) != ARES_SUCCESS)
        dns_close();
    return status;
}

/* The system's name servers may have changed, or come only after the start: looked at where nothing is asked. */
static int
have_channel(void)
{
    struct timespec now;

    if (channel != NULL && asked == 0 && servers.n == 0) {
        now = changed();
        if (now.tv_sec != configured.tv_sec || now.tv_nsec != configured.tv_nsec)
            dns_close();
    }
    return channel != NULL ? ARES_SUCCESS : open_channel();
}

/* --- answers --- */

static int
compare(const struct health_address *a, const struct health_address *b)
{
    return a->family != b->family ? (a->family < b->family ? -1 : 1) : memcmp(a->b, b->b, sizeof(a->b));
}

/*
 * Loopback and private networks are where servers are. Link-local addresses are not: a v6 one needs a
 * scope that no answer carries, and a v4 one is how clouds hand credentials to whoever asks.
 */
static bool
may_be_v4(const uint8_t *b)
{
    return b[0] != 0 && b[0] < 224 && !(b[0] == 169 && b[1] == 254);
}

static bool
may_be_v6(const uint8_t *b)
{
    static const uint8_t zeros[12];

    if (memcmp(b, zeros, 12) == 0)      /* ::, ::1 and ::a.b.c.d */
        return b[12] == 0 && b[13] == 0 && b[14] == 0 && b[15] == 1;
    return b[0] != 0xff && !(b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

bool
dns_may_be_server(const struct health_address *a)
{
    return a->family == AF_INET ? may_be_v4(a->b) : a->family == AF_INET6 && may_be_v6(a->b);
}

static bool
take_address(struct health_address *to, const struct ares_addrinfo_node *node)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    memset(to, 0, sizeof(*to));
    to->family = (uint8_t)node->ai_family;
    if (node->ai_family == AF_INET) {
        memcpy(to->b, &((const struct sockaddr_in *)(const void *)node->ai_addr)->sin_addr, 4);
    } else if (node->ai_family == AF_INET6) {
        memcpy(to->b, &((const struct sockaddr_in6 *)(const void *)node->ai_addr)->sin6_addr, 16);
        if (memcmp(to->b, mapped, sizeof(mapped)) == 0) {
            to->family = AF_INET;
            memmove(to->b, to->b + 12, 4);
            memset(to->b + 4, 0, 12);
        }
    }
    return dns_may_be_server(to);
}

/* Of too many the first ones in order stay, so that the order in the answer says nothing. */
void
dns_add(struct dns_answer *answer, const struct health_address *a)
{
    unsigned i = 0, last;
    int order = 1;

    while (i < answer->n && (order = compare(&answer->v[i], a)) < 0)
        i++;
    if (i == HEALTH_ADDRESSES || (i < answer->n && order == 0))
        return;
    last = answer->n < HEALTH_ADDRESSES ? answer->n++ : HEALTH_ADDRESSES - 1;
    memmove(&answer->v[i + 1], &answer->v[i], (last - i) * sizeof(*a));
    answer->v[i] = *a;
}

/* RFC 2181 8: a TTL with the highest bit set is zero. */
static void
count_ttl(struct dns_answer *answer, int ttl)
{
    int64_t ms = ttl < 0 ? 0 : (int64_t)ttl * 1000;

    if (ms < answer->ttl_ms)
        answer->ttl_ms = ms;
}

void
dns_read(struct dns_answer *answer, const struct ares_addrinfo *found, bool file)
{
    unsigned n = 0;

    *answer = (struct dns_answer){.ttl_ms = DNS_TTL_MOST};
    for (const struct ares_addrinfo_node *o = found->nodes; o != NULL && n < FOUND_MOST; o = o->ai_next, n++) {
        struct health_address a;

        if (take_address(&a, o))
            dns_add(answer, &a);
        count_ttl(answer, o->ai_ttl);
    }
    for (const struct ares_addrinfo_cname *o = found->cnames; o != NULL && n < FOUND_MOST; o = o->next, n++)
        count_ttl(answer, o->ttl);
    if (file)
        answer->ttl_ms = DNS_TTL_FILE;
    if (answer->ttl_ms < DNS_TTL_LEAST)
        answer->ttl_ms = DNS_TTL_LEAST;
    if (answer->n == 0)
        answer->error = "no address among the answers that a server can have";
}

static void
answered(void *data, int status, int timeouts, struct ares_addrinfo *found)
{
    struct question *q = data;
    struct dns_answer answer = {0};

    (void)timeouts;
    asked--;
    if (status == ARES_SUCCESS && found != NULL)
        dns_read(&answer, found, q == being_asked);
    else
        answer.error = ares_strerror(status);
    answer.none = status == ARES_ENODATA || status == ARES_ENOTFOUND;
    if (found != NULL)
        ares_freeaddrinfo(found);
    if (!closing)
        q->done(q->data, &answer);
    free(q);
}

/* --- from outside --- */

void
dns_init(struct str_list list)
{
    servers = list;
    timer.fire = fire;
    more.run = go_on;
}

void
dns_ask(const char *name, int family, void (*done)(void *data, const struct dns_answer *answer), void *data)
{
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = family, .ai_socktype = SOCK_STREAM};
    int status = have_channel();
    struct question *q;

    if (status != ARES_SUCCESS) {
        done(data, &(struct dns_answer){.error = ares_strerror(status)});
        return;
    }
    q = xmalloc(sizeof(*q));
    *q = (struct question){done, data};
    asked++;
    being_asked = q;
    ares_getaddrinfo(channel, name, NULL, &hints, answered, q);
    being_asked = NULL;
    wait_for();
}

void
dns_close(void)
{
    timer_stop(&timer);
    loop_unpost(&more);
    if (channel == NULL)
        return;
    closing = true;
    ares_destroy(channel);
    closing = false;
    channel = NULL;
}
