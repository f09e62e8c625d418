/*
 * It alone knows the arithmetic of RFC 9111: which responses may be stored, how old one is, and how long it is fresh.
 *
 * Seconds are whole ones, as all the fields have them; where the RFC leaves a choice it takes the one that serves less.
 * No time is negative or beyond CC_FOREVER, so no sum of a few of them overflows.
 */
#include "modules/cache_fresh.h"

#include "worker/base/clock.h"

#define HEURISTIC_MOST 86400    /* RFC 9111 4.2.2 leaves it to us: a day at most */
#define FUTURE_MS 60000         /* how far the wall clock may have been set back before nothing is believed */

static int64_t
bound(int64_t seconds)
{
    return seconds < 0 ? 0 : seconds > CC_FOREVER ? CC_FOREVER : seconds;
}

/* Seconds, rounded up: what somebody asked for is not nothing. */
static int64_t
of_ms(int64_t ms)
{
    return bound((ms + 999) / 1000);
}

/* What the policy says of that status; -1: nothing. */
static int64_t
default_lifetime(const struct cache_defaults *d, int status)
{
    for (size_t i = 0; i < d->ttl.n; i++)
        if (d->ttl.v[i].status == status)
            return of_ms(d->ttl.v[i].ms);
    return -1;
}

/* RFC 9110 15.1, but for 206 */
static bool
heuristic(int status)
{
    static const int16_t known[] = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i] == status)
            return true;
    return false;
}

/* Statuses of RFC 9110 15 whose caching asks for nothing but what this file does: must-understand is about these. */
static bool
understood(int status)
{
    return (status >= 200 && status <= 205) || (status >= 300 && status <= 303) || status == 307 || status == 308 ||
           (status >= 400 && status <= 411) || (status >= 413 && status <= 415) || status == 417 || status == 421 ||
           status == 422 || status == 426 || (status >= 500 && status <= 505);
}

bool
cache_fresh_blames(int status)
{
    static const int statuses[] = {
        400, 401, 403, 406, 407, 408, 411, 412, 413, 415, 416, 417, 418, 421,
        422, 425, 426, 428, 429, 431,
    };

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i] == status)
            return true;
    return false;
}

/*
 * That one client's request was malformed, too large, too slow or too often: whatever the origin says of it, stored it
 * would be everyone's answer. Only ttl can want that.
 */
static bool
is_nonsense(int status)
{
    return status == 400 || status == 408 || status == 411 || status == 413 || status == 417 || status == 425;
}

/*
 * What is no whole response (226, 304), may not be stored by any cache (428, 429, 431, 511: RFC 6585), or answers a
 * part of the request that isn't in the key.
 */
static bool
is_never(int status)
{
    static const int statuses[] = {226, 304, 407, 412, 415, 416, 421, 426, 428, 429, 431, 511};

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (statuses[i] == status)
            return true;
    return false;
}

bool
cache_fresh_never(int status)
{
    return status == 206 || is_never(status);
}

/* 206 has a word of its own. */
static const char *
refuse_status(int status, const struct cache_defaults *d)
{
    if (status == 206)
        return "partial";
    if (is_nonsense(status) && default_lifetime(d, status) < 0)
        return "status";
    return status < 200 || status > 599 || is_never(status) ? "status" : NULL;
}

/* RFC 9111 3.5 */
static bool
is_for_authorized(const struct cache_control *said)
{
    return cc_has(said, CC_PUBLIC) || cc_has(said, CC_MUST_REVALIDATE) || cc_has(said, CC_S_MAXAGE);
}

/* RFC 9111 4.1: what varies by everything never matches again. */
static bool
varies_by_all(const struct fields *f)
{
    for (size_t i = 0; i < f->n; i++) {
        struct str list = f->v[i].value, name;

        if (f->v[i].gone || !str_ieq(f->v[i].name, STR("Vary")))
            continue;
        while (str_list_next(&list, &name))
            if (str_eq(name, STR("*")))
                return true;
    }
    return false;
}

/*
 * Fields that are to be left out may be those by which the content is read: without Content-Encoding, coded bytes would
 * go out as plain ones, and be encoded as such.
 */
static bool
leaves_out_its_reading(const struct str_list *left_out, const struct fields *f)
{
    static const struct str reading[] = {{"content-encoding", 16}, {"content-type", 12}, {"vary", 4}};

    for (size_t i = 0; i < left_out->n; i++)
        for (size_t j = 0; j < sizeof(reading) / sizeof(reading[0]); j++)
            if (str_ieq(left_out->v[i], reading[j]) && fields_find(f, reading[j]) != NULL)
                return true;
    return false;
}

