/*
 * The routes of a site by path: which of them may match, in the order written, without a look at
 * those whose path does not. Memory is linear in the text of the routes.
 */
#ifndef WEIR_PATHS_H
#define WEIR_PATHS_H

#include <stdint.h>

#include "worker/conf.h"

#define PATHS_END SIZE_MAX

struct paths;

/* Master. The routes' strings are kept, not copied. */
struct paths *paths_new(const struct route *routes, size_t n, struct arena *a);

/* A walk: routes that hang on the path, as lists of numbers that rise. */
struct paths_walk {
    struct paths_list {
        const uint32_t *at, *end;
    } few[8], *v;               /* a heap: the list with the least number is the first */
    size_t n;
    size_t block;               /* of 64 numbers, of which only those in `only` are given */
    uint64_t only;
    size_t steps;               /* what it cost: entries of the trie looked at, and numbers given */
};

/*
 * Walks the canonical path (or "*") once. paths_next then gives the numbers of the routes whose path or
 * prefix takes it, and of those that have neither, each once, rising; PATHS_END at the end. What a walk
 * needs beyond the struct lives in the arena.
 */
void paths_start(struct paths_walk *w, const struct paths *t, struct str path, struct arena *a);
size_t paths_next(struct paths_walk *w);

/* Of the 64 numbers from 64 * block on those whose bit is not set are not given any more. */
void paths_leave(struct paths_walk *w, size_t block, uint64_t only);

#endif
