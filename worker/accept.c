/*
 * Accepting. It alone knows listening sockets. At the limit the client that was idle longest makes
 * room; where none has been idle for a second, accepting pauses, and the kernel's queue waits.
 */
#include "worker/accept.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/loop.h"
#include "worker/base/pipe.h"
#include "worker/conn.h"
#include "worker/state.h"
#include "worker/upstream/exchange.h"

#define ACCEPTS_A_TURN 64
#define LAST_ACCEPTS 4096       /* of a socket, before it is given up: as many as its queue holds */
#define TRY_AGAIN_MS 100        /* until somebody may have become idle, or left a descriptor */
#define LISTENS_MS 5            /* until the master may listen: it does when all workers of a generation are there */
#define COMPLAIN_MS 60000
#define OTHER_DESCRIPTORS 64    /* epoll, shared memory, the pipe to the master */
#define PIPES_SHARE 16          /* one of so many descriptors, where they are few */

struct acceptor {
    struct io io;
    const struct listener *listener;
    unsigned most;              /* to accept in one turn: more than one where the last turn left some waiting */
    uint64_t full_turn;         /* the last turn that took so many */
    bool early;                 /* nobody listens on it yet, so it says EPOLLHUP all the time: it is not on the loop */
};

static struct acceptor *acceptors;
static size_t count;
static bool paused;
static bool starved;            /* of descriptors: it is of no use to go on before `retry` */
static struct timer retry;
static struct timer later;      /* looks again at those that were early */
static bool complained;         /* of a lack of descriptors: once is enough */

static void
pause_accepting(void)
{
    if (paused)
        return;
    paused = true;
    for (size_t i = 0; i < count; i++)
        loop_remove(&acceptors[i].io);
}

static void
add(struct acceptor *a)
{
    if (!loop_add_listener(&a->io))
        log_error("epoll: %s: %m", arena_cstr(worker.conf->arena, a->listener->text));
}

static void
resume(void)
{
    timer_stop(&retry);
    starved = paused = false;
    for (size_t i = 0; i < count; i++)
        if (!acceptors[i].early)
            add(&acceptors[i]);
}

static void
look_again(struct timer *t)
{
    (void)t;
    for (size_t i = 0; i < count; i++) {
        if (acceptors[i].early && !paused)
            add(&acceptors[i]);
        acceptors[i].early = false;
    }
}

static void
wait_for_master(struct acceptor *a)
{
    a->early = true;
    loop_remove(&a->io);
    timer_set(&later, LISTENS_MS);
}

void
accept_resume(void)
{
    if (paused && !starved && !worker.draining && worker.connections < worker.connections_most)
        resume();
}

static void
try_again(struct timer *t)
{
    (void)t;
    if (paused && !worker.draining)
        resume();
}

static void
complain_of_limit(void)
{
    static int64_t last;

    if (last != 0 && clock_ms() - last < COMPLAIN_MS)
        return;
    last = clock_ms();
    log_warning("limits.connections: %zu clients are here: others wait", worker.connections);
}

static bool
has_room(void)
{
    if (worker.connections < worker.connections_most || conn_evict())
        return true;
    complain_of_limit();
    pause_accepting();
    timer_set(&retry, TRY_AGAIN_MS);
    return false;
}

/* True where one was found: accepting goes on. */
static bool
out_of_descriptors(void)
{
    if (errno == EMFILE && exchange_evict())
        return true;
    if (!complained)
        log_error("accept: %m");
    complained = true;
    starved = true;
    pause_accepting();
    timer_set(&retry, TRY_AGAIN_MS);
    return false;
}

/* True where there may be another. */
static bool
accept_one(struct acceptor *a)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof ss;
    struct addr peer = {0};
    int fd = accept4(a->io.fd, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        if (ss.ss_family != AF_UNIX)
            addr_from_sockaddr(&peer, (struct sockaddr *)&ss, n);
        complained = false;
        conn_new(fd, a->listener, &peer.ip, peer.port);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
        return out_of_descriptors();
    if (errno == EINVAL) {
        wait_for_master(a);
        return false;
    }
    return errno == EINTR || errno == ECONNABORTED;
}

/*
 * To ask for one that is not there costs as much as half a connection, and the loop says in its next turn where
 * more wait: then twice as many are taken at once.
 */
static void
set_most(struct acceptor *a)
{
    if (a->full_turn + 1 != loop_turns())
        a->most = 1;
    else if (a->most < ACCEPTS_A_TURN)
        a->most *= 2;
}

static void
ready(struct io *io)
{
    struct acceptor *a = (struct acceptor *)((char *)io - offsetof(struct acceptor, io));

    /* only the first is sure to be there: nobody is sent away for one that may not be */
    if (!has_room())
        return;
    set_most(a);
    for (unsigned i = 1; accept_one(a) && worker.connections < worker.connections_most; i++)
        if (i == a->most) {
            a->full_turn = loop_turns();
            return;
        }
}

/* The descriptors that are left for connections and pipes. */
static size_t
spare(const struct conf *conf, size_t listeners, size_t rows)
{
    size_t others = OTHER_DESCRIPTORS + conf->log_count + listeners + rows;
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return r.rlim_cur > others + 2 ? (size_t)r.rlim_cur - others : 2;
}

/*
 * limits.connections, or what the descriptors allow: each client may need a server's as well, and where there are not
 * enough for all, pipes have a share of them, since large bodies cost more than twice as much without.
 */
size_t
accept_most(const struct conf *conf, size_t listeners, size_t rows)
{
    size_t most = (size_t)conf->scope.policy.limits.connections, left = spare(conf, listeners, rows);

    return left / 2 < most ? (left - left / PIPES_SHARE) / 2 : most;
}

/* What is left is for the pipes of splice, two each. */
static void
share_descriptors(const struct conf *conf)
{
    size_t most = (size_t)conf->scope.policy.limits.connections, rows = slots_rows(worker.slots);
    size_t left = spare(conf, count, rows);

    worker.connections_most = accept_most(conf, count, rows);
    left = (left - 2 * worker.connections_most) / 2;
    pipe_limit(left < most ? (unsigned)left : (unsigned)most);
}

bool
accept_start(const struct worker_start *start)
{
    retry.fire = try_again;
    later.fire = look_again;
    count = start->listener_count;
    acceptors = xcalloc(count, sizeof *acceptors);
    share_descriptors(start->conf);
    for (size_t i = 0; i < count; i++) {
        struct acceptor *a = &acceptors[i];

        a->listener = start->listeners[i].conf;
        a->io.fd = start->listeners[i].fd;
        a->io.ready = ready;
        a->most = 1;
        if (!loop_add_listener(&a->io))
            return false;
    }
    return true;
}

void
accept_stop(void)
{
    timer_stop(&retry);
    pause_accepting();
    /* what waits in a queue that is closed for good meets a reset: they are answered, and told to close */
    for (size_t i = 0; i < count; i++)
        for (int n = 0; n < LAST_ACCEPTS && worker.connections < worker.connections_most; n++)
            if (!accept_one(&acceptors[i]))
                break;
    for (size_t i = 0; i < count; i++)
        close(acceptors[i].io.fd);
    timer_stop(&later);
    count = 0;
}
