/*
 * The loop: signals, the workers' messages and what is due by the clock, one after the other in one
 * thread. It alone decides what a signal means in which state; the work is done elsewhere.
 *
 * A reload and an upgrade never overlap, and each happens in state SERVING only: what is wanted in
 * between is done at the end, once.
 */
#include "master/master.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/daemon.h"
#include "master/handover.h"
#include "master/reload.h"
#include "master/rotation.h"
#include "master/signals.h"
#include "master/title.h"
#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"

enum { LATE = 5 * 1000 };       /* ms; a turn as late as this says that we were stopped, not the workers */

void
master_complain(struct master *m, const char *fmt, ...)
{
    struct arena *arena = arena_new();
    struct str text, file = str_of(m->options->file);
    va_list ap;

    va_start(ap, fmt);
    text = arena_vprintf(arena, fmt, ap);
    va_end(ap);
    if (m->state == MASTER_STARTING) {
        fprintf(stderr, "%s%.*s\n", file.n > 0 && str_starts(text, file) ? "" : "weir: ", STR_ARG(text));
        upgrade_tell_failure(m, arena_cstr(arena, text));
    }
    if (m->state != MASTER_STARTING || m->coming != NULL)
        log_error("%.*s", STR_ARG(text));
    arena_free(arena);
}

/* Generations */

struct generation *
master_next(const struct master *m, const struct generation *after)
{
    if (after == NULL && m->current != NULL)
        return m->current;
    if ((after == NULL || after == m->current) && m->coming != NULL)
        return m->coming;
    if (after == NULL || after == m->current || after == m->coming)
        return m->retired;
    return after->next;
}

void
master_free_rows(struct master *m)
{
    struct generation *g, *oldest = NULL;

    for (g = m->retired; g != NULL; g = g->next) {
        if (g->ending)
            return;                     /* its rows are free in a moment */
        oldest = g;
    }
    if (oldest == NULL)
        return;
    log_warning("too many generations still drain: ending the oldest, generation %u", oldest->number);
    generation_end(oldest);
}

static void
free_ended(struct master *m)
{
    struct generation **link = &m->retired, *g;

    while ((g = *link) != NULL) {
        if (generation_ended(g)) {
            *link = g->next;
            log_info("generation %u has ended", g->number);
            generation_free(g);
        } else {
            link = &g->next;
        }
    }
}

static void
reap(struct master *m)
{
    struct generation *g;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (upgrade_reaped(m, pid, status))
            continue;
        for (g = master_next(m, NULL); g != NULL && !generation_reap(m, g, pid, status);)
            g = master_next(m, g);
    }
}

/* What signals ask for */

void
master_stop(struct master *m)
{
    struct generation *g;

    if (m->state == MASTER_STARTING)
        m->status = 1;
    m->state = MASTER_STOPPING;
    upgrade_cancel(m);
    upgrade_tell_stop(m);
    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g))
        generation_end(g);
}

/* Nobody will accept any more, so nobody shall wait: the sockets go, but for what waits in them. */
static void
quit(struct master *m)
{
    struct generation *g;

    if (m->state > MASTER_SERVING)
        return;
    log_notice("SIGQUIT: draining");
    if (m->state == MASTER_STARTING)
        m->status = 1;
    m->state = MASTER_QUITTING;
    title_set("weir", "weir: master, draining");
    upgrade_cancel(m);
    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g))
        generation_drain(g);
    listen_rollback(&m->listen);
    listen_close(&m->listen, m->in_charge);
}

void
master_reopen_logs(struct master *m)
{
    struct generation *g;

    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g))
        generation_reopen_logs(g);
    log_info("logs are open anew");
}

