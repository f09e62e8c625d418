/*
 * A generation: one configuration and the workers that serve it. It keeps what its workers' successors
 * need, so it ends when its last worker has.
 */
#ifndef WEIR_GENERATION_H
#define WEIR_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

#include "master/child.h"
#include "master/privilege.h"
#include "worker/conf.h"

struct generation {
    unsigned number;
    struct conf *conf;
    int *log_fds;
    struct privilege privilege;
    struct child *children;
    unsigned count;
    bool retired;               /* no successor is started any more */
    bool ending;                /* told to end at once */
    int64_t started;
    struct generation *next;    /* the one retired before it */
};

/* Takes the configuration and the rest over; the workers start at the next generation_run. */
struct generation *generation_new(unsigned number, struct conf *conf, unsigned workers, int *log_fds,
                                  struct privilege privilege);
void generation_free(struct generation *g);

/* Starts and kills whom it is time for. */
void generation_run(struct master *m, struct generation *g);
int64_t generation_due(const struct generation *g);     /* when to call that next */

/* False: the process is none of its workers. */
bool generation_reap(struct master *m, struct generation *g, pid_t pid, int status);

bool generation_ready(const struct generation *g);      /* every worker has been ready */
bool generation_failed(const struct generation *g);     /* before it was ready, for too often or too long */
bool generation_ended(const struct generation *g);

void generation_drain(struct generation *g);
void generation_end(struct generation *g);
void generation_reopen_logs(struct generation *g);

#endif
