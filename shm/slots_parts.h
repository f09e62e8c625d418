/*
 * The inside of the slots segment: what slots.c, which lays it out, and slots_series.c share.
 */
#ifndef WEIR_SLOTS_PARTS_H
#define WEIR_SLOTS_PARTS_H

#include "shm/segment.h"
#include "shm/slots.h"

struct slots_head {
    struct segment_head segment;
    uint32_t rows;
    uint32_t series;
    uint32_t used;              /* series handed out so far: 1 to this */
    uint32_t generation;
    uint64_t folds_begun;
    uint64_t folds_ended;
    struct slots_master master;
};

struct slots_entry {            /* of the directory; a digest of zeros: free */
    uint64_t digest[2];
    uint32_t generation;        /* that asked for it last */
    uint32_t spare;
};

struct slots {
    struct segment segment;
    struct slots_head *head;
    int32_t *owner;
    struct slots_entry *entry;
    uint32_t *index;
    char *row;
    size_t stride;
    uint32_t rows;
    uint32_t series;
    uint32_t mask;              /* of the index */
    int *event;                 /* eventfds by row; -1: none */
};

/* Series handed out so far are 1 to this. */
unsigned slots_used(const struct slots *s);

#endif
