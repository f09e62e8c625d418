/*
 * Limits that are exact without locks: each row of the slots counts in a place of its own, that nobody else writes.
 * Who wants one more counts itself, adds up all rows, and steps back if that is too much: of two that come
 * for the last place at once at least one sees the other. Both may step back; then they come again, at
 * different moments, a few times.
 */
#ifndef WEIR_CELLS_H
#define WEIR_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#define CELLS_TRIES 4

/* The highest row that ever counted. Before the row counts: whoever adds up after it has counted looks at it then. */
static inline void
cells_raise(uint32_t *high, unsigned row)
{
    uint32_t n = __atomic_load_n(high, __ATOMIC_RELAXED);

    while (n < row && !__atomic_compare_exchange_n(high, &n, row, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        continue;
}

/* Those that stepped back for each other come again at different moments. */
static inline void
cells_rest(unsigned row, unsigned try)
{
    volatile unsigned n = (row % 8 + 1) * (try + 1) * 32;

    while (n > 0)
        n--;
}

/*
 * True: counted. `count` stores the row's own count with one more (or without it again), sequentially consistent;
 * `fits`: whether what all rows have now, and `more`, is not too much.
 */
static inline bool
cells_take(unsigned row, void (*count)(void *with, bool one_more), bool (*fits)(void *with, unsigned more), void *with)
{
    for (unsigned i = 0; i < CELLS_TRIES; i++) {
        count(with, true);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (fits(with, 0))
            return true;
        count(with, false);
        if (!fits(with, 1))
            return false;
        cells_rest(row, i);
    }
    return false;
}

#endif
