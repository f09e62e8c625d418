/*
 * compress: responses go out in a coding that is shorter, and that the client takes. Its hook is at EDIT, behind all
 * that changes fields: it chooses (compress_choose.c), says so in the fields (compress_fields.c), and has the content
 * come from the store in the form that was chosen (cache_form.c), or pass a filter on its way (recode.c).
 */
#include "modules/compress.h"

#include <ctype.h>

#include "modules/codec.h"
#include "worker/count.h"
#include "worker/trace.h"

static void
count_sent(const struct request *r, enum coding encode)
{
    if (encode != CODING_IDENTITY)
        count_encoded(r, encode - CODING_ZSTD + SLOTS_ZSTD);
}

/* A server's answer isn't there: what is told is what the client decides, and the request. */
static bool
is_open(const struct request *r, const struct compress_choice *choice)
{
    return r->upstream != NULL && choice->encode == CODING_IDENTITY && !choice->unacceptable &&
           (choice->why == NULL || strcmp(choice->why, "no-transform") != 0);
}

static struct str
list(struct request *r, const struct str_list *types)
{
    struct str text = types->n > 0 ? types->v[0] : STR("of no type, as there is none in `types`");

    for (size_t i = 1; i < types->n; i++)
        text = arena_printf(r->arena, "%.*s, %.*s", STR_ARG(text), STR_ARG(types->v[i]));
    return text;
}

static void
explain_open(struct request *r, const struct compress_policy *conf)
{
    struct accepted accepted;
    enum coding best;

    accept_encoding(&r->request.fields, &accepted);
    best = accept_encoding_best(&accepted, conf->order, conf->order_n);
    if (best == CODINGS)
        trace(r, conf->line, "compress: 406, unless the server sends what the client takes");
    else if (best == CODING_IDENTITY)
        trace(r, conf->line, "compress: not encoded (not accepted)");
    else
        trace(r, conf->line, "compress: %.*s, where the answer has %zu bytes or more%s and is %.*s",
              STR_ARG(coding_name(best)), conf->min_size, conf->breach_guard ? ", bears no secrets" : "",
              STR_ARG(list(r, &conf->types)));
}

static void
explain(struct request *r, const struct compress_policy *conf, const struct compress_choice *choice)
{
    if (is_open(r, choice))
        explain_open(r, conf);
    else if (choice->unacceptable)
        trace(r, conf->line, "compress: 406, the client refuses content as it is, and nothing else can be made of it");
    else if (choice->encode != CODING_IDENTITY)
        trace(r, conf->line, "compress: %.*s", STR_ARG(coding_name(choice->encode)));
    else
        trace(r, conf->line, "compress: not encoded (%s)", choice->why != NULL ? choice->why : "not accepted");
}

/* Whether content that is not coded would do. */
static bool
takes_identity(const struct request *r)
{
    struct accepted accepted;

    accept_encoding(&r->request.fields, &accepted);
    return accepted.weight[CODING_IDENTITY] > 0;
}

/* Whether it would get what weir encodes in a coding. */
static bool
may_be_coded(const struct request *r, const struct compress_policy *conf)
{
    struct accepted accepted;

    accept_encoding(&r->request.fields, &accepted);
    return accept_encoding_best(&accepted, conf->order, conf->order_n) != CODING_IDENTITY;
}

/* On its way to this client alone. */
static int
recode(struct request *r, const struct compress_policy *conf, const struct compress_choice *choice)
{
    struct recode_plan plan;

    recode_plan(&plan, conf, r, choice, false);
    if (!recode_begin(r, &plan)) {
        count_coding_refused(r);
        return choice->decode != CODING_IDENTITY || !takes_identity(r) ? 503 : HOOK_NEXT;
    }
    compress_fields_recoded(r, choice->encode, LENGTH_UNKNOWN);
    count_sent(r, choice->encode);
    return HOOK_NEXT;
}

