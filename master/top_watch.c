/*
 * Knows when the file is another one, and what its silence means. weir writes it whole and renames it, so
 * a file that has not changed in any of these has not been written.
 */
#include "master/top_watch.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    OLD = 10,                   /* seconds; ten times the default of stats_interval */
    DAY = 86400,
};

int64_t
top_watch_clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
top_watch_start(struct top_watch *w, const char *path)
{
    *w = (struct top_watch){.path = path};
}

static void
forget(struct top_reading **r)
{
    if (*r != NULL)
        top_read_free(*r);
    free(*r);
    *r = NULL;
}

void
top_watch_end(struct top_watch *w)
{
    forget(&w->now);
    forget(&w->before);
}

static void __attribute__((format(printf, 2, 3)))
say(struct top_watch *w, const char *fmt, ...)
{
    char text[2 * sizeof(w->problem)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    top_table_clean(w->problem, sizeof(w->problem), str_of(text));
}

static bool
is_the_same(const struct top_reading *r, const struct stat *st)
{
    return r->device == st->st_dev && r->inode == st->st_ino && r->size == st->st_size &&
           r->written.tv_sec == st->st_mtim.tv_sec && r->written.tv_nsec == st->st_mtim.tv_nsec;
}

static double
between(struct timespec a, struct timespec b)
{
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

/* The clock of the file's times may have been set. */
static void
measure(struct top_watch *w, int64_t now_ms)
{
    double passed = (double)(now_ms - w->read_ms) / 1000;

    w->seconds = between(w->before->written, w->now->written);
    if (!(w->seconds > 0.001 && w->seconds < DAY) || fabs(w->seconds - passed) > 5 + passed)
        w->seconds = passed;
    if (top_table_restarted(w->before, w->now) && w->now->uptime < w->seconds)
        w->seconds = w->now->uptime;
}

static void
judge_age(struct top_watch *w)
{
    struct timespec ts;
    double age;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &ts);
    age = between(w->now->written, ts);
    w->problem[0] = '\0';
    top_table_duration(text, sizeof(text), age);
    if (age >= OLD)
        say(w, "%s was not written for %s: weir does not run, or its stats_interval is longer", w->path, text);
    else if (w->now->samples == 0)
        say(w, "%s holds no statistics of weir", w->path);
    else if (w->now->cut)
        say(w, "%s is too large: only a part of it is shown", w->path);
    else if (w->now->broken > 0)
        say(w, "%s: %zu lines are no statistics", w->path, w->now->broken);
}

bool
top_watch_look(struct top_watch *w)
{
    int64_t now_ms = top_watch_clock_ms();
    struct top_reading *r;
    struct stat st;

    if (w->now != NULL && stat(w->path, &st) == 0 && is_the_same(w->now, &st)) {
        judge_age(w);
        return false;
    }
    r = xcalloc(1, sizeof(*r));
    if (!top_read_file(r, w->path)) {
        say(w, "%s: %s", w->path,
            errno == ENOENT ? "there is no such file: weir does not run, or its stats_file is another (-f)"
            : errno == EINVAL ? "not a file" : strerror(errno));
        free(r);
        top_watch_end(w);       /* rates of what does not run mean nothing */
        return false;
    }
    forget(&w->before);
    w->before = w->now;
    w->now = r;
    if (w->before != NULL)
        measure(w, now_ms);
    w->read_ms = now_ms;
    judge_age(w);
    return true;
}

void
top_watch_table(const struct top_watch *w, struct top_table *t, enum top_group group)
{
    if (w->before != NULL)
        top_table_make(t, w->before, w->now, w->seconds, group);
    else
        top_table_make(t, NULL, w->now, w->now->uptime, group);
}

/* Headings */

static void __attribute__((format(printf, 2, 3)))
append(char line[TOP_WATCH_LINE], const char *fmt, ...)
{
    size_t n = strlen(line);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line + n, TOP_WATCH_LINE - n, fmt, ap);
    va_end(ap);
}

void
top_watch_about(const struct top_watch *w, char line[TOP_WATCH_LINE])
{
    const struct top_reading *r = w->now;
    char text[64];

    top_table_clean(text, sizeof(text), r->version);
    snprintf(line, TOP_WATCH_LINE, "weir %s", text);
    if (!isnan(r->uptime)) {
        top_table_duration(text, sizeof(text), r->uptime);
        append(line, ", up %s", text);
    }
    if (!isnan(r->generation))
        append(line, ", generation %.0f", r->generation);
    if (!isnan(r->accepting))
        append(line, ", %.0f worker%s", r->accepting, r->accepting == 1 ? "" : "s");
    if (r->members[0].gauge[TOP_OPEN] >= 0)
        append(line, ", %.0f connection%s", r->members[0].gauge[TOP_OPEN],
               r->members[0].gauge[TOP_OPEN] == 1 ? "" : "s");
    if (r->reload_good == 0)
        append(line, ", the last reload failed");
}

void
top_watch_total(const struct top_watch *w, char line[TOP_WATCH_LINE])
{
    static const unsigned columns[] = {
        TOP_COLUMN_REQUESTS, TOP_COLUMN_2XX,  TOP_COLUMN_3XX, TOP_COLUMN_4XX, TOP_COLUMN_5XX,
        TOP_COLUMN_MEAN,     TOP_COLUMN_P50, TOP_COLUMN_P99, TOP_COLUMN_RECEIVED, TOP_COLUMN_SENT,
    };
    struct top_table t;
    char text[32];
    size_t i;

    top_watch_table(w, &t, TOP_ALL);
    line[0] = '\0';
    for (i = 0; i < sizeof(columns) / sizeof(*columns) && t.count > 0; i++) {
        if (isnan(t.row[0].v[columns[i]]))
            continue;
        top_table_cell(text, sizeof(text), columns[i], t.row[0].v[columns[i]]);
        append(line, "%s%s %s", line[0] != '\0' ? ", " : "", top_table_title(columns[i]), text);
    }
    top_table_free(&t);
}

bool
top_watch_cache(const struct top_watch *w, char line[TOP_WATCH_LINE])
{
    const double *v = w->now->members[0].gauge;
    char hits[32], objects[32], bytes[32], used[32], space[32];
    struct top_table t;

    line[0] = '\0';
    if (isnan(v[TOP_CACHE_OBJECTS]))
        return false;
    top_watch_table(w, &t, TOP_ALL);
    top_table_cell(hits, sizeof(hits), TOP_COLUMN_HITS, t.row[0].v[TOP_COLUMN_HITS]);
    top_table_cell(objects, sizeof(objects), TOP_COLUMN_OPEN, v[TOP_CACHE_OBJECTS]);
    top_table_cell(bytes, sizeof(bytes), TOP_COLUMN_SENT, v[TOP_CACHE_BYTES]);
    top_table_cell(used, sizeof(used), TOP_COLUMN_HITS, v[TOP_CACHE_USED] / v[TOP_CACHE_SPACE]);
    top_table_cell(space, sizeof(space), TOP_COLUMN_SENT, v[TOP_CACHE_SPACE]);
    top_table_free(&t);
    append(line, "cache: hits %s, objects %s, bytes %s, %s of %s in use", hits, objects, bytes, used, space);
    return true;
}
