/*
 * What becomes of a response's content. It alone knows what is never coded anew, and what is left as it is for this
 * client only: the one says nothing of Accept-Encoding, of the other Vary tells.
 *
 * A response that was made before keeps its lines folded: those that matter here are read where they lie, for most
 * responses go out as they are.
 */
#include <strings.h>

#include "modules/cache_control.h"
#include "modules/compress.h"
#include "worker/block.h"

#define HAS(directive) (UINT32_C(1) << (directive))

/* A response as it matters here. */
struct look {
    const struct fields *fields;
    struct str type;            /* without parameters; p NULL: none */
    bool worth;                 /* the type is one that the policy names */
    enum coding coded;
    uint32_t says;              /* directives, those of a targeted field too; none where nothing comes of it anyway */
    bool part;                  /* a 206: the whole of it is chosen for, to know whether that varies */
};

/* --- the response --- */

#define MATTER (BLOCK_LETTER('c') | BLOCK_LETTER('s') | BLOCK_LETTER('w'))     /* what these names begin with */

static bool
matters(struct str name)
{
    switch (name.n > 0 ? name.p[0] | 0x20 : 0) {
    case 'c':
        return str_ieq(name, STR("Content-Type")) || str_ieq(name, STR("Content-Encoding")) ||
               str_ieq(name, STR("Content-Range")) || str_ieq(name, STR("Cache-Control")) ||
               str_ieq(name, STR("CDN-Cache-Control"));
    case 's':
        return str_ieq(name, STR("Set-Cookie"));
    case 'w':
        return str_ieq(name, STR("Weir-Cache-Control"));
    default:
        return false;
    }
}

/* The lines that matter, of its block and of its fields, in *own; or its fields, where there is no block. */
static const struct fields *
gather(const struct request *r, struct fields *own)
{
    const struct fields *behind = &r->response.fields;
    struct str block = r->response.block, name, value;

    if (block.n == 0)
        return behind;
    fields_init(own, r->arena);
    while (block_next_of(&block, MATTER, &name, &value))
        if (matters(name))
            fields_add(own, name, value);
    for (size_t i = 0; i < behind->n; i++)
        if (!behind->v[i].gone && matters(behind->v[i].name))
            fields_add_known(own, &behind->v[i]);
    return own;
}

static bool
says_directives(struct str name)
{
    return str_ieq(name, STR("Cache-Control")) || str_ieq(name, STR("CDN-Cache-Control")) ||
           str_ieq(name, STR("Weir-Cache-Control"));
}

/* Whether the directive's name, which is in lower case, stands anywhere in what may say it. */
static bool
may_say(const struct fields *f, struct str directive)
{
    for (size_t i = 0; i < f->n; i++) {
        struct str value = f->v[i].value;

        if (f->v[i].gone || !says_directives(f->v[i].name))
            continue;
        for (; value.n >= directive.n; value.p++, value.n--)
            if ((value.p[0] | 0x20) == directive.p[0] && str_ieq((struct str){value.p, directive.n}, directive))
                return true;
    }
    return false;
}

/* RFC 9213 is about storing: what Cache-Control says to everyone holds beside what a targeted field says to us. */
static uint32_t
directives(const struct fields *f, struct arena *a)
{
    struct cache_control c;
    uint32_t says;

    cache_control_response(&c, f, a);
    says = c.has;
    if (c.targeted) {
        cache_control_everyone(&c, f, a);
        says |= c.has;
    }
    return says;
}

static bool
is_type(struct str s)
{
    struct str rest = s, type = str_cut(&rest, '/');

    return field_is_token(type) && field_is_token(rest);
}

static bool
begins(struct str s, struct str with)
{
    return s.n >= with.n && strncasecmp(s.p, with.p, with.n) == 0;
}

static bool
is_listed(const struct str_list *types, struct str type)
{
    for (size_t i = 0; i < types->n; i++) {
        struct str t = types->v[i];

        if (str_eq(t, STR("*/*")) || str_ieq(t, type))
            return true;
        if (str_ends(t, STR("/*")) && begins(type, (struct str){t.p, t.n - 1}))
            return true;
    }
    return false;
}

/* Of a Content-Type, without parameters; p NULL: it names none. */
static struct str
type_of(struct str value)
{
    struct str type = str_trim(str_cut(&value, ';'));

    return is_type(type) ? type : STR_NONE;
}

static void
look_at(const struct compress_policy *conf, const struct request *r, struct look *l, struct fields *own)
{
    l->says = 0;
    l->fields = gather(r, own);
    l->part = r->status == 206;
    l->coded = coding_of_message(l->fields);
    l->type = type_of(fields_value(l->fields, FIELD_CONTENT_TYPE));
    /* of several parts nobody knows here what they are parts of */
    l->worth = begins(l->type, STR("multipart/byteranges")) ? l->part
                                                            : l->type.p != NULL && is_listed(&conf->types, l->type);
    if (!l->worth && l->coded == CODING_IDENTITY)
        return;
    /* all that is asked of them but for breach_guard: few say it, and it takes a fraction of reading them */
    if (conf->breach_guard || may_say(l->fields, STR("no-transform")))
        l->says = directives(l->fields, r->arena);
}

/* --- what may be done --- */

static bool
says_no_transform(const struct request *r)
{
    struct cache_control c;

    if (fields_find_id(&r->request.fields, FIELD_CACHE_CONTROL) == NULL)
        return false;
    cache_control_request(&c, &r->request.fields, r->arena);
    return cc_has(&c, CC_NO_TRANSFORM);
}

