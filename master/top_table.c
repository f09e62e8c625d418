/*
 * Knows what is worth a column, and how rates and quantiles come out of two readings. It alone makes the
 * texts that are shown: nothing of the file reaches a terminal but through top_table_clean.
 */
#include "master/top_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

enum unit { COUNT, RATE, BYTES, SECONDS, SHARE, HEALTH };

enum { ROUTES = 1 << TOP_ROUTES, UPSTREAMS = 1 << TOP_UPSTREAMS, SERVERS = 1 << TOP_SERVERS };
enum { BEHIND = UPSTREAMS | SERVERS, EVERY = ROUTES | BEHIND };

static const struct {
    const char *title;
    enum unit unit;
    unsigned groups;
} column[TOP_COLUMNS] = {
    [TOP_COLUMN_HEALTH] = {"health", HEALTH, SERVERS},
    [TOP_COLUMN_REQUESTS] = {"req/s", RATE, EVERY},
    [TOP_COLUMN_MEAN] = {"mean", SECONDS, EVERY},
    [TOP_COLUMN_P50] = {"p50", SECONDS, EVERY},
    [TOP_COLUMN_P99] = {"p99", SECONDS, EVERY},
    [TOP_COLUMN_4XX] = {"4xx/s", RATE, EVERY},
    [TOP_COLUMN_5XX] = {"5xx/s", RATE, EVERY},
    [TOP_COLUMN_HITS] = {"hits", SHARE, ROUTES},
    [TOP_COLUMN_ERRORS] = {"err/s", RATE, BEHIND},
    [TOP_COLUMN_RETRIES] = {"retry/s", RATE, BEHIND},
    [TOP_COLUMN_LIMITED] = {"limit/s", RATE, ROUTES},
    [TOP_COLUMN_QUEUED] = {"queued", COUNT, UPSTREAMS},
    [TOP_COLUMN_IN_FLIGHT] = {"flight", COUNT, SERVERS},
    [TOP_COLUMN_OPEN] = {"conns", COUNT, BEHIND},
    [TOP_COLUMN_2XX] = {"2xx/s", RATE, EVERY},
    [TOP_COLUMN_3XX] = {"3xx/s", RATE, EVERY},
    [TOP_COLUMN_NONE] = {"none/s", RATE, EVERY},
    [TOP_COLUMN_RECEIVED] = {"in/s", BYTES, EVERY},
    [TOP_COLUMN_SENT] = {"out/s", BYTES, EVERY},
};

/* Texts */

const char *
top_table_group(enum top_group group)
{
    static const char *const name[TOP_GROUPS] = {"all", "routes", "upstreams", "servers"};

    return name[group];
}

const char *
top_table_title(unsigned c)
{
    return c < TOP_COLUMNS ? column[c].title : "name";
}

bool
top_table_has(enum top_group group, unsigned c)
{
    return c < TOP_COLUMNS && column[c].groups >> group & 1;
}

static void
number(char *to, size_t size, double v, double thousand)
{
    static const char unit[] = " kMGTP";
    size_t i;

    if (v < 999.5) {
        snprintf(to, size, v < 9.995 && v > 0 ? "%.2f" : v < 99.95 && v > 0 ? "%.1f" : "%.0f", v);
        return;
    }
    for (i = 0; i + 2 < sizeof(unit) && v >= 999.5; i++)
        v /= thousand;
    if (v >= 999999.5)
        snprintf(to, size, "much");
    else
        snprintf(to, size, v < 9.995 ? "%.2f%c" : v < 99.95 ? "%.1f%c" : "%.0f%c", v, unit[i]);
}

static void
seconds_text(char *to, size_t size, double v)
{
    if (v < 0.9995)
        snprintf(to, size, v < 0.009995 ? "%.2fms" : v < 0.09995 ? "%.1fms" : "%.0fms", v * 1e3);
    else if (v < 99999)
        snprintf(to, size, v < 9.995 ? "%.2fs" : v < 99.95 ? "%.1fs" : "%.0fs", v);
    else
        snprintf(to, size, "much");
}

void
top_table_cell(char *to, size_t size, unsigned c, double v)
{
    if (!isfinite(v)) {
        snprintf(to, size, "-");
        return;
    }
    switch (column[c].unit) {
    case COUNT:
        if (v < 999999.5)
            snprintf(to, size, "%.0f", v);
        else
            number(to, size, v, 1000);
        break;
    case RATE: number(to, size, v, 1000); break;
    case BYTES: number(to, size, v, 1024); break;
    case SECONDS: seconds_text(to, size, v); break;
    case SHARE: snprintf(to, size, v < 9.9995 ? "%.1f%%" : "much", v * 100); break;
    case HEALTH: snprintf(to, size, "%s", v > 0 ? "up" : "DOWN"); break;
    }
}

