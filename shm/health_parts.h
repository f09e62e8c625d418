/*
 * The inside of the health segment: what health.c, which lays it out, and health_name.c share.
 */
#ifndef WEIR_HEALTH_PARTS_H
#define WEIR_HEALTH_PARTS_H

#include "shm/digest.h"
#include "shm/directory.h"
#include "shm/health.h"
#include "shm/segment.h"

#define HEALTH_RING 16          /* seconds: more than the budget of retries looks back */

struct health_head {
    struct segment_head segment;
    uint32_t rows;
    uint32_t servers;
    uint32_t upstreams;
    uint32_t names;
    uint32_t high;              /* the highest row that ever counted */
    struct digest_key key;
    uint64_t lease __attribute__((aligned(64)));
};

struct health_text {            /* whole words, without padding */
    uint64_t version;
    uint64_t digest;            /* of the name that it is about */
    uint64_t expires_ms;
    uint32_t failures;
    uint32_t n;
    struct health_address v[HEALTH_ADDRESSES];
    uint64_t sum;               /* over what stands before */
};

struct health_entry {
    struct pair id;
    uint64_t version;
    struct health_text text[2]; /* by the version's last bit */
} __attribute__((aligned(64)));

struct health_budget {          /* of one row; second << 32 | count */
    uint64_t requests[HEALTH_RING];
    uint64_t retries[HEALTH_RING];
};

struct health {
    struct segment segment;
    struct health_head *head;
    struct directory servers;
    struct directory upstreams;
    struct directory names;
    uint32_t *server_cells;
    uint32_t *upstream_cells;
    struct health_budget *budgets;
    struct digest_key key;
    uint32_t rows;
    uint32_t stride;            /* cells of an entry */
};

#endif
