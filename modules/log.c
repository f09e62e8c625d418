/*
 * access_log: a line for every request. It alone knows the combined format, which is that of Apache
 * and nginx, byte for byte, so that what reads their logs reads these. Values are escaped as nginx does it:
 * what is no visible ASCII, quotes and backslashes as \xXX; an empty one is "-".
 *
 * The json format is one object a line whose members are called as the variables are; what isn't known is null.
 * Each string has a length of its own at which it is cut, so that no line is as long as logs_line would cut it.
 *
 * What gives a client away (cookies, credentials) is in neither, and masked in formats of one's own.
 */
#include "modules/json.h"
#include "worker/base/clock.h"
#include "worker/base/hex.h"
#include "worker/logs.h"
#include "worker/module.h"
#include "worker/request.h"
#include "worker/template.h"
#include "worker/trace.h"
#include "worker/variable.h"

struct log {
    unsigned path;
    struct template *format;
    enum { OWN, COMBINED, JSON } kind;
    struct found *members;      /* of json: in the order of the table below */
    int line;
};

#define LONGEST 8               /* bytes that a value grows by at once */

static bool
plain(char c)
{
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
}

static size_t
escaped_size(struct str s)
{
    size_t n = s.n;

    for (size_t i = 0; i < s.n; i++)
        if (!plain(s.p[i]))
            n += 3;
    return n;
}

static size_t
escape(char *to, struct str s)
{
    char *start = to;

    if (s.n == 0)
        s = STR("-");
    if (to == NULL)
        return escaped_size(s);
    for (size_t i = 0; i < s.n; i++) {
        if (plain(s.p[i]))
            *to++ = s.p[i];
        else
            to = hex_escape_log(to, (uint8_t)s.p[i]);
    }
    return (size_t)(to - start);
}

/*
 * A line in the making, in a place that all lines share: each is in its log's buffer before the next begins. Where it
 * is as long as a line may be nothing is added any more: then `at` stands at `end`, or where the last step of a value
 * led beyond it, and what is behind `end` is cut.
 */
struct text {
    char *at, *end;
    char buf[LOGS_LINE_MOST + LONGEST];
};

static void
put(struct text *t, struct str s)
{
    size_t room = t->at < t->end ? (size_t)(t->end - t->at) : 0;

    if (s.n > 0)
        t->at = mempcpy(t->at, s.p, s.n < room ? s.n : room);
}

/* Whether all of eight bytes are plain: the high bit of a byte of what is tested is set where one is not. */
static bool
plain_word(const char *p)
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    x |= (x - each * ' ') | (x + each) | ((x ^ each * '"') - each) | ((x ^ each * '\\') - each);
    return (x & each << 7) == 0;
}

static void
put_value(struct text *t, struct str s)
{
    while (s.n > 0 && t->at < t->end) {
        size_t n = s.n >= sizeof(uint64_t) && plain_word(s.p) ? sizeof(uint64_t) : 1;

        if (n > 1)
            t->at = mempcpy(t->at, s.p, sizeof(uint64_t));
        else if (plain(*s.p))
            *t->at++ = *s.p;
        else
            t->at = hex_escape_log(t->at, (uint8_t)*s.p);
        s.p += n;
        s.n -= n;
    }
}

static void
put_value_or_dash(struct text *t, struct str s)
{
    if (s.n > 0)
        put_value(t, s);
    else
        put(t, STR("-"));
}