static void
handle(struct master *m, int number)
{
    switch (number) {
    case SIGTERM:
    case SIGINT:
        log_notice("%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
        master_stop(m);
        break;
    case SIGQUIT:
        quit(m);
        break;
    case SIGHUP:
        if (m->upgrade.pid != 0 && m->state == MASTER_SERVING)
            log_notice("SIGHUP: waits until the upgrade is done");
        m->reload_wanted = true;
        break;
    case SIGUSR1:
        master_reopen_logs(m);
        upgrade_tell_reopen(m);
        break;
    case SIGUSR2:
        if (m->upgrade.pid != 0)
            log_warning("SIGUSR2: an upgrade is under way already");
        else
            m->upgrade_wanted = true;
        break;
    case SIGCHLD:
        reap(m);
        break;
    }
}

/* Starting */

bool
master_logs_to_stderr(const struct conf *conf)
{
    size_t i;

    for (i = 0; i < conf->log_count; i++) {
        if (conf->logs[i].kind == LOG_TO_STDERR)
            return true;
    }
    return false;
}

void
master_take_charge(struct master *m)
{
    m->in_charge = true;
    m->state = MASTER_SERVING;
    m->stats.next = 0;
    pidfile_remove(&m->old_pidfile);
    pidfile_write(&m->pidfile, getpid());
    if (m->upgrade.role == UPGRADE_NEW)
        log_notice("upgrade: this master is in charge now, pid %d", (int)getpid());
}

static void
started(struct master *m)
{
    if (m->upgrade.socket >= 0) {
        m->state = MASTER_WAITING;
        upgrade_tell_ready(m);
        return;
    }
    master_take_charge(m);
    if (m->started >= 0)
        daemon_running(m->started, master_logs_to_stderr(m->current->conf));
    m->started = -1;
}

/* A turn */

static void
look_after_coming(struct master *m)
{
    if (m->coming == NULL || m->state > MASTER_SERVING)
        return;
    if (generation_ready(m->coming)) {
        reload_finish(m);
        if (m->state == MASTER_STARTING)
            started(m);
    } else if (generation_failed(m->coming)) {
        reload_abandon(m);
        if (m->state == MASTER_STARTING)
            master_stop(m);
    }
}

static bool
is_idle(const struct master *m)
{
    return m->state == MASTER_SERVING && m->coming == NULL && m->upgrade.pid == 0;
}

static void
do_what_is_wanted(struct master *m)
{
    if (!is_idle(m))
        return;
    if (m->upgrade_wanted) {
        m->upgrade_wanted = false;
        upgrade_start(m);
    } else if (m->reload_wanted) {
        m->reload_wanted = false;
        log_notice("SIGHUP: reading the configuration again");
        reload_begin(m);
    }
}

static bool
writes_stats(const struct master *m)
{
    return m->in_charge && m->current != NULL && (m->state == MASTER_SERVING || m->state == MASTER_QUITTING);
}

static void
work(struct master *m)
{
    struct generation *g;

    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g))
        generation_run(m, g);
    look_after_coming(m);
    upgrade_check(m);
    do_what_is_wanted(m);
    free_ended(m);
    rotation_check(m->shared.tickets);
    if (writes_stats(m)) {
        segments_fold_orphans(&m->shared);
        stats_run(&m->stats, &m->shared, m->current);
    }
}

static bool
is_over(const struct master *m)
{
    const struct generation *g;

    if (m->state <= MASTER_SERVING || m->upgrade.pid != 0)
        return false;
    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g)) {
        if (!generation_ended(g))
            return false;
    }
    return true;
}

static int
until_due(const struct master *m)
{
    const struct generation *g;
    int64_t due = NEVER, now = clock_ms();

    if (is_idle(m) && (m->reload_wanted || m->upgrade_wanted))
        return 0;
    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g)) {
        int64_t next = generation_due(g);

        due = next < due ? next : due;
    }
    if (writes_stats(m) && stats_due(&m->stats, m->current) < due)
        due = stats_due(&m->stats, m->current);
    if (due == NEVER)
        return 1000;
    return due <= now ? 0 : due - now < 1000 ? (int)(due - now) : 1000;
}

