/*
 * Which certificates are asked about and when, and what is published. Each certificate is asked about once, however
 * many listeners have it.
 *
 * What is published says all that who takes the lease over has to know: the response itself is looked at again for
 * when it was made. A case is RESTING with its timer set, QUEUED, or ASKING; at most AT_ONCE are ASKING.
 */
#include "worker/tls/ocsp.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"
#include "worker/base/random.h"
#include "worker/state.h"
#include "worker/tls/ocsp_fetch.h"
#include "worker/tls/response.h"
#include "worker/tls/server.h"

#define AT_ONCE 8
#define AGAIN_MS 60000          /* after the first failure; doubling */
#define AGAIN_MOST 3600000
#define DOUBLE_MOST 6           /* times */
#define UNTIL_MOST (7 * 86400)  /* s; a response that is good for longer is not believed for longer */
#define LOOK_MS 3600000         /* how often at least it is looked whether what was published is there */
#define RENEW_LEAST 1000
#define TELL_MS (6 * 3600000)   /* how often a trouble that lasts is told */

struct ocsp_case {
    const struct tls_certificate *certificate;
    struct str path;            /* of the certificate, for messages */
    struct ocsp_url url;
    struct str request;
    enum { RESTING, QUEUED, ASKING } state;
    struct timer timer;
    struct ocsp_fetch fetch;
    struct ocsp_case *next_queued;
    int64_t due_ms;             /* clock_wall_ms: when it is asked about */
    unsigned failures;          /* in a row */
    struct log_pace pace;
    char told[OCSP_WHY_SIZE];   /* the trouble that was told last; empty: all is well */
};

static struct ocsp_case *cases; /* of this process, made once */
static size_t case_count;
static struct ocsp_case *queue, **queue_end = &queue;
static struct task next_ones;
static unsigned asking;

/* --- which certificates there are --- */

/* The URL of the first responder that can be asked: HTTP in the clear, as responses are signed. */
static bool
find_responder(const struct tls_certificate *t, struct ocsp_url *u, struct arena *a)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(t->leaf);
    bool found = false;

    for (int i = 0; !found && i < sk_OPENSSL_STRING_num(urls); i++)
        found = ocsp_url_parse(u, arena_copy(a, str_of(sk_OPENSSL_STRING_value(urls, i))), a);
    X509_email_free(urls);
    return found;
}

/* RFC 5019 2.1.1: one certificate, by SHA-1 as all responders know it, no nonce: it may be an answer made before. */
static struct str
make_request(const struct tls_certificate *t, struct arena *a)
{
    OCSP_REQUEST *request = OCSP_REQUEST_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, t->leaf, t->issuer);
    struct str der = STR_NONE;
    unsigned char *p = NULL;
    int n;

    if (request != NULL && id != NULL && OCSP_request_add0_id(request, id) != NULL) {
        n = i2d_OCSP_REQUEST(request, &p);
        if (n > 0)
            der = arena_copy(a, (struct str){(const char *)p, (size_t)n});
        OPENSSL_free(p);
    } else {
        OCSP_CERTID_free(id);
    }
    OCSP_REQUEST_free(request);
    ERR_clear_error();
    return der;
}

static bool
is_there(const struct tls_certificate *t)
{
    for (size_t i = 0; i < case_count; i++)
        if (memcmp(cases[i].certificate->digest, t->digest, sizeof(t->digest)) == 0)
            return true;
    return false;
}

/* Whether it is to be asked about, as far as the configuration says. */
static bool
is_wanted(const struct listener_tls *l, size_t i)
{
    const struct tls_certificate *t = tls_server_certificate(l->server, i);

    return l->certificates[i].ocsp.p == NULL && !t->file;
}

