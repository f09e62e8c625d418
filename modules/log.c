/*
 * access_log: a line for every request. It alone knows the combined format, which is that of Apache
 * and nginx, byte for byte, so that what reads their logs reads these. Values are escaped as nginx does it:
 * what is no visible ASCII, quotes and backslashes as \xXX; an empty one is "-".
 */
#include "worker/base/clock.h"
#include "worker/logs.h"
#include "worker/module.h"
#include "worker/request.h"
#include "worker/template.h"
#include "worker/variable.h"

struct log {
    unsigned path;
    struct template *format;
    bool combined;
};

/* What a line is made of. */
struct part {
    bool literal;
    struct str text;
};

#define LITERAL(s) {true, STR(s)}

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
    static const char hex[] = "0123456789ABCDEF";
    char *start = to;

    if (s.n == 0)
        s = STR("-");
    if (to == NULL)
        return escaped_size(s);
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];

        if (plain(s.p[i])) {
            *to++ = s.p[i];
            continue;
        }
        *to++ = '\\';
        *to++ = 'x';
        *to++ = hex[c >> 4];
        *to++ = hex[c & 15];
    }
    return (size_t)(to - start);
}

static struct str
assemble(struct request *r, const struct part *parts, size_t count)
{
    size_t total = 0;
    char *buf, *to;

    for (size_t i = 0; i < count; i++)
        total += parts[i].literal ? parts[i].text.n : escape(NULL, parts[i].text);
    buf = to = arena_alloc(r->arena, total + 1);
    for (size_t i = 0; i < count; i++) {
        if (!parts[i].literal)
            to += escape(to, parts[i].text);
        else if (parts[i].text.n > 0)
            to = mempcpy(to, parts[i].text.p, parts[i].text.n);
    }
    return (struct str){buf, total};
}

/* Content that the front took: without the head, as nginx's $body_bytes_sent. */
static uint64_t
content_sent(const struct request *r)
{
    const struct flow *body = &r->response.body;

    return r->no_content ? 0 : body->passed - body->bytes;
}

/* The request line as it was sent, or "-" where the head was no good. */
static struct str
request_line(struct request *r)
{
    const struct part parts[] = {
        {true, r->method_text}, LITERAL(" "), {true, r->target}, LITERAL(" "), {true, r->protocol},
    };

    if (r->method_text.n == 0 || r->target.n == 0)
        return STR_NONE;
    return assemble(r, parts, r->protocol.n > 0 ? 5 : 3);
}

static struct str
combined(struct request *r)
{
    char ip[46];
    const struct part parts[] = {
        {false, {ip, ip_format(&r->client, ip)}},
        LITERAL(" - - ["),
        {true, clock_log_time()},
        LITERAL("] \""),
        {false, request_line(r)},
        LITERAL("\" "),
        {false, r->status != 0 ? variable_decimal(r, (uint64_t)r->status) : STR_NONE},
        LITERAL(" "),
        {true, variable_decimal(r, content_sent(r))},
        LITERAL(" \""),
        {false, fields_value(&r->request.fields, FIELD_REFERER)},
        LITERAL("\" \""),
        {false, fields_value(&r->request.fields, FIELD_USER_AGENT)},
        LITERAL("\""),
    };

    return assemble(r, parts, sizeof(parts) / sizeof(parts[0]));
}

static int
write_line(struct request *r, const void *data)
{
    const struct log *conf = data;

    logs_line(conf->path, conf->combined ? combined(r) : template_expand_escaped(conf->format, r, escape));
    return HOOK_NEXT;
}

/* A format is one by name, or it has variables: anything else is a misspelt name. */
static void
make_ready(struct ready *ready, void *data)
{
    struct log *conf = data;
    struct str source = template_source(conf->format);

    conf->combined = str_eq(source, STR("combined"));
    if (!conf->combined && (source.n == 0 || memchr(source.p, '$', source.n) == NULL))
        ready->error(ready, "`%.*s` is no format: combined, or a string with variables", STR_ARG(source));
    if (source.n > 0 && memchr(source.p, '\n', source.n) != NULL)
        ready->error(ready, "a format is one line");
}

static const struct key keys[] = {
    {.name = "path", .type = KEY_LOG, .offset = offsetof(struct log, path), .def = "/var/log/weir/access.log",
     .help = "where the lines go"},
    {.name = "format", .type = KEY_TEMPLATE, .offset = offsetof(struct log, format), .def = "combined",
     .help = "combined, or a string of your own"},
    {.name = NULL},
};

const struct module log_module = {
    .key = {.name = "access_log", .type = KEY_SECTION, .def = "{}", .help = "a line for every request; off for none",
            .levels = KEY_POLICY, .keys = keys},
    .conf_size = sizeof(struct log),
    .ready = make_ready,
    .hook = {[PHASE_LOG] = write_line},
};
