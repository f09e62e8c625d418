/*
 * The parser of heads. It alone knows what a line of HTTP/1 looks like and which fields decide where
 * a message ends.
 *
 * A line is taken apart where it lies, token by token, by the scan functions; there is no search for
 * its end first. Where the bytes run out inside a token, `state` says which it is and `scanned` how
 * far it is good, and the next call goes on from there: bytes that come one at a time cost the same
 * in sum as bytes that come at once. A scan never goes past `bound`, the end of what the limits
 * allow the line, so a limit is hit at the same byte however the bytes came in.
 *
 * Offsets are kept over calls, pointers into the buffer only in the slices that h1_head_moved moves.
 */
#include "worker/h1/parse.h"

#include "worker/base/scan.h"

enum {
    START,                      /* at the front of a request or status line */
    METHOD,
    TARGET,
    VERSION,
    REASON,
    FIELD,                      /* at the front of a field line, or of the empty one */
    NAME,
    VALUE,
};

#define CONNECTION_MOST 64      /* members: each is looked for among the fields */
#define BLANK_MOST 2            /* RFC 9112 2.2 wants at least one */
#define VERSION_SIZE 8          /* HTTP/1.1 */
#define STATUS_SIZE 12          /* HTTP/1.1 200 */

void
h1_head_init(struct h1_head *h, struct fields *f, const struct h1_limits *limits)
{
    *h = (struct h1_head){.fields = f, .limits = limits};
}

static inline const char *
bound_of(const char *line, const char *end, size_t most)
{
    return (size_t)(end - line) > most ? line + most : end;
}

static inline int
more(struct h1_head *h, int state, size_t scanned)
{
    h->state = state;
    h->scanned = scanned;
    return H1_MORE;
}

/* A line's text reached its bound at p: too long, but where it ends right here, too early. */
static inline int
too_long(const char *p, int status)
{
    return *p == '\r' ? 400 : status;
}

/*
 * Whether what there is of [p, end) goes with a pattern of which "#" is any digit. True as well where
 * the bytes are too few to tell.
 */
static bool
like(const char *p, const char *end, const char *pattern)
{
    for (; p < end && *pattern != '\0'; p++, pattern++)
        if (*pattern == '#' ? *p < '0' || *p > '9' : *p != *pattern)
            return false;
    return true;
}

static inline bool
is_version(const char *p, char minor)
{
    return memcmp(p, "HTTP/1.", VERSION_SIZE - 1) == 0 && p[VERSION_SIZE - 1] == minor;
}

/* RFC 9110 2.5: a higher minor version of a known major one is taken for the highest known. */
static inline void
set_minor(struct h1_head *h, char digit)
{
    h->minor = digit == '0' ? 0 : 1;
}

/* RFC 9113 3.4; this connection has not agreed on HTTP/2. */
static bool
is_preface(const struct h1_head *h)
{
    return str_eq(h->method, STR("PRI")) && str_eq(h->target, STR("*"));
}

static int
request_version(struct h1_head *h, const char *buf, const char *p, const char *end)
{
    if (end - p < VERSION_SIZE + 2)
        return like(p, end, "HTTP/#.#\r\n") ? more(h, VERSION, (size_t)(p - buf)) : 400;
    if (p[VERSION_SIZE] != '\r' || p[VERSION_SIZE + 1] != '\n')
        return 400;
    if (!is_version(p, '1') && !is_version(p, '0')) {
        if (!like(p, end, "HTTP/#.#"))
            return 400;
        if (p[5] != '1')
            return is_preface(h) ? 400 : 505;
    }
    set_minor(h, p[VERSION_SIZE - 1]);
    h->at = (size_t)(p - buf) + VERSION_SIZE + 2;
    return H1_DONE;
}

/* Empty lines that a careless client left behind its last request (RFC 9112 2.2). */
static int
blank_lines(struct h1_head *h, const char *buf, const char *end)
{
    const char *p = buf + h->at;

    for (; p < end && *p == '\r'; p += 2) {
        if (h->blank == BLANK_MOST)
            return 400;
        if (p + 1 == end)
            break;
        if (p[1] != '\n')
            return 400;
        h->blank++;
    }
    h->at = (size_t)(p - buf);
    return p == end || *p == '\r' ? more(h, START, h->at) : H1_DONE;
}

