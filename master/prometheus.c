/*
 * Knows how the text is written and escaped, and the families that every dimension shares.
 */
#include "master/prometheus.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

static struct str
escape(struct arena *arena, struct str s)
{
    char *to = arena_alloc(arena, 2 * s.n + 1);
    size_t i, n = 0;

    for (i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' || s.p[i] == '"' || s.p[i] == '\n')
            to[n++] = '\\';
        to[n++] = s.p[i] == '\n' ? 'n' : s.p[i];
    }
    return (struct str){to, n};
}

struct str
prometheus_label(struct arena *arena, const char *name, struct str value)
{
    struct str s = escape(arena, value);

    return arena_printf(arena, "%s=\"%.*s\"", name, STR_ARG(s));
}

static void
head(FILE *to, const char *prefix, const char *name, const char *type, const char *help)
{
    fprintf(to, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name, type);
}

void
prometheus_head(FILE *to, const char *name, const char *type, const char *help)
{
    head(to, name, "", type, help);
}

/* `{label,extra}`, or less where one or both are empty. */
static void
braces(FILE *to, struct str label, const char *extra)
{
    if (label.n > 0 || extra[0] != '\0')
        fprintf(to, "{%.*s%s%s}", STR_ARG(label), label.n > 0 && extra[0] != '\0' ? "," : "", extra);
}

static void
sample(FILE *to, const char *prefix, const char *name, struct str label, const char *extra, uint64_t value)
{
    fprintf(to, "%s%s", prefix, name);
    braces(to, label, extra);
    fprintf(to, " %" PRIu64 "\n", value);
}

void
prometheus_sample(FILE *to, const char *name, const char *labels, uint64_t value)
{
    sample(to, name, "", STR_NONE, labels, value);
}

void
prometheus_labelled(FILE *to, const char *name, struct str labels, uint64_t value)
{
    sample(to, name, "", labels, "", value);
}

static uint64_t
count_at(const struct slots_counters *c, size_t offset)
{
    uint64_t value;

    memcpy(&value, (const char *)c + offset, sizeof(value));
    return value;
}

/* One that is a plain counter, at its offset among the sums. */
static void
plain(FILE *to, const struct prometheus_dimension *d, const char *name, const char *type, size_t offset,
      const char *help)
{
    head(to, d->prefix, name, type, help);
    for (size_t i = 0; i < d->n; i++)
        sample(to, d->prefix, name, d->v[i].label, "", count_at(&d->v[i].sum, offset));
}

void
prometheus_counter(FILE *to, const struct prometheus_dimension *d, const char *name, size_t offset, const char *help)
{
    struct prometheus_dimension whole = *d;

    whole.prefix = name;
    plain(to, &whole, "", "counter", offset, help);
}

static void
requests(FILE *to, const struct prometheus_dimension *d)
{
    static const char *const code[] = {
        "code=\"none\"", "code=\"1xx\"", "code=\"2xx\"", "code=\"3xx\"", "code=\"4xx\"", "code=\"5xx\"",
    };
    size_t i, j;

    head(to, d->prefix, "_requests_total", "counter", "Requests by class of status; none: without an answer.");
    for (i = 0; i < d->n; i++) {
        for (j = 0; j < sizeof(code) / sizeof(*code); j++)
            sample(to, d->prefix, "_requests_total", d->v[i].label, code[j], d->v[i].sum.requests[j]);
    }
}

static void
errors(FILE *to, const struct prometheus_dimension *d)
{
    size_t i, j;
    char kind[64];

    head(to, d->prefix, "_errors_total", "counter", "Errors by kind.");
    for (i = 0; i < d->n; i++) {
        for (j = 0; j < SLOTS_ERRORS; j++) {
            snprintf(kind, sizeof(kind), "kind=\"%s\"", slots_error_name[j]);
            sample(to, d->prefix, "_errors_total", d->v[i].label, kind, d->v[i].sum.errors[j]);
        }
    }
}