static int
change(struct request *r, const struct compress_policy *conf, const struct compress_choice *choice)
{
    enum cache_form form;
    int64_t length;
    int result;

    if (r->no_content) {        /* HEAD: only its fields are those of GET */
        if (cache_form_seen(r, conf, choice, &length) != FORM_POINTLESS || !takes_identity(r))
            compress_fields_recoded(r, choice->encode, length);
        return HOOK_NEXT;
    }
    if ((result = cache_form(r, conf, choice, &form)) != HOOK_NEXT)
        return result;
    if (form == FORM_POINTLESS && takes_identity(r))
        return HOOK_NEXT;
    if (form != FORM_SERVED)
        return recode(r, conf, choice);
    compress_fields_recoded(r, choice->encode, r->response.length);
    count_sent(r, choice->encode);
    return HOOK_NEXT;
}

static int
edit(struct request *r, const void *data)
{
    const struct compress_policy *conf = data;
    struct compress_choice choice;

    if (r->status == 304) {
        compress_fields_not_modified(r, may_be_coded(r, conf));
        if (compress_may_vary(conf, r))
            compress_fields_vary(r);
        return HOOK_NEXT;
    }
    compress_choose(conf, r, &choice);
    if (r->trace != NULL && r->status != 406)
        explain(r, conf, &choice);
    if (choice.varies || r->status == 406)
        compress_fields_vary(r);
    if (choice.unacceptable)
        return 406;
    if (r->trace != NULL || (choice.decode == CODING_IDENTITY && choice.encode == CODING_IDENTITY))
        return HOOK_NEXT;
    return change(r, conf, &choice);
}

/*
 * Why the client gets the whole, whatever part it wants; NULL: it may have that. RFC 9110 13.1.5: it has some already,
 * which may have been coded, where it takes a coding at all. By a date nobody can tell. A tag says so, as that of what
 * was coded is weak and matches nothing; but some servers look whether theirs is in it, and would send a part. And who
 * refuses content as it is gets no part of that, but may be given the whole in a coding.
 */
static const char *
why_whole(const struct request *r, const struct compress_policy *conf)
{
    struct str condition = fields_value(&r->request.fields, FIELD_IF_RANGE);

    if (!takes_identity(r))
        return "content as it is is refused";
    if (condition.n == 0 || condition.p[0] == '"' || !may_be_coded(r, conf))
        return NULL;
    return str_starts(condition, STR("W/")) ? "If-Range is a weak tag" : "If-Range is a date";
}

static int
guard(struct request *r, const void *data)
{
    const struct compress_policy *conf = data;
    const char *why;

    if (fields_find_id(&r->request.fields, FIELD_RANGE) == NULL || (why = why_whole(r, conf)) == NULL)
        return HOOK_NEXT;
    trace(r, conf->line, "compress: %s, so Range is left out", why);
    fields_remove_id(&r->request.fields, FIELD_RANGE);
    fields_remove_id(&r->request.fields, FIELD_IF_RANGE);
    return HOOK_NEXT;
}

bool
compress_would_decode(const struct request *r)
{
    const struct compress_policy *conf = compress_policy_of(r);
    struct compress_choice choice = {0};

    if (conf != NULL)
        compress_choose(conf, r, &choice);
    return choice.decode != CODING_IDENTITY;
}

const struct compress_policy *
compress_policy_of(const struct request *r)
{
    const struct hooks *hooks = &r->scope->hooks[PHASE_EDIT];

    for (size_t i = hooks->n; i-- > 0;)
        if (hooks->v[i].module == &compress_module)
            return hooks->v[i].conf;
    return NULL;
}

/* --- the keys --- */

static void
read_encodings(struct ready *ready, struct compress_policy *conf)
{
    conf->order_n = 0;
    for (size_t i = 0; i < conf->encodings.n; i++) {
        struct str name = conf->encodings.v[i];
        enum coding coding = coding_of(name);

        if (coding == CODINGS || coding == CODING_IDENTITY) {
            ready->wrong(ready, "encodings", i, "`%.*s` is none of zstd, br and gzip", STR_ARG(name));
            continue;
        }
        for (size_t j = 0; j < conf->order_n; j++)
            if (conf->order[j] == coding) {
                ready->wrong(ready, "encodings", i, "`%.*s` stands there twice", STR_ARG(name));
                return;
            }
        conf->order[conf->order_n++] = coding;
    }
    if (conf->encodings.n == 0)
        ready->wrong(ready, "encodings", 0, "an empty list; `compress: off` is how not to compress");
}

