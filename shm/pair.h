/*
 * Pairs: two words that change together, by a 16-byte compare-and-swap. A worker that is killed leaves
 * the old pair or the new one.
 */
#ifndef WEIR_PAIR_H
#define WEIR_PAIR_H

#include <stdbool.h>
#include <stdint.h>

struct pair {
    uint64_t digest;
    uint64_t time;
} __attribute__((aligned(16)));

/*
 * The words are read one after the other, and may be of two different pairs: pair_swap fails then.
 */
static inline struct pair
pair_read(const struct pair *p)
{
    struct pair v;

    v.digest = __atomic_load_n(&p->digest, __ATOMIC_SEQ_CST);
    v.time = __atomic_load_n(&p->time, __ATOMIC_SEQ_CST);
    return v;
}

/* True: it was `from`, and is `to`. A full fence. */
static inline bool
pair_swap(struct pair *p, struct pair from, struct pair to)
{
    union {
        struct pair pair;
        unsigned __int128 word;
    } f = {from}, t = {to};

    return __sync_bool_compare_and_swap((unsigned __int128 *)(void *)p, f.word, t.word);
}

#endif
