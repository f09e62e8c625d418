/*
 * Which names are asked for and when, and what is published of the answers. Each name is asked once, however
 * many servers have it.
 *
 * What is published says when the name is asked again (expires_ms) and how often it failed, so whoever
 * takes the lease over goes on where the last one was.
 *
 * A lookup is RESTING with its timer set, QUEUED, or ASKING; at most AT_ONCE are ASKING.
 */
#include "worker/upstream/resolve.h"

#include <stdlib.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/loop.h"
#include "worker/state.h"
#include "worker/upstream/dns.h"

#define AT_ONCE 256             /* c-ares asks them over one socket; one without an answer takes its time */
#define AGAIN_MS 1000           /* after the first failure; doubling */
#define AGAIN_MOST 30000
#define DOUBLE_MOST 5           /* times */

struct lookup {
    const char *name;
    unsigned health;            /* its entry in the health segment */
    enum { RESTING, QUEUED, ASKING } state;
    struct timer timer;
    struct lookup *next_queued;
    int other;                  /* the family that is asked for by itself; 0: both are */
    struct dns_answer answer;   /* with `other`: the addresses of the one that was answered */
};

static struct lookup *lookups;  /* of this process, made once */
static size_t lookup_count;
static struct lookup *queue, **queue_end = &queue;
static struct task next_ones;
static unsigned asking;

/* --- the log --- */

static struct str
list(struct arena *a, const struct health_address *v, unsigned n)
{
    struct str text = STR_NONE;

    for (unsigned i = 0; i < n; i++) {
        struct ip ip = {.family = v[i].family};
        char buf[64];
        size_t length;

        memcpy(ip.b, v[i].b, sizeof(ip.b));
        length = ip_format(&ip, buf);
        text = arena_printf(a, "%.*s%s%.*s", STR_ARG(text), i > 0 ? ", " : "", (int)length, buf);
    }
    return text;
}

static bool
is_same(const struct health_name *a, const struct health_name *b)
{
    return a->n == b->n && memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0;
}

static void
say_news(const struct lookup *l, const struct health_name *before, const struct health_name *now)
{
    struct arena *a = arena_new();
    struct str old = list(a, before->v, before->n), new = list(a, now->v, now->n);

    if (before->failures > 0)
        log_notice("name %s resolves again: %.*s", l->name, STR_ARG(new));
    else if (before->n == 0)
        log_info("name %s: %.*s", l->name, STR_ARG(new));
    else if (!is_same(before, now))
        log_notice("name %s has other addresses: %.*s (before: %.*s)", l->name, STR_ARG(new), STR_ARG(old));
    arena_free(a);
}

static void
say_failure(const struct lookup *l, const struct health_name *before, const char *why)
{
    if (before->failures > 0)
        return;
    log_warning("name %s does not resolve: %s; %s", l->name, why,
                before->n > 0 ? "its last addresses stay" : "its servers are down");
}

/* --- answers --- */

static void
rest(struct lookup *l, int64_t ms)
{
    l->state = RESTING;
    timer_set(&l->timer, ms);
}

static void
publish(struct lookup *l, const struct health_name *name)
{
    health_publish_name(worker.health, l->health, name);
    rest(l, (int64_t)name->expires_ms - clock_ms());
}

static void
succeed(struct lookup *l, const struct health_name *before, const struct dns_answer *answer)
{
    struct health_name now = {.expires_ms = (uint64_t)(clock_ms() + answer->ttl_ms), .n = answer->n};

    memcpy(now.v, answer->v, answer->n * sizeof(*now.v));
    say_news(l, before, &now);
    publish(l, &now);
}

static void
fail(struct lookup *l, const struct health_name *before, const char *why)
{
    struct health_name now = *before;
    int64_t again = before->failures < DOUBLE_MOST ? AGAIN_MS << before->failures : AGAIN_MOST;

    say_failure(l, before, why);
    if (now.failures < UINT32_MAX)
        now.failures++;
    now.expires_ms = (uint64_t)(clock_ms() + again);
    publish(l, &now);
}

/* Nothing is known: none. */
static void
read_last(const struct lookup *l, struct health_name *last)
{
    if (!health_read_name(worker.health, l->health, last))
        memset(last, 0, sizeof(*last));
}

static bool
has_family(const struct health_address *v, unsigned n, int family)
{
    for (unsigned i = 0; i < n; i++)
        if (v[i].family == family)
            return true;
    return false;
}

/* The family that the name had before and has no more by this answer; 0: none. */
static int
missing(const struct health_name *before, const struct dns_answer *answer)
{
    static const int families[] = {AF_INET, AF_INET6};

    for (unsigned i = 0; i < 2; i++)
        if (has_family(before->v, before->n, families[i]) && !has_family(answer->v, answer->n, families[i]))
            return families[i];
    return 0;
}

