/*
 * Knows when certificates expire. One that several listeners have is one sample, by the path of its file.
 */
#include "master/metrics_tls.h"

#include <stdlib.h>
#include <time.h>

#include <openssl/x509.h>

#include "master/prometheus.h"
#include "worker/tls/server.h"

#define NAME "weir_certificate_not_after_seconds"

struct expiry {
    struct str path;
    uint64_t seconds;
};

/* 0: it has no time that could be read, or one before 1970. */
static uint64_t
not_after(const struct tls_certificate *t)
{
    struct tm tm;
    time_t seconds;

    if (!ASN1_TIME_to_tm(X509_get0_notAfter(t->leaf), &tm))
        return 0;
    seconds = timegm(&tm);
    return seconds > 0 ? (uint64_t)seconds : 0;
}

static int
by_path(const void *a, const void *b)
{
    const struct expiry *x = a, *y = b;
    int order = memcmp(x->path.p, y->path.p, x->path.n < y->path.n ? x->path.n : y->path.n);

    return order != 0 ? order : (x->path.n > y->path.n) - (x->path.n < y->path.n);
}

static size_t
collect(const struct conf *conf, struct expiry *v)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->listener_count; i++) {
        const struct listener_tls *l = &conf->listeners[i].tls;

        for (size_t j = 0; l->server != NULL && j < tls_server_count(l->server); j++)
            v[n++] = (struct expiry){l->certificates[j].cert, not_after(tls_server_certificate(l->server, j))};
    }
    qsort(v, n, sizeof(*v), by_path);
    return n;
}

void
metrics_certificates(FILE *to, const struct conf *conf, struct arena *arena)
{
    struct expiry *v;
    size_t n = 0;

    for (size_t i = 0; i < conf->listener_count; i++)
        n += conf->listeners[i].tls.certificate_count;
    v = arena_alloc(arena, (n + 1) * sizeof(*v));
    n = collect(conf, v);
    prometheus_head(to, NAME, "gauge", "When a listener's certificate expires, in seconds of the epoch.");
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_path(&v[i - 1], &v[i]) != 0)
            prometheus_labelled(to, NAME, prometheus_label(arena, "certificate", v[i].path), v[i].seconds);
}