/* RFC 9112 3: method SP request-target SP HTTP-version, and nothing more lenient. */
static int
request_line(struct h1_head *h, const char *buf, const char *end)
{
    const char *line = buf + h->at, *p = buf + h->scanned;
    const char *bound = bound_of(line, end, h->limits->line);
    const char *target;

    switch (h->state) {
    case METHOD:
        p = scan_token(p, bound);
        if (p == end)
            return more(h, METHOD, (size_t)(p - buf));
        if (p == bound)
            return too_long(p, 414);
        if (*p != ' ' || p == line)
            return 400;
        h->method = (struct str){line, (size_t)(p - line)};
        p++;
        /* fall through */
    case TARGET:
        target = h->method.p + h->method.n + 1;
        p = scan_visible(p, bound);
        if (p == end)
            return more(h, TARGET, (size_t)(p - buf));
        if (p == bound)
            return too_long(p, 414);
        if (*p != ' ' || p == target)
            return 400;
        h->target = (struct str){target, (size_t)(p - target)};
        p++;
        if ((size_t)(p - line) + VERSION_SIZE > h->limits->line)
            return 414;
        /* fall through */
    default:
        return request_version(h, buf, p, end);
    }
}

static inline bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HTTP/1.# ### */
static inline bool
is_status(const char *p)
{
    return memcmp(p, "HTTP/1.", VERSION_SIZE - 1) == 0 && is_digit(p[7]) && p[8] == ' ' &&
           is_digit(p[9]) && is_digit(p[10]) && is_digit(p[11]);
}

/* RFC 9112 4: HTTP-version SP status-code SP [ reason ]; the second SP may be missing with the reason. */
static int
status_line(struct h1_head *h, const char *buf, const char *end)
{
    const char *line = buf, *p = buf + h->scanned;
    const char *bound = bound_of(line, end, h->limits->line);

    if (h->state == START) {
        if (bound - line <= STATUS_SIZE)
            return like(line, bound, "HTTP/1.# ###") && bound == end ? H1_MORE : 502;
        if (!is_status(line))
            return 502;
        set_minor(h, line[VERSION_SIZE - 1]);
        h->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0';
        p = line + STATUS_SIZE;
        if (h->status < 100 || h->status > 599 || (*p != ' ' && *p != '\r'))
            return 502;
    }
    p = scan_value(p, bound);
    if (p == end || (*p == '\r' && p + 1 == end))
        return more(h, REASON, (size_t)(p - buf));
    if (*p != '\r' || p[1] != '\n')
        return 502;
    h->reason = (struct str){p, 0};
    if (p > line + STATUS_SIZE)
        h->reason = (struct str){line + STATUS_SIZE + 1, (size_t)(p - line) - STATUS_SIZE - 1};
    h->at = (size_t)(p - buf) + 2;
    return H1_DONE;
}

/*
 * A Transfer-Encoding that is not exactly "chunked". RFC 9112 6.1 and 6.3: a coding that isn't known
 * is 501; where chunked is there, but not alone in its right place, the length of the message is in
 * doubt.
 */
static int
refuse_coding(struct str value)
{
    struct str coding;
    bool last_chunked = false;
    unsigned chunked = 0, all = 0;

    while (str_list_next(&value, &coding)) {
        const char *parameters = memchr(coding.p, ';', coding.n);

        last_chunked = str_ieq(coding, STR("chunked"));
        if (parameters != NULL)
            coding = str_trim((struct str){coding.p, (size_t)(parameters - coding.p)});
        chunked += str_ieq(coding, STR("chunked"));
        all++;
    }
    if (all == 0 || chunked > 1 || (chunked == 1 && (!last_chunked || all == 1)))
        return 400;
    return 501;
}

/* A server or proxy that got both would have to guess, and RFC 9112 6.1 calls that an attack. */
static int
take_coding(struct h1_head *h, struct str value)
{
    if (h->has_coding || h->has_length || h->minor == 0)
        return 400;
    h->has_coding = true;
    if (!str_ieq(value, STR("chunked")))
        return refuse_coding(value);
    h->framing = H1_CHUNKED;
    return 0;
}

static int
take_length(struct h1_head *h, struct str value)
{
    if (h->has_length || h->has_coding)
        return 400;
    h->has_length = true;
    h->framing = H1_LENGTH;
    h->content_length = str_decimal(value);
    return h->content_length < 0 ? 400 : 0;
}

static int
take_connection(struct h1_head *h, struct str list)
{
    struct str option;

    /* what nearly everyone sends */
    if (str_ieq(list, STR("keep-alive"))) {
        h->connection_keep_alive = true;
        return 0;
    }
    if (str_ieq(list, STR("close"))) {
        h->connection_close = true;
        return 0;
    }
    while (str_list_next(&list, &option)) {
        if (++h->connection_members > CONNECTION_MOST)
            return 400;
        if (str_ieq(option, STR("close")))
            h->connection_close = true;
        else if (str_ieq(option, STR("keep-alive")))
            h->connection_keep_alive = true;
    }
    return 0;
}

/* A response has a status by now; Host means nothing there. */
static int
take_host(struct h1_head *h)
{
    if (h->host_seen && h->status == 0)
        return 400;
    h->host_seen = true;
    return 0;
}