/* Why nobody gets it otherwise than it came, coded or not; NULL: some may. */
static const char *
why_untouched(const struct look *l)
{
    if (l->coded == CODINGS)
        return "coded already";
    if (begins(l->type, STR("application/grpc")))
        return "type";
    if ((l->says & HAS(CC_NO_TRANSFORM)) != 0)
        return "no-transform";
    if (!l->part && fields_find(l->fields, STR("Content-Range")) != NULL)
        return "Content-Range";
    return NULL;
}

/* What an attacker who has the victim ask, and sees lengths, may want to guess (BREACH). */
static bool
bears_secrets(const struct look *l)
{
    return fields_find(l->fields, STR("Set-Cookie")) != NULL || (l->says & (HAS(CC_PRIVATE) | HAS(CC_NO_STORE))) != 0;
}

/* And what may bear those of this client. */
static bool
is_personal(const struct request *r, const struct look *l)
{
    const struct fields *asked = &r->request.fields;

    if (fields_find_id(asked, FIELD_AUTHORIZATION) == NULL && fields_find_id(asked, FIELD_COOKIE) == NULL)
        return false;
    return (l->says & (HAS(CC_PUBLIC) | HAS(CC_S_MAXAGE) | HAS(CC_IMMUTABLE))) == 0;
}

/* Nothing makes nothing, decoded too; else what it is decoded to has a length that isn't known. */
static bool
is_small(const struct compress_policy *conf, const struct request *r, const struct look *l)
{
    int64_t length = r->response.length;

    if (l->part || length < 0)
        return false;
    return length == 0 || (l->coded == CODING_IDENTITY && (uint64_t)length < conf->min_size);
}

/* Why it, or what it is decoded to, is encoded for nobody; NULL: for some. */
static const char *
why_not_encoded(const struct compress_policy *conf, const struct request *r, const struct look *l)
{
    if (conf->order_n == 0)
        return "encodings";
    if (!l->worth)
        return "type";
    if (is_small(conf, r, l))
        return "min_size";
    if (conf->breach_guard && bears_secrets(l))
        return "breach_guard";
    return NULL;
}

/* --- what is done --- */

/* Of a response that may be touched; plain: why it isn't encoded, or NULL. */
static void
decide(const struct compress_policy *conf, const struct look *l, const struct accepted *a, const char *plain,
       struct compress_choice *out)
{
    enum coding best;

    if (l->coded != CODING_IDENTITY && a->weight[l->coded] > 0) {
        out->why = "coded already";
        return;
    }
    best = accept_encoding_best(a, conf->order, plain == NULL ? conf->order_n : 0);
    if (best == CODINGS || (best == CODING_IDENTITY && l->coded == CODING_IDENTITY)) {
        out->why = plain != NULL ? plain : "not accepted";
        return;
    }
    out->decode = l->coded;
    out->encode = best;
}

/*
 * Only who excludes identity says that nothing would be better than it (RFC 9110 12.5.3); to all others what is there
 * is sent, in a coding that they haven't named too.
 */
static bool
is_unacceptable(const struct request *r, const struct look *l, const struct accepted *a,
                const struct compress_choice *out)
{
    if ((r->method != METHOD_GET && r->method != METHOD_HEAD) || r->status < 200 || r->status > 299 ||
        r->response.length == 0 || l->coded == CODINGS || a->weight[CODING_IDENTITY] > 0)
        return false;
    return out->encode == CODING_IDENTITY && a->weight[l->coded] == 0;
}

static bool
has_content(const struct request *r)
{
    return !r->tunnel && r->status >= 200 && r->status != 204 && r->status != 205 && r->status != 304;
}

void
compress_choose(const struct compress_policy *conf, const struct request *r, struct compress_choice *out)
{
    const char *whole, *plain;
    struct accepted accepted;
    struct fields own;
    struct look l;

    *out = (struct compress_choice){.why = "status"};
    if (!has_content(r))
        return;
    look_at(conf, r, &l, &own);
    accept_encoding(&r->request.fields, &accepted);
    whole = why_untouched(&l);
    plain = why_not_encoded(conf, r, &l);
    out->varies = whole == NULL && (l.coded != CODING_IDENTITY || plain == NULL);
    if (whole == NULL && says_no_transform(r))
        whole = "no-transform";         /* for this request: others get it otherwise */
    if (plain == NULL && conf->breach_guard && is_personal(r, &l))
        plain = "breach_guard";
    if (whole != NULL) {
        out->why = whole;
    } else if (!l.part) {
        out->why = NULL;
        decide(conf, &l, &accepted, plain, out);
    }
    if (is_unacceptable(r, &l, &accepted, out)) {
        out->unacceptable = out->varies = true;
        out->why = "not accepted";
    }
}

/* By all that was ever said of the content, removed or not: a word too many costs caches a little, one too few much. */
bool
compress_may_vary(const struct compress_policy *conf, const struct request *r)
{
    const struct fields *f = &r->response.fields;
    bool typed = false;

    for (size_t i = 0; i < f->n; i++) {
        struct str type;

        if (str_ieq(f->v[i].name, STR("Content-Encoding")))
            return true;
        if (f->v[i].id != FIELD_CONTENT_TYPE)
            continue;
        typed = true;
        type = type_of(f->v[i].value);
        if (type.p != NULL && is_listed(&conf->types, type))
            return true;
    }
    return !typed;
}
