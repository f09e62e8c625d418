/*
 * The file of cache_memory.file: opened and locked by the master, while it is root; its workers have no use for it but
 * keep the descriptor, so that the lock stands as long as anybody may write to it.
 */
#ifndef WEIR_KEEP_H
#define WEIR_KEEP_H

#include <stdbool.h>

#include "master/reason.h"
#include "shm/cache_file.h"

struct keep_wish {
    const char *path;
    struct cache_shape shape;
    const struct slots *slots;
    uint32_t heads;             /* the version of what is stored, as in cache_set_heads */
    bool waits;                 /* a moment, for one that is just ending */
    bool replaces;              /* those that have it are an old master's, and drain: a new one takes its place */
};

/* With what the file has; *news: to be logged. NULL with *why. */
struct cache *keep_open(const struct keep_wish *w, struct reason *news, struct reason *why);

#endif
