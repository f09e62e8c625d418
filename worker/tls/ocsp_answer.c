/*
 * Knows how much of a responder's answer is read, and which answers are none. Heads are parsed where they were read
 * to; once the last head is done with, the same room is for content, which is copied out of it at once.
 */
#include "worker/tls/ocsp_answer.h"

#include "worker/base/log.h"

enum {
    INTERIM_MOST = 8,
    FIELDS_MOST = 100,
    LINE_MOST = 8192,
};

static void
begin_head(struct ocsp_answer *a)
{
    fields_init(&a->fields, a->arena);
    h1_head_init(&a->head, &a->fields, &a->limits);
}

void
ocsp_answer_init(struct ocsp_answer *a, struct arena *arena)
{
    a->arena = arena;
    a->why = NULL;
    a->n = a->at = a->fill = a->total = 0;
    a->interims = 0;
    a->in_content = false;
    a->limits = (struct h1_limits){
        .line = LINE_MOST, .field = LINE_MOST, .fields = OCSP_ANSWER_HEAD, .count = FIELDS_MOST,
    };
    begin_head(a);
}

static enum ocsp_read
bad(struct ocsp_answer *a, const char *why)
{
    a->why = why;
    return OCSP_READ_BAD;
}

/* --- content --- */

static enum ocsp_read
add(struct ocsp_answer *a, struct str content)
{
    if (content.n > sizeof(a->der) - a->n)
        return bad(a, "its answer is too long");
    if (content.n > 0)
        memcpy(a->der + a->n, content.p, content.n);
    a->n += content.n;
    return OCSP_READ_MORE;
}

static enum ocsp_read
add_chunks(struct ocsp_answer *a, struct str in)
{
    struct str data;

    for (;;) {
        switch (h1_chunked_next(&a->chunked, &in, &data)) {
        case H1_CHUNK_MORE:
            return OCSP_READ_MORE;
        case H1_CHUNK_DATA:
            if (add(a, data) == OCSP_READ_BAD)
                return OCSP_READ_BAD;
            break;
        case H1_CHUNK_END:
            return a->n > 0 ? OCSP_READ_DONE : bad(a, "its answer is empty");
        default:
            return bad(a, "its answer is malformed");
        }
    }
}

/* What goes beyond the length is no answer to what we asked. */
static enum ocsp_read
add_length(struct ocsp_answer *a, struct str in)
{
    size_t left = (size_t)a->head.content_length - a->n;

    if (in.n > left)
        in.n = left;
    add(a, in);
    return a->n == (size_t)a->head.content_length ? OCSP_READ_DONE : OCSP_READ_MORE;
}

static enum ocsp_read
content(struct ocsp_answer *a)
{
    struct str in = {a->in + a->at, a->fill - a->at};

    a->at = a->fill = 0;
    switch (a->head.framing) {
    case H1_LENGTH:
        return add_length(a, in);
    case H1_CHUNKED:
        return add_chunks(a, in);
    default:
        return add(a, in);
    }
}

/* --- heads --- */

/* Parameters mean nothing here. */
static bool
is_ocsp(struct str type)
{
    return str_ieq(str_trim(str_cut(&type, ';')), STR("application/ocsp-response"));
}

static enum ocsp_read
begin_content(struct ocsp_answer *a)
{
    const struct field *encoding = fields_find(&a->fields, STR("Content-Encoding"));

    if (a->head.status != 200)
        return bad(a, arena_printf(a->arena, "it answers with status %d%c", a->head.status, '\0').p);
    if (!is_ocsp(fields_value(&a->fields, FIELD_CONTENT_TYPE)) || encoding != NULL)
        return bad(a, "its answer is of another type");
    if (a->head.framing == H1_NO_BODY || (a->head.framing == H1_LENGTH && a->head.content_length == 0))
        return bad(a, "its answer is empty");
    if (a->head.framing == H1_LENGTH && a->head.content_length > (int64_t)sizeof(a->der))
        return bad(a, "its answer is too long");
    fields_init(&a->trailers, a->arena);
    h1_chunked_init(&a->chunked, &a->trailers, &a->limits);
    a->at += a->head.size;
    a->in_content = true;
    return content(a);
}

static enum ocsp_read
heads(struct ocsp_answer *a)
{
    int got;

    while ((got = h1_parse_response(&a->head, a->in + a->at, a->fill - a->at)) == H1_DONE) {
        if (a->head.status >= 200 || a->head.status == 101)
            return begin_content(a);
        if (++a->interims > INTERIM_MOST)
            return bad(a, "too many interim responses");
        a->at += a->head.size;
        begin_head(a);
    }
    if (got != H1_MORE)
        return bad(a, "its answer is malformed");
    return a->fill < sizeof(a->in) ? OCSP_READ_MORE : bad(a, "its answer is too long");
}

/* --- for the reader --- */

char *
ocsp_answer_room(struct ocsp_answer *a, size_t *n)
{
    *n = sizeof(a->in) - a->fill;
    return a->in + a->fill;
}

enum ocsp_read
ocsp_answer_took(struct ocsp_answer *a, size_t n)
{
    check(n <= sizeof(a->in) - a->fill);
    a->fill += n;
    a->total += n;
    if (a->total > OCSP_ANSWER_MOST)
        return bad(a, "its answer is too long");
    return a->in_content ? content(a) : heads(a);
}

enum ocsp_read
ocsp_answer_end(struct ocsp_answer *a)
{
    if (!a->in_content)
        return bad(a, a->total > 0 ? "it closed in the middle of a head" : "it closed without an answer");
    if (a->head.framing != H1_UNTIL_CLOSE || a->n == 0)
        return bad(a, "it closed in the middle of its answer");
    return OCSP_READ_DONE;
}
