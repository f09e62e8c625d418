/*
 * rate_limit: 429 for requests beyond a rate. It knows what a bucket is called: by the place where the limit is
 * written and the value of its key, so that it is the same one for all workers and after a reload; the table of
 * buckets is shm/limits.h. Each is a GCRA of `burst` requests that gains one each interval.
 *
 * The fields of a refusal are those of draft-ietf-httpapi-ratelimit-headers-10: all limits of the list in
 * RateLimit-Policy, the one that refused in RateLimit. No `pk`: a client isn't told what it is known by. Responses
 * of requests that pass carry neither, which the draft leaves open (section 5): they would cost bytes for all.
 */
#include "worker/answer.h"
#include "worker/base/clock.h"
#include "worker/count.h"
#include "worker/module.h"
#include "worker/request.h"
#include "worker/state.h"
#include "worker/template.h"
#include "worker/trace.h"

#define SECOND UINT64_C(1000000000)
#define YEAR (365 * 86400 * SECOND)
#define BURST_MOST INT64_C(1000000000)
#define LIMITS_MOST 16          /* in a list: what one request looks up */
#define KEY_TOLD 200            /* bytes of a key that are told to weir -T */

/* As it is written. */
struct limit {
    struct rate rate;
    int64_t burst;              /* 0: not given */
    struct template *key;
    int line;
};

/* As it is used. */
struct bucket {
    struct str place;
    struct digest at;           /* of the place, in a worker: its table, and the table's key, stay what they are */
    bool placed;
    struct str name;            /* "10/s", and "10/s-2" where one before it in the list has that rate too */
    struct template *key;
    uint64_t interval_ns;
    uint64_t burst;
    int line;
};

struct ratelimit {
    struct key_array list;      /* of struct limit */
    struct bucket *buckets;
    struct str policy;          /* RateLimit-Policy */
};

/* Rounded up, so that the rate is kept, if not by a hair: at 3/s a request is lost in three years. */
static uint64_t
interval_of(const struct rate *rate)
{
    uint64_t ns = (uint64_t)rate->per_ms * 1000000, count = (uint64_t)rate->count;

    return (ns + count - 1) / count;
}

static uint64_t
seconds(uint64_t ns)
{
    return ns > SECOND ? (ns + SECOND - 1) / SECOND : 1;
}

/* What comes in a second. */
static uint64_t
default_burst(const struct rate *rate)
{
    uint64_t n = (uint64_t)rate->count * 1000 / (uint64_t)rate->per_ms;

    return n > 0 ? n : 1;
}

static struct str
name_of(const struct limit *limits, size_t i, struct arena *a)
{
    const struct rate *rate = &limits[i].rate;
    const char *unit = rate->per_ms == 1000 ? "s" : rate->per_ms == 60000 ? "m" : "h";
    unsigned before = 1;

    for (size_t j = 0; j < i; j++)
        before += limits[j].rate.count == rate->count && limits[j].rate.per_ms == rate->per_ms;
    return before == 1 ? arena_printf(a, "%lld/%s", (long long)rate->count, unit)
                       : arena_printf(a, "%lld/%s-%u", (long long)rate->count, unit, before);
}

static void
fill(struct ready *ready, struct bucket *b, const struct limit *limits, size_t i)
{
    const struct limit *l = &limits[i];

    b->place = arena_printf(ready->arena, "%.*s\n%zu", STR_ARG(ready->place), i);
    b->name = name_of(limits, i, ready->arena);
    b->key = l->key;
    b->interval_ns = interval_of(&l->rate);
    b->burst = l->burst > 0 ? (uint64_t)l->burst : default_burst(&l->rate);
    b->line = l->line;
    if (b->burst > YEAR / b->interval_ns)
        ready->error(ready, "at %.*s a burst of %llu takes more than a year to come back", STR_ARG(b->name),
                     (unsigned long long)b->burst);
}

static void
make_ready(struct ready *ready, void *data)
{
    struct ratelimit *conf = data;
    size_t n = conf->list.n;

    if (n > LIMITS_MOST) {
        ready->error(ready, "more than %d limits", LIMITS_MOST);
        return;
    }
    conf->buckets = arena_zalloc(ready->arena, (n + 1) * sizeof(*conf->buckets));
    conf->policy = STR_NONE;
    for (size_t i = 0; i < n; i++) {
        struct bucket *b = &conf->buckets[i];

        fill(ready, b, conf->list.v, i);
        conf->policy = arena_printf(ready->arena, "%.*s%s\"%.*s\";q=%llu;w=%llu", STR_ARG(conf->policy),
                                    i > 0 ? ", " : "", STR_ARG(b->name), (unsigned long long)b->burst,
                                    (unsigned long long)seconds(b->burst * b->interval_ns));
    }
}

