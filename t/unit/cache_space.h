/* For unit tests of the cache's parts: a segment with nothing in it but space. */
#ifndef WEIR_UNIT_CACHE_SPACE_H
#define WEIR_UNIT_CACHE_SPACE_H

#include <string.h>

#include "shm/cache_space.h"
#include "t/unit/processes.h"

#define SHARDS 4

struct bench {
    struct space_view view[SHARDS];
    uint64_t seed;
};

/* What is asked millions of times: each assertion of Check costs a system call. */
static inline void
must(bool good)
{
    if (!good)
        ck_abort();
}

/* Behind the pool and the spaces there are `beside` bytes for the test, at bench_beside. */
static inline void
bench_open(struct bench *b, size_t size, size_t beside)
{
    unsigned char *base = shared(size);
    size_t at = (sizeof(struct space_pool) + 63) & ~(size_t)63;

    space_pool_init((struct space_pool *)(void *)base, size, at + SHARDS * space_size() + beside);
    for (unsigned i = 0; i < SHARDS; i++) {
        b->view[i] = (struct space_view){base, (struct space_pool *)(void *)base,
                                         (struct space *)(void *)(base + at + i * space_size()), i};
    }
    b->seed = 20261121;
}

static inline size_t
bench_beside(void)
{
    return ((sizeof(struct space_pool) + 63) & ~(size_t)63) + SHARDS * space_size();
}

static inline void
bench_close(struct bench *b, size_t size)
{
    munmap(b->view[0].base, size);
}

/* splitmix64 */
static inline uint64_t
bench_random(struct bench *b)
{
    uint64_t z = b->seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