static void
put_decimal(struct text *t, uint64_t value)
{
    char buf[20];
    size_t at = sizeof(buf);

    do
        buf[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    put(t, (struct str){buf + at, sizeof(buf) - at});
}

/* Content that the front took: without the head, as nginx's $body_bytes_sent. */
static uint64_t
content_sent(const struct request *r)
{
    const struct flow *body = &r->response.body;

    return r->no_content ? 0 : body->passed - body->bytes;
}

/* The request line as it was sent, or "-" where the head was no good. */
static void
put_request_line(struct text *t, const struct request *r)
{
    if (r->method_text.n == 0 || r->target.n == 0) {
        put(t, STR("-"));
        return;
    }
    put_value(t, r->method_text);
    put(t, STR(" "));
    put_value(t, r->target);
    if (r->protocol.n > 0)
        put(t, STR(" "));
    put_value(t, r->protocol);
}

static struct str
combined(const struct request *r)
{
    static struct text t;
    char ip[46];

    t.at = t.buf;
    t.end = t.buf + LOGS_LINE_MOST;
    put(&t, (struct str){ip, ip_format(&r->client, ip)});
    put(&t, STR(" - - ["));
    put(&t, clock_log_time());
    put(&t, STR("] \""));
    put_request_line(&t, r);
    put(&t, STR("\" "));
    if (r->status != 0)
        put_decimal(&t, (uint64_t)r->status);
    else
        put(&t, STR("-"));
    put(&t, STR(" "));
    put_decimal(&t, content_sent(r));
    put(&t, STR(" \""));
    put_value_or_dash(&t, fields_value(&r->request.fields, FIELD_REFERER));
    put(&t, STR("\" \""));
    put_value_or_dash(&t, fields_value(&r->request.fields, FIELD_USER_AGENT));
    put(&t, STR("\""));
    return (struct str){t.buf, (size_t)(t.at - t.buf)};
}

/* Of a json line: what it is called, the variable, and how long it may be in the line; most 0: a number. */
struct member {
    const char *name;
    const char *of;
    size_t most;
};

struct found {
    const struct variable *variable;
    struct str arg;
};

static const struct member members[] = {
    {"time", "time", 64},
    {"request_id", "request_id", 256},
    {"client_ip", "client_ip", 64},
    {"client_port", "client_port", 0},
    {"scheme", "scheme", 8},
    {"protocol", "protocol", 16},
    {"method", "method", 128},
    {"host", "host", 512},
    {"port", "port", 0},
    {"uri", "uri", 8192},
    {"path", "path", 4096},
    {"referer", "http_referer", 4096},
    {"user_agent", "http_user_agent", 4096},
    {"status", "status", 0},
    {"bytes_received", "bytes_received", 0},
    {"bytes_sent", "bytes_sent", 0},
    {"site", "site", 512},
    {"route", "route", 1024},
    {"upstream", "upstream", 512},
    {"upstream_address", "upstream_address", 512},
    {"upstream_status", "upstream_status", 0},
    {"upstream_tries", "upstream_tries", 0},
    {"request_time", "request_time", 0},
    {"connect_time", "connect_time", 0},
    {"header_time", "header_time", 0},
    {"response_time", "response_time", 0},
    {"cache", "cache", 512},
    {"tls_version", "tls_version", 16},
    {"tls_cipher", "tls_cipher", 64},
    {"sni", "sni", 256},
};

#define MEMBERS (sizeof(members) / sizeof(members[0]))
#define AROUND 16               /* of a member: quotes, colon, comma */

static char *
put_member(char *to, const struct member *m, struct str value)
{
    *to++ = '"';
    to = mempcpy(to, m->name, strlen(m->name));
    to = mempcpy(to, "\":", 2);
    if (value.n == 0)
        return mempcpy(to, "null", 4);
    if (m->most == 0)
        return mempcpy(to, value.p, value.n);
    *to++ = '"';
    to += json_escape(to, value, m->most);
    *to++ = '"';
    return to;
}

static struct str
json(struct request *r, const struct log *conf)
{
    struct str values[MEMBERS];
    size_t room = 2;
    char *buf, *to;

    for (size_t i = 0; i < MEMBERS; i++) {
        const struct member *m = &members[i];

        values[i] = conf->members[i].variable->get(r, conf->members[i].arg);
        room += AROUND + strlen(m->name) + (m->most == 0 ? values[i].n : json_escape(NULL, values[i], m->most));
    }
    buf = to = arena_alloc(r->arena, room);
    for (size_t i = 0; i < MEMBERS; i++) {
        *to++ = i == 0 ? '{' : ',';
        to = put_member(to, &members[i], values[i]);
    }
    *to++ = '}';
    return (struct str){buf, (size_t)(to - buf)};
}

static void
tell(struct request *r, const struct log *conf)
{
    const struct log_target *t = &r->conf->logs[conf->path];
    struct str place = t->kind == LOG_TO_STDERR   ? STR("stderr")
                       : t->kind == LOG_TO_SYSLOG ? STR("syslog")
                                                  : t->path;

    trace(r, conf->line, "access_log: a line to %.*s", STR_ARG(place));
}

static int
write_line(struct request *r, const void *data)
{
    const struct log *conf = data;

    if (r->trace != NULL)
        tell(r, conf);
    logs_line(conf->path, conf->kind == COMBINED ? combined(r)
                          : conf->kind == JSON   ? json(r, conf)
                                                 : template_expand_escaped(conf->format, r, escape));
    return HOOK_NEXT;
}

/* As the getters see a name: in any case, and `_` for `-`. */
static bool
names(struct str arg, struct str field)
{
    if (arg.n != field.n)
        return false;
    for (size_t i = 0; i < arg.n; i++)
        if ((arg.p[i] == '-' ? '_' : arg.p[i] >= 'A' && arg.p[i] <= 'Z' ? arg.p[i] | 0x20 : arg.p[i]) != field.p[i])
            return false;
    return true;
}

/* RFC 6265 8.3, RFC 9110 17.16.3: who reads a log could act as the client. */
static bool
secret(struct str name, struct str arg)
{
    if (str_eq(name, STR("http_")))
        return names(arg, STR("cookie")) || names(arg, STR("authorization")) || names(arg, STR("proxy_authorization"));
    if (str_eq(name, STR("sent_http_")))
        return names(arg, STR("set_cookie"));
    return str_eq(name, STR("cookie_"));
}

static struct found *
find_members(struct arena *a)
{
    struct found *found = arena_alloc(a, MEMBERS * sizeof(*found));

    for (size_t i = 0; i < MEMBERS; i++)
        found[i].variable = variable_find(str_of(members[i].of), &found[i].arg);
    return found;
}

static void
make_ready(struct ready *ready, void *data)
{
    struct log *conf = data;
    struct str source = template_source(conf->format);

    conf->line = ready->line;
    conf->kind = str_eq(source, STR("combined")) ? COMBINED : str_eq(source, STR("json")) ? JSON : OWN;
    conf->format = template_mask(conf->format, secret, ready->arena);
    if (conf->kind == JSON)
        conf->members = find_members(ready->arena);
}

/* A format is one by name, or it has variables: anything else is a misspelt name. */
static const char *
no_format(const void *value, size_t *offset)
{
    struct str source = template_source(value);
    const char *newline = source.n > 0 ? memchr(source.p, '\n', source.n) : NULL;

    *offset = newline != NULL ? (size_t)(newline - source.p) : 0;
    if (newline != NULL)
        return "a format is one line";
    if (str_eq(source, STR("combined")) || str_eq(source, STR("json")) ||
        (source.n > 0 && memchr(source.p, '$', source.n) != NULL))
        return NULL;
    return "a format is combined, json, or a string with variables";
}

static const struct key keys[] = {
    {.name = "path", .type = KEY_LOG, .offset = offsetof(struct log, path), .def = "/var/log/weir/access.log",
     .help = "where the lines go"},
    {.name = "format", .type = KEY_TEMPLATE, .offset = offsetof(struct log, format), .def = "combined",
     .refuse = no_format, .help = "combined, json, or a string with variables"},
    {.name = NULL},
};

const struct module log_module = {
    .key = {.name = "access_log", .type = KEY_SECTION, .def = "{}", .help = "a line for every request; off for none",
            .levels = KEY_POLICY, .keys = keys},
    .conf_size = sizeof(struct log),
    .ready = make_ready,
    .hook = {[PHASE_LOG] = write_line},
};
