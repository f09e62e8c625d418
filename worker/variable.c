/*
 * The variables. It alone knows where each value comes from. A getter returns a slice of what the
 * request holds, or a text made in its arena; empty stands for what is not known, or not yet.
 */
#include "worker/variable.h"

#include "worker/base/clock.h"
#include "worker/block.h"
#include "worker/param.h"
#include "worker/request.h"
#include "worker/tls/facts.h"

struct str
variable_decimal(struct request *r, uint64_t value)
{
    char *buf = arena_alloc(r->arena, 20);
    size_t at = 20;

    do {
        buf[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return (struct str){buf + at, 20 - at};
}

/* Milliseconds as seconds with three decimals. */
static struct str
seconds(struct request *r, int64_t ms)
{
    struct str whole = variable_decimal(r, ms < 0 ? 0 : (uint64_t)ms / 1000);
    unsigned rest = ms < 0 ? 0 : (unsigned)(ms % 1000);
    char *buf = arena_alloc(r->arena, whole.n + 4);

    memcpy(buf, whole.p, whole.n);
    buf[whole.n] = '.';
    buf[whole.n + 1] = (char)('0' + rest / 100);
    buf[whole.n + 2] = (char)('0' + rest / 10 % 10);
    buf[whole.n + 3] = (char)('0' + rest % 10);
    return (struct str){buf, whole.n + 4};
}

/* From one of the request's times to another; empty where it did not come to both. */
static struct str
span(struct request *r, int64_t from, int64_t to)
{
    return from != 0 && to != 0 ? seconds(r, (to - from) / 1000) : STR_NONE;
}

static struct str
get_client_ip(struct request *r, struct str arg)
{
    char *buf = arena_alloc(r->arena, 46);

    (void)arg;
    return (struct str){buf, ip_format(&r->client, buf)};
}

/* A client behind a trusted proxy: its port is not known. */
static struct str
get_client_port(struct request *r, struct str arg)
{
    (void)arg;
    return r->peer_port != 0 && ip_equal(&r->client, &r->peer) ? variable_decimal(r, r->peer_port) : STR_NONE;
}

static struct str
get_scheme(struct request *r, struct str arg)
{
    (void)arg;
    return r->https ? STR("https") : STR("http");
}

static struct str
get_host(struct request *r, struct str arg)
{
    (void)arg;
    return r->host.name;
}

static struct str
get_port(struct request *r, struct str arg)
{
    (void)arg;
    return r->local.port != 0 ? variable_decimal(r, r->local.port) : STR_NONE;
}

static struct str
get_method(struct request *r, struct str arg)
{
    (void)arg;
    return r->method_text;
}

/* Of the absolute form only what the origin form would have. */
static struct str
get_uri(struct request *r, struct str arg)
{
    const struct uri *u = &r->uri;
    char *buf;

    (void)arg;
    if (u->form != URI_ABSOLUTE)
        return r->target;
    if (u->query.n == 0)
        return u->path;
    buf = arena_alloc(r->arena, u->path.n + u->query.n);
    memcpy(buf, u->path.p, u->path.n);
    memcpy(buf + u->path.n, u->query.p, u->query.n);
    return (struct str){buf, u->path.n + u->query.n};
}

static struct str
get_path(struct request *r, struct str arg)
{
    (void)arg;
    return r->uri.canonical;
}

static struct str
get_query(struct request *r, struct str arg)
{
    (void)arg;
    return r->uri.query;
}

static struct str
get_arg(struct request *r, struct str arg)
{
    struct str rest = param_query(r->uri.query);
    struct param p;

    while (param_next(&rest, &p))
        if (str_eq(p.name, arg))
            return p.value;
    return STR_NONE;
}

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* `_` of the argument stands for `-` alone: X_Real_IP must not pass for X-Real-IP. */
static bool
names_field(struct str arg, struct str name)
{
    if (arg.n != name.n)
        return false;
    for (size_t i = 0; i < arg.n; i++)
        if ((arg.p[i] == '_' ? '-' : lower(arg.p[i])) != lower(name.p[i]))
            return false;
    return true;
}

static struct str
join(struct request *r, const struct fields *f, struct str arg, size_t total, struct str separator)
{
    char *buf = arena_alloc(r->arena, total);
    size_t at = 0;

    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].gone || !names_field(arg, f->v[i].name))
            continue;
        if (at > 0) {
            memcpy(buf + at, separator.p, separator.n);
            at += separator.n;
        }
        if (f->v[i].value.n > 0)
            memcpy(buf + at, f->v[i].value.p, f->v[i].value.n);
        at += f->v[i].value.n;
    }
    return (struct str){buf, at};
}

/* A field that came several times: its values as one list (RFC 9110 5.3), cookies as RFC 6265 has them. */
static struct str
values(struct request *r, const struct fields *f, struct str arg)
{
    struct str separator = STR(", "), first = STR_NONE;
    size_t count = 0, total = 0;

    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].gone || !names_field(arg, f->v[i].name))
            continue;
        if (count++ == 0)
            first = f->v[i].value;
        if (f->v[i].id == FIELD_COOKIE)
            separator = STR("; ");
        total += f->v[i].value.n + separator.n;
    }
    return count > 1 ? join(r, f, arg, total, separator) : first;
}

