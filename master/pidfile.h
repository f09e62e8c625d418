/*
 * The pid file, and the lock on it: who holds it is the one weir of that file. The lock goes with
 * the descriptor, over fork and exec, to the next master of an upgrade.
 */
#ifndef WEIR_PIDFILE_H
#define WEIR_PIDFILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "master/reason.h"
#include "worker/base/str.h"

struct pidfile {
    char *path;                 /* NULL: none */
    int fd;
};

/* An empty path: none, which works. */
bool pidfile_lock(struct pidfile *p, struct str path, struct reason *why);

/* A descriptor inherited from the last master: false where it isn't that file any more. */
bool pidfile_inherit(struct pidfile *p, struct str path, int fd);

bool pidfile_is(const struct pidfile *p, struct str path);
void pidfile_write(const struct pidfile *p, pid_t pid);

/* Gives it up, and takes the file away or leaves it to another master. */
void pidfile_remove(struct pidfile *p);
void pidfile_leave(struct pidfile *p);

#endif