/* RFC 9111 3: what forbids it, whatever is said of freshness. NULL: nothing does. */
static const char *
refuse(const struct cache_exchange *x, const struct cache_defaults *d)
{
    const char *why = refuse_status(x->status, d);
    bool must_understand = cc_has(x->said, CC_MUST_UNDERSTAND);

    if (x->method != METHOD_GET)
        return "method";
    if (why != NULL)
        return why;
    if (must_understand && !understood(x->status))
        return "status";
    /* 5.2.2.3: who understands the status goes by what else is said */
    if (cc_has(x->asked, CC_NO_STORE) || (cc_has(x->said, CC_NO_STORE) && !must_understand))
        return "no-store";
    if (cc_has(x->said, CC_PRIVATE) && x->said->private_names.n == 0)
        return "private";
    if (leaves_out_its_reading(&x->said->private_names, x->fields))
        return "private";
    if (leaves_out_its_reading(&x->said->no_cache_names, x->fields))
        return "no-cache";
    if (x->authorization && !is_for_authorized(x->said))
        return "authorization";
    if (!d->set_cookie && fields_find(x->fields, STR("Set-Cookie")) != NULL)
        return "set-cookie";
    return varies_by_all(x->fields) ? "vary" : NULL;
}

/* The first of that name; *n: how many there are. */
static const struct field *
find(const struct fields *f, struct str name, size_t *n)
{
    const struct field *first = NULL;

    *n = 0;
    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].gone && str_ieq(f->v[i].name, name)) {
            if (++*n == 1)
                first = &f->v[i];
        }
    return first;
}

/* The date of a field that stands there once; -1: it doesn't, or it is none. */
static int64_t
date(const struct fields *f, struct str name)
{
    size_t n;
    const struct field *field = find(f, name, &n);

    return n == 1 ? cache_fresh_date(field->value) : -1;
}

/* RFC 9110 6.6.1: a response without a date is of when it came. */
static int64_t
origin_date(const struct cache_exchange *x)
{
    int64_t at = date(x->fields, STR("Date"));

    return at >= 0 ? at : x->received_ms / 1000;
}

/* RFC 9111 5.1: of a list the first; what is no number is ignored. */
static int64_t
said_age(const struct fields *f)
{
    const struct field *field = fields_find(f, STR("Age"));
    struct str list = field != NULL ? field->value : STR_NONE, first;
    int64_t age = 0;

    if (!str_list_next(&list, &first))
        return 0;
    for (size_t i = 0; i < first.n; i++) {
        if (first.p[i] < '0' || first.p[i] > '9')
            return 0;
        age = bound(age * 10 + (first.p[i] - '0'));
    }
    return age;
}

/* RFC 9111 4.2.3: corrected_initial_age */
static int64_t
initial_age(const struct cache_exchange *x)
{
    int64_t apparent = bound(x->received_ms / 1000 - origin_date(x));
    int64_t delay = bound((x->received_ms - x->asked_ms) / 1000);
    int64_t corrected = bound(said_age(x->fields) + delay);

    return apparent > corrected ? apparent : corrected;
}

/* RFC 9111 4.2.1 and 5.3: what the origin says, and it alone; -1: nothing. */
static int64_t
said_lifetime(const struct cache_exchange *x)
{
    size_t expires;
    const struct field *field;
    int64_t at;

    if (cc_has(x->said, CC_S_MAXAGE))
        return x->said->seconds[CC_S_MAXAGE];
    if (cc_has(x->said, CC_MAX_AGE))
        return x->said->seconds[CC_MAX_AGE];
    field = find(x->fields, STR("Expires"), &expires);
    if (expires == 0 || x->said->targeted)
        return -1;
    at = expires == 1 ? cache_fresh_date(field->value) : -1;
    return at < 0 ? 0 : bound(at - origin_date(x));
}

/* RFC 9111 4.2.2; -1: there is nothing to guess from. */
static int64_t
guess(const struct cache_exchange *x)
{
    int64_t modified = date(x->fields, STR("Last-Modified")), tenth;

    if (modified < 0)
        return -1;
    tenth = bound((origin_date(x) - modified) / 10);
    return tenth < HEURISTIC_MOST ? tenth : HEURISTIC_MOST;
}

