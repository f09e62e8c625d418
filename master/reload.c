/*
 * Knows what a configuration needs from outside before it can serve, and the order in which that is
 * taken and given up, so that a failure at any point leaves what serves now as it is.
 */
#include "master/reload.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/files.h"
#include "master/load.h"
#include "master/master.h"
#include "master/series.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"

enum { NAMES_SHOWN = 8 };

/* What a configuration has taken so far. */
struct needs {
    struct conf *conf;
    unsigned workers;
    int *log_fds;
    struct privilege privilege;
};

static unsigned
worker_count(const struct conf *conf)
{
    cpu_set_t cpus;

    if (conf->workers > 0)
        return (unsigned)conf->workers;
    return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) : 1;
}

/* Findings */

/* While weir starts there is a person to tell; afterwards, only the log. */
static void
report(struct master *m, const struct findings *f)
{
    size_t i;

    for (i = 0; i < f->n; i++) {
        if (!f->v[i].warning)
            master_complain(m, "%.*s", STR_ARG(f->v[i].text));
        else if (m->state == MASTER_STARTING)
            fprintf(stderr, "%.*s\n", STR_ARG(f->v[i].text));
    }
}

static void
log_warnings(const struct findings *f)
{
    size_t i;

    for (i = 0; i < f->n; i++) {
        if (f->v[i].warning)
            log_warning("%.*s%.*s", STR_ARG(f->v[i].place), STR_ARG(f->v[i].message));
    }
}

/* Taking */

static bool
open_logs(struct master *m, struct needs *n, struct reason *why)
{
    const struct conf *conf = n->conf;

    n->log_fds = files_open_logs(conf, why);
    if (n->log_fds == NULL)
        return false;
    if (m->state == MASTER_STARTING)
        log_to(n->log_fds[conf->error_log], conf->logs[conf->error_log].kind == LOG_TO_SYSLOG, conf->log_level);
    return true;
}

static bool
take_pidfile(struct master *m, const struct conf *conf, struct reason *why)
{
    m->coming_pidfile = (struct pidfile){NULL, -1};
    return pidfile_is(&m->pidfile, conf->pid_file) || pidfile_lock(&m->coming_pidfile, conf->pid_file, why);
}

/* Who started it hears of it on stderr; who asks tomorrow why nothing runs reads the log. */
static void
log_failure(const struct master *m, const struct conf *conf, const struct reason *why)
{
    if (m->state != MASTER_STARTING)
        return;
    if (conf->logs[conf->error_log].kind != LOG_TO_STDERR && m->upgrade.role != UPGRADE_NEW)
        log_error("weir could not start: %s", why->text);
    log_to(STDERR_FILENO, false, LOG_NOTICE_);
}

/* The pid file comes first: a second weir of the same file should hear of that, not of a busy port. */
static bool
take(struct master *m, struct needs *n, struct reason *why)
{
    n->workers = worker_count(n->conf);
    if (!privilege_find(&n->privilege, n->conf, why) ||
        !segments_make(&m->shared, n->conf, n->workers, m->state == MASTER_STARTING, why)) {
        struct reason other;

        if (m->state == MASTER_STARTING && open_logs(m, n, &other)) {
            log_failure(m, n->conf, why);
            files_close_logs(n->conf, n->log_fds);
        }
        return false;
    }
    if (!take_pidfile(m, n->conf, why))
        return false;
    if (open_logs(m, n, why)) {
        if (listen_prepare(&m->listen, n->conf, n->workers, why))
            return true;
        log_failure(m, n->conf, why);
        files_close_logs(n->conf, n->log_fds);
    }
    pidfile_remove(&m->coming_pidfile);
    return false;
}

/* Once, until it is another. */
static void
warn_of_descriptors(struct master *m, const struct conf *conf)
{
    static struct reason told;
    struct reason why = {""};

    if (!privilege_descriptors(conf, listen_count(&m->listen), slots_rows(m->shared.slots), &why) &&
        strcmp(why.text, told.text) != 0)
        log_warning("%s", why.text);
    told = why;
}