static void
make_case(const struct listener_tls *l, size_t i)
{
    const struct tls_certificate *t = tls_server_certificate(l->server, i);
    struct arena *a = worker.conf->arena;
    struct ocsp_case c = {.certificate = t, .path = l->certificates[i].cert};

    if (!is_wanted(l, i) || is_there(t) || !find_responder(t, &c.url, a))
        return;
    if (t->issuer == NULL) {
        log_warning("certificate %.*s: nobody is asked for OCSP responses: the issuer's certificate is not in the file",
                    STR_ARG(c.path));
        return;
    }
    c.request = make_request(t, a);
    if (c.request.n > 0)
        cases[case_count++] = c;
}

static size_t
count(const struct conf *conf)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->listener_count; i++)
        if (conf->listeners[i].tls.server != NULL)
            n += tls_server_count(conf->listeners[i].tls.server);
    return n;
}

static void
make_cases(const struct conf *conf)
{
    cases = xcalloc(count(conf) + 1, sizeof(*cases));
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct listener_tls *l = &conf->listeners[i].tls;

        for (size_t j = 0; l->server != NULL && j < tls_server_count(l->server); j++)
            make_case(l, j);
    }
}

static bool
names_responder(const struct tls_certificate *t)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(t->leaf);
    bool some = sk_OPENSSL_STRING_num(urls) > 0;

    X509_email_free(urls);
    return some;
}

bool
ocsp_is_of_use(const struct conf *conf)
{
    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct listener_tls *l = &conf->listeners[i].tls;

        for (size_t j = 0; l->server != NULL && j < tls_server_count(l->server); j++)
            if (is_wanted(l, j) && names_responder(tls_server_certificate(l->server, j)))
                return true;
    }
    return false;
}

/* --- time --- */

static int64_t
now_s(void)
{
    return clock_wall_ms() / 1000;
}

static unsigned
place_of(const struct ocsp_case *c)
{
    return staples_place(worker.staples, c->certificate->digest, now_s());
}

/* Until it is due, but not without a look at what is published in between: somebody's clock may have been set. */
static void
rest(struct ocsp_case *c, int64_t ms)
{
    c->state = RESTING;
    c->due_ms = clock_wall_ms() + ms;
    timer_set(&c->timer, ms < LOOK_MS ? ms : LOOK_MS);
}

/* Half of its life, or of what is left of it; a bit less, so that not all of a responder's clients come at once. */
static int64_t
renewal_ms(int64_t made_s, int64_t until_s)
{
    int64_t now = now_s(), at = made_s + (until_s - made_s) / 2, ms;
    uint64_t r;

    if (at <= now)
        at = now + (until_s - now) / 2;
    ms = (at - now) * 1000;
    random_bytes(&r, sizeof(r));
    ms -= (int64_t)(r % (uint64_t)(ms / 16 + 1));
    return ms > RENEW_LEAST ? ms : RENEW_LEAST;
}

static int64_t
bounded(int64_t until_s)
{
    int64_t most = now_s() + UNTIL_MOST;

    return until_s < most ? until_s : most;
}

/* What is published and good: until when, and when it was made; 0: nothing is. */
static int64_t
look(const struct ocsp_case *c, int64_t *made_s)
{
    const struct tls_certificate *t = c->certificate;
    unsigned char der[STAPLES_MOST];
    unsigned place = place_of(c);
    const char *why;
    size_t n = staples_get(worker.staples, place, now_s(), der);

    if (n == 0 || response_until(der, n, t->leaf, t->issuer, now_s(), made_s, &why) == 0)
        return 0;
    return staples_until(worker.staples, place);
}

/* --- answers --- */

static void
tell_trouble(struct ocsp_case *c, const char *why, int64_t again_ms)
{
    unsigned long untold;

    if (strcmp(c->told, why) != 0)
        c->pace = (struct log_pace){0};
    snprintf(c->told, sizeof(c->told), "%s", why);
    if (log_due(&c->pace, clock_ms(), TELL_MS, &untold))
        log_warning("certificate %.*s: no OCSP response from %.*s: %s; asked again in %lld s", STR_ARG(c->path),
                    STR_ARG(c->url.text), why, (long long)again_ms / 1000);
}