/* Whether the response speaks of being stored, though not of for how long. */
static bool
speaks(const struct cache_control *said)
{
    return cc_has(said, CC_NO_CACHE) || cc_has(said, CC_PUBLIC) || cc_has(said, CC_MUST_REVALIDATE) ||
           cc_has(said, CC_PROXY_REVALIDATE) || cc_has(said, CC_PRIVATE);
}

/* NULL: the lifetime is set. */
static const char *
set_lifetime(struct cache_terms *t, const struct cache_exchange *x, const struct cache_defaults *d)
{
    int64_t lifetime = said_lifetime(x);

    if (lifetime < 0)
        lifetime = default_lifetime(d, x->status);
    if (lifetime < 0) {
        if (!heuristic(x->status) && !cc_has(x->said, CC_PUBLIC))
            return "status";
        lifetime = guess(x);
        if (lifetime < 0 && !speaks(x->said))
            return "no-lifetime";
        if (lifetime >= 0)
            t->flags |= TERMS_HEURISTIC;
    }
    t->lifetime = (uint32_t)bound(lifetime);
    return NULL;
}

static uint16_t
flags(const struct cache_control *said)
{
    uint16_t f = 0;

    if (cc_has(said, CC_NO_CACHE) && said->no_cache_names.n == 0)
        f |= TERMS_NO_CACHE;
    /* 5.2.2.10: s-maxage is proxy-revalidate too */
    if (cc_has(said, CC_MUST_REVALIDATE) || cc_has(said, CC_PROXY_REVALIDATE) || cc_has(said, CC_S_MAXAGE))
        f |= TERMS_REVALIDATE;
    if (is_for_authorized(said))
        f |= TERMS_AUTHORIZED;
    if (cc_has(said, CC_IMMUTABLE))
        f |= TERMS_IMMUTABLE;
    return f;
}

/* RFC 5861; RFC 9111 4.2.4: never against what the origin says. */
static void
set_windows(struct cache_terms *t, const struct cache_control *said, const struct cache_defaults *d)
{
    int64_t revalidate = of_ms(d->stale_while_revalidate), error = of_ms(d->stale_if_error);

    if ((t->flags & (TERMS_NO_CACHE | TERMS_REVALIDATE)) != 0)
        return;
    if (cc_has(said, CC_STALE_WHILE_REVALIDATE))
        revalidate = said->seconds[CC_STALE_WHILE_REVALIDATE];
    if (cc_has(said, CC_STALE_IF_ERROR))
        error = said->seconds[CC_STALE_IF_ERROR];
    t->stale_while_revalidate = (uint32_t)revalidate;
    t->stale_if_error = (uint32_t)error;
}

static bool
has_validator(const struct fields *f)
{
    const struct field *etag = fields_find(f, STR("ETag"));

    return (etag != NULL && etag->value.n > 0) || date(f, STR("Last-Modified")) >= 0;
}

/* Without a validator: whether it can ever be used. */
static const char *
refuse_useless(const struct cache_terms *t)
{
    uint32_t window = t->stale_while_revalidate;

    if ((t->flags & TERMS_NO_CACHE) != 0)
        return "no-cache";
    if (t->stale_if_error > window)
        window = t->stale_if_error;
    return t->initial_age >= (int64_t)t->lifetime + window ? "expired" : NULL;
}

const char *
cache_fresh_terms(struct cache_terms *t, const struct cache_exchange *x, const struct cache_defaults *d)
{
    const char *why = refuse(x, d);

    if (why != NULL)
        return why;
    *t = (struct cache_terms){.received_ms = x->received_ms, .status = (uint16_t)x->status, .flags = flags(x->said)};
    why = set_lifetime(t, x, d);
    if (why != NULL)
        return why;
    if (fields_find(x->fields, STR("Weir-Cache-Control")) != NULL && x->said->targeted)
        t->flags |= TERMS_OWN;
    t->initial_age = (uint32_t)initial_age(x);
    set_windows(t, x->said, d);
    return has_validator(x->fields) ? NULL : refuse_useless(t);
}

int64_t
cache_fresh_age(const struct cache_terms *t, int64_t now_ms)
{
    int64_t resident = now_ms - t->received_ms;

    /* the clock was set back, or the file is of another one: nobody knows how old it is */
    if (resident < -FUTURE_MS)
        return CC_FOREVER;
    return bound(t->initial_age + bound(resident / 1000));
}

