/*
 * The chunked coding, taken apart. Lines of sizes are a few bytes and go through a small state
 * machine; content and trailer lines go by in one piece.
 *
 * `left` is more than zero in state DATA alone. A verdict depends on the bytes, never on how they
 * were cut: a trailer line is judged when its LF is there, or when it is longer than the limits allow
 * any line to be.
 */
#include "worker/h1/chunked.h"

#include <assert.h>

#include "worker/base/scan.h"

enum {
    SIZE,                       /* digits */
    SPACE,                      /* white space behind them: an extension has to follow */
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
};

#define LINE_MOST 256
#define DIGITS_MOST 15          /* under 2^60: sums cannot overflow */

void
h1_chunked_init(struct h1_chunked *c, struct fields *trailers, const struct h1_limits *limits)
{
    *c = (struct h1_chunked){.state = SIZE, .trailers = trailers, .limits = limits};
}

static inline void
drop(struct str *s, size_t n)
{
    s->p += n;
    s->n -= n;
}

static inline int
digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a size's line that is no digit: false where it may not stand there. */
static bool
size_line_byte(struct h1_chunked *c, char byte)
{
    if (byte == '\r' && c->state != SPACE) {
        c->state = SIZE_LF;
        return true;
    }
    if (c->state == EXTENSION)
        return scan_value(&byte, &byte + 1) != &byte;
    if (byte == ';')
        c->state = EXTENSION;
    else if (byte == ' ' || byte == '\t')
        c->state = SPACE;
    else
        return false;
    return true;
}

/* The LF behind a size. */
static bool
size_line_end(struct h1_chunked *c, char byte)
{
    if (byte != '\n')
        return false;
    c->left = c->size;
    c->state = c->left > 0 ? DATA : TRAILER;
    c->size = 0;
    c->digits = 0;
    c->line = 0;
    return true;
}

/* RFC 9112 7.1: chunk-size [ chunk-ext ] CRLF. */
static enum h1_chunk
size_line(struct h1_chunked *c, struct str *in)
{
    while (in->n > 0) {
        char byte = in->p[0];
        int digit = c->state == SIZE ? digit_value(byte) : -1;

        drop(in, 1);
        if (c->state == SIZE_LF)
            return size_line_end(c, byte) ? H1_CHUNK_MORE : H1_CHUNK_BAD;
        if (digit >= 0) {
            c->size = c->size << 4 | (unsigned)digit;
            c->digits++;
        } else if (c->digits == 0 || !size_line_byte(c, byte)) {
            return H1_CHUNK_BAD;
        }
        c->line += byte != '\r';
        if (c->digits > DIGITS_MOST || c->line > LINE_MOST)
            return H1_CHUNK_BAD;
    }
    return H1_CHUNK_MORE;
}

static enum h1_chunk
content(struct h1_chunked *c, struct str *in, struct str *data)
{
    *data = (struct str){in->p, in->n < c->left ? in->n : (size_t)c->left};
    drop(in, data->n);
    h1_chunked_took(c, data->n);
    return H1_CHUNK_DATA;
}

void
h1_chunked_took(struct h1_chunked *c, uint64_t n)
{
    assert(c->state == DATA && n <= c->left);
    c->left -= n;
    if (c->left == 0)
        c->state = DATA_CR;
}

/* The CRLF behind content. */
static enum h1_chunk
content_end(struct h1_chunked *c, struct str *in)
{
    while (in->n > 0 && c->state != SIZE) {
        if (in->p[0] != (c->state == DATA_CR ? '\r' : '\n'))
            return H1_CHUNK_BAD;
        c->state = c->state == DATA_CR ? DATA_LF : SIZE;
        drop(in, 1);
    }
    return H1_CHUNK_MORE;
}

/* Keeps the front of a line whose end isn't there yet. */
static void
keep(struct h1_chunked *c, struct str part)
{
    if (c->line + part.n > c->trailer_cap) {
        char *grown;

        c->trailer_cap = 2 * (c->line + part.n);
        grown = arena_alloc(c->trailers->arena, c->trailer_cap);
        if (c->line > 0)
            memcpy(grown, c->trailer, c->line);
        c->trailer = grown;
    }
    memcpy(c->trailer + c->line, part.p, part.n);
    c->line += part.n;
}

/*
 * Whether a line of n bytes so far, its CR included but not its LF, is one too many or too long. The
 * byte behind the longest line allowed has to be its CR; the empty line is never too much.
 */
static bool
too_large(const struct h1_chunked *c, size_t n, char last)
{
    size_t most = c->limits->fields - c->trailer_size;

    if (n == 1 && last == '\r')
        return false;
    if (most > c->limits->field)
        most = c->limits->field;
    return c->trailer_count >= c->limits->count || n > most + 1 || (n == most + 1 && last != '\r');
}

/* What RFC 9110 6.5.1 forbids in a trailer section for what it would do to a message behind us. */
static bool
is_forbidden(enum field_id id)
{
    switch (id) {
    case FIELD_CONNECTION:
    case FIELD_CONTENT_LENGTH:
    case FIELD_EXPECT:
    case FIELD_HOST:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_KEEP_ALIVE:
    case FIELD_MAX_FORWARDS:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_TRAILER:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return true;
    default:
        return false;
    }
}

/* A line with its CR, without its LF; it is in the arena already or is copied there. */
static enum h1_chunk
trailer_line(struct h1_chunked *c, struct str line, bool copied)
{
    struct field *field;

    if (line.n == 0 || line.p[line.n - 1] != '\r')
        return H1_CHUNK_BAD;
    line.n--;
    if (line.n == 0)
        return H1_CHUNK_END;
    if (!copied)
        line = arena_copy(c->trailers->arena, line);
    if (h1_parse_field(c->trailers, line.p, line.n) != 0)
        return H1_CHUNK_BAD;
    field = &c->trailers->v[c->trailers->n - 1];
    field->gone = is_forbidden(field->id);
    c->trailer_size += line.n;
    c->trailer_count++;
    return H1_CHUNK_MORE;
}

/* RFC 9112 7.1.2. One line, or what there is of it. */
static enum h1_chunk
trailer(struct h1_chunked *c, struct str *in)
{
    const char *lf = memchr(in->p, '\n', in->n);
    struct str line = {in->p, lf != NULL ? (size_t)(lf - in->p) : in->n};
    bool kept = c->line > 0;
    enum h1_chunk got;

    if (line.n > 0 && too_large(c, c->line + line.n, line.p[line.n - 1]))
        return H1_CHUNK_LARGE;
    drop(in, line.n + (lf != NULL));
    if (kept || lf == NULL) {
        keep(c, line);
        line = (struct str){c->trailer, c->line};
    }
    if (lf == NULL)
        return H1_CHUNK_MORE;
    got = trailer_line(c, line, kept);
    c->line = 0;
    if (kept) {
        /* the field's slices point into it now */
        c->trailer = NULL;
        c->trailer_cap = 0;
    }
    return got;
}

enum h1_chunk
h1_chunked_next(struct h1_chunked *c, struct str *in, struct str *data)
{
    enum h1_chunk got = H1_CHUNK_MORE;

    *data = STR_NONE;
    while (in->n > 0 && got == H1_CHUNK_MORE) {
        switch (c->state) {
        case DATA:
            return content(c, in, data);
        case DATA_CR:
        case DATA_LF:
            got = content_end(c, in);
            break;
        case TRAILER:
            got = trailer(c, in);
            break;
        default:
            got = size_line(c, in);
        }
    }
    return got;
}
