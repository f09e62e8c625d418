/*
 * What every match of a pattern has: bytes that it begins with, bytes that stand somewhere in it. Read from the
 * pattern's text, so that a subject that lacks them need not be asked. Master.
 */
#ifndef WEIR_REGEX_FACTS_H
#define WEIR_REGEX_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/base/str.h"

#define FACTS_LEAD 8            /* bytes at the beginning of a match that something is known of */
#define FACTS_GRAM 3            /* the most bytes of a gram; the least are 2 */
#define FACTS_GRAMS 16
#define FACTS_FOLD 0x20U        /* a bit that grams are compared without: the case of letters */
#define FACTS_SLASHES 8         /* so many or more: it doesn't matter how many */

struct byte_set {
    uint64_t bits[4];
};

/* Bytes that stand next to each other, each one of a set. */
struct gram {
    struct byte_set of[FACTS_GRAM];
    size_t n;
};

struct grams {
    struct gram v[FACTS_GRAMS];
    size_t n;                   /* 0: nothing is known */
    uint64_t cost;              /* how many rows of bytes they are; one of two bytes counts more: it says less */
};

/*
 * lead: the match's first bytes, one after the other; it has at least as many. first, last: of either, where it has
 * any, at least one gram is within each match. any: at least one of these bytes is (all 256: nothing is known).
 * slashes: it has at most as many (FACTS_SLASHES: nothing is known).
 */
struct regex_facts {
    struct byte_set lead[FACTS_LEAD];
    size_t lead_n;
    bool exact;                 /* and no more */
    struct grams first, last;
    struct byte_set any;
    unsigned slashes;
    bool ends;                  /* where the subject ends, and nowhere else */
};

static inline bool
byte_set_has(const struct byte_set *s, unsigned char byte)
{
    return s->bits[byte >> 6] >> (byte & 63) & 1;
}

/*
 * Of a pattern that PCRE2 compiles with dots that take line feeds, and with dollars that are nowhere but at the
 * subject's end. What is not understood has no facts.
 */
void regex_facts_read(struct str pattern, struct regex_facts *f);

#endif
