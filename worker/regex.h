/*
 * Regular expressions: PCRE2, compiled and JIT-compiled in the master when the configuration is
 * loaded, matched in the workers. Matching is bounded: subjects of at most 8 KiB, PCRE2's match limit of
 * 10,000 for each place where a match could begin, 50 ms for all of them, a JIT stack of 1 MiB a worker and
 * as much heap where there is no JIT, where a pattern that takes a step a byte is given up on sooner.
 */
#ifndef WEIR_REGEX_H
#define WEIR_REGEX_H

#include <stddef.h>

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

/* REGEX_LIMIT: one of the bounds was met, nobody knows whether it would have matched. */
enum regex_result { REGEX_NO, REGEX_YES, REGEX_LIMIT };

/* Master. NULL, with a message in *why (in the arena) and the offset it is about. Freed with the arena. */
struct regex *regex_compile(struct str pattern, struct arena *a, struct str *why, size_t *offset);

/* The number of the group of that name, or -1. */
int regex_group(const struct regex *re, struct str name);
unsigned regex_group_count(const struct regex *re);
struct str regex_source(const struct regex *re);

/* Worker. Fills c (which may be NULL) with slices of subject. */
enum regex_result regex_match(const struct regex *re, struct str subject, struct captures *c);

#endif