static struct str
get_http(struct request *r, struct str arg)
{
    return values(r, &r->request.fields, arg);
}

static struct str
get_sent_http(struct request *r, struct str arg)
{
    block_unfold(r);
    return values(r, &r->response.fields, arg);
}

static struct str
get_cache(struct request *r, struct str arg)
{
    (void)arg;
    return r->outcome;
}

static bool
names_cookie(struct str arg, struct str name, bool folded)
{
    if (!folded)
        return str_eq(arg, name);
    if (arg.n != name.n)
        return false;
    for (size_t i = 0; i < arg.n; i++)
        if (arg.p[i] != name.p[i] && !(arg.p[i] == '_' && name.p[i] == '-'))
            return false;
    return true;
}

static struct str
find_cookie(const struct fields *f, struct str arg, bool folded)
{
    for (size_t i = 0; i < f->n; i++) {
        struct str rest = f->v[i].value;
        struct param p;

        if (f->v[i].gone || f->v[i].id != FIELD_COOKIE)
            continue;
        while (param_next_cookie(&rest, &p))
            if (names_cookie(arg, p.name, folded))
                return p.value;
    }
    return STR_NONE;
}

/* A cookie of that very name, or else one with `-` where the argument has `_`. */
static struct str
get_cookie(struct request *r, struct str arg)
{
    struct str value = find_cookie(&r->request.fields, arg, false);

    return value.p != NULL ? value : find_cookie(&r->request.fields, arg, true);
}

static struct str
get_request_id(struct request *r, struct str arg)
{
    (void)arg;
    return r->id;
}

static struct str
get_protocol(struct request *r, struct str arg)
{
    (void)arg;
    return r->protocol;
}

/* Of the client's own connection: in the clear there is nothing to say of TLS. */
static struct str
get_tls_version(struct request *r, struct str arg)
{
    (void)arg;
    return r->tls != NULL ? r->tls->version : STR_NONE;
}

static struct str
get_tls_cipher(struct request *r, struct str arg)
{
    (void)arg;
    return r->tls != NULL ? r->tls->cipher : STR_NONE;
}

static struct str
get_sni(struct request *r, struct str arg)
{
    (void)arg;
    return r->tls != NULL ? r->tls->sni : STR_NONE;
}

static struct str
get_client_cert_subject(struct request *r, struct str arg)
{
    (void)arg;
    return r->tls != NULL ? r->tls->subject : STR_NONE;
}

static struct str
get_client_verify(struct request *r, struct str arg)
{
    (void)arg;
    return r->tls != NULL ? r->tls->verify : STR_NONE;
}

static struct str
get_site(struct request *r, struct str arg)
{
    (void)arg;
    return r->site != NULL ? r->site->name : STR_NONE;
}

static struct str
get_route(struct request *r, struct str arg)
{
    (void)arg;
    return r->route != NULL ? r->route->name : STR_NONE;
}

static struct str
get_upstream(struct request *r, struct str arg)
{
    const struct upstream *u = r->upstream;

    (void)arg;
    if (u == NULL && r->route != NULL)
        u = r->route->proxy;
    return u != NULL ? u->name : STR_NONE;
}

static struct str
get_status(struct request *r, struct str arg)
{
    (void)arg;
    return r->status != 0 ? variable_decimal(r, (uint64_t)r->status) : STR_NONE;
}

static struct str
get_upstream_address(struct request *r, struct str arg)
{
    (void)arg;
    return r->upstream_address;
}

static struct str
get_upstream_status(struct request *r, struct str arg)
{
    (void)arg;
    return r->upstream_status != 0 ? variable_decimal(r, (uint64_t)r->upstream_status) : STR_NONE;
}

static struct str
get_upstream_tries(struct request *r, struct str arg)
{
    (void)arg;
    return r->tries != 0 ? variable_decimal(r, r->tries) : STR_NONE;
}

static struct str
get_bytes_received(struct request *r, struct str arg)
{
    (void)arg;
    return variable_decimal(r, r->bytes_received);
}

static struct str
get_bytes_sent(struct request *r, struct str arg)
{
    (void)arg;
    return variable_decimal(r, r->bytes_sent);
}

/* The clock's text changes under way, the request's does not. */
static struct str
get_time(struct request *r, struct str arg)
{
    (void)arg;
    return arena_copy(r->arena, clock_rfc3339());
}

static struct str
get_msec(struct request *r, struct str arg)
{
    (void)arg;
    return seconds(r, clock_wall_ms());
}

static struct str
get_request_time(struct request *r, struct str arg)
{
    (void)arg;
    return span(r, r->times.start, r->times.end != 0 ? r->times.end : clock_us());
}

