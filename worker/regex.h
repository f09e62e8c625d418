/*
 * Regular expressions: PCRE2, compiled and JIT-compiled in the master when the configuration is loaded, matched in
 * the workers. A dot takes any byte, line feeds too. Matching is bounded: subjects of at most 8 KiB, PCRE2's match
 * limit of 10,000 for each place where a match could begin, 50 ms for all matches of a budget, which is a
 * request's, a JIT stack of 1 MiB a worker and as much heap where there is no JIT, where a pattern that takes a
 * step a byte is given up on sooner.
 */
#ifndef WEIR_REGEX_H
#define WEIR_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

#define REGEX_GROUPS 100        /* the most capture groups a pattern may have */

struct regex;

/* A match that was made: kept by the request, for $1 and ${name}. */
struct captures {
    const struct regex *regex;
    struct str group[REGEX_GROUPS + 1];     /* 0 is the whole match; unset groups are empty */
    unsigned n;
};

/*
 * What all matches for one request have used up together; all zeros: nothing. It stands in the request, so
 * that a request may wait between two matches and others have their turn.
 */
struct regex_budget {
    size_t looked;              /* bytes to look at, once for each place where a match could begin */
    int64_t wall_ns;            /* of matching, by the clock on the wall */
    int64_t cpu_ns;             /* and then by the process's, once that one had run out */
};

/* REGEX_LIMIT: one of the bounds was met, nobody knows whether it would have matched. */
enum regex_result { REGEX_NO, REGEX_YES, REGEX_LIMIT };

/* Master. NULL, with a message in *why (in the arena) and the offset it is about. Freed with the arena. */
struct regex *regex_compile(struct str pattern, struct arena *a, struct str *why, size_t *offset);

/* The number of the group of that name, or -1. */
int regex_group(const struct regex *re, struct str name);
unsigned regex_group_count(const struct regex *re);
struct str regex_source(const struct regex *re);
bool regex_anchored(const struct regex *re);        /* a match can begin nowhere but at the subject's beginning */

/*
 * Worker. Fills c (which may be NULL) with slices of subject. Where the budget is used up it is REGEX_LIMIT at
 * once. regex_match has a budget of its own.
 */
enum regex_result regex_match_within(struct regex_budget *b, const struct regex *re, struct str subject,
                                     struct captures *c);
enum regex_result regex_match(const struct regex *re, struct str subject, struct captures *c);

#endif
