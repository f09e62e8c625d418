/*
 * Knows Prometheus's text format as far as weir writes it, and which metric means what. Labels are
 * unescaped in place, so that names are slices of the text.
 */
#include "master/top_read.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/base/hash.h"

enum {
    LABELS = 8,
    PROBES = 64,                /* so long a run of taken places is no accident */
    FIRST_TABLE = 256,
};

struct label {
    struct str name, value;
};

struct sample {
    struct str name;
    struct label label[LABELS];
    unsigned labels;
    double value;
};

/* Members */

static uint64_t
hash_of(enum top_group group, struct str a, struct str b)
{
    return hash_bytes(b.p, b.n, hash_bytes(a.p, a.n, group));
}

static bool
is_member(const struct top_member *m, enum top_group group, struct str a, struct str b)
{
    return m->group == group && str_eq(m->name[0], a) && str_eq(m->name[1], b);
}

/* Its place, or the free one where it belongs; NULL: neither near where it should be. */
static unsigned *
place_of(const struct top_reading *r, enum top_group group, struct str a, struct str b)
{
    size_t i, at = hash_of(group, a, b);

    for (i = 0; i < PROBES && r->table_size > 0; i++) {
        unsigned *place = &r->table[(at + i) & (r->table_size - 1)];

        if (*place == 0 || is_member(&r->members[*place - 1], group, a, b))
            return place;
    }
    return NULL;
}

static void
grow(struct top_reading *r)
{
    size_t i, size = r->table_size > 0 ? 4 * r->table_size : FIRST_TABLE;

    free(r->table);
    r->table = xcalloc(size, sizeof(*r->table));
    r->table_size = size;
    r->members = xrealloc(r->members, size / 2 * sizeof(*r->members));
    for (i = 0; i < r->count; i++) {
        const struct top_member *m = &r->members[i];
        unsigned *place = place_of(r, m->group, m->name[0], m->name[1]);

        if (place != NULL)
            *place = (unsigned)i + 1;
    }
}

static struct top_member *
add(struct top_reading *r, unsigned *place, enum top_group group, struct str a, struct str b)
{
    struct top_member *m = &r->members[r->count++];
    size_t i;

    *place = (unsigned)r->count;
    *m = (struct top_member){.group = group, .name = {a, b}};
    for (i = 0; i < TOP_COUNTERS; i++)
        m->counter[i] = NAN;
    for (i = 0; i < TOP_GAUGES; i++)
        m->gauge[i] = NAN;
    return m;
}

/* NULL: there are too many. */
static struct top_member *
member(struct top_reading *r, enum top_group group, struct str a, struct str b)
{
    unsigned *place;

    if (r->count >= r->table_size / 2)
        grow(r);
    place = place_of(r, group, a, b);
    if (place != NULL && *place != 0)
        return &r->members[*place - 1];
    if (place == NULL || r->count == TOP_READ_MEMBERS) {
        r->cut = true;
        return NULL;
    }
    return add(r, place, group, a, b);
}

const struct top_member *
top_read_find(const struct top_reading *r, const struct top_member *like)
{
    const unsigned *place = place_of(r, like->group, like->name[0], like->name[1]);

    return place != NULL && *place != 0 ? &r->members[*place - 1] : NULL;
}

/* A line */

static bool
is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
}

static struct str
take_name(char **at)
{
    struct str s = {*at, 0};

    while (is_name(s.p[s.n]))
        s.n++;
    *at += s.n;
    return s;
}

/* What stands after the opening quote, unescaped in place. False where it does not end. */
static bool
take_value(char **at, struct str *value)
{
    char *from = *at, *to = *at;

    value->p = to;
    for (; *from != '"'; from++) {
        if (*from == '\\' && from[1] != '\0')
            *to++ = *++from == 'n' ? '\n' : *from;
        else if (*from != '\0')
            *to++ = *from;
        else
            return false;
    }
    value->n = (size_t)(to - value->p);
    *at = from + 1;
    return true;
}

/* Behind the opening brace, to behind the closing one. */
static bool
take_labels(char **at, struct sample *s)
{
    while (**at != '}') {
        struct label *l = &s->label[s->labels];

        if (s->labels == LABELS)
            return false;
        l->name = take_name(at);
        if (l->name.n == 0 || (*at)[0] != '=' || (*at)[1] != '"')
            return false;
        *at += 2;
        if (!take_value(at, &l->value))
            return false;
        s->labels++;
        if (**at == ',')
            (*at)++;
        else if (**at != '}')
            return false;
    }
    (*at)++;
    return true;
}

