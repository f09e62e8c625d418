/*
 * The stats file over time: the last two readings of it, how far they are apart, and what is to be said
 * where it is missing or old.
 */
#ifndef WEIR_TOP_WATCH_H
#define WEIR_TOP_WATCH_H

#include <stdint.h>

#include "master/top_table.h"

struct top_watch {
    const char *path;
    struct top_reading *now, *before;   /* NULL: none yet */
    double seconds;                     /* between them */
    int64_t read_ms;                    /* when, by the monotonic clock */
    char problem[256];                  /* printable; empty: none */
};

void top_watch_start(struct top_watch *w, const char *path);
void top_watch_end(struct top_watch *w);

/* Reads the file where it is another than the last time: true then. Sets the problem. */
bool top_watch_look(struct top_watch *w);

/* Rows of the group, by what there is: two readings, or one, for rates since counting began. */
void top_watch_table(const struct top_watch *w, struct top_table *t, enum top_group group);

/* What weir is, how it does, and how its cache does: lines, each printable. Needs a reading; false: no cache. */
enum { TOP_WATCH_LINE = 400 };
void top_watch_about(const struct top_watch *w, char line[TOP_WATCH_LINE]);
void top_watch_total(const struct top_watch *w, char line[TOP_WATCH_LINE]);
bool top_watch_cache(const struct top_watch *w, char line[TOP_WATCH_LINE]);

int64_t top_watch_clock_ms(void);

#endif
