/*
 * An upgrade (SIGUSR2): the master starts the binary of the path it was started with, which takes
 * over sockets and shared memory. Both ends are here: the old master's and the new one's.
 *
 * They talk over a SOCK_SEQPACKET pair. The new one says that its workers accept; the old one answers
 * that it is not in charge any more, and drains. Whichever ends without a word leaves the service to the other.
 */
#ifndef WEIR_UPGRADE_H
#define WEIR_UPGRADE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct master;

struct upgrade {
    enum { UPGRADE_NONE, UPGRADE_NEW, UPGRADE_OLD } role;       /* in the last one */
    int socket;                 /* to the other master, -1: none */
    pid_t pid;                  /* old: of the new master, until that serves; 0: none */
    int64_t give_up_at;         /* old: clock_ms */
};

/* What is needed to start the same again, noted before anything changes directory. */
void upgrade_init(char **arguments);

/* New: takes over what was handed down, if anything. False: nothing to start from, *why is told. */
bool upgrade_inherit(struct master *m);

/* Old: starts the new one; failures are logged. */
void upgrade_start(struct master *m);

/* Something came over the socket. */
void upgrade_read(struct master *m);

/* Old: a process ended; false: not the new master. */
bool upgrade_reaped(struct master *m, pid_t pid, int status);

/* Old: kills a new one that takes too long; has it end, since this one ends. */
void upgrade_check(struct master *m);
void upgrade_cancel(struct master *m);

/* New: the workers accept; the start failed, with the reason. */
void upgrade_tell_ready(struct master *m);
void upgrade_tell_failure(struct master *m, const char *text);

/* New, while the old one still drains: it shall reopen its logs, or end at once. */
void upgrade_tell_reopen(struct master *m);
void upgrade_tell_stop(struct master *m);

#endif