/* $client_ip is the client's network: else it would have a bucket for each of its addresses. */
static struct str
expand_key(const struct bucket *b, struct request *r)
{
    struct ip client = r->client;
    size_t n = ip_network(&client);
    struct str key;

    memset(r->client.b + n, 0, sizeof(r->client.b) - n);
    key = template_expand(b->key, r);
    r->client = client;
    return key;
}

static int
refuse(struct request *r, const struct ratelimit *conf, const struct bucket *b, const struct limits_verdict *v)
{
    unsigned long long after = seconds(v->wait_ns);
    struct fields *fields = &r->response.fields;

    trace(r, b->line, "refused by rate_limit %.*s", STR_ARG(b->name));
    count_rate_limited(r);
    answer_error(r, 429);
    fields_add(fields, STR("Retry-After"), arena_printf(r->arena, "%llu", after));
    fields_add(fields, STR("RateLimit-Policy"), conf->policy);
    fields_add(fields, STR("RateLimit"), arena_printf(r->arena, "\"%.*s\";r=%llu;t=%llu", STR_ARG(b->name),
                                                      (unsigned long long)v->remaining, after));
    return HOOK_ANSWER;
}

/* weir -T has no table. */
static void
tell(struct request *r, const struct bucket *b, struct str key)
{
    if (key.n == 0)
        trace(r, b->line, "rate_limit %.*s: not counted, its key is empty", STR_ARG(b->name));
    else
        trace(r, b->line, "rate_limit %.*s, burst %llu: would count against the bucket of `%.*s`", STR_ARG(b->name),
              (unsigned long long)b->burst, (int)(key.n < KEY_TOLD ? key.n : KEY_TOLD), key.p);
}

static uint64_t
digest_of(struct bucket *b, struct str key)
{
    if (!b->placed)
        b->at = limits_place(worker.limits, b->place.p, b->place.n);
    b->placed = true;
    return limits_digest_at(&b->at, key.p, key.n);
}

/* What the limits before number n took. */
static void
give_back(const struct ratelimit *conf, const uint64_t *taken, size_t n, uint64_t now_ns)
{
    for (size_t i = 0; i < n; i++)
        if (taken[i] != 0)
            limits_give_back(worker.limits, taken[i], conf->buckets[i].interval_ns, now_ns);
}

static int
limit(struct request *r, const void *data)
{
    const struct ratelimit *conf = data;
    uint64_t taken[LIMITS_MOST] = {0}, now_ns = (uint64_t)clock_us() * 1000;

    for (size_t i = 0; i < conf->list.n; i++) {
        struct bucket *b = &conf->buckets[i];
        struct str key = expand_key(b, r);
        struct limits_verdict v;

        tell(r, b, key);
        if (key.n == 0 || worker.limits == NULL)
            continue;
        taken[i] = digest_of(b, key);
        v = limits_take(worker.limits, taken[i], b->interval_ns, b->burst, now_ns);
        if (!v.passes) {
            give_back(conf, taken, i, now_ns);
            return refuse(r, conf, b, &v);
        }
    }
    return HOOK_NEXT;
}

static const struct key keys[] = {
    {.name = "rate", .type = KEY_RATE, .offset = offsetof(struct limit, rate),
     .help = "how many requests come back to the bucket, and in what time"},
    {.name = "burst", .type = KEY_INT, .offset = offsetof(struct limit, burst), .def = "",
     .help = "requests that may come at once; default what the rate gives in a second, at least 1", .min = 1,
     .max = BURST_MOST},
    {.name = "key", .type = KEY_TEMPLATE, .offset = offsetof(struct limit, key), .def = "$client_ip",
     .help = "each value has a bucket of its own; an empty one is not limited", .early = true,
     .varies = true},
    {.name = NULL},
};

const struct module ratelimit_module = {
    .key = {.name = "rate_limit", .type = KEY_LIST, .offset = offsetof(struct ratelimit, list), .def = "",
            .help = "how many requests may come; beyond, 429", .levels = KEY_POLICY, .keys = keys,
            .size = sizeof(struct limit), .line = offsetof(struct limit, line) + 1},
    .conf_size = sizeof(struct ratelimit),
    .ready = make_ready,
    .hook = {[PHASE_GUARD] = limit},
};