static void
start(struct master *m, struct needs *n)
{
    unsigned i, lost, number = slots_next_generation(m->shared.slots);

    warn_of_descriptors(m, n->conf);
    segments_tell(&m->shared, n->conf);
    lost = series_assign(n->conf, m->shared.slots, number);
    if (lost > 0)
        log_warning("%u listeners, routes and servers have no room in the statistics until weir is restarted", lost);
    m->coming = generation_new(number, n->conf, n->workers, n->log_fds, n->privilege);
    for (i = 0; i < n->workers; i++)
        m->coming->children[i].series = series_of_worker(m->shared.slots, i, number);
}

static void
count_result(struct master *m, bool good)
{
    struct slots_master *c;

    if (m->shared.slots == NULL || m->state == MASTER_STARTING)
        return;
    c = slots_master(m->shared.slots);
    __atomic_fetch_add(good ? &c->reloads : &c->reload_failures, 1, __ATOMIC_RELAXED);
    c->reload_failed = !good;
}

bool
reload_begin(struct master *m)
{
    struct findings f = {.arena = arena_new()};
    struct needs n = {.conf = options_load(m->options, &f)};
    struct reason why;
    bool good = false;

    report(m, &f);
    if (n.conf != NULL) {
        good = take(m, &n, &why);
        if (good) {
            log_warnings(&f);
            start(m, &n);
        } else {
            master_complain(m, "%s", why.text);
            privilege_free(&n.privilege);
            conf_free(n.conf);
        }
    }
    arena_free(f.arena);
    if (!good && m->state != MASTER_STARTING)
        log_error("reload refused: the configuration stays as it was");
    if (!good)
        count_result(m, false);
    return good;
}

/* Finishing */

static void
announce(const struct master *m, const struct generation *g)
{
    const char *how = m->state != MASTER_STARTING ? ", reloaded" : m->upgrade.role == UPGRADE_NEW ? ", upgraded" : "";
    struct arena *arena = arena_new();
    struct str names = STR_NONE;
    size_t i, n = g->conf->listener_count;

    for (i = 0; i < n && i < NAMES_SHOWN; i++)
        names = arena_printf(arena, "%.*s%s%.*s", STR_ARG(names), i > 0 ? ", " : "",
                             STR_ARG(g->conf->listeners[i].text));
    if (n > NAMES_SHOWN)
        names = arena_printf(arena, "%.*s and %zu more", STR_ARG(names), n - NAMES_SHOWN);
    log_notice("weir %s%s, generation %u: %u %s on %.*s", options_version(), how, g->number, g->count,
               g->count == 1 ? "worker accepts" : "workers accept", STR_ARG(names));
    arena_free(arena);
}

static void
switch_pidfile(struct master *m)
{
    if (!pidfile_is(&m->pidfile, m->current->conf->pid_file)) {
        m->old_pidfile = m->pidfile;
        m->pidfile = m->coming_pidfile;
        m->coming_pidfile = (struct pidfile){NULL, -1};
    }
}

/* A stats file of another name would stay as it is for ever. */
static void
switch_stats(struct master *m, const struct generation *former)
{
    if (!str_eq(former->conf->stats_file, m->current->conf->stats_file))
        stats_remove(former);
}

void
reload_finish(struct master *m)
{
    struct generation *former = m->current, *g = m->coming;

    m->current = g;
    m->coming = NULL;
    listen_commit(&m->listen);
    switch_pidfile(m);
    log_to(g->log_fds[g->conf->error_log], g->conf->logs[g->conf->error_log].kind == LOG_TO_SYSLOG, g->conf->log_level);
    announce(m, g);
    m->stats.next = 0;
    if (former == NULL)
        return;
    generation_drain(former);
    former->next = m->retired;
    m->retired = former;
    count_result(m, true);
    switch_stats(m, former);
    pidfile_remove(&m->old_pidfile);
    pidfile_write(&m->pidfile, getpid());
}

void
reload_abandon(struct master *m)
{
    struct generation *g = m->coming;

    master_complain(m, "the workers of generation %u end, or hang, before they accept: giving it up", g->number);
    count_result(m, false);
    listen_rollback(&m->listen);
    pidfile_remove(&m->coming_pidfile);
    m->coming = NULL;
    g->next = m->retired;
    m->retired = g;
    generation_end(g);
}