static void
enqueue(struct lookup *l)
{
    l->state = QUEUED;
    l->next_queued = NULL;
    *queue_end = l;
    queue_end = &l->next_queued;
    loop_post(&next_ones);
}

/*
 * An answer for both families is good where one of the two questions failed. So before the addresses of
 * a family are let go it is asked for by itself: they may be there still.
 */
static void
done(void *data, const struct dns_answer *answer)
{
    struct lookup *l = data;
    struct health_name before;

    asking--;
    read_last(l, &before);
    if (answer->error != NULL) {
        fail(l, &before, answer->error);
    } else if ((l->other = missing(&before, answer)) != 0) {
        l->answer = *answer;
        enqueue(l);
    } else {
        succeed(l, &before, answer);
    }
    if (queue != NULL)
        loop_post(&next_ones);
}

/* Its addresses are added; where the question failed, the last ones stay. */
static void
done_other(void *data, const struct dns_answer *answer)
{
    struct lookup *l = data;
    struct dns_answer *both = &l->answer;
    struct health_name before;

    asking--;
    read_last(l, &before);
    for (unsigned i = 0; i < answer->n; i++)
        dns_add(both, &answer->v[i]);
    if (answer->error == NULL && answer->ttl_ms < both->ttl_ms)
        both->ttl_ms = answer->ttl_ms;
    if (answer->error != NULL && !answer->none) {
        for (unsigned i = 0; i < before.n; i++)
            if (before.v[i].family == l->other)
                dns_add(both, &before.v[i]);
        if (both->ttl_ms > AGAIN_MOST)
            both->ttl_ms = AGAIN_MOST;
    }
    l->other = 0;
    succeed(l, &before, both);
    if (queue != NULL)
        loop_post(&next_ones);
}

/* --- questions --- */

static void
ask_queued(struct task *t)
{
    (void)t;
    while (queue != NULL && asking < AT_ONCE) {
        struct lookup *l = queue;

        queue = l->next_queued;
        if (queue == NULL)
            queue_end = &queue;
        l->state = ASKING;
        asking++;
        if (l->other != 0)
            dns_ask(l->name, l->other, done_other, l);
        else
            dns_ask(l->name, AF_UNSPEC, done, l);
    }
}

static void
fire(struct timer *t)
{
    enqueue((struct lookup *)((char *)t - offsetof(struct lookup, timer)));
}

/* --- which names there are --- */

static int
compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Each name once, sorted: server.name has a NUL behind it only where no trailing dot was cut off. */
static void
make_lookups(const struct conf *conf)
{
    const char **names = xcalloc(conf->server_count + 1, sizeof(*names));
    size_t n = 0;

    for (size_t i = 0; i < conf->upstream_count; i++)
        for (size_t j = 0; j < conf->upstreams[i].server_count; j++)
            if (conf->upstreams[i].servers[j].name.n > 0)
                names[n++] = arena_cstr(conf->arena, conf->upstreams[i].servers[j].name);
    qsort(names, n, sizeof(*names), compare);
    lookups = xcalloc(n + 1, sizeof(*lookups));
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0)
            continue;
        lookups[lookup_count].timer.fire = fire;
        lookups[lookup_count++].name = names[i];
    }
    free(names);
    next_ones.run = ask_queued;
    dns_init(conf->resolver);
}

/* At once, but for what has an answer, or a failure, whose time is not over. */
static void
schedule(struct lookup *l)
{
    uint64_t now = (uint64_t)clock_ms();
    struct health_name last;

    l->health = health_find_name(worker.health, l->name, strlen(l->name), now);
    if (l->health == 0) {
        log_warning("name %s is not looked up: there are too many names", l->name);
        return;
    }
    read_last(l, &last);
    /* whoever wrote that time, it is no longer than any that counts */
    rest(l, last.version == 0 || last.expires_ms <= now       ? 0
            : last.expires_ms - now < (uint64_t)DNS_TTL_MOST ? (int64_t)(last.expires_ms - now)
                                                              : DNS_TTL_MOST);
}

void
resolve_start(void)
{
    if (lookups == NULL)
        make_lookups(worker.conf);
    for (size_t i = 0; i < lookup_count; i++)
        schedule(&lookups[i]);
}

void
resolve_stop(void)
{
    dns_close();
    loop_unpost(&next_ones);
    queue = NULL;
    queue_end = &queue;
    asking = 0;
    for (size_t i = 0; i < lookup_count; i++) {
        timer_stop(&lookups[i].timer);
        lookups[i].state = RESTING;
        lookups[i].other = 0;
    }
}
