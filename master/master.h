/*
 * The master: what it holds, and its loop.
 */
#ifndef WEIR_MASTER_H
#define WEIR_MASTER_H

#include <stdbool.h>

#include "master/generation.h"
#include "master/listen.h"
#include "master/options.h"
#include "master/pidfile.h"
#include "master/reason.h"
#include "master/segments.h"
#include "master/stats.h"
#include "master/upgrade.h"

enum master_state {
    MASTER_STARTING,             /* until the first generation accepts */
    MASTER_WAITING,              /* an upgrade's new master: it accepts, but the old one is still in charge */
    MASTER_SERVING,
    MASTER_QUITTING,             /* SIGQUIT: the workers drain */
    MASTER_RETIRED,              /* after an upgrade, the old master: its workers drain */
    MASTER_STOPPING,             /* SIGTERM: the workers end */
};

struct master {
    const struct options *options;
    char **arguments;
    enum master_state state;
    int status;                 /* to exit with */
    int signals;                /* descriptor */
    int64_t turned;             /* when the loop last turned, clock_ms */
    int64_t heartbeats_count;   /* from then on: not while the master itself had been stopped */
    int started;                /* to tell the parent of a daemon that all workers accept; -1: none waits */
    struct segments shared;
    struct listen listen;
    struct pidfile pidfile;
    struct pidfile coming_pidfile;      /* of a coming configuration that names another */
    struct pidfile old_pidfile; /* one that is not named any more, until this master is in charge */
    struct generation *current; /* the one that serves; NULL while starting */
    struct generation *coming;  /* a reload's, until it accepts */
    struct generation *retired; /* the youngest first */
    bool in_charge;             /* of the files that there is one of: pid, statistics, unix sockets */
    struct upgrade upgrade;
    struct stats stats;
    bool reload_wanted;
    bool upgrade_wanted;
};

/* Runs weir by its options: returns the exit status when all is over. */
int master_run(const struct options *o, char **arguments);

/* All generations: the first after NULL, the current one; NULL after the last. */
struct generation *master_next(const struct master *m, const struct generation *after);

/*
 * Tells the administrator of a failure: in the log and, while weir starts, on stderr and to the master
 * that started this one for an upgrade.
 */
void master_complain(struct master *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A new master: the old one has given up the files that there is one of. */
void master_take_charge(struct master *m);

/* Some log of this configuration is stderr, which has to stay then. */
bool master_logs_to_stderr(const struct conf *conf);

void master_reopen_logs(struct master *m);
void master_stop(struct master *m);

/* Rows of the slots have run out: the oldest retired generation has to go. */
void master_free_rows(struct master *m);

#endif
