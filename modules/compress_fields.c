/*
 * What a response's fields say of content that is coded otherwise than it came. It alone knows which of them are true
 * of certain bytes only: those go, or say less (RFC 9110 7.7, 8.8.3.3).
 */
#include "modules/cache_conditional.h"
#include "modules/compress.h"
#include "worker/block.h"

/* Of the bytes as the origin has coded them (RFC 1864, RFC 3230, RFC 9530). */
static bool
is_digest(const struct field *f)
{
    static const struct str digests[] = {
        {"Content-MD5", 11}, {"Digest", 6}, {"Content-Digest", 14}, {"Repr-Digest", 11},
    };

    for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++)
        if (str_ieq(f->name, digests[i]))
            return true;
    return false;
}

/* --- Vary --- */

/* Names it already, or says that no two requests are alike. */
static bool
is_varying(struct str list)
{
    struct str member;

    while (str_list_next(&list, &member))
        if (str_ieq(member, STR("Accept-Encoding")) || str_eq(member, STR("*")))
            return true;
    return false;
}

/* The last line of it in the fields, and whether any is enough as it is. */
static struct field *
last_vary(struct fields *f, bool *enough)
{
    struct field *last = NULL;

    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].gone || !str_ieq(f->v[i].name, STR("Vary")))
            continue;
        last = &f->v[i];
        *enough = *enough || is_varying(last->value);
    }
    return last;
}

/* Of a block: whether it has any, and whether any is enough. */
static bool
block_varies(struct str block, bool *enough)
{
    struct str name, value;
    bool any = false;

    while (block_next_of(&block, BLOCK_LETTER('v'), &name, &value)) {
        if (!str_ieq(name, STR("Vary")))
            continue;
        any = true;
        *enough = *enough || is_varying(value);
    }
    return any;
}

/* Names only: what is put behind them is read as one more. */
static bool
is_plain_list(struct str list)
{
    struct str member;

    while (str_list_next(&list, &member))
        if (!field_is_token(member))
            return false;
    return true;
}

void
compress_fields_vary(struct request *r)
{
    bool enough = false, folded = block_varies(r->response.block, &enough);
    struct fields *f = &r->response.fields;
    struct field *line;
    struct str list;

    if (!enough && folded)
        block_unfold(r);
    line = last_vary(f, &enough);
    if (enough)
        return;
    if (line == NULL || !is_plain_list(line->value)) {
        fields_add(f, STR("Vary"), STR("Accept-Encoding"));
        return;
    }
    list = line->value;
    while (list.n > 0 && (list.p[list.n - 1] == ',' || list.p[list.n - 1] == ' ' || list.p[list.n - 1] == '\t'))
        list.n--;
    line->value = list.n == 0 ? STR("Accept-Encoding")
                              : arena_printf(r->arena, "%.*s, Accept-Encoding", STR_ARG(list));
}

/* --- the content --- */

static struct str
weak(struct str tag, struct arena *a)
{
    char *text = arena_alloc(a, tag.n + 2);

    memcpy(mempcpy(text, "W/", 2), tag.p, tag.n);
    return (struct str){text, tag.n + 2};
}

/*
 * What a field without an id says of the bytes: no more, or less. What is no entity-tag can't be made a weak one, and
 * whoever reads it as a strong one (abc, or "a b") would put parts of one coding behind those of another.
 */
static void
loosen(struct field *f, struct arena *a)
{
    bool tag = str_ieq(f->name, STR("ETag"));

    if (tag ? !cache_conditional_is_tag(f->value) : is_digest(f))
        f->gone = true;
    else if (tag && !str_starts(f->value, STR("W/")))
        f->value = weak(f->value, a);
}

/*
 * RFC 9110 8.8: what answers a change says by its tag what there is now, which is not its content, and is what the next
 * If-Match is made of. Where it says that its content is just that (Content-Location), it may be stored (9.3.3).
 */
static bool
is_of_change(const struct request *r)
{
    switch (r->method) {
    case METHOD_PUT:
    case METHOD_DELETE:
        return true;
    case METHOD_POST:
    case METHOD_PATCH:
        return fields_find(&r->response.fields, STR("Content-Location")) == NULL;
    default:
        return false;
    }
}