/*
 * RFC 9111 5.2.1: what the client asks of the age; max-age and min-fresh also without a stale one.
 *
 * RFC 8246 2.1: what is immutable and fresh is not validated by a proxy, but where the client signals that it has to
 * be. no-cache, which a forced reload sends, is that signal. The max-age=0 of a plain reload is what the directive was
 * made to end, and RFC 9111 5.2.1 lets a cache leave it aside. Any other max-age is a wish of its own, and heeded.
 */
static bool
client_refuses(const struct cache_terms *t, const struct cache_control *asked, bool fresh, int64_t age)
{
    bool reload = cc_has(asked, CC_MAX_AGE) && asked->seconds[CC_MAX_AGE] == 0;

    if (cc_has(asked, CC_NO_CACHE))
        return true;
    if (cc_has(asked, CC_MAX_AGE) && age > asked->seconds[CC_MAX_AGE] &&
        !(fresh && reload && (t->flags & TERMS_IMMUTABLE) != 0))
        return true;
    return cc_has(asked, CC_MIN_FRESH) && age + asked->seconds[CC_MIN_FRESH] > t->lifetime;
}

/* The client says how stale is too stale, and no window goes beyond. max-age alone: not at all (RFC 9111 5.2.1.1). */
static bool
client_takes_stale(const struct cache_control *asked, int64_t staleness)
{
    if (cc_has(asked, CC_MAX_STALE))
        return staleness <= asked->seconds[CC_MAX_STALE];
    return !cc_has(asked, CC_MAX_AGE) && !cc_has(asked, CC_MIN_FRESH);
}

/* How long it has been stale. */
static int64_t
stale_for(const struct cache_terms *t, int64_t age)
{
    return age > t->lifetime ? age - t->lifetime : 0;
}

enum cache_use
cache_fresh_use(const struct cache_terms *t, const struct cache_control *asked, bool soft, int64_t now_ms)
{
    int64_t age = cache_fresh_age(t, now_ms), staleness = stale_for(t, age);
    bool fresh = !soft && age < t->lifetime;

    if ((t->flags & TERMS_NO_CACHE) != 0 || client_refuses(t, asked, fresh, age))
        return USE_REFRESH;
    if (fresh)
        return USE_FRESH;
    if ((t->flags & TERMS_REVALIDATE) != 0 || !client_takes_stale(asked, staleness))
        return USE_REFRESH;
    if (staleness < t->stale_while_revalidate)
        return USE_WHILE;
    return cc_has(asked, CC_MAX_STALE) ? USE_STALE : USE_REFRESH;
}

/* RFC 5861 4: "regardless of other freshness information", so a client's max-age and min-fresh are no matter; but its
 * no-cache wants the origin's own answer. */
bool
cache_fresh_covers(const struct cache_terms *t, const struct cache_control *asked, int64_t now_ms)
{
    int64_t staleness = stale_for(t, cache_fresh_age(t, now_ms));

    if ((t->flags & (TERMS_NO_CACHE | TERMS_REVALIDATE)) != 0 || cc_has(asked, CC_NO_CACHE))
        return false;
    return staleness < t->stale_if_error ||
           (cc_has(asked, CC_STALE_IF_ERROR) && staleness < asked->seconds[CC_STALE_IF_ERROR]) ||
           (cc_has(asked, CC_MAX_STALE) && staleness <= asked->seconds[CC_MAX_STALE]);
}

/* A date as it is read, from the left; a step that fails makes `good` false and reads on to no harm. */
struct reading {
    struct str rest;
    bool good;
};

/* RFC 9111 4.2: a cache doesn't mind the case of letters. */
static bool
stands(const struct reading *r, struct str want)
{
    return r->rest.n >= want.n && str_ieq((struct str){r->rest.p, want.n}, want);
}

static void
text(struct reading *r, struct str want)
{
    if (!stands(r, want)) {
        *r = (struct reading){STR_NONE, false};
        return;
    }
    r->rest = (struct str){r->rest.p + want.n, r->rest.n - want.n};
}

static int
number(struct reading *r, size_t digits)
{
    long long value = r->rest.n >= digits ? str_decimal((struct str){r->rest.p, digits}) : -1;

    if (value < 0) {
        *r = (struct reading){STR_NONE, false};
        return 0;
    }
    r->rest = (struct str){r->rest.p + digits, r->rest.n - digits};
    return (int)value;
}