/* Of those that speak TLS, or did. */
static void
handshakes(FILE *to, const struct prometheus_dimension *d)
{
    char result[32];

    head(to, d->prefix, "_tls_handshakes_total", "counter", "TLS handshakes by result.");
    for (size_t i = 0; i < d->n; i++) {
        const uint64_t *n = d->v[i].sum.tls;

        if (!d->v[i].tls && n[SLOTS_TLS_FULL] + n[SLOTS_TLS_RESUMED] + n[SLOTS_TLS_FAILED] == 0)
            continue;
        for (unsigned j = 0; j < SLOTS_TLS_RESULTS; j++) {
            snprintf(result, sizeof(result), "result=\"%s\"", slots_tls_name[j]);
            sample(to, d->prefix, "_tls_handshakes_total", d->v[i].label, result, n[j]);
        }
    }
}

/* The same of HTTP/2. */
static void
http2(FILE *to, const struct prometheus_dimension *d, const char *name, size_t offset, const char *help)
{
    head(to, d->prefix, name, "counter", help);
    for (size_t i = 0; i < d->n; i++) {
        uint64_t value = count_at(&d->v[i].sum, offset);

        if (d->v[i].h2 || value != 0)
            sample(to, d->prefix, name, d->v[i].label, "", value);
    }
}

static bool
was_cached(const struct slots_counters *c)
{
    for (size_t i = 0; i < SLOTS_CACHE_RESULTS; i++)
        if (c->cache[i] != 0)
            return true;
    return false;
}

void
prometheus_cache(FILE *to, const struct prometheus_dimension *d, bool all)
{
    size_t i, j;
    char result[64];

    head(to, d->prefix, "_cache_requests_total", "counter", "Requests of routes that cache, by what the cache did.");
    for (i = 0; i < d->n; i++) {
        for (j = 0; (all || was_cached(&d->v[i].sum)) && j < SLOTS_CACHE_RESULTS; j++) {
            snprintf(result, sizeof(result), "result=\"%s\"", slots_cache_name[j]);
            sample(to, d->prefix, "_cache_requests_total", d->v[i].label, result, d->v[i].sum.cache[j]);
        }
    }
}

static void
duration_of(FILE *to, const char *prefix, const struct prometheus_member *o)
{
    uint64_t count = 0;
    char le[32];
    unsigned i;

    for (i = 0; i < SLOTS_BUCKETS; i++) {
        count += o->sum.bucket[i];
        if (i + 1 < SLOTS_BUCKETS)
            snprintf(le, sizeof(le), "le=\"%g\"", (double)slots_bucket_us[i] / 1e6);
        else
            strcpy(le, "le=\"+Inf\"");
        sample(to, prefix, "_request_duration_seconds_bucket", o->label, le, count);
    }
    fprintf(to, "%s_request_duration_seconds_sum", prefix);
    braces(to, o->label, "");
    fprintf(to, " %.6f\n", (double)o->sum.duration_us / 1e6);
    sample(to, prefix, "_request_duration_seconds_count", o->label, "", count);
}

static void
durations(FILE *to, const struct prometheus_dimension *d)
{
    size_t i;

    head(to, d->prefix, "_request_duration_seconds", "histogram",
         "From the first byte of a request to the end of its answer.");
    for (i = 0; i < d->n; i++)
        duration_of(to, d->prefix, &d->v[i]);
}

#define AT(field) offsetof(struct slots_counters, field)

/* What compress did; all of it of members for which it ever did anything. */
static const struct {
    const char *name;
    size_t offset;
    bool by_coding;             /* a counter for each */
    const char *help;
} coding_family[] = {
    {"_encoded_responses_total", AT(encoded), true, "Responses sent in an encoding that weir made."},
    {"_encodings_total", AT(encodings), true, "Times that content was encoded, for a response or once for the cache."},
    {"_decodings_total", AT(decodings), true, "Times that content was decoded, for a response or once for the cache."},
    {"_encoded_bytes_in_total", AT(encoded_in), false, "Bytes that were encoded."},
    {"_encoded_bytes_out_total", AT(encoded_out), false, "Bytes that they became."},
    {"_coding_errors_total", AT(coding_errors), false, "Responses cut as their content could not be decoded."},
    {"_coding_refused_total", AT(coding_refused), false, "Responses that stayed as they were for want of memory."},
};

enum { CODING_FAMILIES = sizeof(coding_family) / sizeof(*coding_family) };

