/*
 * Knows the fork: what a worker to be closes, ignores and gives up before worker_main, and what its
 * death means. It trusts nothing that a worker wrote but its control message: the shared row says when it
 * was last seen and whether it ever served, never whom to kill.
 *
 * A worker has no descriptor of the master's or of another worker's, so that the end of the master is
 * the end of every control socket.
 */
#include "master/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/daemon.h"
#include "master/generation.h"
#include "master/load.h"
#include "master/master.h"
#include "master/signals.h"
#include "master/title.h"
#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/worker.h"

enum {
    BACKOFF_FIRST = 100,        /* ms; doubled each time */
    BACKOFF_MOST = 10 * 1000,
    HUNG = 10 * 1000,           /* a heartbeat as old as this */
    ROW_RETRY = 50,
};

/* In the child */

static int
by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Closes all descriptors but stdin to stderr and these. Sorts them. */
static void
close_others(int *keep, size_t n)
{
    unsigned next = STDERR_FILENO + 1;
    size_t i;

    qsort(keep, n, sizeof(*keep), by_number);
    for (i = 0; i < n; i++) {
        if (keep[i] < (int)next)
            continue;
        if (keep[i] > (int)next)
            close_range(next, (unsigned)keep[i] - 1, 0);
        next = (unsigned)keep[i] + 1;
    }
    close_range(next, ~0U, 0);
}

static void
close_all_but(const struct worker_start *s)
{
    size_t i, n = 0, logs = s->conf->log_count, rows = slots_rows(s->slots);
    int *keep = xcalloc(s->listener_count + logs + rows + 8, sizeof(*keep));

    for (i = 0; i < s->listener_count; i++)
        keep[n++] = s->listeners[i].fd;
    for (i = 0; i < logs; i++)
        keep[n++] = s->log_fds[i];
    keep[n++] = s->control;
    keep[n++] = slots_fd(s->slots);
    keep[n++] = health_fd(s->health);
    keep[n++] = limits_fd(s->limits);
    keep[n++] = peers_fd(s->peers);
    keep[n++] = tickets_fd(s->tickets);
    keep[n++] = staples_fd(s->staples);
    if (s->cache != NULL)
        keep[n++] = cache_fd(s->cache);
    for (i = 1; i <= rows; i++)
        keep[n++] = slots_eventfd(s->slots, (unsigned)i);
    close_others(keep, n);
    free(keep);
}

/* Other generations' keys are none of its business, and would outlive them here. */
static void
forget_others(const struct master *m, const struct generation *g)
{
    for (const struct generation *other = master_next(m, NULL); other != NULL; other = master_next(m, other))
        if (other != g)
            conf_free(other->conf);
}

static _Noreturn void
become_worker(const struct master *m, const struct generation *g, unsigned number, int control)
{
    const struct child *c = &g->children[number];
    struct worker_listener *listeners = xcalloc(listen_count(&m->listen) + 1, sizeof(*listeners));
    struct worker_start start = {
        .conf = g->conf,
        .listeners = listeners,
        .listener_count = listen_share(&m->listen, g->conf, number, g->count, listeners),
        .log_fds = g->log_fds,
        .slots = m->shared.slots,
        .health = m->shared.health,
        .limits = m->shared.limits,
        .peers = m->shared.peers,
        .tickets = m->shared.tickets,
        .staples = m->shared.staples,
        .cache = segments_cache(&m->shared, g->conf),
        .row = c->row,
        .number = number,
        .generation = g->number,
        .control = control,
    };

    slots_row(m->shared.slots, c->row)->pid = getpid();
    signals_worker();
    title_set("weir-worker", "weir: worker %u, generation %u", number, g->number);
    log_as("worker %u/%u", number, g->number);
    close_all_but(&start);
    forget_others(m, g);
    if (m->started >= 0)                /* who waits for the end of weir's output shall not wait for us */
        daemon_leave_terminal(master_logs_to_stderr(g->conf));
    if (!privilege_drop(&g->privilege)) {
        log_error("cannot drop privileges: %s", strerror(errno));
        _exit(1);
    }
    worker_main(&start);
}

/* In the master */

static void
put_off(struct child *c)
{
    c->backoff = c->backoff == 0 ? BACKOFF_FIRST : c->backoff * 2 < BACKOFF_MOST ? c->backoff * 2 : BACKOFF_MOST;
    c->start_at = clock_ms() + c->backoff;
}