/* Which of the words stands there, from 0. */
static int
word(struct reading *r, const struct str *words, int n)
{
    for (int i = 0; i < n; i++)
        if (stands(r, words[i])) {
            text(r, words[i]);
            return i;
        }
    *r = (struct reading){STR_NONE, false};
    return 0;
}

#define WORD(text) {text, sizeof(text) - 1}
static const struct str days[] = {WORD("Mon"), WORD("Tue"), WORD("Wed"), WORD("Thu"), WORD("Fri"), WORD("Sat"),
                                  WORD("Sun")};
static const struct str long_days[] = {WORD("Monday"), WORD("Tuesday"), WORD("Wednesday"), WORD("Thursday"),
                                       WORD("Friday"), WORD("Saturday"), WORD("Sunday")};
static const struct str months[] = {WORD("Jan"), WORD("Feb"), WORD("Mar"), WORD("Apr"), WORD("May"), WORD("Jun"),
                                    WORD("Jul"), WORD("Aug"), WORD("Sep"), WORD("Oct"), WORD("Nov"), WORD("Dec")};
#undef WORD

struct moment {
    int year, month, day;       /* month from 0 */
    int hour, minute, second;
};

static bool
is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int
month_days(int year, int month)
{
    static const int8_t n[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return n[month] + (month == 1 && is_leap(year));
}

/* 23:59:60 is a time there is (RFC 9110 5.6.7). */
static bool
exists(const struct moment *m)
{
    return m->day >= 1 && m->day <= month_days(m->year, m->month) && m->hour < 24 && m->minute < 60 && m->second <= 60;
}

/* What is before 1970 is all one. */
static int64_t
since_1970(const struct moment *m)
{
    int64_t year = m->year - 1, n;

    if (m->year < 1970)
        return 0;
    n = year * 365 + year / 4 - year / 100 + year / 400 - 719162 + m->day - 1;
    for (int i = 0; i < m->month; i++)
        n += month_days(m->year, i);
    return ((n * 24 + m->hour) * 60 + m->minute) * 60 + m->second;
}

static void
time_of_day(struct reading *r, struct moment *m)
{
    m->hour = number(r, 2);
    text(r, STR(":"));
    m->minute = number(r, 2);
    text(r, STR(":"));
    m->second = number(r, 2);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static void
read_imf(struct reading *r, struct moment *m)
{
    word(r, days, 7);
    text(r, STR(", "));
    m->day = number(r, 2);
    text(r, STR(" "));
    m->month = word(r, months, 12);
    text(r, STR(" "));
    m->year = number(r, 4);
    text(r, STR(" "));
    time_of_day(r, m);
    text(r, STR(" GMT"));
}

/* RFC 9110 5.6.7: the last year with these two digits that is not more than 50 years ahead, to the second. */
static void
find_century(struct moment *m)
{
    int64_t seconds = clock_wall_ms() / 1000;
    time_t now = (time_t)seconds;
    struct moment limit;
    struct tm tm;

    gmtime_r(&now, &tm);
    limit = (struct moment){tm.tm_year + 1900 + 50, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec};
    m->year += (limit.year - m->year) / 100 * 100;
    if (m->year >= 100 && since_1970(m) > since_1970(&limit))
        m->year -= 100;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT" */
static void
read_rfc850(struct reading *r, struct moment *m)
{
    word(r, long_days, 7);
    text(r, STR(", "));
    m->day = number(r, 2);
    text(r, STR("-"));
    m->month = word(r, months, 12);
    text(r, STR("-"));
    m->year = number(r, 2);
    text(r, STR(" "));
    time_of_day(r, m);
    text(r, STR(" GMT"));
    find_century(m);
}

/* "Sun Nov  6 08:49:37 1994" */
static void
read_asctime(struct reading *r, struct moment *m)
{
    bool padded;

    word(r, days, 7);
    text(r, STR(" "));
    m->month = word(r, months, 12);
    text(r, STR(" "));
    padded = stands(r, STR(" "));
    if (padded)
        text(r, STR(" "));
    m->day = number(r, padded ? 1 : 2);
    text(r, STR(" "));
    time_of_day(r, m);
    text(r, STR(" "));
    m->year = number(r, 4);
}

int64_t
cache_fresh_date(struct str s)
{
    static void (*const forms[])(struct reading *, struct moment *) = {read_imf, read_rfc850, read_asctime};

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct reading r = {s, true};
        struct moment m;

        forms[i](&r, &m);
        if (r.good && r.rest.n == 0)
            return exists(&m) ? since_1970(&m) : -1;
    }
    return -1;
}
