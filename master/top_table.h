/*
 * What weir-top shows: two readings of the statistics become rows of rates, latencies and states, of which
 * every text is fit for a terminal.
 */
#ifndef WEIR_TOP_TABLE_H
#define WEIR_TOP_TABLE_H

#include "master/top_read.h"
#include "worker/base/arena.h"

/* In the order in which they stand, the most important first: a narrow terminal shows fewer. */
enum top_column {
    TOP_COLUMN_HEALTH,
    TOP_COLUMN_REQUESTS,
    TOP_COLUMN_MEAN,
    TOP_COLUMN_P50,
    TOP_COLUMN_P99,
    TOP_COLUMN_4XX,
    TOP_COLUMN_5XX,
    TOP_COLUMN_HITS,
    TOP_COLUMN_ERRORS,
    TOP_COLUMN_RETRIES,
    TOP_COLUMN_LIMITED,
    TOP_COLUMN_QUEUED,
    TOP_COLUMN_IN_FLIGHT,
    TOP_COLUMN_OPEN,
    TOP_COLUMN_2XX,
    TOP_COLUMN_3XX,
    TOP_COLUMN_NONE,
    TOP_COLUMN_RECEIVED,
    TOP_COLUMN_SENT,
    TOP_COLUMNS,
    TOP_BY_NAME = TOP_COLUMNS,  /* only to sort by */
};

enum { TOP_COLUMN_WIDTH = 7, TOP_NAME_BYTES = 512 };

struct top_row {
    const char *name;           /* in the table's arena: printable in this locale, on one line */
    int width;                  /* terminal columns that it takes */
    double v[TOP_COLUMNS];      /* NAN: not known */
    size_t place;               /* in the file */
};

struct top_table {
    struct arena *arena;
    struct top_row *row;
    size_t count;
    int widest;                 /* name */
};

/*
 * The members of a group. `before` is the reading `seconds` earlier; NULL: rates are those since counting
 * began, `seconds` ago. NAN seconds: no rates are known. Counters that went down began anew in between.
 */
void top_table_make(struct top_table *t, const struct top_reading *before, const struct top_reading *now,
                    double seconds, enum top_group group);
void top_table_free(struct top_table *t);

/* weir was stopped and started in between. */
bool top_table_restarted(const struct top_reading *before, const struct top_reading *now);

/* The greatest first, names by the alphabet; `reverse`: the other way. What is not known comes last. */
void top_table_sort(struct top_table *t, unsigned column, bool reverse);

const char *top_table_group(enum top_group group);
const char *top_table_title(unsigned column);
bool top_table_has(enum top_group group, unsigned column);

/* A value of a column, in at most TOP_COLUMN_WIDTH columns. */
void top_table_cell(char *to, size_t size, unsigned column, double value);

/* "2d 3h", in at most 12 columns. */
void top_table_duration(char *to, size_t size, double seconds);

/*
 * A text for the terminal: what is not printable becomes '?', and `to` has a NUL. Returns the columns
 * that it takes.
 */
int top_table_clean(char *to, size_t size, struct str text);

/* The bytes of a clean text that fit into so many columns; *taken is what they take. */
size_t top_table_fit(const char *text, int columns, int *taken);

/* p of what was counted between two histograms, interpolated in its bucket; NAN: nothing was. */
double top_table_quantile(const struct top_member *before, const struct top_member *now, double p);

#endif