static struct str
get_connect_time(struct request *r, struct str arg)
{
    (void)arg;
    return span(r, r->times.connect_start, r->times.connected);
}

static struct str
get_header_time(struct request *r, struct str arg)
{
    (void)arg;
    return span(r, r->times.connect_start, r->times.header);
}

static struct str
get_response_time(struct request *r, struct str arg)
{
    (void)arg;
    return span(r, r->times.connect_start, r->times.response);
}

const struct variable variables[] = {
    {"client_ip", get_client_ip, "the client's address", false},
    {"client_port", get_client_port, "its port; empty behind a trusted proxy", false},
    {"scheme", get_scheme, "http or https", false},
    {"host", get_host, "the host asked for, lower case, without a port", false},
    {"port", get_port, "the port the request came in on", false},
    {"method", get_method, "GET, POST, ...", false},
    {"uri", get_uri, "path and query, as they were sent", false},
    {"path", get_path, "the canonical path, before any rewrite", false},
    {"query", get_query, "the query with its ?, or empty", false},
    {"arg_", get_arg, "a parameter of the query, as it was sent", false},
    {"http_", get_http, "a field of the request, - as _", false},
    {"cookie_", get_cookie, "a cookie of the request, - as _", false},
    {"request_id", get_request_id, "the request's own id", false},
    {"protocol", get_protocol, "HTTP/1.0 or HTTP/1.1", false},
    {"tls_version", get_tls_version, "TLSv1.2 or TLSv1.3, of the connection; empty in the clear", false},
    {"tls_cipher", get_tls_cipher, "its cipher, as OpenSSL calls it", false},
    {"sni", get_sni, "the name that the client asked for in the handshake", false},
    {"client_cert_subject", get_client_cert_subject, "the subject of the client's certificate, RFC 2253", false},
    {"client_verify", get_client_verify, "SUCCESS, or NONE where the client has shown no certificate", false},
    {"site", get_site, "the first host of the site", false},
    {"route", get_route, "the route's name", false},
    {"upstream", get_upstream, "the upstream's name", false},
    {"status", get_status, "of the response", true},
    {"upstream_address", get_upstream_address, "the server that answered", true},
    {"upstream_status", get_upstream_status, "what it answered", true},
    {"upstream_tries", get_upstream_tries, "how many times a server was asked", true},
    {"sent_http_", get_sent_http, "a field of the response, - as _", true},
    {"cache", get_cache, "what became of it on a caching route, as in Cache-Status", true},
    {"bytes_received", get_bytes_received, "from the client, head and content", false},
    {"bytes_sent", get_bytes_sent, "to the client, head and content", true},
    {"time", get_time, "now, as RFC 3339 has it", false},
    {"msec", get_msec, "now, in seconds since the epoch with milliseconds", false},
    {"request_time", get_request_time, "seconds since the request's first byte", false},
    {"connect_time", get_connect_time, "seconds to connect to the server", true},
    {"header_time", get_header_time, "seconds from the start of connecting until the head of its response", true},
    {"response_time", get_response_time, "seconds from the start of connecting until the end of its response", true},
    {NULL, NULL, NULL, false},
};

/* Ours, and what nginx calls it. */
static const char *const elsewhere[][2] = {
    {"client_ip", "remote_addr"},
    {"client_ip", "binary_remote_addr"},
    {"client_ip", "realip_remote_addr"},
    {"client_ip", "proxy_protocol_addr"},
    {"client_port", "remote_port"},
    {"uri", "request_uri"},
    {"path", "document_uri"},
    {"query", "args"},
    {"query", "query_string"},
    {"query", "is_args"},
    {"method", "request_method"},
    {"scheme", "https"},
    {"site", "server_name"},
    {"port", "server_port"},
    {"protocol", "server_protocol"},
    {"tls_version", "ssl_protocol"},
    {"tls_cipher", "ssl_cipher"},
    {"sni", "ssl_server_name"},
    {"client_cert_subject", "ssl_client_s_dn"},
    {"client_verify", "ssl_client_verify"},
    {"bytes_received", "request_length"},
    {"bytes_sent", "body_bytes_sent"},
    {"time", "time_local"},
    {"time", "time_iso8601"},
    {"upstream_address", "upstream_addr"},
    {"connect_time", "upstream_connect_time"},
    {"header_time", "upstream_header_time"},
    {"response_time", "upstream_response_time"},
};

const char *
variable_elsewhere(struct str name)
{
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        if (str_eq(name, str_of(elsewhere[i][1])))
            return elsewhere[i][0];
    return NULL;
}

const struct variable *
variable_find(struct str name, struct str *arg)
{
    *arg = STR_NONE;
    for (const struct variable *v = variables; v->name != NULL; v++) {
        struct str known = str_of(v->name);

        if (str_eq(name, known) && known.p[known.n - 1] != '_')
            return v;
        if (known.p[known.n - 1] == '_' && name.n > known.n && str_starts(name, known)) {
            *arg = (struct str){name.p + known.n, name.n - known.n};
            return v;
        }
    }
    return NULL;
}
