/*
 * Knows what holds for the workers of one configuration together: when they are all ready, when it is
 * no use to wait any longer, and that all of them get the same word.
 */
#include "master/generation.h"

#include <stdlib.h>
#include <string.h>

#include "master/files.h"
#include "master/load.h"
#include "master/master.h"
#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"

enum {
    PATIENCE = 30 * 1000,       /* ms until all workers of a new generation must accept */
    ATTEMPTS = 3,               /* deaths in a row of one worker of it */
    GRACE = 2 * 1000,           /* from SIGTERM to SIGKILL */
    CHECK = 1000,
};

struct generation *
generation_new(unsigned number, struct conf *conf, unsigned workers, int *log_fds, struct privilege privilege)
{
    struct generation *g = xcalloc(1, sizeof(*g));
    unsigned i;

    g->number = number;
    g->conf = conf;
    g->log_fds = log_fds;
    g->privilege = privilege;
    g->count = workers;
    g->started = clock_ms();
    g->children = xcalloc(workers, sizeof(*g->children));
    for (i = 0; i < workers; i++)
        g->children[i] = (struct child){.control = -1, .kill_at = NEVER, .start_at = g->started};
    return g;
}

void
generation_free(struct generation *g)
{
    files_close_logs(g->conf, g->log_fds);
    privilege_free(&g->privilege);
    conf_free(g->conf);
    free(g->children);
    free(g);
}

void
generation_run(struct master *m, struct generation *g)
{
    unsigned i;

    for (i = 0; i < g->count; i++) {
        if (clock_ms() >= g->children[i].start_at && child_start(m, g, i) == CHILD_NO_ROW)
            master_free_rows(m);
        child_check(m, g, i);
    }
}

int64_t
generation_due(const struct generation *g)
{
    int64_t due = NEVER;
    unsigned i;

    for (i = 0; i < g->count; i++) {
        const struct child *c = &g->children[i];

        if (c->start_at < due)
            due = c->start_at;
        if (c->pid != 0 && clock_ms() + CHECK < due)
            due = clock_ms() + CHECK;
        if (c->pid != 0 && c->kill_at < due)
            due = c->kill_at;
    }
    return due;
}

bool
generation_reap(struct master *m, struct generation *g, pid_t pid, int status)
{
    unsigned i;

    for (i = 0; i < g->count; i++) {
        if (g->children[i].pid == pid) {
            child_reaped(m, g, i, status);
            return true;
        }
    }
    return false;
}

bool
generation_ready(const struct generation *g)
{
    unsigned i;

    for (i = 0; i < g->count; i++) {
        if (g->children[i].pid == 0 || !g->children[i].ready)
            return false;
    }
    return true;
}

bool
generation_failed(const struct generation *g)
{
    unsigned i;

    for (i = 0; i < g->count; i++) {
        if (g->children[i].failures >= ATTEMPTS)
            return true;
    }
    return clock_ms() - g->started > PATIENCE;
}

bool
generation_ended(const struct generation *g)
{
    unsigned i;

    for (i = 0; i < g->count; i++) {
        if (g->children[i].pid != 0)
            return false;
    }
    return true;
}

void
generation_drain(struct generation *g)
{
    unsigned i;

    g->retired = true;
    for (i = 0; i < g->count; i++)
        child_drain(&g->children[i]);
}

void
generation_end(struct generation *g)
{
    unsigned i;

    g->retired = g->ending = true;
    for (i = 0; i < g->count; i++)
        child_end(&g->children[i], GRACE);
}

void
generation_reopen_logs(struct generation *g)
{
    struct reason why;
    size_t failed = files_reopen_logs(g->conf, g->log_fds, &why);
    unsigned i;

    for (i = 0; i < g->count; i++) {
        const struct child *c = &g->children[i];

        if (c->control >= 0 && !files_send_logs(c->control, g->log_fds, g->conf->log_count))
            log_error("worker %u of generation %u does not take its new logs: %m", i, g->number);
    }
    if (failed > 0)
        log_error("%zu of the logs of generation %u stay as they are: %s", failed, g->number, why.text);
}