static bool
was_coded(const struct slots_counters *c)
{
    for (size_t i = 0; i < CODING_FAMILIES; i++)
        for (size_t j = 0; j < (coding_family[i].by_coding ? SLOTS_CODINGS : 1); j++)
            if (count_at(c, coding_family[i].offset + j * sizeof(uint64_t)) != 0)
                return true;
    return false;
}

static void
coding_samples(FILE *to, const char *prefix, const struct prometheus_member *o, size_t family)
{
    const char *name = coding_family[family].name;
    size_t offset = coding_family[family].offset;
    char encoding[32];

    if (!coding_family[family].by_coding) {
        sample(to, prefix, name, o->label, "", count_at(&o->sum, offset));
        return;
    }
    for (size_t i = 0; i < SLOTS_CODINGS; i++) {
        snprintf(encoding, sizeof(encoding), "encoding=\"%s\"", slots_coding_name[i]);
        sample(to, prefix, name, o->label, encoding, count_at(&o->sum, offset + i * sizeof(uint64_t)));
    }
}

static void
codings(FILE *to, const struct prometheus_dimension *d)
{
    for (size_t i = 0; i < CODING_FAMILIES; i++) {
        head(to, d->prefix, coding_family[i].name, "counter", coding_family[i].help);
        for (size_t j = 0; j < d->n; j++)
            if (d->v[j].codes || was_coded(&d->v[j].sum))
                coding_samples(to, d->prefix, &d->v[j], i);
    }
}

void
prometheus_dimension(FILE *to, const struct prometheus_dimension *d)
{
    if (d->n == 0)
        return;
    requests(to, d);
    plain(to, d, "_bytes_received_total", "counter", AT(bytes_received), "Bytes received, heads and content.");
    plain(to, d, "_bytes_sent_total", "counter", AT(bytes_sent), "Bytes sent, heads and content.");
    if (d->families & PROMETHEUS_OPEN)
        plain(to, d, "_connections", "gauge", AT(open), "Connections that are open.");
    if (d->families & PROMETHEUS_ACCEPTED)
        plain(to, d, "_connections_accepted_total", "counter", AT(connections), "Connections accepted.");
    if (d->families & PROMETHEUS_OPENED)
        plain(to, d, "_connections_opened_total", "counter", AT(connections), "Connections opened.");
    if (d->families & PROMETHEUS_REUSED)
        plain(to, d, "_connections_reused_total", "counter", AT(reused),
              "Requests on a connection that had one before.");
    if (d->families & PROMETHEUS_RETRIES)
        plain(to, d, "_retries_total", "counter", AT(retries), "Requests sent once more.");
    if (d->families & PROMETHEUS_QUEUED) {
        plain(to, d, "_requests_queued_total", "counter", AT(queued), "Requests that waited for a server.");
        plain(to, d, "_queue_refused_total", "counter", AT(queue_refused),
              "Requests that found the queue full or waited too long: 503.");
        plain(to, d, "_unserved_total", "counter", AT(unserved), "Requests for which no server was up: 503.");
        plain(to, d, "_retries_refused_total", "counter", AT(retries_refused),
              "Retries that the budget did not allow.");
    }
    if (d->families & PROMETHEUS_EJECTIONS)
        plain(to, d, "_ejections_total", "counter", AT(ejections), "Servers taken out because requests failed.");
    if (d->families & PROMETHEUS_REFUSALS) {
        plain(to, d, "_denied_total", "counter", AT(denied), "Requests that allow or deny refused.");
        plain(to, d, "_regex_limits_total", "counter", AT(regex_limits),
              "Requests that a regular expression gave up on.");
    }
    if (d->families & PROMETHEUS_TLS)
        handshakes(to, d);
    if (d->families & PROMETHEUS_H2) {
        http2(to, d, "_http2_connections_total", AT(h2_connections), "Connections that spoke HTTP/2.");
        http2(to, d, "_http2_resets_total", AT(h2_resets), "Streams that clients reset.");
        http2(to, d, "_http2_abuses_total", AT(h2_abuses), "Connections ended for what they did over HTTP/2.");
    }
    if (d->families & PROMETHEUS_CODINGS)
        codings(to, d);
    if (d->families & PROMETHEUS_ERRORS)
        errors(to, d);
    if (d->families & PROMETHEUS_DURATION)
        durations(to, d);
}
