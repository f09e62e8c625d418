/*
 * The stats file: everything that the slots count, as Prometheus's text format has it.
 */
#ifndef WEIR_STATS_H
#define WEIR_STATS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "master/generation.h"
#include "master/segments.h"

struct stats {
    int64_t next;               /* when it is due, clock_ms; 0: at once */
    unsigned skipped;           /* turns in a row, because rows were being folded */
    bool failing;               /* the last one could not be written: said once */
};

/* Writes the file of the current generation if it is due. */
void stats_run(struct stats *st, const struct segments *s, const struct generation *current);
int64_t stats_due(const struct stats *st, const struct generation *current);

/* At the end, so that nobody takes old numbers for new ones. */
void stats_remove(const struct generation *current);

#endif
