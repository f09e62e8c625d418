/*
 * What messages say of caching: the first byte chooses the field, the second the scan level and a status, lines of the
 * rest are its field lines. Whatever they are, times are within their bounds and names are names; lines without quotes
 * say what they say as one line with commas; terms keep what they are made of; and a date that is read reads the same
 * when it is written.
 */
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "modules/cache_fresh.h"
#include "t/fuzz/must.h"
#include "worker/base/scan.h"

#define LINES_MOST 64

static const struct str names[] = {{"Cache-Control", 13}, {"CDN-Cache-Control", 17}, {"Weir-Cache-Control", 18},
                                   {"Pragma", 6}};

static void
sound_names(const struct str_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        MUST(field_is_token(l->v[i]));
        for (size_t j = 0; j < l->v[i].n; j++)
            MUST(l->v[i].p[j] < 'A' || l->v[i].p[j] > 'Z');
    }
}

static void
sound(const struct cache_control *c)
{
    MUST(c->has >> CC_DIRECTIVES == 0);
    for (int d = CC_MAX_AGE; d < CC_DIRECTIVES; d++)
        MUST(c->seconds[d] >= 0 && c->seconds[d] <= CC_FOREVER && (cc_has(c, d) || c->seconds[d] == 0 || c->targeted));
    MUST(c->private_names.n == 0 || cc_has(c, CC_PRIVATE));
    MUST(c->no_cache_names.n == 0 || cc_has(c, CC_NO_CACHE));
    sound_names(&c->private_names);
    sound_names(&c->no_cache_names);
}

/* RFC 9110 5.3 */
static void
same_in_one_line(const struct cache_control *c, const struct fields *f, struct arena *a)
{
    struct cache_control again;
    struct str all = STR("");
    struct fields one;

    for (size_t i = 0; i < f->n && all.n < 2000; i++)
        all = arena_printf(a, "%.*s,%.*s", STR_ARG(all), STR_ARG(f->v[i].value));
    if (all.n >= 2000 || memchr(all.p, '"', all.n) != NULL)
        return;
    fields_init(&one, a);
    fields_add(&one, names[0], all);
    cache_control_response(&again, &one, a);
    MUST(again.has == c->has && memcmp(again.seconds, c->seconds, sizeof(again.seconds)) == 0);
    MUST(again.private_names.n == c->private_names.n && again.no_cache_names.n == c->no_cache_names.n);
}

static void
sound_terms(const struct cache_control *asked, const struct cache_control *said, const struct fields *f, int status)
{
    static const struct cache_defaults none;
    struct cache_exchange x = {.method = METHOD_GET, .asked = asked, .said = said, .status = status, .fields = f,
                               .asked_ms = 1000, .received_ms = 3000};
    struct cache_terms t;
    enum cache_use use;

    if (cache_fresh_terms(&t, &x, &none) != NULL)
        return;
    MUST(!cc_has(said, CC_NO_STORE) || cc_has(said, CC_MUST_UNDERSTAND));
    MUST(!cc_has(said, CC_PRIVATE) || said->private_names.n > 0);
    MUST(t.lifetime <= CC_FOREVER && t.initial_age <= CC_FOREVER && t.stale_if_error <= CC_FOREVER);
    use = cache_fresh_use(&t, asked, false, 5000);
    if ((t.flags & TERMS_NO_CACHE) != 0 || cc_has(asked, CC_NO_CACHE))
        MUST(use == USE_REFRESH && !cache_fresh_covers(&t, asked, 5000));
    if ((t.flags & TERMS_REVALIDATE) != 0)
        MUST(use == USE_REFRESH || use == USE_FRESH);
    MUST(use != USE_FRESH || t.lifetime > cache_fresh_age(&t, 5000));
}

static void
sound_date(struct str s)
{
    int64_t at = cache_fresh_date(s);
    time_t seconds = (time_t)at;
    struct tm tm;
    char text[64];
    size_t n;

    MUST(at >= -1);
    if (at < 0)
        return;
    gmtime_r(&seconds, &tm);
    n = strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (tm.tm_year + 1900 <= 9999)
        MUST(cache_fresh_date((struct str){text, n}) == at);
}

/* Each line that can be a value, in memory of its own. */
static void
lines(struct fields *f, struct arena *a, const uint8_t *data, size_t n, struct str name)
{
    struct str rest = {(const char *)data, n};

    for (int i = 0; i < LINES_MOST && rest.n > 0; i++) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        char *p;

        sound_date(line);
        if (!field_is_value(line))
            continue;
        p = malloc(line.n > 0 ? line.n : 1);
        if (line.n > 0)
            memcpy(p, line.p, line.n);
        arena_cleanup(a, free, p);
        fields_add(f, name, (struct str){p, line.n});
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new();
    struct cache_control asked, said;
    struct fields f;
    int status = 200;

    fields_init(&f, a);
    if (n >= 2) {
        struct str name = names[data[0] % 4];

        scan_init(data[1] % 3);
        status = data[1] & 0x80 ? 206 : data[1] & 0x40 ? 299 : 200;
        lines(&f, a, data + 2, n - 2, name);
        cache_control_response(&said, &f, a);
        if (str_eq(name, names[0]))
            same_in_one_line(&said, &f, a);
        for (size_t i = 0; i < f.n; i += 5)
            fields_add(&f, STR("Age"), f.v[i].value);
        for (size_t i = 1; i < f.n; i += 7)
            fields_add(&f, i % 2 == 0 ? STR("Expires") : STR("Last-Modified"), f.v[i].value);
    }
    cache_control_request(&asked, &f, a);
    cache_control_response(&said, &f, a);
    sound(&asked);
    sound(&said);
    sound_terms(&asked, &said, &f, status);
    arena_free(a);
    return 0;
}
