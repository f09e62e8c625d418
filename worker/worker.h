/*
 * What crosses the fork: the master's whole testament to a worker, one struct and one call.
 */
#ifndef WEIR_WORKER_H
#define WEIR_WORKER_H

#include <stddef.h>

struct cache;
struct conf;
struct health;
struct limits_table;
struct peers;
struct slots;
struct staples;
struct tickets;

/*
 * Messages on `control`, a SOCK_SEQPACKET pair: one byte, with descriptors where it says so. End of
 * file on it means that the master is gone: the worker drains and ends.
 */
enum control {
    CONTROL_DRAIN = 'd',        /* master to worker: accept no more, finish, exit 0 */
    CONTROL_LOGS = 'l',         /* new descriptors for all of conf->logs, in order, by SCM_RIGHTS, at most
                                   CONTROL_FDS a message; a second byte says the index of the first */
    CONTROL_READY = 'r',        /* worker to master: it accepts */
};

#define CONTROL_FDS 64

struct worker_listener {
    const struct listener *conf;
    int fd;                     /* listening, non-blocking; its accepts belong to this worker */
};

struct worker_start {
    const struct conf *conf;
    const struct worker_listener *listeners;
    size_t listener_count;      /* more than one for an address where sockets are spare */
    const int *log_fds;         /* conf->log_count of them; -1: discard */
    struct slots *slots;
    struct health *health;
    struct limits_table *limits;
    struct peers *peers;
    const struct tickets *tickets;
    struct staples *staples;
    struct cache *cache;        /* NULL: none. Only modules use it */
    unsigned row;               /* of the slots: this worker's */
    unsigned number;            /* 0 to workers - 1: the same for its successors */
    unsigned generation;
    int control;
};

/*
 * Runs in the child, after privileges were dropped. Does not return: exits 0 after a drain or on
 * SIGTERM/SIGINT (at once), and with a signal on a bug of ours.
 */
_Noreturn void worker_main(const struct worker_start *start);

#endif
