/*
 * The listening sockets. The master keeps them all, so that neither a reload nor a worker's death
 * loses a connection that waits in one: for TCP one a worker and address, a unix socket is shared.
 *
 * A configuration is applied in two steps: listen_prepare binds what is missing, then either
 * listen_commit closes what is not wanted any more, or listen_rollback what was bound in vain.
 */
#ifndef WEIR_LISTEN_H
#define WEIR_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "master/reason.h"
#include "worker/conf.h"
#include "worker/worker.h"

struct listen_address {
    struct addr addr;           /* its path is a copy of its own */
    int *fds;
    size_t n;
    size_t committed;           /* the first so many are in use by a configuration that serves */
    bool wanted;                /* by the configuration prepared last */
    dev_t dev;                  /* unix: the file we made */
    ino_t ino;
};

struct listen {
    struct listen_address *v;
    size_t n;
};

/* False with *why, and nothing changed, where an address can't be bound. */
bool listen_prepare(struct listen *l, const struct conf *conf, unsigned workers, struct reason *why);
void listen_commit(struct listen *l);
void listen_rollback(struct listen *l);

/* A socket from the last master, as if committed. False where it is no listening socket. */
bool listen_inherit(struct listen *l, int fd);

/* Closes all; removes the files of unix sockets unless another master has them now. */
void listen_close(struct listen *l, bool remove);

/* How many sockets there are. */
size_t listen_count(const struct listen *l);

/*
 * The sockets of one of `workers` workers: socket i is that of worker i modulo their number. Room for
 * listen_count; returns how many.
 */
size_t listen_share(const struct listen *l, const struct conf *conf, unsigned number, unsigned workers,
                    struct worker_listener *to);

#endif