void
top_table_duration(char *to, size_t size, double seconds)
{
    long long s = seconds < 1e9 ? (long long)seconds : 1000000000;      /* NAN compares false */

    if (isnan(seconds))
        snprintf(to, size, "?");
    else if (s < 60)
        snprintf(to, size, "%llds", s);
    else if (s < 3600)
        snprintf(to, size, "%lldm %llds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(to, size, "%lldh %lldm", s / 3600, s / 60 % 60);
    else
        snprintf(to, size, "%lldd %lldh", s / 86400, s / 3600 % 24);
}

/*
 * One character: how many bytes it is, and whether it may be shown. What takes no column of its own may not
 * (marks that pile up, changes of direction), nor what this locale does not know.
 */
static size_t
character(const char *p, size_t n, int *width)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t bytes = mbrtowc(&c, p, n, &state);

    if (bytes == 0 || bytes > n) {
        *width = -1;
        return 1;
    }
    *width = wcwidth(c);
    return bytes;
}

int
top_table_clean(char *to, size_t size, struct str text)
{
    size_t i, n = 0, bytes;
    int width, columns = 0;

    for (i = 0; i < text.n; i += bytes) {
        bytes = character(text.p + i, text.n - i, &width);
        if (n + bytes >= size)
            break;
        if (width > 0) {
            memcpy(to + n, text.p + i, bytes);
            n += bytes;
            columns += width;
        } else {
            to[n++] = '?';
            columns++;
        }
    }
    to[n] = '\0';
    return columns;
}

size_t
top_table_fit(const char *text, int columns, int *taken)
{
    size_t i = 0, bytes, n = strlen(text);
    int width;

    for (*taken = 0; i < n; i += bytes) {
        bytes = character(text + i, n - i, &width);
        if (*taken + width > columns)
            break;
        *taken += width;
    }
    return i;
}

/* Numbers */

/* They are of different lives of weir, or of different histograms. */
static bool
began_anew(const struct top_member *before, const struct top_member *now)
{
    unsigned i;

    for (i = 0; i < TOP_COUNTERS; i++) {
        if (now->counter[i] < before->counter[i])
            return true;
    }
    if (before->buckets != now->buckets)
        return before->buckets > 0;
    for (i = 0; i < now->buckets; i++) {
        if (now->bucket[i].le != before->bucket[i].le || now->bucket[i].count < before->bucket[i].count)
            return true;
    }
    return false;
}

bool
top_table_restarted(const struct top_reading *before, const struct top_reading *now)
{
    return before->started < now->started || before->started > now->started;
}

static double
grown(const struct top_member *before, const struct top_member *now, enum top_counter c)
{
    return before != NULL && !isnan(before->counter[c]) ? now->counter[c] - before->counter[c] : now->counter[c];
}

/* Of the answers between the two, those up to the bucket. */
static double
up_to(const struct top_member *before, const struct top_member *now, unsigned i)
{
    return now->bucket[i].count - (before != NULL && before->buckets > i ? before->bucket[i].count : 0);
}

double
top_table_quantile(const struct top_member *before, const struct top_member *now, double p)
{
    double all = now->buckets > 0 ? up_to(before, now, now->buckets - 1) : 0, least = 0, under = 0, here;
    unsigned i;

    if (!(all > 0))
        return NAN;
    for (i = 0; i < now->buckets; i++) {
        here = up_to(before, now, i);
        if (here >= p * all && here > under)
            return isinf(now->bucket[i].le)
                       ? least
                       : least + (now->bucket[i].le - least) * (p * all - under) / (here - under);
        least = now->bucket[i].le;
        under = here > under ? here : under;
    }
    return least;
}