static enum child_start
cannot_fork(struct master *m, struct child *c, unsigned number)
{
    log_error("cannot start worker %u: %s", number, strerror(errno));
    segments_fold(&m->shared, c->row);
    c->failures++;
    put_off(c);
    return CHILD_FAILED;
}

enum child_start
child_start(struct master *m, struct generation *g, unsigned number)
{
    struct child *c = &g->children[number];
    int pair[2];
    pid_t pid;

    c->row = slots_claim(m->shared.slots, number, g->number, c->series, getpid());
    if (c->row == 0) {
        c->start_at = clock_ms() + ROW_RETRY;
        return CHILD_NO_ROW;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return cannot_fork(m, c, number);
    pid = fork();
    if (pid == 0)
        become_worker(m, g, number, pair[1]);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return cannot_fork(m, c, number);
    }
    slots_row(m->shared.slots, c->row)->pid = pid;
    c->pid = pid;
    c->control = pair[0];
    c->ready = false;
    c->start_at = NEVER;
    c->kill_at = NEVER;
    log_info("worker %u of generation %u has started, pid %d", number, g->number, (int)pid);
    return CHILD_STARTED;
}

static void
hang_up(struct child *c)
{
    if (c->control >= 0)
        close(c->control);
    c->control = -1;
}

void
child_read(const struct generation *g, unsigned number)
{
    struct child *c = &g->children[number];
    char message[16];
    ssize_t n;

    while (c->control >= 0) {
        n = recv(c->control, message, sizeof(message), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            hang_up(c);
        } else if (message[0] == CONTROL_READY) {
            if (c->died)
                log_notice("worker %u of generation %u runs again, pid %d", number, g->number, (int)c->pid);
            c->ready = true;
            c->died = false;
            c->failures = 0;
        }
    }
}

void
child_drain(struct child *c)
{
    char message = CONTROL_DRAIN;

    c->start_at = NEVER;
    if (c->pid != 0 && c->control >= 0)
        send(c->control, &message, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
child_end(struct child *c, int64_t grace)
{
    c->start_at = NEVER;
    if (c->pid == 0 || c->kill_at != NEVER)
        return;
    kill(c->pid, SIGTERM);
    c->kill_at = clock_ms() + grace;
}

static void
describe(const struct generation *g, unsigned number, int status)
{
    int pid = (int)g->children[number].pid;

    if (WIFSIGNALED(status))
        log_error("worker %u of generation %u, pid %d, was killed by signal %d (%s)%s", number, g->number, pid,
                  WTERMSIG(status), strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
    else if (WEXITSTATUS(status) != 0 || !g->retired)
        log_error("worker %u of generation %u, pid %d, died with status %d", number, g->number, pid,
                  WEXITSTATUS(status));
    else
        log_info("worker %u of generation %u, pid %d, has ended", number, g->number, pid);
}

void
child_reaped(struct master *m, struct generation *g, unsigned number, int status)
{
    struct child *c = &g->children[number];
    bool served = slots_row(m->shared.slots, c->row)->served != 0;

    child_read(g, number);              /* it may have been ready before it died */
    hang_up(c);
    if (!(g->ending && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM))
        describe(g, number, status);
    segments_fold(&m->shared, c->row);
    c->pid = 0;
    c->kill_at = NEVER;
    if (g->retired)
        return;
    __atomic_fetch_add(&slots_master(m->shared.slots)->restarts, 1, __ATOMIC_RELAXED);
    c->failures += !c->ready;
    c->died = true;
    if (!served) {
        put_off(c);
        log_notice("worker %u of generation %u starts again in %.1f s: the last one served nobody", number, g->number,
                   (double)c->backoff / 1000);
        return;
    }
    c->backoff = 0;
    c->start_at = clock_ms();
}

void
child_check(struct master *m, const struct generation *g, unsigned number)
{
    struct child *c = &g->children[number];
    int64_t now = clock_ms(), seen;

    if (c->pid == 0)
        return;
    seen = (int64_t)__atomic_load_n(&slots_row(m->shared.slots, c->row)->heartbeat_ms, __ATOMIC_RELAXED);
    if (now >= c->kill_at) {
        c->kill_at = now + HUNG;
        kill(c->pid, SIGKILL);
    } else if (now - seen > HUNG && now >= m->heartbeats_count && c->kill_at == NEVER) {
        log_error("worker %u of generation %u, pid %d, has hung for %lld s: killing it", number, g->number, (int)c->pid,
                  (long long)(now - seen) / 1000);
        c->kill_at = now + HUNG;
        kill(c->pid, SIGKILL);
    }
}