static void
loosen_unless(struct field *f, bool of_change, struct arena *a)
{
    if (!of_change || !str_ieq(f->name, STR("ETag")))
        loosen(f, a);
}

/* Of the bytes as they came, and of no others. */
static bool
is_of_bytes(const struct field *f)
{
    return f->id == FIELD_CONTENT_LENGTH || f->id == FIELD_ACCEPT_RANGES ||
           (f->id == FIELD_OTHER && str_ieq(f->name, STR("Content-Encoding")));
}

/* What a line says of content that is coded anew. */
static void
say_less(struct field *line, bool of_change, struct arena *a)
{
    if (is_of_bytes(line))
        line->gone = true;
    else if (line->id == FIELD_OTHER && !line->gone)
        loosen_unless(line, of_change, a);
}

/* The names that say_less does anything to begin with these. */
#define OF_CONTENT \
    (BLOCK_LETTER('a') | BLOCK_LETTER('c') | BLOCK_LETTER('d') | BLOCK_LETTER('e') | BLOCK_LETTER('r'))

/* Every line of a block but those that are gone, each as it is said now; the block's stays as it is. */
static struct str
recoded_block(struct str block, struct arena *a)
{
    char *text = arena_alloc(a, 2 * block.n), *to = text;      /* "W/" makes no line twice as long */
    const char *copied = block.p, *end = block.p + block.n;
    struct str name, value;

    while (block_next_of(&block, OF_CONTENT, &name, &value)) {
        struct field line = {.name = name, .value = value, .id = field_id(name)};

        say_less(&line, false, a);
        if (!line.gone && line.value.p == value.p)
            continue;
        to = mempcpy(to, copied, (size_t)((line.gone ? name.p : value.p) - copied));
        copied = line.gone ? value.p + value.n + 2 : value.p + value.n;
        if (!line.gone)
            to = mempcpy(to, line.value.p, line.value.n);
    }
    to = mempcpy(to, copied, (size_t)(end - copied));
    return (struct str){text, (size_t)(to - text)};
}

void
compress_fields_recoded(struct request *r, enum coding coding, int64_t length)
{
    struct message *m = &r->response;
    struct fields *f = &m->fields;
    bool of_change;

    if (m->block.n > 0 && (r->method == METHOD_GET || r->method == METHOD_HEAD))
        m->block = recoded_block(m->block, r->arena);
    else
        block_unfold(r);
    of_change = is_of_change(r);
    for (size_t i = 0; i < f->n; i++)
        say_less(&f->v[i], of_change, r->arena);
    if (coding != CODING_IDENTITY)
        fields_add(f, STR("Content-Encoding"), coding_name(coding));
    r->response.length = length;
}

void
compress_fields_trailers(struct request *r)
{
    struct fields *f = &r->response.trailers;
    bool of_change = is_of_change(r);

    for (size_t i = 0; i < f->n; i++)
        loosen_unless(&f->v[i], of_change, r->arena);
}

/* --- 304 --- */

/* Its tag becomes the one that the client has. True: that is of the bytes as they came. */
static bool
confirm(struct field *f, const struct request *r, bool coded)
{
    unsigned asked = cache_conditional_asks(&r->request.fields, f->value);

    if (!cache_conditional_is_strong(f->value))
        return false;
    if (asked == ASKED_STRONGLY || (asked == (ASKED_STRONGLY | ASKED_WEAKLY) && !coded))
        return true;
    if (asked != 0)
        f->value = weak(f->value, r->arena);
    return false;
}

void
compress_fields_not_modified(struct request *r, bool coded)
{
    struct fields *f = &r->response.fields;
    bool as_it_came = false;

    block_unfold(r);
    for (size_t i = 0; i < f->n; i++)
        if (!f->v[i].gone && str_ieq(f->v[i].name, STR("ETag")))
            as_it_came = confirm(&f->v[i], r, coded);
    if (as_it_came)
        return;
    for (size_t i = 0; i < f->n; i++)
        if (is_of_bytes(&f->v[i]) || is_digest(&f->v[i]))
            f->v[i].gone = true;
    r->response.length = LENGTH_UNKNOWN;
}