static void
fail(struct ocsp_case *c, const char *why)
{
    int64_t again = c->failures < DOUBLE_MOST ? (int64_t)AGAIN_MS << c->failures : AGAIN_MOST;

    if (again > AGAIN_MOST)
        again = AGAIN_MOST;
    if (why == response_revoked)
        staples_put(worker.staples, place_of(c), NULL, 0, 0);
    tell_trouble(c, why, again);
    c->failures++;
    rest(c, again);
}

/* An older one than what is published is nothing new: somebody on the way may have kept it. */
static void
succeed(struct ocsp_case *c, const struct ocsp_answer *answer, int64_t made_s, int64_t until_s)
{
    char text[CLOCK_FORMAT_SIZE] = "";
    int64_t before;

    if (look(c, &before) == 0 || made_s >= before)
        staples_put(worker.staples, place_of(c), answer->der, answer->n, bounded(until_s));
    clock_format(text, sizeof(text), bounded(until_s) * 1000);
    if (c->told[0] != '\0')
        log_notice("certificate %.*s: OCSP responses come again, good until %s", STR_ARG(c->path), text);
    else
        log_info("certificate %.*s: OCSP response from %.*s, good until %s", STR_ARG(c->path), STR_ARG(c->url.text),
                 text);
    c->told[0] = '\0';
    c->failures = 0;
    rest(c, renewal_ms(made_s, bounded(until_s)));
}

static void
answered(struct ocsp_fetch *f, const struct ocsp_answer *answer, const char *why)
{
    struct ocsp_case *c = (struct ocsp_case *)((char *)f - offsetof(struct ocsp_case, fetch));
    const struct tls_certificate *t = c->certificate;
    int64_t made, until = 0;

    asking--;
    if (answer != NULL)
        until = response_until(answer->der, answer->n, t->leaf, t->issuer, now_s(), &made, &why);
    if (until > 0)
        succeed(c, answer, made, until);
    else
        fail(c, why);
    if (queue != NULL)
        loop_post(&next_ones);
}

/* --- questions --- */

static void
ask_queued(struct task *t)
{
    (void)t;
    while (queue != NULL && asking < AT_ONCE) {
        struct ocsp_case *c = queue;

        queue = c->next_queued;
        if (queue == NULL)
            queue_end = &queue;
        c->state = ASKING;
        asking++;
        c->fetch.url = &c->url;
        c->fetch.request = c->request;
        c->fetch.done = answered;
        ocsp_fetch_begin(&c->fetch);
    }
}

static void
ask(struct ocsp_case *c)
{
    c->state = QUEUED;
    c->next_queued = NULL;
    *queue_end = c;
    queue_end = &c->next_queued;
    loop_post(&next_ones);
}

/* What is due; or nothing is there any more, though nothing has failed. */
static void
fire(struct timer *timer)
{
    struct ocsp_case *c = (struct ocsp_case *)((char *)timer - offsetof(struct ocsp_case, timer));
    int64_t left = c->due_ms - clock_wall_ms(), made;

    if (left <= 0 || (c->failures == 0 && look(c, &made) == 0))
        ask(c);
    else
        timer_set(&c->timer, left < LOOK_MS ? left : LOOK_MS);
}

/* --- the lease --- */

static void
schedule(struct ocsp_case *c)
{
    int64_t made = 0, until = look(c, &made);

    c->timer.fire = fire;
    c->failures = 0;
    rest(c, until > 0 ? renewal_ms(made, until) : 0);
}

void
ocsp_start(void)
{
    next_ones.run = ask_queued;
    if (cases == NULL)
        make_cases(worker.conf);
    for (size_t i = 0; i < case_count; i++)
        schedule(&cases[i]);
}

void
ocsp_stop(void)
{
    loop_unpost(&next_ones);
    queue = NULL;
    queue_end = &queue;
    asking = 0;
    for (size_t i = 0; i < case_count; i++) {
        timer_stop(&cases[i].timer);
        ocsp_fetch_cancel(&cases[i].fetch);
        cases[i].state = RESTING;
    }
}
