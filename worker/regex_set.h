/*
 * Regexes that are tried one after the other on the same subject: one look at the subject tells which of them cannot
 * match, for what every match of theirs has and the subject lacks (regex_facts.h).
 */
#ifndef WEIR_REGEX_SET_H
#define WEIR_REGEX_SET_H

#include "worker/base/arena.h"
#include "worker/regex.h"

#define REGEX_SET_BLOCK 64      /* numbers that are looked at together */

struct regex_set;

/* Master. Of n numbers, each with its regex or NULL. NULL: so few that there is nothing to gain. */
struct regex_set *regex_set_new(const struct regex *const *regexes, size_t n, struct arena *a);

/* A walk over them, for one subject, which stays as it is until the walk ends. */
struct regex_scan {
    const struct regex_set *set;
    struct str subject;
    size_t block;               /* that `may` is about */
    uint64_t may;               /* a bit a number */
};

static inline void
regex_scan_start(struct regex_scan *s, const struct regex_set *set, struct str subject)
{
    s->set = set;
    s->subject = subject;
    s->block = SIZE_MAX;
}

void regex_scan_look(struct regex_scan *s, size_t block);

/* False: number i has a regex, and it does not match. Cheap where numbers come in order. */
static inline bool
regex_scan_may(struct regex_scan *s, size_t i)
{
    if (s->set == NULL)
        return true;
    if (s->block != i / REGEX_SET_BLOCK)
        regex_scan_look(s, i / REGEX_SET_BLOCK);
    return s->may >> i % REGEX_SET_BLOCK & 1;
}

#endif
