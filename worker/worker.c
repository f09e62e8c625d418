/*
 * A worker process: what it is given, what the master tells it, what it does once a second, and how it
 * ends. All else happens in callbacks of the loop.
 */
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/accept.h"
#include "worker/base/buffer.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/loop.h"
#include "worker/base/random.h"
#include "worker/base/scan.h"
#include "worker/conn.h"
#include "worker/h2/client.h"
#include "worker/logs.h"
#include "worker/pipeline.h"
#include "worker/state.h"
#include "worker/tls/server.h"
#include "worker/tls/wiping.h"
#include "worker/upstream/exchange.h"
#include "worker/upstream/lease.h"
#include "worker/upstream/queue.h"
#include "worker/upstream/upstream.h"

#define TICK_MS 1000

struct worker worker;

static struct io control;
static struct io wakes;         /* this row's eventfd */
static volatile sig_atomic_t told_to_stop;

/* --- the end --- */

static void
on_signal(int sig)
{
    told_to_stop = sig;
}

/* SIGTERM and SIGINT come through only while the loop waits, so the flag is never missed. */
static void
catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_SETMASK, &set, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
}

static void
drain(void)
{
    if (worker.draining)
        return;
    worker.draining = true;
    worker.drain_started = clock_ms();
    __atomic_store_n(&worker.row->state, SLOTS_DRAINING, __ATOMIC_RELAXED);
    lease_end();
    accept_stop();
    conn_drain();
    h2_drain();
    exchange_pools_close();
}

/* --- what the master says --- */

static void
take_logs(struct msghdr *msg, const unsigned char *text, size_t n)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || n < 2)
            continue;
        logs_reopen((int *)CMSG_DATA(c), (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), text[1]);
    }
}

/* One message; false where there is none, or nobody any more to send one. */
static bool
take_message(void)
{
    unsigned char text[2];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
    } rights;
    struct iovec iov = {text, sizeof text};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
    ssize_t n = recvmsg(control.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return errno == EINTR;
    if (n <= 0) {               /* ECONNRESET: it died with a word of ours unread */
        log_warning("the master is gone: draining");
        loop_remove(&control);
        drain();
        return false;
    }
    if (text[0] == CONTROL_DRAIN)
        drain();
    else if (text[0] == CONTROL_LOGS)
        take_logs(&msg, text, (size_t)n);
    return true;
}

static void
listen_to_master(struct io *io)
{
    (void)io;
    while (take_message())
        continue;
}

/* --- what other workers say --- */

static void
listen_to_workers(struct io *io)
{
    uint64_t count;

    if (read(io->fd, &count, sizeof count) == sizeof count) {
        queue_woken();
        for (size_t i = 0; modules[i] != NULL; i++)
            if (modules[i]->woken != NULL)
                modules[i]->woken();
    }
    io->readable = false;
}

/* --- time --- */

/* drain_timeout: a request on which nothing moves; drain_tunnels: an upgraded connection. */
static void
cut_idle_requests(void)
{
    const struct conf *conf = worker.conf;
    int64_t now = clock_ms();

    for (struct request *r = worker.requests, *next; r != NULL; r = next) {
        int64_t since = r->tunnel ? worker.drain_started
                                  : (r->moved_ms > worker.drain_started ? r->moved_ms : worker.drain_started);
        int64_t most = r->tunnel ? conf->drain_tunnels : conf->drain_timeout;

        next = r->next;
        if (now - since >= most)
            pipeline_client_lost(r);
    }
}

static void
tick(struct timer *t)
{
    timer_set(t, TICK_MS);
    logs_flush();
    upstreams_tick();
    for (size_t i = 0; modules[i] != NULL; i++)
        if (modules[i]->tick != NULL)
            modules[i]->tick();
    if (worker.draining)
        cut_idle_requests();
}

static void
turn(void)
{
    __atomic_store_n(&worker.row->heartbeat_ms, (uint64_t)clock_ms(), __ATOMIC_RELAXED);
    if (told_to_stop || (worker.draining && worker.connections == 0 && worker.requests == NULL))
        loop_stop();
}

/* --- requests that live --- */

void
request_list(struct request *r)
{
    r->next = worker.requests;
    if (r->next != NULL)
        r->next->link = &r->next;
    r->link = &worker.requests;
    worker.requests = r;
}

void
request_unlist(struct request *r)
{
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    r->link = NULL;
}

/* --- the beginning --- */

static void
take_testament(const struct worker_start *s)
{
    worker.conf = s->conf;
    worker.slots = s->slots;
    worker.row_number = s->row;
    worker.number = s->number;
    worker.generation = s->generation;
    worker.health = s->health;
    worker.limits = s->limits;
    worker.peers = s->peers;
    worker.cache = s->cache;
    worker.staples = s->staples;
    worker.row = slots_row(s->slots, s->row);
    random_forget();
    scan_init(SCAN_AVX2);
    loop_init();
    logs_init(s->conf, s->log_fds, &worker.row->log_lines_dropped);
    upstreams_init(s->conf);
    tls_server_share(s->tickets, s->staples);
    wiping_end();
    lease_init();
    control.fd = s->control;
    control.ready = listen_to_master;
    wakes.fd = slots_eventfd(s->slots, s->row);
    wakes.ready = listen_to_workers;
    for (size_t i = 0; modules[i] != NULL; i++)
        if (modules[i]->begin != NULL)
            modules[i]->begin();
    worker.tick.fire = tick;
    timer_set(&worker.tick, TICK_MS);
}

static void
say_ready(void)
{
    char text = CONTROL_READY;

    __atomic_store_n(&worker.row->state, SLOTS_ACCEPTING, __ATOMIC_RELAXED);
    turn();
    if (send(control.fd, &text, 1, MSG_NOSIGNAL) != 1)
        log_warning("the master does not listen: %m");
}

_Noreturn void
worker_main(const struct worker_start *start)
{
    catch_signals();
    take_testament(start);
    if (!loop_add(&control) || !loop_add(&wakes) || !accept_start(start)) {
        log_error("epoll: %m");
        exit(1);
    }
    say_ready();
    loop_run(turn);
    while (worker.requests != NULL)
        pipeline_client_lost(worker.requests);
    logs_end();
    exit(0);
}