/* type/subtype, where both are tokens. A star is one too, and stands for a whole one: "a/b*" would match nothing. */
static bool
is_type(struct str s)
{
    struct str rest = s, type = str_cut(&rest, '/');

    if (rest.p == NULL || !field_is_token(type) || !field_is_token(rest))
        return false;
    if (str_eq(type, STR("*")))
        return str_eq(rest, STR("*"));
    return memchr(type.p, '*', type.n) == NULL && (str_eq(rest, STR("*")) || memchr(rest.p, '*', rest.n) == NULL);
}

static void
make_ready(struct ready *ready, void *data)
{
    struct compress_policy *conf = data;

    conf->line = ready->line;
    read_encodings(ready, conf);
    for (size_t i = 0; i < conf->types.n; i++)
        if (!is_type(conf->types.v[i]))
            ready->wrong(ready, "types", i, "`%.*s` is no media type: type/subtype, type/* or \"*/*\"",
                         STR_ARG(conf->types.v[i]));
}

#define LEVELS(table, zstd, br, gzip) \
    static const struct key table[] = { \
        {.name = "zstd", .type = KEY_INT, .offset = offsetof(struct compress_levels, of[CODING_ZSTD]), .def = zstd, \
         .min = 1, .max = CODEC_ZSTD_MOST, .help = "of zstd"}, \
        {.name = "br", .type = KEY_INT, .offset = offsetof(struct compress_levels, of[CODING_BR]), .def = br, \
         .max = CODEC_BR_MOST, .help = "of brotli"}, \
        {.name = "gzip", .type = KEY_INT, .offset = offsetof(struct compress_levels, of[CODING_GZIP]), .def = gzip, \
         .min = 1, .max = CODEC_GZIP_MOST, .help = "of gzip"}, \
        {.name = NULL}, \
    }

LEVELS(levels, "3", "4", "4");
LEVELS(stored_levels, "9", "6", "6");

static const struct key keys[] = {
    {.name = "encodings", .type = KEY_STRINGS, .offset = offsetof(struct compress_policy, encodings),
     .def = "[zstd, br, gzip]", .help = "what may be made, in order of preference"},
    {.name = "types", .type = KEY_STRINGS, .offset = offsetof(struct compress_policy, types),
     .def = "[text/*, application/json, application/javascript, image/svg+xml]",
     .help = "media types that are compressed"},
    {.name = "min_size", .type = KEY_SIZE, .offset = offsetof(struct compress_policy, min_size), .def = "1k",
     .help = "shorter content stays as it is, where its length is known"},
    {.name = "breach_guard", .type = KEY_BOOL, .offset = offsetof(struct compress_policy, breach_guard),
     .def = "false", .help = "what may bear one client's secrets is not compressed"},
    {.name = "levels", .type = KEY_SECTION, .offset = offsetof(struct compress_policy, levels), .def = "{}",
     .help = "how much work is put into a response on its way", .keys = levels},
    {.name = "stored_levels", .type = KEY_SECTION, .offset = offsetof(struct compress_policy, stored), .def = "{}",
     .help = "and into what the cache keeps", .keys = stored_levels},
    {.name = "decoded_ratio", .type = KEY_INT, .offset = offsetof(struct compress_policy, decoded_ratio), .def = "100",
     .min = 1, .max = 100000, .help = "how many times its size content may decode to, once that is over 1 MiB"},
    {.name = "decoded_size", .type = KEY_SIZE, .offset = offsetof(struct compress_policy, decoded_size), .def = "64m",
     .help = "how much content may decode to"},
    {.name = NULL},
};

const struct module compress_module = {
    .key = {.name = "compress", .type = KEY_SECTION, .def = "", .levels = KEY_POLICY, .keys = keys,
            .help = "responses are encoded as the client likes best: zstd, br or gzip"},
    .conf_size = sizeof(struct compress_policy),
    .ready = make_ready,
    .hook = {[PHASE_GUARD] = guard, [PHASE_EDIT] = edit},
    .tick = codec_tick,
};