/* Adds a field that is whole, and learns from it what the head has to know. */
static inline int
take_field(struct h1_head *h, struct str name, struct str value)
{
    const struct field *field = fields_add(h->fields, name, value);

    switch (field->id) {
    case FIELD_HOST:
        return take_host(h);
    case FIELD_CONNECTION:
        return take_connection(h, value);
    case FIELD_CONTENT_LENGTH:
        return take_length(h, value);
    case FIELD_TRANSFER_ENCODING:
        return take_coding(h, value);
    default:
        return 0;
    }
}

/* RFC 9112 9.3. */
static bool
keeps_alive(const struct h1_head *h)
{
    return !h->connection_close && (h->minor > 0 || h->connection_keep_alive);
}

static int
finish(struct h1_head *h, const char *buf, const char *line, const char *end)
{
    if (end - line < 2)
        return more(h, FIELD, h->at);
    if (line[1] != '\n')
        return 400;
    h->size = (size_t)(line - buf) + 2;
    h->keep_alive = keeps_alive(h);
    return H1_DONE;
}

/*
 * RFC 9112 5: name ":" OWS value OWS CRLF. A line that begins with white space is an obs-fold (5.2)
 * or worse; its name is empty, and that is refused here.
 */
static int
field_lines(struct h1_head *h, const char *buf, const char *end)
{
    const char *p = buf + h->scanned;
    int state = h->state;

    for (;;) {
        const char *line = buf + h->at, *bound;
        size_t most = h->limits->fields - h->fields_size;
        struct str value;
        int status;

        if (most > h->limits->field)
            most = h->limits->field;
        bound = bound_of(line, end, most);
        switch (state) {
        case FIELD:
            if (line == end)
                return more(h, FIELD, h->at);
            if (*line == '\r')
                return finish(h, buf, line, end);
            if (h->fields->n >= h->limits->count)
                return 431;
            p = line;
            /* fall through */
        case NAME:
            p = scan_token(p, bound);
            if (p == end)
                return more(h, NAME, (size_t)(p - buf));
            if (p == bound)
                return too_long(p, 431);
            if (*p != ':' || p == line)
                return 400;
            h->name_size = (size_t)(p - line);
            p++;
            /* fall through */
        default:
            p = scan_value(p, bound);
        }
        if (p == end || (*p == '\r' && p + 1 == end))
            return more(h, VALUE, (size_t)(p - buf));
        if (*p != '\r' || p[1] != '\n')
            return p == bound ? too_long(p, 431) : 400;

        h->at = (size_t)(p - buf) + 2;
        h->fields_size += (size_t)(p - line);
        value = (struct str){line + h->name_size + 1, (size_t)(p - line) - h->name_size - 1};
        status = take_field(h, (struct str){line, h->name_size}, str_trim(value));
        if (status != 0)
            return status;
        state = FIELD;
    }
}

static int
parse_request(struct h1_head *h, const char *buf, const char *end)
{
    int got;

    if (h->state == START) {
        got = blank_lines(h, buf, end);
        if (got != H1_DONE)
            return got;
        h->state = METHOD;
        h->scanned = h->at;
    }
    if (h->state < FIELD) {
        got = request_line(h, buf, end);
        if (got != H1_DONE)
            return got;
        h->state = FIELD;
    }
    return field_lines(h, buf, end);
}

int
h1_parse_request(struct h1_head *h, const char *buf, size_t n)
{
    return parse_request(h, buf, buf + n);
}

static int
parse_response(struct h1_head *h, const char *buf, const char *end)
{
    if (h->state < FIELD) {
        int got = status_line(h, buf, end);

        if (got != H1_DONE)
            return got;
        h->state = FIELD;
        h->framing = H1_UNTIL_CLOSE;
    }
    return field_lines(h, buf, end);
}

int
h1_parse_response(struct h1_head *h, const char *buf, size_t n)
{
    int got = parse_response(h, buf, buf + n);

    return got > H1_DONE ? 502 : got;
}

static inline void
follow(struct str *s, const char *from, size_t n, const char *to)
{
    size_t offset = (size_t)((uintptr_t)s->p - (uintptr_t)from);

    if (s->p != NULL && offset < n)
        s->p = to + offset;
}

void
h1_head_moved(struct h1_head *h, const char *from, size_t n, const char *to)
{
    follow(&h->method, from, n, to);
    follow(&h->target, from, n, to);
    follow(&h->reason, from, n, to);
    for (size_t i = 0; i < h->fields->n; i++) {
        follow(&h->fields->v[i].name, from, n, to);
        follow(&h->fields->v[i].value, from, n, to);
    }
}

int
h1_parse_field(struct fields *f, const char *line, size_t n)
{
    const char *end = line + n, *colon = scan_token(line, end);
    struct str value;

    if (colon == line || colon == end || *colon != ':' || scan_value(colon + 1, end) != end)
        return 400;
    value = (struct str){colon + 1, (size_t)(end - colon) - 1};
    fields_add(f, (struct str){line, (size_t)(colon - line)}, str_trim(value));
    return 0;
}
