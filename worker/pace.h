/*
 * A peer's pace, for min_rate: the bytes that moved after weir had to wait for them, over the time it
 * waited. What goes into or comes out of the kernel's buffers without a wait counts for nothing.
 */
#ifndef WEIR_PACE_H
#define WEIR_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_GRACE_MS 10000

struct pace {
    int64_t since;              /* waiting since then; 0: not waiting */
    int64_t waited;             /* ms in all */
    uint64_t bytes;
};

static inline void
pace_wait(struct pace *p, int64_t now)
{
    if (p->since == 0)
        p->since = now;
}

/* Bytes moved. False where the peer has been slower than min_rate (0: any pace will do). */
static inline bool
pace_moved(struct pace *p, int64_t now, uint64_t bytes, size_t min_rate)
{
    if (p->since == 0)
        return true;
    p->waited += now - p->since;
    p->bytes += bytes;
    p->since = 0;
    return min_rate == 0 || p->waited < PACE_GRACE_MS || p->bytes * 1000 / (uint64_t)p->waited >= min_rate;
}

#endif