static bool
take_sample(char *line, struct sample *s)
{
    char *end;

    s->labels = 0;
    s->name = take_name(&line);
    if (s->name.n == 0)
        return false;
    if (*line == '{') {
        line++;
        if (!take_labels(&line, s))
            return false;
    }
    if (*line != ' ' && *line != '\t')
        return false;
    s->value = strtod(line, &end);
    /* weir writes neither infinities nor anything below nothing */
    return end != line && (*end == '\0' || *end == ' ' || *end == '\t') && isfinite(s->value) && s->value >= 0;
}

static struct str
label_of(const struct sample *s, const char *name)
{
    unsigned i;

    for (i = 0; i < s->labels; i++) {
        if (str_eq(s->label[i].name, str_of(name)))
            return s->label[i].value;
    }
    return STR_NONE;
}

/* What it means */

static void
sum_up(double *to, double value)
{
    *to = isnan(*to) ? value : *to + value;
}

static void
take_code(struct top_member *m, const struct sample *s)
{
    static const char *const code[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    size_t i;

    for (i = 0; i < sizeof(code) / sizeof(*code); i++) {
        if (str_eq(label_of(s, "code"), str_of(code[i])))
            sum_up(&m->counter[TOP_CODE_NONE + i], s->value);
    }
}

static void
take_result(struct top_member *m, const struct sample *s)
{
    static const char *const hits[] = {"hit", "stale", "revalidated", "collapsed"};
    struct str result = label_of(s, "result");
    bool hit = false;
    size_t i;

    for (i = 0; i < sizeof(hits) / sizeof(*hits); i++)
        hit = hit || str_eq(result, str_of(hits[i]));
    if (str_eq(result, STR("purge")))
        return;
    sum_up(&m->counter[TOP_CACHE_HITS], hit ? s->value : 0);
    sum_up(&m->counter[TOP_CACHE_MISSES], hit ? 0 : s->value);
}

/* Buckets come in their order, each with all before it; others are not taken. */
static void
take_bucket(struct top_member *m, const struct sample *s)
{
    const struct top_bucket *last = &m->bucket[m->buckets - (m->buckets > 0)];
    struct str text = label_of(s, "le");
    char number[32];
    double le;

    if (text.n == 0 || text.n >= sizeof(number) || m->buckets == TOP_READ_BUCKETS)
        return;
    *(char *)mempcpy(number, text.p, text.n) = '\0';
    le = strtod(number, NULL);
    if (!(le > 0) || (m->buckets > 0 && (le <= last->le || s->value < last->count)))
        return;
    m->bucket[m->buckets++] = (struct top_bucket){le, s->value};
}

static void
take_metric(struct top_member *m, struct str name, const struct sample *s)
{
    static const struct {
        const char *name;
        enum top_counter counter;
    } counters[] = {
        {"errors_total", TOP_ERRORS},
        {"retries_total", TOP_RETRIES},
        {"bytes_received_total", TOP_RECEIVED},
        {"bytes_sent_total", TOP_SENT},
        {"rate_limited_total", TOP_LIMITED},
        {"request_duration_seconds_sum", TOP_SECONDS},
        {"request_duration_seconds_count", TOP_ANSWERS},
    };
    static const struct {
        const char *name;
        enum top_gauge gauge;
    } gauges[] = {
        {"connections", TOP_OPEN},
        {"up", TOP_UP},
        {"requests_in_flight", TOP_IN_FLIGHT},
        {"queued", TOP_QUEUED},
        {"cache_objects", TOP_CACHE_OBJECTS},
        {"cache_bytes", TOP_CACHE_BYTES},
        {"cache_used_bytes", TOP_CACHE_USED},
        {"cache_space_bytes", TOP_CACHE_SPACE},
    };
    size_t i;

    if (str_eq(name, STR("requests_total")))
        take_code(m, s);
    else if (str_eq(name, STR("request_duration_seconds_bucket")))
        take_bucket(m, s);
    else if (str_eq(name, STR("cache_requests_total")))
        take_result(m, s);
    for (i = 0; i < sizeof(counters) / sizeof(*counters); i++) {
        if (str_eq(name, str_of(counters[i].name)))
            sum_up(&m->counter[counters[i].counter], s->value);
    }
    for (i = 0; i < sizeof(gauges) / sizeof(*gauges); i++) {
        if (str_eq(name, str_of(gauges[i].name)))
            sum_up(&m->gauge[gauges[i].gauge], s->value);
    }
}

/* What there is one of. */
static void
take_own(struct top_reading *r, struct str name, const struct sample *s)
{
    if (str_eq(name, STR("build_info")))
        r->version = label_of(s, "version");
    else if (str_eq(name, STR("start_time_seconds")))
        r->started = s->value;
    else if (str_eq(name, STR("uptime_seconds")))
        r->uptime = s->value;
    else if (str_eq(name, STR("generation")))
        r->generation = s->value;
    else if (str_eq(name, STR("config_last_reload_successful")))
        r->reload_good = s->value;
    else if (str_eq(name, STR("workers")) && str_eq(label_of(s, "state"), STR("accepting")))
        sum_up(&r->accepting, s->value);
}

static bool
skip(struct str *s, struct str prefix)
{
    if (!str_starts(*s, prefix))
        return false;
    s->p += prefix.n;
    s->n -= prefix.n;
    return true;
}

/* The member that a sample is of, with what its metric is called there. */
static struct top_member *
whose(struct top_reading *r, const struct sample *s, struct str *name)
{
    struct str route = label_of(s, "route"), upstream = label_of(s, "upstream"), server = label_of(s, "server");

    if (skip(name, STR("route_")))
        return route.p != NULL ? member(r, TOP_ROUTES, route, STR_NONE) : NULL;
    if (skip(name, STR("upstream_")))
        return upstream.p != NULL ? member(r, TOP_UPSTREAMS, upstream, STR_NONE) : NULL;
    if (skip(name, STR("server_")))
        return upstream.p != NULL && server.p != NULL ? member(r, TOP_SERVERS, upstream, server) : NULL;
    return member(r, TOP_ALL, STR_NONE, STR_NONE);
}

static void
take(struct top_reading *r, const struct sample *s)
{
    struct str name = s->name, route = label_of(s, "route");
    struct top_member *m;

    if (!skip(&name, STR("weir_")))
        return;
    r->samples++;
    m = whose(r, s, &name);
    if (m == NULL)
        return;
    take_metric(m, name, s);
    if (m->group != TOP_ALL)
        return;
    take_own(r, name, s);
    if (str_eq(name, STR("rate_limited_total")) && route.p != NULL && route.n > 0 &&
        (m = member(r, TOP_ROUTES, route, STR_NONE)) != NULL)
        take_metric(m, name, s);
}

void
top_read_text(struct top_reading *r, char *text, size_t n)
{
    char *line = text, *end = text + n;
    struct sample s;

    *r = (struct top_reading){.text = text, .started = NAN, .uptime = NAN, .generation = NAN, .accepting = NAN,
                              .reload_good = NAN};
    member(r, TOP_ALL, STR_NONE, STR_NONE);
    while (line < end) {
        char *newline = memchr(line, '\n', (size_t)(end - line));

        if (newline == NULL)
            newline = end;
        *newline = '\0';
        if (line[0] != '#' && line[0] != '\0') {
            if (memchr(line, '\0', (size_t)(newline - line)) == NULL && take_sample(line, &s))
                take(r, &s);
            else
                r->broken++;
        }
        line = newline + 1;
    }
}

/* The file */

static size_t
read_all(int fd, char *to, size_t most)
{
    size_t n = 0;
    ssize_t got = 1;

    while (n < most && got > 0) {
        got = read(fd, to + n, most - n);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            n += (size_t)got;
    }
    return n;
}

bool
top_read_file(struct top_reading *r, const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    size_t n, size;
    char *text;

    if (fd < 0)
        return false;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        errno = EINVAL;
        return false;
    }
    size = st.st_size < TOP_READ_BYTES ? (size_t)st.st_size : TOP_READ_BYTES;
    text = xmalloc(size + 1);
    n = read_all(fd, text, size);
    close(fd);
    text[n] = '\0';
    top_read_text(r, text, n);
    r->cut |= st.st_size > TOP_READ_BYTES;
    r->written = st.st_mtim;
    r->device = st.st_dev;
    r->inode = st.st_ino;
    r->size = st.st_size;
    return true;
}

void
top_read_free(struct top_reading *r)
{
    free(r->text);
    free(r->members);
    free(r->table);
    *r = (struct top_reading){0};
}
