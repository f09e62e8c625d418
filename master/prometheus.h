/*
 * Prometheus's text format. A dimension is a prefix and its members, each with the label that tells it
 * apart and its sums; a family is one metric over the members of a dimension: written once, with # HELP and
 * # TYPE, all of its samples together. All traffic is a dimension of one member without a label.
 */
#ifndef WEIR_PROMETHEUS_H
#define WEIR_PROMETHEUS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "shm/slots.h"
#include "worker/base/arena.h"

/* Which families a dimension has, besides requests and bytes. */
enum {
    PROMETHEUS_ACCEPTED = 1,
    PROMETHEUS_OPENED = 2,
    PROMETHEUS_OPEN = 4,
    PROMETHEUS_REUSED = 8,
    PROMETHEUS_RETRIES = 16,
    PROMETHEUS_ERRORS = 32,
    PROMETHEUS_DURATION = 64,
    PROMETHEUS_REFUSALS = 128,
    PROMETHEUS_EJECTIONS = 256,
    PROMETHEUS_QUEUED = 512,
    PROMETHEUS_TLS = 1024,
    PROMETHEUS_H2 = 2048,
    PROMETHEUS_CODINGS = 4096,
};

struct prometheus_member {
    struct str label;           /* as prometheus_label makes it; empty: none */
    struct slots_counters sum;
    bool tls, h2, codes;        /* it may speak these, or code content: shown where nothing has counted yet, too */
};

struct prometheus_dimension {
    const char *prefix;         /* "weir_route" */
    unsigned families;
    struct prometheus_member *v;
    size_t n;
};

/* name="value", escaped, in the arena. */
struct str prometheus_label(struct arena *arena, const char *name, struct str value);

/* All families of the dimension; nothing where it has no members. */
void prometheus_dimension(FILE *to, const struct prometheus_dimension *d);

/* One more family of it, of a counter at its offset in the sums: `name` is the whole one. */
void prometheus_counter(FILE *to, const struct prometheus_dimension *d, const char *name, size_t offset,
                        const char *help);

/* What the cache did for requests: of members for which it did anything, or where `all` of every one. */
void prometheus_cache(FILE *to, const struct prometheus_dimension *d, bool all);

/* A family of other samples: its head, then each. `labels` as they stand in the braces, or "". */
void prometheus_head(FILE *to, const char *name, const char *type, const char *help);
void prometheus_sample(FILE *to, const char *name, const char *labels, uint64_t value);
void prometheus_labelled(FILE *to, const char *name, struct str labels, uint64_t value);

#endif
