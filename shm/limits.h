/*
 * Limits: the shared table behind every rate_limit. Set-associative; an entry is the digest of a bucket
 * and its theoretical arrival time (GCRA), changed together by one 16-byte compare-and-swap: exact over
 * all workers, no locks, nothing left wrong when a worker is killed. Where a set is full the entry
 * whose time is oldest goes: never a refusal for want of space.
 *
 * The segment is made by the first master, inherited over fork and exec, and outlives workers, reloads and upgrades.
 * Times are CLOCK_MONOTONIC in nanoseconds.
 */
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/digest.h"

struct limits_table;

/* Master: a table of about `size` bytes; NULL with errno. */
struct limits_table *limits_create(size_t size);
struct limits_table *limits_attach(int fd);
int limits_fd(const struct limits_table *t);
void limits_detach(struct limits_table *t);
size_t limits_size(const struct limits_table *t);           /* as asked for at limits_create */

/* Two parts of a bucket's name (where it is written; whose it is): keyed, so that nobody can aim at a set. */
uint64_t limits_digest(const struct limits_table *t, const void *place, size_t n, const void *key, size_t m);

/* The same from where all buckets of a place begin. */
struct digest limits_place(const struct limits_table *t, const void *place, size_t n);
uint64_t limits_digest_at(const struct digest *place, const void *key, size_t m);

struct limits_verdict {
    bool passes;
    uint64_t remaining;         /* requests that would pass at once after this one */
    uint64_t wait_ns;           /* until one more passes; 0: at once */
    uint64_t full_ns;           /* until the bucket is full again */
};

/*
 * Worker: one request against a bucket of `burst` requests (1 and up) that gains one each `interval_ns`.
 * A bucket that held more (the limit was made smaller meanwhile) is cut to its size.
 */
struct limits_verdict limits_take(struct limits_table *t, uint64_t digest, uint64_t interval_ns, uint64_t burst,
                                  uint64_t now_ns);
/* Gives one back: another limit of the same request said no. */
void limits_give_back(struct limits_table *t, uint64_t digest, uint64_t interval_ns, uint64_t now_ns);

#endif