static void
fill(struct top_row *row, const struct top_member *before, const struct top_member *now, double seconds)
{
    static const struct {
        enum top_column column;
        enum top_counter counter;
    } rate[] = {
        {TOP_COLUMN_NONE, TOP_CODE_NONE}, {TOP_COLUMN_2XX, TOP_CODE_2XX},      {TOP_COLUMN_3XX, TOP_CODE_3XX},
        {TOP_COLUMN_4XX, TOP_CODE_4XX},   {TOP_COLUMN_5XX, TOP_CODE_5XX},      {TOP_COLUMN_ERRORS, TOP_ERRORS},
        {TOP_COLUMN_SENT, TOP_SENT},      {TOP_COLUMN_RECEIVED, TOP_RECEIVED}, {TOP_COLUMN_RETRIES, TOP_RETRIES},
        {TOP_COLUMN_LIMITED, TOP_LIMITED},
    };
    double answers = grown(before, now, TOP_ANSWERS), requests = NAN, some;
    double hits = grown(before, now, TOP_CACHE_HITS), looked = hits + grown(before, now, TOP_CACHE_MISSES);
    size_t i;

    for (i = 0; i < sizeof(rate) / sizeof(*rate); i++)
        row->v[rate[i].column] = grown(before, now, rate[i].counter) / seconds;
    for (i = TOP_CODE_NONE; i <= TOP_CODE_5XX; i++) {
        some = grown(before, now, (enum top_counter)i);
        if (!isnan(some))
            requests = isnan(requests) ? some : requests + some;
    }
    row->v[TOP_COLUMN_REQUESTS] = requests / seconds;
    row->v[TOP_COLUMN_MEAN] = answers > 0 ? grown(before, now, TOP_SECONDS) / answers : NAN;
    row->v[TOP_COLUMN_P50] = top_table_quantile(before, now, 0.5);
    row->v[TOP_COLUMN_P99] = top_table_quantile(before, now, 0.99);
    row->v[TOP_COLUMN_HITS] = looked > 0 ? hits / looked : NAN;
    row->v[TOP_COLUMN_HEALTH] = now->gauge[TOP_UP];
    row->v[TOP_COLUMN_OPEN] = now->gauge[TOP_OPEN];
    row->v[TOP_COLUMN_QUEUED] = now->gauge[TOP_QUEUED];
    row->v[TOP_COLUMN_IN_FLIGHT] = now->gauge[TOP_IN_FLIGHT];
}

static void
name(struct top_table *t, struct top_row *row, const struct top_member *m)
{
    char text[2][TOP_NAME_BYTES / 2];

    row->width = top_table_clean(text[0], sizeof(text[0]), m->name[0]);
    if (m->name[1].p != NULL) {
        row->width += 1 + top_table_clean(text[1], sizeof(text[1]), m->name[1]);
        row->name = arena_printf(t->arena, "%s %s", text[0], text[1]).p;
    } else {
        row->name = arena_printf(t->arena, "%s", m->group == TOP_ALL ? "all" : text[0]).p;
        row->width = m->group == TOP_ALL ? 3 : row->width;
    }
    t->widest = row->width > t->widest ? row->width : t->widest;
}

void
top_table_make(struct top_table *t, const struct top_reading *before, const struct top_reading *now,
               double seconds, enum top_group group)
{
    size_t i;

    *t = (struct top_table){.arena = arena_new()};
    t->row = xcalloc(now->count + 1, sizeof(*t->row));
    for (i = 0; i < now->count; i++) {
        const struct top_member *m = &now->members[i], *old;
        struct top_row *row;

        if (m->group != group)
            continue;
        row = &t->row[t->count++];
        row->place = i;
        old = before != NULL ? top_read_find(before, m) : NULL;
        if (old != NULL && (began_anew(old, m) || top_table_restarted(before, now)))
            old = NULL;
        name(t, row, m);
        fill(row, old, m, seconds < 0.001 ? 0.001 : seconds);
    }
}

void
top_table_free(struct top_table *t)
{
    free(t->row);
    if (t->arena != NULL)
        arena_free(t->arena);
    *t = (struct top_table){0};
}

struct order {
    unsigned column;
    bool reverse;
};

static int
compare(const void *a, const void *b, void *data)
{
    const struct top_row *x = a, *y = b;
    const struct order *o = data;
    int sign = 0;

    if (o->column < TOP_COLUMNS) {
        double p = x->v[o->column], q = y->v[o->column];

        if (isnan(p) != isnan(q))
            return isnan(p) ? 1 : -1;
        sign = (p < q) - (p > q);
    } else {
        sign = strcmp(x->name, y->name);
    }
    if (sign == 0)
        return (x->place > y->place) - (x->place < y->place);
    return o->reverse ? -sign : sign;
}

void
top_table_sort(struct top_table *t, unsigned c, bool reverse)
{
    struct order o = {c, reverse};

    qsort_r(t->row, t->count, sizeof(*t->row), compare, &o);
}
