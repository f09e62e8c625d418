/*
 * Who the workers are, and how many descriptors a process may have.
 */
#ifndef WEIR_PRIVILEGE_H
#define WEIR_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "master/reason.h"
#include "worker/conf.h"

struct privilege {
    bool drop;                  /* false: the workers stay who the master is */
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    int group_count;
};

/* Looks `user` up, where the master is root. False where it does not exist. */
bool privilege_find(struct privilege *p, const struct conf *conf, struct reason *why);
void privilege_free(struct privilege *p);

/*
 * From now on nobody but root can trace this process or its children, and no core of them is written: before a private
 * key is read. (Not where a sanitizer was built in: it traces the process itself.)
 */
void privilege_hide(void);

/* In the worker to be. False with errno. */
bool privilege_drop(const struct privilege *p);

/*
 * Raises RLIMIT_NOFILE to what limits.connections and so many listening sockets and rows (eventfds) need. Where it
 * can't, it raises it as far as it may and returns false: *why says how many connections there will be.
 */
bool privilege_descriptors(const struct conf *conf, size_t listeners, size_t rows, struct reason *why);

/* The same for so many descriptors and a few more, in the master itself, as far as it may. */
void privilege_room(size_t descriptors);

/* Where errno says that there were too few for so many: ": ulimit -n is 256, and 512 are needed"; else empty. */
struct reason privilege_lack(size_t descriptors);

#endif