static nfds_t
collect(const struct master *m, struct pollfd **v, nfds_t *room)
{
    const struct generation *g;
    nfds_t n = 2;
    unsigned i;

    (*v)[0] = (struct pollfd){.fd = m->signals, .events = POLLIN};
    (*v)[1] = (struct pollfd){.fd = m->upgrade.socket, .events = POLLIN};
    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g)) {
        for (i = 0; i < g->count; i++) {
            if (n == *room)
                *v = xrealloc(*v, (*room *= 2) * sizeof(**v));
            if (g->children[i].control >= 0)
                (*v)[n++] = (struct pollfd){.fd = g->children[i].control, .events = POLLIN};
        }
    }
    return n;
}

static void
read_children(struct master *m)
{
    struct generation *g;
    unsigned i;

    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g)) {
        for (i = 0; i < g->count; i++)
            child_read(g, i);
    }
}

static void
note_the_time(struct master *m)
{
    clock_update();
    if (m->turned != 0 && clock_ms() - m->turned > LATE)
        m->heartbeats_count = clock_ms() + LATE;
    m->turned = clock_ms();
}

static void
loop(struct master *m)
{
    nfds_t n, room = 64;
    struct pollfd *v = xcalloc(room, sizeof(*v));
    int number;

    for (;;) {
        note_the_time(m);
        work(m);
        if (is_over(m))
            break;
        n = collect(m, &v, &room);
        if (poll(v, n, until_due(m)) < 0 && errno != EINTR)
            log_bug(__FILE__, __LINE__, "poll");
        clock_update();
        read_children(m);
        upgrade_read(m);
        while ((number = signals_next(m->signals)) != 0)
            handle(m, number);
    }
    free(v);
}

static void
end(struct master *m)
{
    if (m->coming != NULL)
        listen_rollback(&m->listen);
    listen_close(&m->listen, m->in_charge);
    pidfile_remove(&m->coming_pidfile);
    if (m->in_charge && m->current != NULL)
        stats_remove(m->current);
    if (m->in_charge)
        pidfile_remove(&m->pidfile);
    else
        pidfile_leave(&m->pidfile);
    pidfile_leave(&m->old_pidfile);
    if (m->current != NULL)
        log_notice("%s has ended", m->in_charge ? "weir" : "this master");
    log_to(STDERR_FILENO, false, LOG_NOTICE_);
    if (m->current != NULL)
        generation_free(m->current);
    if (m->coming != NULL)
        generation_free(m->coming);
    free_ended(m);
    segments_detach(&m->shared);
}

static bool
prepare(struct master *m)
{
    m->in_charge = true;
    daemon_standard_files();
    if (handover_exists()) {
        if (!upgrade_inherit(m))
            return false;
    } else if (!m->options->foreground) {
        m->started = daemon_start();
        if (m->started < 0) {
            master_complain(m, "cannot go to the background: %s", strerror(errno));
            return false;
        }
    }
    if (!m->options->foreground && chdir("/") != 0)
        master_complain(m, "cannot change to /: %s", strerror(errno));
    umask(022);
    m->signals = signals_open();
    return m->signals >= 0;
}

int
master_run(const struct options *o, char **arguments)
{
    static struct master m;             /* what it holds is not lost in the children that inherit it */

    m = (struct master){
        .options = o,
        .arguments = arguments,
        .started = -1,
        .pidfile = {NULL, -1},
        .coming_pidfile = {NULL, -1},
        .old_pidfile = {NULL, -1},
        .upgrade = {.socket = -1},
    };
    clock_update();
    log_to(STDERR_FILENO, false, LOG_NOTICE_);
    log_as("master");
    upgrade_init(arguments);
    if (!prepare(&m))
        return 1;
    title_set("weir", "weir: master");
    if (!reload_begin(&m)) {
        end(&m);
        return 1;
    }
    loop(&m);
    end(&m);
    return m.status;
}
